"""Holds the state of one command: where it prints, and the client it asks with."""

import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

from gyoza_client._cli.formats import printable
from gyoza_client._cli.profile_note import profile_note
from gyoza_client._cli.screen import Screen
from gyoza_client._steps import Answer, Lost, Send, Sleep
from gyoza_client._sync import Driver, GyozaClient, Transport, client_of, core_of

_LOST_BEFORE_TELLING: Final = 3
"""Lost answers in a row before a line tells of them. Fewer are made up for within a second or two."""

_NAME = "gyoza"


class Session:
    def __init__(self, screen: Screen, profile: str | None = None) -> None:
        self.screen = screen
        self._profile = profile

    @cached_property
    def client(self) -> GyozaClient:
        note = profile_note(self._profile)
        if note is not None:
            self.screen.note(printable(f"gyoza: {note}"))
        client = GyozaClient(profile=self._profile)
        core = core_of(client)
        return client_of(replace(core, driver=_TellingDriver(core.driver.transport, self.screen.hint)))

    @property
    def options(self) -> list[str]:
        """The options of every command, as this command line gives them."""
        return [*(["--json"] if self.screen.json else []), *self._profile_option]

    def command(self, *words: str) -> str:
        """A command line that reaches the same API as this one."""
        return shlex.join([_own_name(), *self._profile_option, *words])

    @property
    def _profile_option(self) -> list[str]:
        return [] if self._profile is None else ["--profile", self._profile]

    def close(self) -> None:
        if "client" in vars(self):
            self.client.close()


def _own_name() -> str:
    """The word by which a shell calls this program again: the path as it was typed, where the name alone finds none."""
    typed = Path(sys.argv[0])
    is_path = typed.name == _NAME and sys.argv[0] != _NAME
    return sys.argv[0] if is_path and shutil.which(_NAME) != str(typed.absolute()) else _NAME


class _TellingDriver(Driver):
    """Tells once that answers do not come, so that nobody sits before a silent terminal while calls are repeated."""

    def __init__(self, transport: Transport, tell: Callable[[str], None]) -> None:
        super().__init__(transport)
        self._tell = tell
        self._lost = 0

    def do(self, step: Send | Sleep) -> Answer | Lost | None:
        got = super().do(step)
        if isinstance(got, Lost):
            self._lost += 1
            if self._lost == _LOST_BEFORE_TELLING:
                self._tell(f"No answer so far: {printable(got.text)}. Trying again")
        elif got is not None:
            self._lost = 0
        return got
