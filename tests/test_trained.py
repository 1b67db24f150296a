"""What a run folder says of itself is checked before it is used."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from laconic import checkpoint, data, finetune, run, trained
from laconic.errors import ArtifactError
from laconic.training import Training
from tests.tiny import FAMILIES, heads, tiny
from tests.workshop import tokenizer


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


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("classifier", "2 weights of BertForTokenClassification are missing or of another shape, classifier.bias"),
        ("bert.encoder.layer.2.", r"16 weights of .* are missing .*bert\.encoder\.layer\.2\."),
    ],
)
def test_a_run_folder_that_lacks_weights_is_refused(folder, tmp_path, gone, says):
    """They would be drawn anew each time, and the figures with them."""
    copied = shutil.copytree(folder, tmp_path / "run")
    held = load_file(copied / "model.safetensors")
    held = {name: tensor for name, tensor in held.items() if not name.startswith(gone)}
    save_file(held, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=f"{says}.*; copy the run folder again, or train again"):
        trained.read(copied)


def test_a_run_folder_with_weights_of_another_model_is_refused(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "run")
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(
        ArtifactError, match=r"16 of its weights are none of the BertForTokenClassification of its conf"
    ):
        trained.read(copied)


@pytest.mark.parametrize(("family", "head"), [(family, head) for family in FAMILIES for head in heads(family)])
def test_a_model_that_was_saved_whole_is_whole(tmp_path, family, head):
    """With tied weights, and without the parts that a head does not use, such as BERT's pooler."""
    model = tiny(family, head=head)
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    again = checkpoint.whole(_auto(model, head), tmp_path, "mend", alone=True)
    assert type(again) is type(model)


def _auto(model, head):
    if head != "lm":
        return AutoModelForTokenClassification if head == "tokens" else AutoModelForSequenceClassification
    if model.config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM
    return AutoModelForMaskedLM if checkpoint.reads_ahead(model.config) else AutoModelForCausalLM


def test_given_data_come_before_those_of_the_run(folder, base):
    source = trained.read(folder)
    assert source.data() == str(base / "data")
    assert source.data("elsewhere") == "elsewhere"
    assert data.read_splits(source.data(), source.task, seed=source.seed).digest == source.record["digest"]
