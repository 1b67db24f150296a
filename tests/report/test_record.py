"""The record goes to JSON and back unchanged, and a damaged one is refused in one line."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.errors import LaconicError
from laconic.maths.bootstrap import Interval
from laconic.report.record import Curve, Report, Row, Trace, Weighed
from tests.report.sample import full, least

figures = st.floats(-1e12, 1e12) | st.integers(-10, 10).map(float)
names = st.text(max_size=8)
intervals = st.builds(Interval, figures, figures, figures, figures, st.integers(0, 9999))
plain = st.recursive(
    st.none() | st.booleans() | figures | names, lambda inner: st.dictionaries(names, inner, max_size=2)
)
rows = st.builds(
    Row,
    name=names,
    engine=st.none() | names,
    score=st.dictionaries(names, plain, max_size=3),
    differences=st.dictionaries(names, intervals, max_size=2),
    flips=st.none() | figures,
)
traces = st.builds(Trace, step=names, bytes=st.none() | st.integers(), score=st.none() | figures)
points = st.lists(st.tuples(figures, figures), max_size=3)
reports = st.builds(
    Report,
    task=names, model=names, dataset=names, recipe=names, seed=st.integers(), main=names,
    rows=st.lists(rows, min_size=1, max_size=3),
    steps=st.lists(traces, max_size=2),
    curves=st.lists(st.builds(Curve, names, names, names, names, points), max_size=2),
    sizes=st.lists(st.builds(Weighed, names, st.integers()), max_size=2),
    environment=st.dictionaries(names, names, max_size=2),
    notes=st.lists(names, max_size=2),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(reports)
def test_round_trip(report):
    assert Report.from_json(report.to_json()) == report


@pytest.mark.parametrize("report", [full(), least()])
def test_round_trip_through_a_file(report, tmp_path):
    report.write(tmp_path / "report.json")
    assert Report.read(tmp_path / "report.json") == report
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damage_is_a_laconic_error_or_another_report(data):
    text = full().to_json()
    at = data.draw(st.integers(0, len(text) - 1))
    broken = text[:at] + data.draw(st.sampled_from(["", "x", '"', "{", "]", "1", "-"])) + text[at + 1 :]
    try:
        refused = ""
        Report.from_json(broken)
    except LaconicError as error:
        refused = str(error)
    assert "\n" not in refused


def change(**changes):
    return json.dumps({**json.loads(full().to_json()), **changes})


def without(key):
    plain = json.loads(full().to_json())
    del plain[key]
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        (full().to_json()[:900], "is not JSON"),
        ("[]", "is not a report of schema 1"),
        (change(schema=2), "is not a report of schema 1"),
        (change(seed="x"), "report.json: seed is 'x' and should be int"),
        (change(seed=True), "seed is 'True' and should be int"),
        (change(rows=[]), "rows is empty"),
        (change(rows=[1]), r"rows\[0\] is '1' and should be an object"),
        (change(colour=1), "does not know 'colour'"),
        (without("task"), "lacks 'task'"),
        (
            change(curves=[{"title": "", "name": "", "x_label": "", "y_label": "", "points": [[1]]}]),
            "should be 2 values",
        ),
        (change(notes={"a": 1}), "should be a list"),
        (change(environment={"a": 1}), "environment: a is '1' and should be str"),
        (change(examples=[]), "examples is"),
        (change(seed=1).replace('"seed": 1', '"seed": NaN'), "NaN is no JSON number"),
        (change(sizes=[{"name": "a", "bytes": 1, "note": ""}]).replace('"bytes": 1,', '"bytes": 1e999,'), "is inf"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_damaged_records_are_refused(text, said):
    with pytest.raises(LaconicError, match=said) as caught:
        Report.from_json(text)
    assert "\n" not in str(caught.value)


def test_a_huge_integer_is_no_figure():
    row = json.loads(full().to_json())["rows"][1] | {"flips": 10**400}
    with pytest.raises(LaconicError, match=r"flips .* should be a number"):
        Report.from_json(change(rows=[row]))


def test_a_figure_that_is_not_finite_is_named_when_written():
    report = replace(least(), rows=[Row("original", score={"f1": float("nan")})])
    with pytest.raises(LaconicError, match=r"report.rows\[0\].score.f1 is nan"):
        report.to_json()


def test_a_missing_file_and_binary_are_one_line(tmp_path):
    with pytest.raises(LaconicError, match=r"report\.json: there is no report; .*laconic evaluate"):
        Report.read(tmp_path / "report.json")
    (tmp_path / "report.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LaconicError, match=r"report\.json: not UTF-8"):
        Report.read(tmp_path / "report.json")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    least().write(tmp_path / "report.json")
    with pytest.raises(LaconicError):
        replace(least(), rows=[Row("x", flips=float("inf"))]).write(tmp_path / "report.json")
    assert Report.read(tmp_path / "report.json") == least()
