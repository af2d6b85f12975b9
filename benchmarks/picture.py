"""The growth curves as an SVG picture: four panels, units and milliseconds of one run and of all runs."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

_PANEL_WIDTH, _PANEL_HEIGHT = 640, 330
_LEFT, _TOP, _PLOT_WIDTH, _PLOT_HEIGHT = 55, 40, 270, 240
_LABEL_HEIGHT = 13
_COLORS = (
    "#1b6ca8", "#c0392b", "#1e8449", "#8e44ad", "#b9770e", "#117a65", "#7b241c",
    "#2e4053", "#6c3483", "#9a7d0a", "#0e6655", "#a04000", "#5d6d7e",
)  # fmt: skip

Curve = dict[str, Any]
Value = Callable[[dict[str, Any]], float]


def growth_picture(one_run: Sequence[Curve], all_runs: Sequence[Curve]) -> str:
    panels = [
        ("One run: capacity units (a write unit counts as five read units)", "events of the run", one_run, _units),
        ("One run: milliseconds", "events of the run", one_run, _milliseconds),
        ("All runs: capacity units", "runs in the table", all_runs, _units),
        ("All runs: milliseconds", "runs in the table", all_runs, _milliseconds),
    ]
    drawn = [
        f'<g transform="translate({(number % 2) * _PANEL_WIDTH} {(number // 2) * _PANEL_HEIGHT})">{_panel(*panel)}</g>'
        for number, panel in enumerate(panels)
    ]
    size = f"0 0 {2 * _PANEL_WIDTH} {2 * _PANEL_HEIGHT}"
    style = "font-family: sans-serif; font-size: 11px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" style="{style}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _units(point: dict[str, Any]) -> float:
    units: float = point["units"]
    return units


def _milliseconds(point: dict[str, Any]) -> float:
    milliseconds: float = point["seconds"] * 1000
    return milliseconds


def _panel(title: str, axis: str, curves: Sequence[Curve], value: Value) -> str:
    sizes = [point["size"] for point in curves[0]["points"]]
    top = _round_up(max(value(point) for curve in curves for point in curve["points"]))
    low, high = math.log10(sizes[0]), math.log10(sizes[-1])

    def x(size: int) -> float:
        return _LEFT + _PLOT_WIDTH * (math.log10(size) - low) / (high - low)

    def y(amount: float) -> float:
        return _TOP + _PLOT_HEIGHT * (1 - amount / top)

    parts = [f'<text x="{_LEFT}" y="20" font-weight="bold">{escape(title)}</text>']
    for step in range(5):
        amount = top * step / 4
        parts.append(f'<path d="M{_LEFT} {y(amount):.1f}h{_PLOT_WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(amount) + 4:.1f}" text-anchor="end">{amount:g}</text>')
    parts += [
        f'<text x="{x(size):.1f}" y="{_TOP + _PLOT_HEIGHT + 16}" text-anchor="middle">{size:,}</text>' for size in sizes
    ]
    parts.append(f'<text x="{_LEFT}" y="{_TOP + _PLOT_HEIGHT + 34}">{escape(axis)}</text>')
    ends = _spread([y(value(curve["points"][-1])) for curve in curves])
    for curve, label_y, color in zip(curves, ends, _cycled(len(curves)), strict=True):
        points = " ".join(f"{x(point['size']):.1f},{y(value(point)):.1f}" for point in curve["points"])
        end_x, end_y = x(sizes[-1]), y(value(curve["points"][-1]))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        parts.append(
            f'<path d="M{end_x:.1f} {end_y:.1f}L{end_x + 14:.1f} {label_y:.1f}" stroke="{color}" stroke-width="0.5"/>'
        )
        parts.append(
            f'<text x="{end_x + 17:.1f}" y="{label_y + 4:.1f}" fill="{color}">{escape(curve["request"])}</text>'
        )
    return "".join(parts)


def _round_up(amount: float) -> float:
    """To 1, 2, 4 or 8 with noughts: quarters of it are short numbers."""
    unit: float = 10 ** math.floor(math.log10(amount))
    return next(factor * unit for factor in (1, 2, 4, 8, 20) if factor * unit >= amount)


def _spread(heights: Sequence[float]) -> list[float]:
    """Heights for labels, in place or moved up so that none covers another."""
    placed: dict[int, float] = {}
    below = float(_TOP + _PLOT_HEIGHT + _LABEL_HEIGHT)
    for number in sorted(range(len(heights)), key=lambda number: -heights[number]):
        below = placed[number] = min(heights[number], below - _LABEL_HEIGHT)
    return [placed[number] for number in range(len(heights))]


def _cycled(count: int) -> list[str]:
    return [_COLORS[number % len(_COLORS)] for number in range(count)]
