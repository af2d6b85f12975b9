"""Records the requests of clients and checks that the final run can be their result."""

from .checker import problems
from .exchange import Exchange, Final
from .model import MANUAL_RETRY, TERMINAL, USER_CANCEL, Replay
from .recorder import REPLAYED, Recorder, at_once, read_final, the_winner

__all__ = [
    "MANUAL_RETRY",
    "REPLAYED",
    "TERMINAL",
    "USER_CANCEL",
    "Exchange",
    "Final",
    "Recorder",
    "Replay",
    "at_once",
    "problems",
    "read_final",
    "the_winner",
]
