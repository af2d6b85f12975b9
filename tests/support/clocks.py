"""A clock for tests of code that waits."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

BEGIN = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)


@dataclass
class FakeClock:
    """A clock that moves only while something sleeps on it, and that records the pauses. Tests may move it too."""

    seconds: float = 1_000.0
    """The time since BEGIN."""
    pauses: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds
