"""The page: well formed, self-contained, safe against hostile names, and no figure that is not the record's."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from laconic.maths.bootstrap import Interval
from laconic.report import page, plots
from laconic.report.markup import VOID, Markup, tag
from laconic.report.record import Report, Row
from tests.report.sample import full, least, scored, table

HOSTILE = "<script>alert('\"1\"')</script>&amp;"


class Reader(HTMLParser):
    """Checks nesting; keeps texts, element names and attributes."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.texts, self.names, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.names.append(name)
        self.attributes += attributes
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.names.append(name)
        self.attributes += attributes

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, text):
        if "style" not in self.open:
            self.texts.append(text)

    @property
    def text(self):
        return " ".join(self.texts)


def numbers(value):
    """Every number in a record, in texts and keys as well."""
    if isinstance(value, dict):
        return [n for key, inner in value.items() for n in numbers(key) + numbers(inner)]
    if isinstance(value, list):
        return [n for inner in value for n in numbers(inner)]
    if isinstance(value, str):
        return [float(n) for n in re.findall(r"\d+(?:\.\d+)?", value)]
    return [] if isinstance(value, bool) or value is None else [float(value)]


def test_the_page_is_well_formed_and_fetches_nothing():
    text = page.render(full())
    reader = Reader(text)
    assert not {"script", "img", "iframe", "object", "embed", "form"} & set(reader.names)
    assert not re.search(r"https?:|url\(|@import|src=", text)
    assert [v for k, v in reader.attributes if k == "href"] == ["data:,"]
    assert not [k for k, _ in reader.attributes if k.startswith("on")]
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_the_same_record_gives_the_same_bytes():
    assert page.render(full()) == page.render(Report.from_json(full().to_json()))


def test_the_headline_says_smaller_faster_and_lost():
    text = page.headline(full()).replace("\xa0", " ")
    assert text == "21.7× smaller, 2.52× faster, 0.47 points of Entity F1 lost"
    assert page.headline(scored(0.8, 0.85)).replace("\xa0", " ") == "5.00 points of Accuracy gained"
    assert page.headline(least()) == "measured"


def near(shown, value):
    """Whether a shown figure is a value, rounded as it is shown."""
    digits = len(shown.partition(".")[2])
    slack = 0.5001 * 10**-digits + abs(value) * 1e-12
    return abs(float(shown) - abs(value)) <= slack


def test_every_figure_on_the_page_is_the_records():
    report = full()
    plain = json.loads(report.to_json())
    values = set(numbers(plain))
    scaled = {v * f for v in values for f in (1, 100, 1e3, 1e6, 1e-3, 1e-6, 1e-9, 1 / 60)}
    before, after = report.before, report.after
    old, new = plain["rows"][0], plain["rows"][-1]
    pairs = [(old[k][f], new[k][f]) for k in ("size", "latency", "memory", "bits") for f in old[k] if f != "parts"]
    pairs = [(a, b) for a, b in pairs if isinstance(a, int | float) and a and b]
    ratios = {r for a, b in pairs for r in (a / b, b / a)}
    steps = {100 * (after.score[k] - before.score[k]) for k in before.score if k != "table"}
    steps |= {100 * (after.score["table"][t]["f1"] - before.score["table"][t]["f1"]) for t in before.score["table"]}
    rest = {(row.size.bytes - sum(row.size.parts.values())) / 1e3 for row in (before, after)}
    zeros = {100 * (1 - after.size.nonzero / after.size.parameters)}
    layers = {
        x for row in report.layers for x in (100 * row.nonzero / row.parameters, 8 * row.stored_bytes / row.parameters)
    }
    drawn = {plots.reach([100 * x for d in after.differences.values() for x in (d.low, d.high, d.value)])}
    ends = {y for curve in report.curves for _, y in curve.points}
    allowed = scaled | ratios | steps | rest | zeros | layers | drawn | ends | {float(len(report.layers))}
    allowed |= {95.0, 1.0}  # "95th percentile", "F1"
    shown = re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", Reader(page.render(report)).text)
    strangers = [s for s in shown if not any(near(s.replace(",", ""), v) for v in allowed)]
    assert strangers == []
    assert len(shown) > 150


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda r: replace(r, flips=0.2), "20.00\xa0%"),
        (lambda r: replace(r, latency=replace(r.latency, p50_seconds=0.0777)), "77.7\xa0ms"),
        (lambda r: replace(r, size=replace(r.size, bytes=7_770_000)), "7.77\xa0MB"),
        (lambda r: replace(r, memory=replace(r.memory, peak_bytes=777_000_000)), "777\xa0MB"),
        (lambda r: replace(r, bits=replace(r.bits, bits_per_answer=7.77)), "7.77 bits per tag"),
        (lambda r: replace(r, differences={"macro_f1": Interval(0.0777, 0.05, 0.09, 0.9, 10)}), "+7.77"),
    ],
)
def test_another_figure_gives_another_page(change, seen):
    report = full()
    changed = replace(report, rows=[*report.rows[:-1], change(report.after)])
    assert seen not in Reader(page.render(report)).text
    assert seen in Reader(page.render(changed)).text


@pytest.mark.parametrize("field", ["size", "latency", "memory", "bits", "engine", "flips", "token_flips"])
@pytest.mark.parametrize("which", [[0], [-1], [0, -1]])
def test_a_missing_part_of_a_row_is_left_out(field, which):
    report = full()
    rows = list(report.rows)
    for i in which:
        rows[i] = replace(rows[i], **{field: None})
    assert "None" not in Reader(page.render(replace(report, rows=rows))).text


@pytest.mark.parametrize("field", ["steps", "layers", "curves", "sizes", "environment", "commands", "notes"])
def test_a_missing_part_of_the_report_is_left_out(field):
    empty = {} if field == "environment" else []
    text = Reader(page.render(replace(full(), **{field: empty}))).text
    assert "None" not in text
    title = {"steps": "step by step", "layers": "Layer by layer", "curves": "Training", "commands": "To repeat it"}.get(
        field
    )
    assert title is None or title not in text


def test_the_least_report_and_one_row_make_a_page():
    for report in (least(), replace(least(), rows=[Row("original", score={"accuracy": 0.5})])):
        assert "None" not in Reader(page.render(report)).text


def test_zeros_and_a_table_without_a_before_do_not_break_it():
    report = full()
    bare = replace(report.before, score={})
    nothing = replace(report.after, size=replace(report.after.size, bytes=0, parameters=0, nonzero=0, parts={}))
    assert "B-MISC" in Reader(page.render(replace(report, rows=[bare, nothing]))).text


def test_hostile_names_stay_text():
    row = replace(
        full().after,
        name=HOSTILE,
        engine=HOSTILE,
        note=HOSTILE,
        score={HOSTILE: 0.5, "table": {HOSTILE: table(0)["O"]}},
    )
    row = replace(row, differences={HOSTILE: Interval(0.0, -0.1, 0.1, 0.95, 10)})
    plain = json.loads(
        replace(full(), rows=[full().before, row], task=HOSTILE, notes=[HOSTILE], commands=[HOSTILE]).to_json()
    )
    plain["environment"] = {HOSTILE: HOSTILE}
    for part, key in (
        ("layers", "path"),
        ("steps", "step"),
        ("curves", "title"),
        ("curves", "name"),
        ("sizes", "name"),
    ):
        plain[part][0][key] = HOSTILE
    plain["steps"][0]["options"] = {HOSTILE: HOSTILE}
    reader = Reader(page.render(Report.from_json(json.dumps(plain))))
    assert "script" not in reader.names
    assert reader.text.count(HOSTILE) > 10
    assert any(HOSTILE in str(value) for key, value in reader.attributes if key == "aria-label")


def test_every_drawing_is_described():
    text = page.render(full())
    drawings = re.findall(r'<(?:div|svg)[^>]*role="img"[^>]*>', text)
    assert len(drawings) > 12
    assert all(re.search(r'aria-label="[^"]{8,}"', d) for d in drawings)


def test_markup_escapes_what_is_not_markup():
    assert tag("p", "a < b & c", title='"x"') == '<p title="&quot;x&quot;">a &lt; b &amp; c</p>'
    assert tag("p", Markup("<b>x</b>"), None, hidden=True, lang=None) == "<p hidden><b>x</b></p>"


@pytest.mark.parametrize(
    ("values", "expected"), [([0.47, -0.91], 1.0), ([1.3], 2.0), ([0.021], 0.05), ([7], 10.0), ([], 1.0)]
)
def test_reach_is_the_next_round_number(values, expected):
    assert plots.reach(values) == pytest.approx(expected)
