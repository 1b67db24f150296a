"""How figures read, and what the notes say."""

from dataclasses import replace

import pytest

from laconic.maths.bootstrap import Interval
from laconic.report import figures
from laconic.report.notes import notes
from tests.report.sample import full, least


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figures.amount(91_348_211), "91.3 MB"),
        (figures.amount(999), "999 bytes"),
        (figures.amount(None), "–"),
        (figures.count(22_713_216), "22.7 M"),
        (figures.seconds(0.004117), "4.12 ms"),
        (figures.seconds(0.0000213), "21.3 µs"),
        (figures.seconds(75.0), "75.0 s"),
        (figures.seconds(1713.0), "28.6 min"),
        (figures.points(-0.0047), "−0.47"),
        (figures.points(0.000001), "0.00"),
        (figures.points(-0.000001), "0.00"),
        (figures.points(0.0123), "+1.23"),
        (figures.share(0.0613), "6.13 %"),
        (figures.times(21.65), "21.6×"),
        (figures.title("entity_f1"), "Entity F1"),
        (figures.title("mcc"), "MCC"),
        (figures.title(""), ""),
        (figures.span(Interval(0.0, -0.01, 0.02, 0.95, 10)), "[−1.00, +2.00]"),
        (figures.score(-0.25), "−0.2500"),
        (figures.reading(39.0), "39"),
    ],
)
def test_figures(shown, expected):
    assert shown.replace("\xa0", " ") == expected


def said(report):
    return " ".join(notes(report))


def test_notes_follow_from_the_figures():
    report = full()
    assert "43.89\xa0% of the artifact's parameters are zero" in said(report)
    dense = replace(report.after, size=replace(report.after.size, nonzero=report.after.size.parameters))
    assert "zero" not in said(replace(report, rows=[report.before, dense]))
    other = replace(report.after, engine="torch")
    assert "part of the speedup is the engine's" in said(replace(report, rows=[report.before, other]))
    unsure = replace(report.after, differences={"entity_f1": Interval(0.0, -0.01, 0.01, 0.95, 10)})
    assert "holds zero" in said(replace(report, rows=[report.before, unsure]))
    assert "rest on 60 examples" in said(replace(report, examples=60))
    assert "validation split" in said(replace(report, split="validation"))
    assert notes(least()) == []
