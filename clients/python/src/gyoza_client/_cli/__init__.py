"""The command line. `main.py` is its entry point, and the only module here that works without the extra ``cli``."""
