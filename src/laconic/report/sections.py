"""The parts of the page that compare: what became of the figures, the bytes, the answers and the time.

No paper: presentation. A section that has nothing to show is None.
"""

from laconic.measures.size import PARTS
from laconic.report import changes, figures, plots
from laconic.report.markup import Markup, join, tag
from laconic.report.plots import Bar
from laconic.report.record import Report, Row

PART_COLOURS = dict(zip(PARTS, plots.COLOURS, strict=True))
PART_NAMES = {"ffn": "feed-forward"}
REST = "tokenizer, manifest"
GROUPS = {"quality": "Quality", "size": "Size", "speed": "Speed", "memory": "Memory", "bits": "Bits"}
AVERAGES = ("micro", "macro", "weighted")


def section(title: str, lead: str | None, *content: Markup | None) -> Markup:
    """A heading, a sentence, and what it is about."""
    return tag("section", tag("h2", title), tag("p", lead, class_="lead") if lead else None, *content)


def compared(report: Report) -> Markup | None:
    """Before, after and change of every figure both have."""
    lines = changes.changes(report)
    if not lines:
        return None
    body: list[Markup] = []
    for key, name in GROUPS.items():
        rows = [line for line in lines if line.group == key]
        if rows:
            head = tag("tr", tag("th", name, colspan=4, scope="rowgroup"), class_="group")
            body.append(tag("tbody", head, *(_change(row, figures.title(report.main)) for row in rows)))
    names = ("", report.before.name, report.after.name, "Change")
    columns = tag("tr", *(tag("th", name, scope="col") for name in names))
    return section("Before and after", None, tag("table", tag("thead", columns), *body, class_="changes"))


def _change(line: changes.Change, main: str) -> Markup:
    colour = {True: "better", False: "worse", None: None}[line.better]
    return tag(
        "tr",
        tag("th", line.label, scope="row"),
        tag("td", line.before),
        tag("td", line.after),
        tag("td", line.change, tag("small", line.interval) if line.interval else None, class_=colour),
        class_="main" if line.label == main else None,
    )


def variants(report: Report) -> Markup | None:
    """Every row, where there are more than the two."""
    if len(report.rows) < 3:
        return None
    names = ("Variant", "Engine", "Bytes", figures.title(report.main), "One text", "Texts per second")
    head = tag("tr", *(tag("th", n, scope="col", class_="text" if n == "Engine" else None) for n in names))
    body = [
        tag(
            "tr",
            tag("th", row.name, tag("small", row.note) if row.note else None, scope="row"),
            tag("td", row.engine or figures.NONE, class_="text"),
            tag("td", figures.amount(row.size.bytes if row.size else None)),
            tag("td", figures.score(row.score.get(report.main))),
            tag("td", figures.seconds(row.latency.p50_seconds if row.latency else None)),
            tag("td", figures.count(row.latency.sentences_per_second if row.latency else None)),
        )
        for row in report.rows
    ]
    table = tag("table", tag("thead", head), tag("tbody", *body))
    return section("Every variant", None, tag("div", table, class_="wide"))


def where_the_bytes_are(report: Report) -> Markup | None:
    """Stacked bars of both folders to one scale, and the artifact's alone, enlarged."""
    weighed = [row for row in (report.before, report.after) if row.size and row.size.parts]
    if not weighed:
        return None
    rows = [Bar(row.name, figures.amount(_total(row)), _segments(row)) for row in weighed]
    after = weighed[-1]
    legend = plots.legend([(name, figures.amount(value), colour) for name, value, colour in _segments(after) if value])
    enlarged = None
    if len(weighed) == 2 and _total(weighed[0]) > 2 * _total(after):
        enlarged = tag("figure", plots.bars([rows[-1]]), tag("figcaption", f"{after.name} alone, enlarged."))
    same = tag("figure", plots.bars(rows), tag("figcaption", "Folders on disk, to one scale."))
    return section("Where the bytes are", None, same, enlarged, legend)


def _total(row: Row) -> int:
    return row.size.bytes if row.size else 0


def _segments(row: Row) -> list[tuple[str, float, str]]:
    parts = row.size.parts if row.size else {}
    named = [(PART_NAMES.get(p, p), float(parts.get(p, 0)), PART_COLOURS[p]) for p in PARTS]
    return [*named, (REST, float(max(_total(row) - sum(parts.values()), 0)), "c6")]


def quality(report: Report) -> Markup | None:
    """Differences with their intervals, and how many predictions changed."""
    found = [(row, key, i) for row in report.rows for key, i in row.differences.items()]
    if not found:
        return None
    scale = plots.reach([100 * x for _, _, i in found for x in (i.low, i.high, i.value)])
    many = len({row.name for row, _, _ in found}) > 1
    drawn = [
        plots.interval(
            f"{row.name}: {figures.title(key)}" if many else figures.title(key),
            100 * i.value,
            100 * i.low,
            100 * i.high,
            scale,
        )
        for row, key, i in found
    ]
    ends = (figures.signed(-scale), "no difference", figures.signed(scale))
    level, resamples = found[0][2].level, found[0][2].resamples
    told = f"Difference to {report.before.name} in points, with its paired bootstrap interval of {100 * level:g} %"
    caption = tag("figcaption", f"{told} from {resamples:,} resamples of the {report.split} examples.")
    flips = []
    for row in report.rows:
        if row.flips is not None:
            words = (
                f"; {figures.share(row.token_flips)} of the word tags changed" if row.token_flips is not None else ""
            )
            flips.append(
                tag("p", f"{row.name} answers differently on {figures.share(row.flips)} of the examples{words}.")
            )
    figure = tag("figure", tag("div", *drawn, plots.axis(ends), class_="bars"), caption)
    return section("What it costs in quality", None, *flips, figure)


def speed(report: Report) -> Markup | None:
    """Bars of the time for one text and of texts per second."""
    timed = [(row, row.latency) for row in report.rows if row.latency]
    if not timed:
        return None
    single = [
        Bar(
            _called(row),
            figures.seconds(t.p50_seconds),
            [("", t.p50_seconds, "c1")],
            t.p95_seconds,
            f"p95 {figures.seconds(t.p95_seconds)}",
        )
        for row, t in timed
    ]
    batched = [
        Bar(
            _called(row),
            f"{figures.count(t.sentences_per_second)}/s",
            [("", t.sentences_per_second, "c2")],
            None,
            figures.times(t.batch_speedup.median),
        )
        for row, t in timed
    ]
    first = timed[0][1]
    told = (
        f"{first.texts:,} texts of the task, {first.threads} threads, medians of {first.rounds} alternating rounds, "
        "one engine alive at a time."
    )
    return section(
        "How fast it is",
        told,
        tag("h3", "One text at a time, median; the tick is the 95th percentile"),
        plots.bars(single),
        tag("h3", f"Texts per second in batches of {first.batch}, sorted by length"),
        plots.bars(batched),
    )


def _called(row: Row) -> str:
    return f"{row.name} ({row.engine})" if row.engine else row.name


def bits(report: Report) -> Markup | None:
    """Model bits and data bits in one bar: the description length."""
    coded = [(row, row.bits) for row in report.rows if row.bits]
    if not coded:
        return None
    rows = [
        Bar(
            row.name,
            f"{figures.count(b.description_length_bits)}bit",
            [("model", float(b.model_bits), "c1"), ("data", b.data_bits, "c3")],
            None,
            f"answers {figures.count(b.data_bits)}bit",
        )
        for row, b in coded
    ]
    lead = "Bits to store the model plus bits to write down the answers with it. A recipe is good when the sum falls."
    first = coded[0][1]
    told = "; ".join(f"{row.name} {figures.number(b.bits_per_answer)} bits per {b.unit}" for row, b in coded)
    caption = tag("figcaption", f"Cross-entropy over {first.answers:,} {first.unit}s: {told}.")
    legend = plots.legend([("model", "", "c1"), ("answers", "", "c3")])
    return section("In one unit", lead, tag("figure", plots.bars(rows), legend, caption))


def by_label(report: Report) -> Markup | None:
    """Precision, recall and F1 of every label, with the change in F1."""
    rows = changes.tables(report)
    if not rows:
        return None
    steps = {label: new["f1"] - old["f1"] for label, (old, new) in rows.items() if old and "f1" in old and "f1" in new}
    scale = max([abs(s) for s in steps.values()] + [0.0])
    names = ("Label", "Support", "Precision", "Recall", "F1", "F1 before", "Change in points")
    head = tag("tr", *(tag("th", n, scope="col", class_="roomy" if n == "F1 before" else None) for n in names))
    first = next((label for label in rows if label in AVERAGES), None)
    body = []
    for label, (old, new) in rows.items():
        step = steps.get(label)
        kind = "average" if label in AVERAGES else None
        drawn = None if step is None else plots.difference(step, scale)
        body.append(
            tag(
                "tr",
                tag("th", label, scope="row"),
                tag("td", f"{new['support']:,.0f}" if "support" in new else figures.NONE),
                *(tag("td", figures.score(new.get(key))) for key in ("precision", "recall", "f1")),
                tag("td", figures.score(old.get("f1") if old else None), class_="roomy"),
                tag("td", join(figures.points(step), drawn)),
                class_=f"{kind} first-average" if label == first else kind,
            )
        )
    table = tag("table", tag("thead", head), tag("tbody", *body))
    lead = f"Figures of {report.after.name} on {report.split}; F1 before is that of {report.before.name}."
    return section("Label by label", lead, tag("div", table, class_="wide"))
