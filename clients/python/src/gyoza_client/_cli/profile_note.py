"""Tells that a profile was asked for and is not used. All commands share it, also those that need no extra."""

import os

from gyoza_client._configuration import ADDRESS_VARIABLES


def profile_note(profile: str | None) -> str | None:
    """The sentence to print if ``--profile`` was given and the environment, which comes first, has the address."""
    there = [name for name in ADDRESS_VARIABLES if os.environ.get(name)]
    if profile is None or not there:
        return None
    return (
        f"{' and '.join(there)} in the environment {'come' if len(there) > 1 else 'comes'} before --profile {profile},"
        " which is passed over"
    )
