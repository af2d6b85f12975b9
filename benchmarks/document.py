"""docs/performance.md: the tables of the last run, set between the markers of the page, and the picture of growth."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.goals import Goal, units_text
from benchmarks.picture import growth_picture
from benchmarks.places import ROOT
from benchmarks.systems import FLOOR, OURS, PEER_1, PEER_2

PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance" / "growth.svg"

_MARKED = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Parts = dict[str, Any]


def write_document(parts: Parts, found: Sequence[Goal]) -> None:
    """Sets in what was measured; what was not keeps what stands there, and so do the tables of all parts together."""
    tables = {name: make(parts[name]["data"]) for name, make in _TABLES.items() if name in parts}
    if tables.keys() == _TABLES.keys():
        tables |= {"goals": _goals(found), "measured": _measured(parts)}

    def filled(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        return f"{begin}{tables[name]}{end}" if name in tables else match[0]

    PAGE.write_text(_MARKED.sub(filled, PAGE.read_text()))
    curves = [parts[name]["data"]["curves"] for name in ("growth_one_run", "growth_all_runs") if name in parts]
    if len(curves) == 2:
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(growth_picture(*curves))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def _goals(found: Sequence[Goal]) -> str:
    return _table(
        ("what", "figure", "goal", "", "of"),
        [
            (goal.what, f"{goal.figure:.2f}", goal.goal_text, "yes" if goal.is_reached else "**NO**", goal.basis)
            for goal in found
        ],
    )


def _measured(parts: Parts) -> str:
    def row(name: str) -> Sequence[str]:
        host = parts[name]["host"]
        return (
            name,
            host["at"],
            host["python"],
            f"{host['machine']}, {host['cpus']} CPUs",
            f"{parts[name]['took_s']} s",
        )

    return _table(("part", "on", "Python", "machine", "took"), [row(name) for name in parts])


def _cold_start(rows: list[dict[str, Any]]) -> str:
    return _table(
        ("route", "bytecode", "floor", "ours", "peer 1", "peer 2", "over floor", "over peer 1", "over peer 2"),
        [
            (
                row["title"],
                "yes" if row["bytecode"] else "no",
                *(f"{row['ms'][system]:.0f} ms" for system in (FLOOR, OURS, PEER_1, PEER_2)),
                *(f"{row['ms'][OURS] / row['ms'][other]:.2f}" for other in (FLOOR, PEER_1, PEER_2)),
            )
            for row in rows
        ],
    )


def _warm(rows: list[dict[str, Any]]) -> str:
    return _table(
        (
            "request",
            "calls, ours and peers'",
            "floor",
            "ours",
            "peer 1",
            "peer 2",
            "over floor",
            "over peer 1",
            "memory",
        ),
        [
            (
                row["title"],
                f"{row['calls'][OURS]}, {row['calls'][PEER_1]}",
                *(f"{row['ms'][system]:.2f} ms" for system in (FLOOR, OURS, PEER_1, PEER_2)),
                *(f"{row['ms'][OURS] / row['ms'][other]:.2f}" for other in (FLOOR, PEER_1)),
                f"{row['peak_mb'][OURS]:.0f} MB, {row['peak_mb'][OURS] / row['peak_mb'][FLOOR]:.2f} of the floor's",
            )
            for row in rows
        ],
    )


def _size(sizes: dict[str, int]) -> str:
    return _table(("system", "zipped"), [(name, f"{size / 1e6:.2f} MB") for name, size in sizes.items()])


def _contention(rows: list[dict[str, Any]]) -> str:
    systems = list(dict.fromkeys(row["system"] for row in rows))
    rates = {(row["system"], row["writers"]): row["per_second"] for row in rows}
    writers = sorted({row["writers"] for row in rows})
    return _table(
        ("writers", *systems),
        [
            (
                str(each),
                *(_rate(rates[system, each], rates[system, 1]) for system in systems),
            )
            for each in writers
        ],
    )


def _rate(rate: float, of_one: float) -> str:
    return f"{rate:.0f} a second, {rate / of_one:.2f} of one writer's"


def _growth(part: dict[str, Any]) -> str:
    sizes = [point["size"] for point in part["curves"][0]["points"]]
    stored = [f"{int(size):,} runs in {seconds:.0f} s" for size, seconds in part.get("stored_seconds", {}).items()]
    curves = _table(
        ("request", *(f"at {size:,}" for size in sizes), "units, last over first", "time, last over first"),
        [
            (
                curve["request"],
                *(_point(point) for point in curve["points"]),
                f"{curve['points'][-1]['units'] / curve['points'][0]['units']:.2f}",
                f"{curve['points'][-1]['seconds'] / curve['points'][0]['seconds']:.2f}",
            )
            for curve in part["curves"]
        ],
    )
    return curves + (f"\nStored: {', '.join(stored)}.\n" if stored else "")


def _point(point: dict[str, Any]) -> str:
    cost = f"{point['calls']} calls, {units_text(point)}, {point['seconds'] * 1000:.1f} ms"
    return f"{cost}, {point['rows']} rows" if point["rows"] else cost


def _price(part: dict[str, Any]) -> str:
    services = list(part["bills"][0]["dollars"])
    bills = _table(
        ("a million of", *services, "dollars", "Step Functions", "times"),
        [
            (
                bill["what"],
                *(f"{bill['dollars'][name]:.2f}" for name in services),
                f"{bill['total']:.2f}",
                f"{bill['transitions'] * part['prices']['step_functions_transition'] * 1e6:.0f}",
                f"{bill['against']:.2f}",
            )
            for bill in part["bills"]
        ],
    )
    prices = _table(
        ("list price", f"dollars, {part['prices']['listed']}"),
        [
            (name.replace("_", " "), f"{price:.10f}".rstrip("0"))
            for name, price in part["prices"].items()
            if name != "listed"
        ],
    )
    return bills + "\n" + prices


def _profile(part: dict[str, Any]) -> str:
    packages = sorted({name for each in part["imports"] for name in each["milliseconds"]})
    imports = _table(
        ("importing `app`, ms", *(f"{each['system']}, {each['title']}" for each in part["imports"])),
        [
            *((name, *(f"{each['milliseconds'].get(name, 0):.0f}" for each in part["imports"])) for name in packages),
            ("making the client", *(f"{each['client_milliseconds']:.0f}" for each in part["imports"])),
        ],
    )
    names = list(dict.fromkeys(name for each in part["shares"] for name in each["shares"]))
    shares = _table(
        ("share of a warm request's CPU", *(each["title"] for each in part["shares"])),
        [(name, *(f"{each['shares'].get(name, 0):.0%}" for each in part["shares"])) for name in names],
    )
    return imports + "\n" + shares


_TABLES: dict[str, Callable[[Any], str]] = {
    "cold_start": _cold_start,
    "warm": _warm,
    "size": _size,
    "contention": _contention,
    "growth_one_run": _growth,
    "growth_all_runs": _growth,
    "price": _price,
    "profile": _profile,
}
