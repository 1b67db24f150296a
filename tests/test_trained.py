"""What a run folder says of itself is checked before it is used."""

import json
import shutil

import pytest

from laconic import data, finetune, run, trained
from laconic.errors import ArtifactError
from laconic.training import Training


@pytest.fixture(scope="module")
def folder(base):
    options = Training(epochs=1, batch=8)
    return finetune.train(
        base / "encoder", "ner", base / "data", base / "run", options=options, progress=False, log=str
    )


def with_record(folder, **changes):
    """The source, as if its record said otherwise."""
    source = trained.read(folder)
    source.record.update(changes)
    return source


@pytest.mark.parametrize("key", ["data", "unlabelled"])
@pytest.mark.parametrize("value", [7, ["a"], {"a": 1}, True])
def test_a_place_that_is_no_text_is_refused(folder, key, value):
    source = with_record(folder, **{key: value})
    with pytest.raises(ArtifactError, match=f"says {key} .* must be a path"):
        source.data() if key == "data" else source.texts


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True, None])
def test_a_seed_that_is_no_whole_number_is_refused(folder, seed):
    with pytest.raises(ArtifactError, match="seed"):
        with_record(folder, seed=seed).seed  # noqa: B018


def test_texts_that_are_gone_are_named_with_both_mends(folder, tmp_path):
    source = with_record(folder, unlabelled=str(tmp_path / "gone.jsonl"))
    with pytest.raises(ArtifactError, match=r"gone\.jsonl.*--unlabelled.*--no-unlabelled"):
        source.texts  # noqa: B018


def test_a_run_whose_texts_are_gone_is_planned_without_them(folder, tmp_path):
    """As if `laconic compress --no-unlabelled` were asked for; the texts of the run are then not looked for."""
    record = json.loads((folder / "laconic.json").read_text())
    copied = tmp_path / "run"
    copied.mkdir()
    for path in folder.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    record["unlabelled"] = str(tmp_path / "gone.jsonl")
    (copied / "laconic.json").write_text(json.dumps(record))
    recipe = run.Recipe(name="one", steps=())
    with pytest.raises(ArtifactError, match="gone"):
        run.plan(copied, recipe)
    assert run.plan(copied, recipe, unlabelled=False)[0]["step"] == "original"


@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"task":' * 300])
def test_a_run_file_that_is_no_json_is_refused(folder, tmp_path, content):
    copied = shutil.copytree(folder, tmp_path / "run")
    (copied / "laconic.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"laconic\.json is damaged .*; train the model again"):
        trained.read(copied)


def test_given_data_come_before_those_of_the_run(folder, base):
    source = trained.read(folder)
    assert source.data() == str(base / "data")
    assert source.data("elsewhere") == "elsewhere"
    assert data.read_splits(source.data(), source.task, seed=source.seed).digest == source.record["digest"]
