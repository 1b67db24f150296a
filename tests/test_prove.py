"""The evidence: who may be compared, how far engines agree, and what is written."""

import shutil
from dataclasses import replace
from datetime import date

import pytest

import laconic
from laconic import artifact, data, prove, trained
from laconic.errors import ArtifactError, LaconicError
from laconic.measures.memory import Memory
from laconic.recipe import Recipe
from laconic.report.record import Report
from laconic.tasks.translate import Translate
from tests import road
from tests.artifact.signing import rewritten


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run folder, and an artifact made from it."""
    folder = tmp_path_factory.mktemp("prove")
    options = laconic.Training(epochs=1, learning_rate=3e-3, batch=4)
    quiet = {"log": str, "progress": False}
    encoder, source = road.checkpoint(folder / "encoder"), road.dataset(folder / "data")
    laconic.train(encoder, "ner", source, folder / "run", options=options, seed=4, **quiet)
    recipe = Recipe.parse({"name": "low", "steps": [{"rtn": {"bits": 4}}]})
    laconic.compress(folder / "run", recipe, folder / "out", steps=folder / "steps", **quiet)
    return folder


def test_the_artifact_keeps_the_seed_of_its_data(base):
    assert trained.read(base / "run").seed == trained.read(base / "out").seed == 4


def test_agreement_is_the_share_of_words_that_pytorch_tags_alike(base):
    examples = data.read_split(base / "data", trained.read(base / "out").task, "test")
    one = prove.candidate("laconic", base / "out", examples, "torch")
    assert prove.agreement(one, examples) == 1
    elsewhere = replace(one, engine="onnxruntime")
    assert prove.agreement(elsewhere, examples) == 1
    changed = [["B-B" if tag == "O" else "O" for tag in one.predictions[0]], *one.predictions[1:]]
    words = sum(len(tags) for tags in changed)
    got = prove.agreement(replace(elsewhere, predictions=changed), examples)
    assert got == pytest.approx(1 - len(changed[0]) / words)


def test_the_evidence_is_written_into_the_artifact(base, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    report = prove.evidence(base / "out", base / "run", timed=False, command="make it")
    assert Report.read(base / "out" / "report.json") == report
    assert (base / "out" / "report.html").read_text().startswith("<!doctype html>")
    assert [row.name for row in report.rows] == ["original", "laconic"]
    assert (report.dataset, report.recipe, report.commands) == ("data", "low", ["make it"])
    assert report.curves, "the run's own history is drawn"
    (half,) = report.sizes
    weights = report.before.size.bytes - half.bytes
    assert weights == sum(report.before.size.parts.values()) - 2 * report.before.size.parameters
    assert report.created == date.today().isoformat()
    assert report.after.latency is None
    assert report.before.agreement is None
    assert report.after.engine == "torch" or 0.9 < report.after.agreement <= 1
    assert report.after.differences["entity_f1"].value == pytest.approx(
        report.after.score["entity_f1"] - report.before.score["entity_f1"]
    )


def test_measuring_again_keeps_the_steps_and_each_split_has_its_report(base, tmp_path, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))
    out = tmp_path / "out"
    shutil.copytree(base / "out", out)
    steps = [{"step": "rtn", "options": {"bits": 4}, "bytes": 9, "score": 0.5, "seconds": 1.0, "effects": {}}]
    first = prove.evidence(out, base / "run", timed=False, steps=steps)
    again = prove.evidence(out, base / "run", timed=False)
    chosen = prove.evidence(out, base / "run", timed=False, split="validation")
    assert [step.step for step in first.steps] == ["rtn"]
    assert first.steps == again.steps == chosen.steps
    assert Report.read(out / "report.json").split == "test"
    assert Report.read(out / "report-validation.json").split == "validation"
    assert (out / "report-validation.html").is_file()
    artifact.check_target(out)
    (out / "report.json").write_text("{")
    assert prove.evidence(out, base / "run", timed=False).steps == []


def test_a_model_that_it_was_not_made_from_is_noted(base, tmp_path, monkeypatch):
    """A run of the same labels; an artifact that does not say what it was made from is no other."""
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))
    options = laconic.Training(epochs=1, learning_rate=3e-3, batch=4)
    laconic.train(base / "encoder", "ner", base / "data", tmp_path / "run", options=options, seed=5, log=str)
    (note,) = prove.compare(base / "out", tmp_path / "run", timed=False).notes
    assert note.startswith("The artifact was made from another model than run")
    shutil.copytree(base / "out", tmp_path / "out")
    rewritten(tmp_path / "out", provenance={"seed": 4})
    assert prove.compare(tmp_path / "out", tmp_path / "run", timed=False).notes == []


def test_a_memory_that_is_not_known_costs_no_report(base, monkeypatch):
    def late(*_):
        raise LaconicError("no answer after 600 seconds")

    monkeypatch.setattr("laconic.measures.memory.take", late)
    report = prove.compare(base / "out", base / "run", timed=False)
    assert [row.memory for row in report.rows] == [None, None]
    assert report.notes[0] == "The peak memory of original is unknown: no answer after 600 seconds."
    assert report.after.score["entity_f1"] >= 0


def test_of_a_model_that_writes_fewer_examples_are_asked(base, monkeypatch):
    asked = []
    monkeypatch.setattr("laconic.measures.memory.take", lambda *given: asked.append(len(given[-1])))
    examples = data.read_split(base / "data", trained.read(base / "out").task, "test") * 9
    one = prove.candidate("laconic", base / "out", examples[:1], "torch")
    for task in (one.task, Translate()):
        prove._peak(replace(one, task=task), examples)
    assert asked == [64, 32]


def test_what_lies_beside_the_original_is_not_counted_and_a_note_says_so(base, tmp_path, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))
    shutil.copytree(base / "run", tmp_path / "run")
    (tmp_path / "run" / "tf_model.h5").write_bytes(b"0" * 1_000_000)
    plain, beside = [prove.compare(base / "out", at / "run", timed=False) for at in (base, tmp_path)]
    assert plain.before.size == beside.before.size
    assert plain.notes == []
    (note,) = beside.notes
    assert note.endswith("do not count in its bytes: 1 of 1,000,000 bytes, such as tf_model.h5.")


def refused(*arguments, **choices):
    with pytest.raises(ArtifactError) as caught:
        prove.compare(*arguments, **choices)
    return str(caught.value)


def test_what_cannot_be_compared_is_refused_before_anything_is_measured(base, tmp_path, monkeypatch):
    monkeypatch.setattr(prove, "candidate", None)
    other = tmp_path / "other"
    other.mkdir()
    for path in (base / "out").iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    rewritten(other, task={"name": "classify", "labels": ["O"]})
    assert "different tasks (name classify and ner)" in refused(other, base / "run")
    rewritten(other, task={"name": "ner", "labels": ["O"]})
    assert "different tasks (labels ['O']" in refused(other, base / "run")
    assert "no manifest.json" in refused(base / "run", base / "run")
    assert "out is an artifact; compare" in refused(base / "out", base / "out", base / "data")
