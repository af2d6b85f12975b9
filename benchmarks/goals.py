"""Compares the figures with the goals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from benchmarks.systems import FLOOR, OURS, PEER_1

UNITS_GROWTH, TIME_GROWTH, PRICE_FACTOR, CLIENT_IMPORT_MS = 1.1, 1.3, 3.0, 180

_COLD = {FLOOR: (1.35, 1.7), PEER_1: (0.65, 0.8)}
"""Cold start over another system's: the worst route without a body, and the worst one with a body."""

_WARM = {
    FLOOR: {"get_run": 1.3, "poll": 1.3, "event": 1.5, "event_minimal": 1.5, "list_100": 1.5},
    PEER_1: {
        **{"get_run": 0.95, "poll": 0.7, "event": 0.75, "event_minimal": 0.55, "cancel": 0.8, "retry": 0.8},  # noqa: PIE800
        **{"update_run": 0.75, "list_10": 1.6, "list_10_summary": 1.2},  # noqa: PIE800 - two lines in place of nine
    },
}
"""Warm requests over another system's."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """A figure and its goal, compared after rounding to hundredths. ``basis`` names the parts of the figure."""

    what: str
    figure: float
    goal: float
    basis: str = ""
    at_least: bool = False

    @property
    def is_reached(self) -> bool:
        figure = round(self.figure, 2)
        return figure >= self.goal if self.at_least else figure <= self.goal

    @property
    def goal_text(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.goal:g}"

    def as_row(self) -> Row:
        reached = "yes" if self.is_reached else "**NO**"
        return {"of": self.what, "figure": self.figure, "goal": self.goal_text, "reached": reached, "basis": self.basis}


def goals(parts: Mapping[str, Sequence[Row]]) -> Iterator[Goal]:
    """The goals of the measured parts. ``parts`` maps each name to its rows."""
    makers = {"cold_start": _cold_start, "warm": _warm, "growth_one_run": _growth, "growth_all_runs": _growth}
    for name, make in makers.items():
        yield from make(parts.get(name, ()))
    yield from (Goal("layer zipped, MB", row["zipped MB"], 4) for row in parts.get("size", ()) if row["system"] == OURS)
    yield from _client_imports(parts.get("client_imports", ()))
    for row in parts.get("contention", ())[-1:]:
        rate, ratio = row["a second"][OURS], row["of one writer's"][OURS]
        yield Goal(f"accepted events of {row['writers']} writers over one's", ratio, 0.4, f"{rate:.0f} a second", True)
    for row in parts.get("price", ()):
        basis = f"{row['Step Functions']:.0f} / {row['dollars']:.2f} dollars a million"
        yield Goal(f"Step Functions' price over ours, {row['a million']}", row["times"], PRICE_FACTOR, basis, True)


def _cold_start(rows: Sequence[Row]) -> Iterator[Goal]:
    for bytecode, (other, limits) in product((True, False), _COLD.items()):
        for body, limit in enumerate(limits):
            if chosen := [row for row in rows if (row["bytecode"], row["body"]) == (bytecode, body)]:
                worst = max(chosen, key=lambda row: row["over"][other])
                kind = f"with{'' if body else 'out'} a body{'' if bytecode else ', layers without bytecode'}"
                yield _ratio(f"cold start over {other}, routes {kind}", worst, other, limit)


def _warm(rows: Sequence[Row]) -> Iterator[Goal]:
    if not rows:
        return
    by_name = {row["name"]: row for row in rows}
    for other, limits in _WARM.items():
        for name, limit in limits.items():
            yield _ratio(f"warm over {other}, {by_name[name]['request']}", by_name[name], other, limit)
    worst = max(rows, key=lambda row: row["MB"][OURS] / row["MB"][FLOOR])
    ours, floor = worst["MB"][OURS], worst["MB"][FLOOR]
    yield Goal("memory over floor, worst route", ours / floor, 1.3, f"{ours:.1f} / {floor:.1f} MB, {worst['request']}")


def _ratio(what: str, row: Row, other: str, limit: float) -> Goal:
    basis = f"{row['ms'][OURS]:.4g} / {row['ms'][other]:.4g} ms, {row['request']}"
    calls = f"; {row['calls'][OURS]} and {row['calls'][other]} calls" if "calls" in row else ""
    return Goal(what, row["over"][other], limit, basis + calls)


def _client_imports(rows: Sequence[Row]) -> Iterator[Goal]:
    for ours in rows[:1]:
        least = min(rows[1:], key=lambda row: row["ms"])
        yield Goal("CPU of importing and making the client, ms", ours["ms"], CLIENT_IMPORT_MS)
        basis = f"{ours['ms']:.4g} / {least['ms']:.4g} ms, {least['package']}"
        yield Goal("import of the client over the least of its peers", ours["ms"] / least["ms"], 1, basis)


def _growth(rows: Sequence[Row]) -> Iterator[Goal]:
    for request in dict.fromkeys(row["request"] for row in rows):
        first, *_, last = (row for row in rows if row["request"] == request)
        for unit, limit in (("units", UNITS_GROWTH), ("ms", TIME_GROWTH)):
            basis = f"{first[unit]:.3g} at {first['size']:,}, {last[unit]:.3g} at {last['size']:,}"
            yield Goal(f"growth in {unit}, {request}", last[unit] / first[unit], limit, basis)
