"""Writes the figures of the last run between the markers of docs/performance.md and its page of tables."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.goals import Goal
from benchmarks.price import SERVICES
from benchmarks.systems import FLOOR, OURS, PEER_1, PEER_2, ROOT

_FOLDER = ROOT / "docs" / "performance"
PAGES = (ROOT / "docs" / "performance.md", _FOLDER / "tables.md")
PICTURE = _FOLDER / "growth.svg"

_WARM = ("get_run", "poll", "event_minimal", "list_10")
_MARKED = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = Mapping[str, Any]


def write_document(parts: Mapping[str, Any], found: Sequence[Goal]) -> None:
    """Write the figures of all parts. ``parts`` maps each name to its rows, host and duration."""
    rows = {name: part["rows"] for name, part in parts.items()}
    blocks = {name: table(data) for name, data in rows.items()}
    blocks["summary"] = table(list(_summary(rows)))
    blocks["missed"] = _missed(found)
    blocks["goals"] = table([goal.as_row() for goal in found])
    blocks["prices"] = table(
        [{"price": name, "dollars": price} for part in SERVICES.values() for name, price in part.items()]
    )
    blocks["measured"] = table([{"part": name, "s": part["took_s"], **part["host"]} for name, part in parts.items()])
    for page in PAGES:
        page.write_text(_MARKED.sub(lambda match: f"{match[1]}{blocks[match[2]]}{match[3]}", page.read_text()))
    figure = draw_growth({"events of the run": rows["growth_one_run"], "runs in the table": rows["growth_all_runs"]})
    figure.savefig(PICTURE, metadata={"Date": None})


def table(rows: Sequence[Row]) -> str:
    """A Markdown table of the rows, with a column for each key of the first row and of its inner mappings."""
    flat = [dict(_flat(row)) for row in rows]
    lines = [list(flat[0]), ["---"] * len(flat[0]), *([_text(value) for value in row.values()] for row in flat)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _flat(row: Row) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{name} {inner}", part) for inner, part in value.items())
        else:
            yield name, value


def _text(value: Any) -> str:
    """The first three digits of a measured number."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".") if value >= 0.001 else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _summary(rows: Mapping[str, Any]) -> Iterator[Row]:
    """The figures that matter most to a user."""
    cold = {row["name"]: row for row in rows["cold_start"] if row["bytecode"]}
    warm = {row["name"]: row for row in rows["warm"]}
    for kind, by_name, names in (("cold start", cold, ("get_run", "event")), ("warm", warm, _WARM)):
        for name in names:
            ms = {system: f"{_text(taken)} ms" for system, taken in by_name[name]["ms"].items()}
            beside = f"floor {ms[FLOOR]}, peer 1 {ms[PEER_1]}"
            yield {"figure": f"{kind}, {by_name[name]['request']}", "ours": ms[OURS], "beside": beside}
    growing = {"POST /runs/{id}/events minimal": "events", "GET /runs, no filter": "runs"}
    for request, noun in growing.items():
        points = [point for point in rows["growth_one_run"] + rows["growth_all_runs"] if point["request"] == request]
        first, last = (
            f"{_text(point['units'])} units at {point['size']:,} {noun}" for point in (points[0], points[-1])
        )
        yield {"figure": f"growth, {request}", "ours": last, "beside": first}
    ours, *others = rows["client_imports"]
    least = min(others, key=lambda row: row["ms"])
    beside = f"{least['package']} {_text(least['ms'])} ms"
    yield {"figure": "import of the client for Python", "ours": f"{_text(ours['ms'])} ms", "beside": beside}
    many, bill = rows["contention"][-1], rows["price"][0]
    ours, peer = (f"{_text(many['a second'][system])} a second" for system in (OURS, PEER_2))
    yield {"figure": f"events accepted on one run, {many['writers']} writers", "ours": ours, "beside": f"peer 2 {peer}"}
    ours, other = (f"{_text(bill[name])} dollars" for name in ("dollars", "Step Functions"))
    yield {"figure": "a million events", "ours": ours, "beside": f"Step Functions {other}"}


def _missed(found: Sequence[Goal]) -> str:
    missed = [
        f"- {goal.what}: {goal.figure:.2f}, goal {goal.goal_text} ({goal.basis})\n"
        for goal in found
        if not goal.is_reached
    ]
    return "".join(missed) or "All goals are reached.\n"


def draw_growth(panels: Mapping[str, Sequence[Row]]) -> Figure:
    """Draw the picture of growth. ``panels`` maps the meaning of a size to the points of all requests."""
    mpl.rcParams.update({"svg.hashsalt": "gyoza", "svg.fonttype": "none", "font.size": 8})
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    for subfigure, (axis, points) in zip(figure.subfigures(2, 1), panels.items(), strict=True):
        requests = list(dict.fromkeys(point["request"] for point in points))
        for axes, unit in zip(subfigure.subplots(1, 2), ("units", "ms"), strict=True):
            for number, request in enumerate(requests):
                sizes, values = zip(*((p["size"], p[unit]) for p in points if p["request"] == request), strict=True)
                color, style = mpl.colormaps["tab10"].colors[number % 10], ("-", "--")[number // 10]
                axes.plot(sizes, values, style, color=color, marker=".", label=request)
            axes.set(xscale="log", ylim=(0, None), xlabel=axis, ylabel=unit)
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.grid(color="#dddddd")
        subfigure.legend(*axes.get_legend_handles_labels(), loc="outside right")
    return figure
