"""One HTML file that shows a report: no scripts, nothing fetched, light and dark, wide and narrow.

No paper: presentation.
"""

from importlib import resources
from pathlib import Path
from typing import Any

from laconic import artifact
from laconic.measures.size import Layer
from laconic.report import changes, figures, plots, sections
from laconic.report.markup import Markup, join, tag
from laconic.report.notes import notes
from laconic.report.plots import Bar
from laconic.report.record import Curve, Report, Trace
from laconic.report.sections import section

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write(report: Report, path: Path) -> None:
    """Write the page atomically."""
    artifact.write_file(path, render(report).encode())


def render(report: Report) -> str:
    """The page as text; the same report gives the same bytes."""
    style = resources.files("laconic.report").joinpath("page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{report.model}: {headline(report)}"),
        tag("style", Markup(style)),
    )
    shown = (
        sections.compared,
        sections.variants,
        sections.where_the_bytes_are,
        sections.quality,
        sections.speed,
        sections.by_label,
        sections.bits,
        trace,
        sizes,
        training,
        layers,
        caveats,
        provenance,
    )
    main = tag("main", _opening(report), *(part(report) for part in shown))
    footer = tag("footer", "Made by Laconic", f" on {report.created}" if report.created else None, ".")
    return "<!doctype html>\n" + tag("html", head, tag("body", main, footer), lang="en") + "\n"


def headline(report: Report) -> str:
    """What the run achieved, in one line."""
    smaller, faster, lost = changes.shrinkage(report), changes.speedup(report), changes.loss(report)
    said = []
    if smaller is not None:
        said.append(f"{_times(smaller)}smaller" if smaller >= 1 else f"{_times(1 / smaller)}larger")
    if faster is not None:
        said.append(f"{_times(faster)}faster" if faster >= 1 else f"{_times(1 / faster)}slower")
    if lost is not None:
        verb = "gained" if lost > 0 else "lost"
        amount = figures.points(abs(lost)).lstrip("+")
        said.append(f"{amount}{figures.SPACE}points of {figures.title(report.main)} {verb}")
    return ", ".join(said) or "measured"


def _times(value: float) -> str:
    return figures.times(value) + figures.SPACE


def _opening(report: Report) -> Markup:
    what = " · ".join(x for x in (report.task, report.model, report.dataset, f"recipe {report.recipe}") if x)
    tiles = tag("dl", *_tiles(report), class_="tiles")
    return tag("header", tag("p", what, class_="kicker"), tag("h1", headline(report)), _certainty(report), tiles)


def _certainty(report: Report) -> Markup | None:
    interval = report.after.differences.get(report.main)
    if interval is None:
        return None
    on = (
        f"{report.examples:,} {report.split} examples"
        if report.examples is not None
        else f"the {report.split} examples"
    )
    told = f"Difference in {figures.title(report.main)}: {figures.points(interval.value)} points, "
    return tag(
        "p",
        f"{told}{100 * interval.level:g}{figures.SPACE}% interval {figures.span(interval)}, on {on}.",
        class_="lead",
    )


def _tiles(report: Report) -> list[Markup]:
    before, after, tiles = report.before, report.after, []
    if before.size and after.size:
        tiles.append(("Bytes on disk", figures.amount(after.size.bytes), f"from {figures.amount(before.size.bytes)}"))
    if after.latency and before.latency:
        spread = after.latency.single_speedup
        told = f"from {figures.seconds(before.latency.p50_seconds)}; "
        told += f"{figures.times(spread.low)} to {figures.times(spread.high)}"
        tiles.append(("One text, median", figures.seconds(after.latency.p50_seconds), told))
    if isinstance(after.score.get(report.main), int | float):
        interval = after.differences.get(report.main)
        old = before.score.get(report.main) if len(report.rows) > 1 else None
        told = f"from {figures.score(old)}" if old is not None else report.split
        told += f"; {figures.span(interval)}" if interval else ""
        tiles.append((figures.title(report.main), figures.score(after.score[report.main]), told))
    return [
        tag("div", tag("dt", name), tag("dd", value, class_="big"), tag("dd", told, class_="sub"), class_="tile")
        for name, value, told in tiles
    ]


def trace(report: Report) -> Markup | None:
    """Bytes and validation score after each step of the recipe."""
    if not report.steps:
        return None
    original = report.before.size.bytes if report.before.size else None
    shown = [Trace(report.before.name, bytes=original), *report.steps] if original else report.steps
    largest = max([step.bytes or 0 for step in shown]) or 1
    names = ("Step", "Bytes after it", "", "Validation", "Took")
    head = tag("tr", *(tag("th", name, scope="col", class_=None if name else "roomy") for name in names))
    body = []
    for step in shown:
        options = ", ".join(f"{key} {_short(value)}" for key, value in step.options.items())
        bar = tag("span", class_="seg c1", style=f"width:{100 * (step.bytes or 0) / largest:.3f}%")
        body.append(
            tag(
                "tr",
                tag("th", step.step, tag("div", options, class_="options") if options else None, scope="row"),
                tag("td", figures.amount(step.bytes)),
                tag("td", tag("span", bar, class_="track", style="min-width:5rem"), class_="roomy", aria_hidden="true"),
                tag("td", figures.score(step.score)),
                tag("td", figures.seconds(step.seconds)),
            )
        )
    lead = f"After each step: bytes, and {figures.title(report.main)} on validation."
    table = tag("table", tag("thead", head), tag("tbody", *body))
    return section("The recipe, step by step", lead, tag("div", table, class_="wide"))


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def sizes(report: Report) -> Markup | None:
    """The artifact beside what people compare with."""
    if not report.sizes:
        return None
    rows = [Bar(w.name, figures.amount(w.bytes), [("", float(w.bytes), "c5")], None, w.note) for w in report.sizes]
    if report.after.size:
        total = report.after.size.bytes
        rows.append(Bar(report.after.name, figures.amount(total), [("", float(total), "c1")], None, "this artifact"))
    return section("Beside other ways to store it", None, tag("figure", plots.bars(rows)))


def training(report: Report) -> Markup | None:
    """Training curves, those of one title in one plot."""
    grouped: dict[str, list[Curve]] = {}
    for curve in report.curves:
        if curve.points:
            grouped.setdefault(curve.title, []).append(curve)
    if not grouped:
        return None
    drawn: list[Markup] = []
    for title, group in grouped.items():
        lines = [(curve.name, curve.points) for curve in group]
        plot = plots.curves(title, lines, group[0].x_label, group[0].y_label)
        drawn += [tag("h3", title), tag("figure", tag("div", plot, class_="plot"))]
    return section("Training", None, *drawn)


def layers(report: Report) -> Markup | None:
    """Every layer, folded away."""
    if not report.layers:
        return None
    names = ("Layer", "Kind", "Parameters", "Not zero", "Bytes", "Bits each")
    head = tag("tr", *(tag("th", n, scope="col", class_="text" if n == "Kind" else None) for n in names))
    body = [
        tag(
            "tr",
            tag("th", layer.path, scope="row", class_="path"),
            tag("td", layer.kind, class_="text"),
            tag("td", figures.count(layer.parameters)),
            tag("td", figures.share(layer.nonzero / layer.parameters if layer.parameters else None)),
            tag("td", figures.amount(layer.stored_bytes)),
            tag("td", _bits_each(layer)),
        )
        for layer in report.layers
    ]
    table = tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="wide")
    summary = tag("summary", f"{len(report.layers)} layers of {report.after.name}")
    return section("Layer by layer", None, tag("details", summary, table))


def _bits_each(layer: Layer) -> str:
    if layer.stored_bytes is None or not layer.parameters:
        return figures.NONE
    return figures.number(8 * layer.stored_bytes / layer.parameters)


def caveats(report: Report) -> Markup | None:
    """What to know before quoting a figure."""
    said = notes(report)
    return section("Read this too", None, tag("ul", *(tag("li", n) for n in said), class_="notes")) if said else None


def provenance(report: Report) -> Markup:
    """Where the figures come from and how to get them again."""
    facts = {"Task": report.task, "Model": report.model, "Data": report.dataset, "Split": report.split}
    facts |= {"Examples": f"{report.examples:,}" if report.examples is not None else "", "Recipe": report.recipe}
    facts |= {"Seed": str(report.seed), **report.environment}
    rows = [
        tag("tr", tag("th", key, scope="row"), tag("td", value, class_="text")) for key, value in facts.items() if value
    ]
    commands = join(tag("h3", "To repeat it"), tag("pre", "\n".join(report.commands))) if report.commands else None
    return section("Provenance", None, tag("table", tag("tbody", *rows)), commands)
