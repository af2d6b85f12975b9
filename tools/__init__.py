"""Commands that the Makefile runs."""

import sys

# Said here, before a module that an older Python cannot even read.
if sys.version_info < (3, 11):  # noqa: UP036 - only here can it be older
    sys.exit(f"{sys.executable} is older than Python 3.11. Name another: make PYTHON=python3.13 ...")
