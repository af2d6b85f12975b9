"""The screen of `make run`."""

import io
import time

from local.screen import Screen


def test_a_long_silence_is_broken_and_only_in_the_block() -> None:
    shown = io.StringIO()
    screen = Screen(shown)
    with screen.never_silent("waiting", longest_s=0.05):
        time.sleep(0.3)
        screen.line("done")
    told = shown.getvalue()
    assert told.startswith("waiting\n")
    assert told.endswith("done\n")
    time.sleep(0.1)
    assert shown.getvalue() == told


def test_a_block_that_prints_often_is_left_alone() -> None:
    shown = io.StringIO()
    screen = Screen(shown)
    screen.line("begun")
    with screen.never_silent("waiting", longest_s=30):
        time.sleep(0.05)
    assert shown.getvalue() == "begun\n"
