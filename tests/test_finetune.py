"""From a checkpoint to a run folder: what is refused leaves nothing behind, and several labels are learnt."""

import json

import pytest

import laconic
from laconic import finetune, predict, workspace
from laconic.errors import ArtifactError, DataError, RecipeError
from tests import road
from tests.workshop import USED


def train(base, out, task="ner", model="encoder", data="data", **more):
    return laconic.train(base / model, task, base / data, out, progress=False, log=str, **more)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"model": "nothing"}, ArtifactError, "there is no model folder"),
        ({"task": "nerr"}, RecipeError, "did you mean 'ner'"),
        ({"data": "nothing"}, DataError, "no file or folder"),
        ({"seed": -1}, RecipeError, "seed is -1; give a whole number from 0"),
        ({"loss_name": "hinge"}, RecipeError, "no loss 'hinge'"),
        ({"multiple": True}, RecipeError, "no option 'multiple'"),
        ({"options": laconic.Training(epochs=float("inf"))}, RecipeError, "epochs is inf"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(base, tmp_path, given, error, words):
    with pytest.raises(error, match=words):
        train(base, tmp_path / "deep" / "run", **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["afile", "afile/run"])
def test_a_file_is_no_run_folder(base, tmp_path, name):
    (tmp_path / "afile").write_text("text")
    with pytest.raises(DataError, match="afile is a file; choose another folder"):
        train(base, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["afile"]


@pytest.mark.parametrize(("content", "words"), [("[]", "another run"), ("{", "is damaged"), ('{"seed": 0}', "another")])
def test_a_run_file_that_is_none_is_refused(base, tmp_path, content, words):
    (tmp_path / finetune.RUN_FILE).write_text(content)
    with pytest.raises(DataError, match=words):
        train(base, tmp_path)
    assert (tmp_path / finetune.RUN_FILE).read_text() == content


def test_a_run_that_breaks_keeps_its_checkpoints_and_goes_on(base, tmp_path, monkeypatch):
    options = laconic.Training(epochs=2, learning_rate=1e-3, batch=8)
    write = workspace.publish

    def breaks(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(workspace, "publish", breaks)
    with pytest.raises(KeyboardInterrupt):
        train(base, tmp_path / "run", options=options)
    assert (tmp_path / ".run.training" / "run.json").is_file()
    monkeypatch.setattr(workspace, "publish", write)
    train(base, tmp_path / "run", options=options)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def several(path, number=60):
    """Two labels, each for a word that is in the text or is not."""
    rows = []
    for i in range(number):
        words = [USED[(7 * i + k) % 20 + 4] for k in range(3)]
        label = []
        for name, word, every in (("x", USED[0], 2), ("y", USED[1], 3)):
            if i % every == 0:
                words.append(word)
                label.append(name)
        rows.append({"text": " ".join(words), "label": label})
    path.mkdir(parents=True)
    for name in ("train", "validation"):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def test_several_labels_are_learnt(base, tmp_path):
    rows = several(tmp_path / "data")
    options = laconic.Training(epochs=30, learning_rate=2e-3, batch=10)
    run = train(base, tmp_path / "run", "classify", data=tmp_path / "data", options=options, multiple=True)
    scores = json.loads((run / finetune.RUN_FILE).read_text())["validation"]
    assert scores["micro_f1"] > 0.9
    loaded = laconic.load(run, engine="torch")
    assert loaded.task.multiple
    assert sum(said == row["label"] for said, row in zip(loaded.answer(rows), rows, strict=True)) > 50


def test_several_labels_for_a_task_that_takes_one_are_refused(base, tmp_path):
    several(tmp_path / "data")
    with pytest.raises(DataError, match="is a list; train with multiple labels, or give one"):
        train(base, tmp_path / "run", "classify", data=tmp_path / "data")
    with pytest.raises(RecipeError, match="cross_entropy takes one label an example, not several"):
        train(base, tmp_path / "run", "classify", data=tmp_path / "data", multiple=True, loss_name="cross_entropy")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(("task", "head"), [("ner", "tokens"), ("classify", "sequence")])
@pytest.mark.parametrize("loss", ["label_smoothing", "focal", "binary_cross_entropy"])
def test_every_loss_trains_every_task_with_one_label(base, tmp_path, task, head, loss):
    road.dataset(tmp_path / "data", head)
    options = laconic.Training(epochs=1, learning_rate=1e-3, batch=8)
    run = train(base, tmp_path / "run", task, data=tmp_path / "data", options=options, loss_name=loss)
    held = json.loads((run / finetune.RUN_FILE).read_text())
    assert held["task"]["loss_name"] == loss
    assert 0 <= held["validation"][predict.read(run).task.main] <= 1
