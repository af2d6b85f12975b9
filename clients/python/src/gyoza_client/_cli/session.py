"""Holds the state of one command: where it prints, and the client it asks with."""

import shlex
from functools import cached_property

from gyoza_client._cli.inputs import Misused
from gyoza_client._cli.main import conflict
from gyoza_client._cli.screen import Screen
from gyoza_client._sync import GyozaClient


class Session:
    def __init__(self, screen: Screen, profile: str | None = None) -> None:
        self.screen = screen
        self._profile = profile

    @cached_property
    def client(self) -> GyozaClient:
        """Raises Misused if the environment would come before the profile that was asked for."""
        problem = conflict(self._profile)
        if problem is not None:
            raise Misused(problem)
        return GyozaClient(profile=self._profile)

    def command(self, *words: str) -> str:
        """A command line that reaches the same API as this one."""
        profile = [] if self._profile is None else ["--profile", self._profile]
        return shlex.join(["gyoza", *profile, *words])

    def close(self) -> None:
        if "client" in vars(self):
            self.client.close()
