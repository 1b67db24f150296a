"""The report on a terminal: before, after and change, then the table of labels.

No paper: presentation, by rich.
"""

from collections.abc import Mapping

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from laconic.report import changes, figures
from laconic.report.notes import notes
from laconic.report.page import headline
from laconic.report.record import Report
from laconic.report.sections import AVERAGES

STYLE = {True: "green", False: "red", None: ""}


def show(report: Report, console: Console | None = None) -> None:
    """Print the report."""
    (console or Console()).print(draw(report))


def draw(report: Report) -> RenderableType:
    """Everything, as one renderable."""
    parts: list[RenderableType] = [Text(headline(report), style="bold"), compared(report)]
    labels = by_label(report)
    if labels is not None:
        parts += ["", labels]
    parts += [Text(f"note: {note}", style="dim") for note in notes(report)]
    return Group(*parts)


def compared(report: Report) -> Table:
    """Before, after, change and interval of every figure."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in (report.before.name, report.after.name, "change", "interval"):
        table.add_column(Text(name), justify="right")
    group = ""
    for line in changes.changes(report):
        if group and line.group != group:
            table.add_section()
        group = line.group
        cells = (line.label, line.before, line.after, Text(line.change, style=STYLE[line.better]), line.interval)
        table.add_row(*(c if isinstance(c, Text) else Text(c) for c in cells))
    return table


def tag_table(table: Mapping[str, Mapping[str, float]]) -> Table:
    """Precision, recall, F1 and support of every label of one model, the averages below."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("label")
    for name in ("precision", "recall", "F1", "support"):
        drawn.add_column(name, justify="right")
    averages = [label for label in table if label in AVERAGES]
    for label, row in table.items():
        if averages and label == averages[0]:
            drawn.add_section()
        cells = [figures.score(row.get(key)) for key in ("precision", "recall", "f1")]
        drawn.add_row(*map(Text, (label, *cells, f"{row.get('support', 0):,.0f}")))
    return drawn


def by_label(report: Report) -> Table | None:
    """Precision, recall, F1 and support of every label, micro, macro and weighted below; None without such a score."""
    rows = changes.tables(report)
    if not rows:
        return None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("label")
    for name in ("precision", "recall", "F1", "support", "F1 before", "change"):
        table.add_column(name, justify="right")
    averaging = False
    for label, (old, new) in rows.items():
        if label in AVERAGES and not averaging:
            averaging = True
            table.add_section()
        before = old.get("f1") if old else None
        step = None if before is None or "f1" not in new else new["f1"] - before
        cells = [figures.score(new.get(key)) for key in ("precision", "recall", "f1")]
        support = f"{new['support']:,.0f}" if "support" in new else figures.NONE
        table.add_row(*map(Text, (label, *cells, support, figures.score(before), figures.points(step))))
    return table
