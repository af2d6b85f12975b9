"""What was to be reached, and whether it was."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.systems import FLOOR, OURS, PEER_1

UNITS_GROWTH, TIME_GROWTH = 1.1, 1.3
CONTENDED, PRICE_FACTOR, SIZE_MB = 0.4, 3.0, 4.0

Parts = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """A figure and its goal, both rounded to hundredths before they are compared."""

    what: str
    figure: float
    goal: float
    at_least: bool = False
    basis: str = ""
    """What the figure is made of."""

    @property
    def is_reached(self) -> bool:
        figure = round(self.figure, 2)
        return figure >= self.goal if self.at_least else figure <= self.goal

    @property
    def goal_text(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.goal:g}"

    @property
    def verdict(self) -> str:
        return "reached" if self.is_reached else "NOT REACHED"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.is_reached}


def goals(parts: Parts) -> list[Goal]:
    """Of the parts that were measured."""
    makers: dict[str, Callable[[Any], Iterator[Goal]]] = {
        "cold_start": _cold_start,
        "warm": _warm,
        "size": _size,
        "growth_one_run": _growth,
        "growth_all_runs": _growth,
        "contention": _contention,
        "price": _price,
    }
    return [goal for name, make in makers.items() if name in parts for goal in make(parts[name])]


def goals_as_text(found: list[Goal]) -> str:
    width = max(len(goal.what) for goal in found)
    return "\n".join(
        f"{goal.what:{width}}  {goal.figure:9.2f}  {goal.goal_text:>8}  {goal.verdict:11}  {goal.basis}"
        for goal in found
    )


def _cold_start(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    """The worst of the routes each."""
    for bytecode in (True, False):
        condition = "" if bytecode else ", layers without bytecode"
        for other, limits in ((FLOOR, (1.35, 1.7)), (PEER_1, (0.65, 0.8))):
            for has_body, limit in zip((False, True), limits, strict=True):
                kind = "with a body" if has_body else "without a body"
                chosen = [row for row in rows if (row["bytecode"], row["has_body"]) == (bytecode, has_body)]
                worst = max(chosen, key=lambda row: _ratio(row, other))
                yield Goal(
                    f"cold start over {other}, routes {kind}{condition}",
                    _ratio(worst, other),
                    limit,
                    basis=_milliseconds(worst, other),
                )


def _warm(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    limits = {"get_run": 1.3, "poll": 1.3, "event": 1.5, "event_minimal": 1.5, "list_100": 1.5}
    by_name = {row["name"]: row for row in rows}
    for name, limit in limits.items():
        row = by_name[name]
        yield Goal(f"warm over floor, {row['title']}", _ratio(row, FLOOR), limit, basis=_milliseconds(row, FLOOR))
    for name in (*limits, "get_run_100", "poll_100", "event_minimal_100"):
        row = by_name[name]
        calls = f"; {row['calls'][OURS]} calls and {row['calls'][PEER_1]}"
        yield Goal(
            f"warm over peer1, {row['title']}", _ratio(row, PEER_1), 0.6, basis=_milliseconds(row, PEER_1) + calls
        )
    worst = max(rows, key=lambda row: row["peak_mb"][OURS] / row["peak_mb"][FLOOR])
    ours, floor = worst["peak_mb"][OURS], worst["peak_mb"][FLOOR]
    yield Goal(
        "memory over floor, worst route", ours / floor, 1.3, basis=f"{ours:.1f} / {floor:.1f} MB, {worst['title']}"
    )


def _size(sizes: dict[str, int]) -> Iterator[Goal]:
    yield Goal("layer zipped, MB", sizes[OURS] / 1e6, SIZE_MB)


def _growth(part: dict[str, Any]) -> Iterator[Goal]:
    for curve in part["curves"]:
        first, last = curve["points"][0], curve["points"][-1]
        sizes = f"at {first['size']:,} and {last['size']:,}"
        yield Goal(
            f"growth in units, {curve['request']}",
            last["units"] / first["units"],
            UNITS_GROWTH,
            basis=f"{units_text(first)} and {units_text(last)} {sizes}",
        )
        yield Goal(
            f"growth in time, {curve['request']}",
            last["seconds"] / first["seconds"],
            TIME_GROWTH,
            basis=f"{first['seconds'] * 1000:.1f} and {last['seconds'] * 1000:.1f} ms {sizes}",
        )


def units_text(point: dict[str, Any]) -> str:
    """Read and write units."""
    return f"{point['read_units']:g} R + {point['write_units']:g} W"


def _contention(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    rates = {row["writers"]: row["per_second"] for row in rows if row["system"] == OURS}
    most = max(rates)
    yield Goal(
        f"accepted events of {most} writers over one's",
        rates[most] / rates[1],
        CONTENDED,
        at_least=True,
        basis=f"{rates[most]:.0f} / {rates[1]:.0f} a second",
    )


def _price(part: dict[str, Any]) -> Iterator[Goal]:
    for bill in part["bills"]:
        yield Goal(
            f"Step Functions' price over ours, {bill['what']}",
            bill["against"],
            PRICE_FACTOR,
            at_least=True,
            basis=f"{bill['transitions'] * 25} / {bill['total']:.2f} dollars a million",
        )


def _ratio(row: dict[str, Any], other: str) -> float:
    ratio: float = row["ms"][OURS] / row["ms"][other]
    return ratio


def _milliseconds(row: dict[str, Any], other: str) -> str:
    return f"{row['ms'][OURS]:.4g} / {row['ms'][other]:.4g} ms, {row['title']}"
