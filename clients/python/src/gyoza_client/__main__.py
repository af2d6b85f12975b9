"""Runs the command line as ``python -m gyoza_client``."""

import sys

from gyoza_client._cli.main import main

sys.exit(main())
