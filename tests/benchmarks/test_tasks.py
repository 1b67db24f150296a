"""What the rows of the data sets are made of: which file is which split, and what counts as met."""

import json
import os
from types import SimpleNamespace

import pytest

from benchmarks import pages, record, tasks
from benchmarks.datasets import PASSAGE, SETTINGS, Files, passages, questions
from benchmarks.task_pages import verdict
from benchmarks.tasks import recipes, scored
from laconic.data import splits as data
from laconic.recipe import Recipe

FIGURES = {"name": "balanced", "times_smaller": 8.0}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"metric": "accuracy", "score": 0.8, "difference": -0.01}, "yes"),
        ({"metric": "accuracy", "score": 0.13, "difference": 0.13 - 0.14}, "yes"),
        ({"metric": "accuracy", "score": 0.8, "difference": -0.011}, "no"),
        ({"metric": "accuracy", "score": 0.8, "difference": 0.0, "times_smaller": 7.9}, "no"),
        ({"metric": "bits_per_byte", "score": 1.02, "difference": 0.0199}, "yes"),
        ({"metric": "bits_per_byte", "score": 1.021, "difference": 0.021}, "no"),
        ({"metric": "pass_at_1", "score": 0.0, "difference": 0.0}, "both 0"),
        ({"name": "original", "score": 0.9, "bar": 0.91}, "no: 0.91"),
    ],
)
def test_verdict(row, said):
    assert verdict(FIGURES | row) == said


def test_bits_per_byte_are_the_score_of_a_language_model_and_rise_where_less_is_saved():
    change = SimpleNamespace(value=-0.01, low=-0.02, high=0.005)
    found = SimpleNamespace(main="saved", after={"saved": 0.8, "bits_per_byte": 1.6}, difference=change)
    assert scored(found) == {
        "metric": "bits_per_byte", "score": 1.6, "difference": 0.08, "low": -0.04, "high": 0.16,
    }  # fmt: skip


def test_passages_are_whole_speeches_and_lose_nothing():
    whole = "\n\n".join(f"{i}: " + "word " * 120 for i in range(20))
    parts = passages(whole)
    assert "\n\n".join(parts) == whole
    assert all(len(part) > PASSAGE for part in parts[:-1])
    assert len(parts) > 3


def test_files_are_put_in_place_of_the_splits(tmp_path):
    (tmp_path / "validation.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    made = Files("validation").source(tmp_path, tmp_path / "run")
    assert [path.name for path in made.iterdir()] == ["train.jsonl"]
    assert json.loads((made / "train.jsonl").read_text(encoding="utf-8")) == {"text": "a"}


def test_a_line_ends_where_json_lines_says(tmp_path, monkeypatch):
    """Other characters that end lines stand within texts."""
    folder, row = tmp_path / "squad_v1", '{"text": "a\u2028b\x85c", "question": "d\u2028e"}\n'
    folder.mkdir()
    for name in ("train", "validation"):
        (folder / f"{name}.jsonl").write_bytes((row * 2).encode())
    made = Files("train").source(folder, tmp_path / "run")
    assert (made / "train.jsonl").read_bytes() == (row * 2).encode()
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    asked = questions(tmp_path / "run").read_bytes().decode().split("\n")
    assert [json.loads(line)["text"] for line in asked[:-1]] == ["d\u2028e"] * 4


@pytest.mark.skipif("LACONIC_DATA" not in os.environ, reason="LACONIC_DATA does not say where the data sets are")
@pytest.mark.parametrize("name", SETTINGS)
def test_every_data_set_has_a_test_split(name, tmp_path):
    setting = SETTINGS[name]
    folder = record.folder("LACONIC_DATA", setting.data or name)
    source = setting.files.source(folder, tmp_path) if setting.files else folder
    found = data.load(source, setting.task, ("test",), progress=False)
    assert len(found.get("test", [])) > 10


@pytest.mark.parametrize("name", SETTINGS)
def test_the_changes_are_accepted_by_the_recipe(name):
    assert Recipe.read(tasks.RECIPE).override(list(SETTINGS[name].changes)).steps


def test_the_page_says_the_changes_with_which_a_row_was_measured():
    rows = [{"name": "balanced", "dataset": "tinystories", "model": "m", "changes": "1=null 2.bits=3", "examples": 3}]
    (line,) = recipes(rows)[1:]
    assert line == ["tinystories", "m", "training from train, test drawn from it", "3", "`1=null` `2.bits=3`"]


@pytest.mark.parametrize("row", pages.measured("tasks"), ids=lambda row: f"{row['dataset']}-{row['name']}")
def test_the_rows_on_record_are_those_of_the_command(row):
    """Of the data sets and with the changes that `python -m benchmarks.tasks` runs."""
    setting = SETTINGS[row["dataset"]]
    assert row["task"] == setting.task
    assert row["changes"] == (" ".join(setting.changes) if row["name"] == "balanced" else "")
    assert row["precision"] == setting.precision
    assert row["model"] == (setting.model if isinstance(setting.model, str) else setting.model.__name__)


def test_rows_are_replaced_and_the_tasks_pages_written_after_them(monkeypatch):
    called = []
    monkeypatch.setattr(tasks.pages, "measured", lambda name: [{"dataset": "sst2"}, {"dataset": "trec", "score": 0}])
    monkeypatch.setattr(tasks, "verdicts", list)
    monkeypatch.setattr(tasks, "recipes", list)
    monkeypatch.setattr(tasks.record, "write", lambda name, rows, sections: called.append((name, rows)))
    monkeypatch.setattr(tasks.pages, "write", lambda _: called.append("pages"))
    tasks.publish("trec", [{"dataset": "trec", "score": 1}])
    assert called == [("tasks", [{"dataset": "sst2"}, {"dataset": "trec", "score": 1}]), "pages"]
