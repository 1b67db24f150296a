"""Bars, intervals and curves, drawn in HTML and SVG without scripts, readable by ear as well.

No paper: Tufte's rule that ink is data. Texts stand in HTML beside the marks, so that they keep their size on a phone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from laconic.report import figures
from laconic.report.markup import Markup, join, tag


@dataclass(frozen=True)
class Bar:
    """A bar of segments (label, value, colour class), with what stands beside it."""

    name: str
    text: str  # the figure as it is read
    segments: Sequence[tuple[str, float, str]]
    mark: float | None = None  # a tick on the bar, in its unit
    note: str = ""

    @property
    def total(self) -> float:
        """Length in the plot's unit."""
        return sum(value for _, value, _ in self.segments)


def bars(rows: Sequence[Bar]) -> Markup:
    """Bars to one scale that begins at zero."""
    scale = max([max(row.total, row.mark or 0.0) for row in rows] + [0.0]) or 1.0
    return tag("div", *(_bar(row, scale) for row in rows), class_="bars")


def _bar(row: Bar, scale: float) -> Markup:
    parts = [
        tag("i", class_=f"seg {colour}", style=f"width:{_percent(value / scale)}")
        for _, value, colour in row.segments
        if value > 0
    ]
    if row.mark is not None:
        parts.append(tag("i", class_="tick", style=f"left:{_percent(row.mark / scale)}"))
    spoken = f"{row.name}: {row.text}" + (f", {row.note}" if row.note else "")
    return tag(
        "div",
        tag("span", row.name, class_="bar-name"),
        tag("div", *parts, class_="track", role="img", aria_label=spoken),
        tag("span", row.text, tag("small", " ", row.note) if row.note else None, class_="bar-text"),
        class_="bar",
    )


def legend(items: Sequence[tuple[str, str, str]]) -> Markup:
    """(label, figure, colour class) side by side."""
    entries = (tag("li", tag("i", class_=f"dot {colour}"), label, tag("b", text)) for label, text, colour in items)
    return tag("ul", *entries, class_="legend")


def interval(name: str, value: float, low: float, high: float, reach: float) -> Markup:
    """A difference in points with its interval, on an axis from -reach to reach with zero in the middle."""

    def at(x: float) -> str:
        return _percent((x + reach) / (2 * reach))

    span = f"[{figures.signed(low)}, {figures.signed(high)}]"
    spoken = f"{name}: {figures.signed(value)} points, interval from {figures.signed(low)} to {figures.signed(high)}"
    return tag(
        "div",
        tag("span", name, class_="bar-name"),
        tag(
            "div",
            tag("i", class_="zero"),
            tag("i", class_="whisker", style=f"left:{at(low)};width:{_percent((high - low) / (2 * reach))}"),
            tag("i", class_="value", style=f"left:{at(value)}"),
            class_="track axis",
            role="img",
            aria_label=spoken,
        ),
        tag("span", figures.signed(value), tag("small", f" {span}"), class_="bar-text"),
        class_="bar",
    )


def axis(ends: tuple[str, str, str]) -> Markup:
    """What stands under the left end, the middle and the right end of an interval plot."""
    return tag(
        "div", tag("span"), tag("div", *(tag("span", e) for e in ends), class_="ends"), tag("span"), class_="bar foot"
    )


def reach(values: Sequence[float]) -> float:
    """The round number at or above the largest of the values: 1, 2 or 5 times a power of ten."""
    largest = max([abs(v) for v in values] + [0.0]) or 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next((step * power for step in (1.0, 2.0, 5.0) if step * power >= largest), 10.0 * power)


def difference(value: float, scale: float) -> Markup:
    """A small bar left or right of the middle, for a table's cell; `scale` fills one side."""
    width = _percent(min(abs(value) / scale, 1.0) / 2 if scale else 0.0)
    side = "right" if value < 0 else "left"
    colour = "worse" if value < 0 else "gain"
    return tag("span", tag("i", class_=colour, style=f"{side}:50%;width:{width}"), class_="diff", aria_hidden="true")


def curves(
    title: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], x_label: str, y_label: str
) -> Markup:
    """Lines over one pair of axes; labels of the axes stand in HTML around the drawing."""
    xs = [x for _, points in lines for x, _ in points]
    ys = [y for _, points in lines for _, y in points]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    width, height = (right - left) or 1.0, (high - low) or 1.0

    def place(point: tuple[float, float]) -> str:
        return f"{600 * (point[0] - left) / width:.2f},{5 + 190 * (1 - (point[1] - low) / height):.2f}"

    drawn = [
        tag("polyline", points=" ".join(place(p) for p in points), class_=f"line {COLOURS[i % len(COLOURS)]}")
        for i, (_, points) in enumerate(lines)
    ]
    last = "; ".join(f"{name} ends at {figures.number(points[-1][1])}" for name, points in lines)
    spoken = f"{title}: {last}"
    drawing = tag("svg", *drawn, viewBox="0 0 600 200", preserveAspectRatio="none", role="img", aria_label=spoken)
    keys = [(name, figures.number(points[-1][1]), COLOURS[i % len(COLOURS)]) for i, (name, points) in enumerate(lines)]
    return join(
        tag(
            "div",
            tag("span", figures.reading(high)),
            tag("span", y_label),
            tag("span", figures.reading(low)),
            class_="y",
        ),
        drawing,
        tag(
            "div",
            tag("span", figures.reading(left)),
            tag("span", x_label),
            tag("span", figures.reading(right)),
            class_="x",
        ),
        legend(keys),
    )


COLOURS = ("c1", "c2", "c3", "c4", "c5")


def _percent(fraction: float) -> str:
    return f"{100 * min(max(fraction, 0.0), 1.0):.3f}%"
