"""Folders with ordinary checkpoints: what can't be used or could run code is refused in one line."""

import json

import pytest

from laconic import artifact
from laconic.errors import ArtifactError


@pytest.fixture
def folder(tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    return tmp_path


def test_a_whole_folder_passes(folder):
    artifact.check_model_folder(folder)
    artifact.check_model_folder(str(folder))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_what_is_missing_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(ArtifactError, match=missing.removesuffix(".json")) as caught:
        artifact.check_model_folder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.pt", "b.PKL", "c.pth"])
def test_pickles_are_refused(folder, name):
    (folder / name).write_bytes(b"")
    with pytest.raises(ArtifactError, match="pickle can run code"):
        artifact.check_model_folder(folder)


def test_shards_are_looked_for_and_stay_in_the_folder(folder):
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    (folder / "one.safetensors").write_text("")
    with pytest.raises(ArtifactError, match=r"two\.safetensors: missing"):
        artifact.check_model_folder(folder)
    (folder / "two.safetensors").write_text("")
    artifact.check_model_folder(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../one.safetensors"}}))
    with pytest.raises(ArtifactError, match="not a plain file name"):
        artifact.check_model_folder(folder)
    for text in ("[]", "[" * 100_000):
        index.write_text(text)
        with pytest.raises(ArtifactError, match="does not read"):
            artifact.check_model_folder(folder)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ArtifactError, match="no such folder"):
        artifact.check_model_folder(tmp_path / "nowhere")
