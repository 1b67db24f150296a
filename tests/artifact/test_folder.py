"""Artifacts on disk: opened bit for bit, equal for equal models, and refused by name when anything is off."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import (
    BertConfig,
    BertForTokenClassification,
    BertTokenizerFast,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from laconic import artifact, layers
from laconic.anatomy import Anatomy
from laconic.artifact import manifest as manifests
from laconic.artifact import place, store
from laconic.errors import ArtifactError
from laconic.layers.quantized import Quantized
from laconic.layers.sparse import Sparse
from tests.artifact.signing import rewritten
from tests.tiny import FAMILIES, tiny, tiny_logits

TASK = {"name": "ner", "labels": ["O", "B-X"]}
QUANTIZED = {"role": "linear", "shape": [2, 32], "bits": 4}
ABOUT = {"task": TASK, "recipe": None, "provenance": {"data": "0"}, "measures": {"f1": 0.5}}


def words(count: int = 40) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of `count` pieces."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(count - 5))]
    backend = Tokenizer(WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.pre_tokenizer = BertPreTokenizer()
    return BertTokenizerFast(tokenizer_object=backend)


def shaken(model: PreTrainedModel) -> PreTrainedModel:
    """The model with every parameter moved off its initial value."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return model.eval()


def bert(**sizes: int) -> PreTrainedModel:
    """A BERT of 2 blocks and 32 dimensions, unless other sizes are given."""
    usual = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    usual |= {"intermediate_size": 48, "max_position_embeddings": 24}
    return shaken(BertForTokenClassification(BertConfig(**usual | sizes)))


def quantized(model: PreTrainedModel) -> PreTrainedModel:
    """The model with quantized layers, a sparse one and a float one."""
    for path, module in list(Anatomy(model).linears("linears")):
        if path.endswith("output.dense"):
            layers.swap(model, path, Sparse.of(module, module.weight.detach().abs() > 0.1))
        else:
            layers.swap(model, path, Quantized.of(module, bits=4))
    word = Anatomy(model).word_embedding
    layers.swap(model, word, Quantized.of(model.get_submodule(word), bits=3, symmetric=False))
    return model


def logits(model: PreTrainedModel) -> torch.Tensor:
    """What the model says of two fixed examples."""
    with torch.no_grad():
        return model(input_ids=torch.arange(20).reshape(2, 10) % 40).logits


def saved(folder: Path, model: PreTrainedModel, base: dict | None = None) -> manifests.Manifest:
    """The model as an artifact with ordinary notes."""
    return artifact.save(folder, model, words(), **ABOUT, base_config=base or model.config.to_dict())


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("family", "state"), [*((family, "frozen") for family in FAMILIES), ("bert", "stock"), ("bert", "training")]
)
def test_logits_come_back_bit_for_bit(tmp_path, family, state):
    model = tiny(family)
    base = model.config.to_dict()
    if state != "stock":
        model = quantized(model)
        if state == "frozen":
            layers.freeze(model)
    said = tiny_logits(model, family)
    manifest = saved(tmp_path / "a", model, base)
    opened = artifact.load(tmp_path / "a")
    assert torch.equal(tiny_logits(opened.model, family), said)
    assert opened.manifest == manifest
    assert not opened.model.training
    assert bool(manifest.layers) == (state != "stock")
    ours, theirs = dict(model.named_parameters()), dict(opened.model.named_parameters())
    assert list(ours) == list(theirs)  # ties are ties again
    assert all(torch.equal(ours[n], theirs[n]) and ours[n].requires_grad == theirs[n].requires_grad for n in ours)


def test_a_model_that_was_cut_comes_back(tmp_path):
    model = bert()
    base = model.config.to_dict()
    anatomy = Anatomy(model)
    anatomy.remove_heads(anatomy.stacks[0].blocks[0], [1])
    anatomy.remove_neurons(anatomy.stacks[0].blocks[1], [0, 5, 6])
    anatomy.trim_positions(20)
    said = logits(model)
    saved(tmp_path / "a", model, base)
    opened = artifact.load(tmp_path / "a")
    assert torch.equal(logits(opened.model), said)
    assert Anatomy(opened.model).shape() == anatomy.shape()


def test_the_tokenizer_comes_back(tmp_path):
    tokenizer = words()
    tokenizer("w1 w2", padding="max_length", max_length=9, truncation=True)
    before = tokenizer("w1 w30 what")["input_ids"]
    artifact.save(tmp_path / "a", bert(), tokenizer, **ABOUT, base_config=bert().config.to_dict())
    again = artifact.load(tmp_path / "a").tokenizer
    assert isinstance(again, PreTrainedTokenizerFast)
    assert again("w1 w30 what")["input_ids"] == before
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.special_tokens_map == tokenizer.special_tokens_map


def test_equal_models_give_equal_bytes_and_no_paths(tmp_path):
    saved(tmp_path / "a", quantized(bert()))
    (tmp_path / "deep").mkdir()
    saved(tmp_path / "deep" / "b", quantized(bert()))
    one, other = bytes_of(tmp_path / "a"), bytes_of(tmp_path / "deep" / "b")
    assert one == other
    assert not any(str(tmp_path).encode() in held for held in one.values())


def test_a_manifest_is_small(tmp_path):
    model = bert(num_hidden_layers=6, hidden_size=16, intermediate_size=16)
    base = model.config.to_dict()
    model = quantized(model)
    layers.freeze(model)
    saved(tmp_path / "a", model, base)
    assert (tmp_path / "a" / manifests.MANIFEST).stat().st_size < 15_000


def test_weights_are_accounted_for(tmp_path):
    model = quantized(bert())
    layers.freeze(model)
    saved(tmp_path / "a", model)
    weighed = artifact.weigh(tmp_path / "a")
    size = (tmp_path / "a" / "weights.safetensors").stat().st_size
    assert 0 < sum(stored for *_, stored in weighed) < size
    assert {path for path, *_ in weighed} >= {"bert.embeddings.word_embeddings.codes", "classifier.bias"}


def test_every_byte_flip_is_noticed_and_the_file_named(tmp_path):
    folder = tmp_path / "a"
    saved(folder, quantized(bert()))
    rng = np.random.default_rng(0)
    for name, held in bytes_of(folder).items():
        for position in {0, len(held) - 1, *rng.integers(0, len(held), 40).tolist()}:
            damaged = bytearray(held)
            damaged[position] ^= 1 << rng.integers(8)
            (folder / name).write_bytes(damaged)
            with pytest.raises(ArtifactError, match=name.replace(".", r"\.")) as caught:
                artifact.load(folder)
            assert "\n" not in str(caught.value)
        (folder / name).write_bytes(held)
    artifact.load(folder)


def test_a_size_that_is_not_said_is_noticed_before_the_file_is_read(tmp_path, monkeypatch):
    folder = tmp_path / "a"
    saved(folder, bert())
    with (folder / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"" if path.suffix == ".safetensors" else read(path))
    with pytest.raises(ArtifactError, match=r"weights\.safetensors: \d+ bytes and not \d+"):
        artifact.load(folder)


def test_missing_and_truncated_files_are_named(tmp_path):
    folder = tmp_path / "a"
    saved(folder, bert())
    for name, held in bytes_of(folder).items():
        (folder / name).write_bytes(held[: len(held) // 2])
        with pytest.raises(ArtifactError, match=name):
            artifact.load(folder)
        (folder / name).unlink()
        with pytest.raises(ArtifactError, match=name):
            artifact.load(folder)
        (folder / name).write_bytes(held)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"laconic": 99}, "schema version 99"),
        ({"files": {"../weights.safetensors": {"bytes": 1, "sha256": ""}}}, "not a plain file name"),
        ({"files": {"a\\b": {"bytes": 1, "sha256": ""}}}, "not a plain file name"),
        ({"files": {}}, "does not list"),
        ({"files": {"config.json": {}}}, "no size or sha256"),
        ({"layers": {"../x": ["dense", {}]}}, "not a path of a layer"),
        ({"layers": {"classifier": ["../dense", {}]}}, "not \\[kind, spec\\]"),
        ({"layers": {"classifier": ["pickle", {}]}}, "no 'pickle'"),
        ({"layers": {"classifier": ["dense", {"role": "linear", "shape": [9, 9]}]}}, "classifier"),
        ({"layers": []}, "layers"),
        ({"layers": {"classifier": ["dense", {"role": "linear", "shape": "x"}]}}, "can't be built"),
        ({"layers": {"classifier": ["dense", {"role": "linear", "shape": [2]}]}}, "can't be built"),
        ({"layers": {"classifier": ["dense", {"role": "linear", "shape": [-2, 32]}]}}, "can't be built"),
        ({"layers": {"classifier": ["quantized", QUANTIZED | {"multiplier": "x"}]}}, "can't be built"),
        ({"layers": {"classifier": ["quantized", QUANTIZED | {"shape": [10**400, 2]}]}}, "can't be built"),
        ({"layers": {"classifier": ["quantized", QUANTIZED | {"group": 10**12}]}}, "group is 1000000000000"),
        ({"attention": "someone/kernel"}, "allowed: eager, sdpa"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_manifest_that_is_unsafe_or_unknown_is_refused(tmp_path, changes, said):
    saved(tmp_path / "a", bert())
    rewritten(tmp_path / "a", **changes)
    with pytest.raises(ArtifactError, match=said):
        artifact.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"architectures": ["os.system"]}, "no model 'os.system'"),
        ({"architectures": ["BertConfig"]}, "no model 'BertConfig'"),
        ({"architectures": []}, "no model"),
        ({"architectures": 5}, "not a config"),
        ({"model_type": "nothing"}, "not a config"),
        ({"model_type": ["bert"]}, "not a config"),
        ({"num_attention_heads": 0}, "not a config"),
        ({"hidden_size": -32}, "not a config"),
        ({"hidden_size": "wide"}, "not a config"),
        ({"hidden_act": "newer"}, "not a config"),
        ({"deep": json.loads("[" * 200 + "]" * 200)}, "not a config .more than 100 values"),
        ({"num_labels": 5, "id2label": {str(i): str(i) for i in range(5)}}, "classifier"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, config, said):
    folder = tmp_path / "a"
    manifest = saved(folder, bert())
    raw = json.dumps(json.loads((folder / "config.json").read_text()) | config).encode()
    (folder / "config.json").write_bytes(raw)
    rewritten(folder, files=manifest.files | manifests.describe({"config.json": raw}))
    with pytest.raises(ArtifactError, match=said):
        artifact.load(folder)


@pytest.mark.parametrize("opening", [b"[", b'{"laconic":', b'{"laconic":[', b'{"laconic":2,"task":' + b"[" * 200])
def test_a_manifest_of_brackets_is_refused(tmp_path, opening):
    saved(tmp_path / "a", bert())
    for brackets in (b"[" * 100_000, b"[" * 300 + b"]" * 300 + b"}"):
        (tmp_path / "a" / manifests.MANIFEST).write_bytes(opening + brackets)
        with pytest.raises(ArtifactError, match="damaged, it is not JSON"):
            artifact.load(tmp_path / "a")


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 200},
        {"num_hidden_layers": 2000},
        {"num_hidden_layers": 10**12},
        {"num_hidden_layers": 10**400},
        {"text_config": {"num_hidden_layers": 10**12}},
        {"model_type": "llama", "architectures": ["LlamaForTokenClassification"], "num_hidden_layers": 10**12},
    ],
)
def test_a_config_of_a_far_larger_model_is_refused_before_that_is_made(tmp_path, monkeypatch, config):
    folder, made = tmp_path / "a", []
    manifest = saved(folder, bert())
    raw = json.dumps(json.loads((folder / "config.json").read_text()) | config).encode()
    (folder / "config.json").write_bytes(raw)
    rewritten(folder, files=manifest.files | manifests.describe({"config.json": raw}))
    monkeypatch.setattr(torch.nn.Linear, "__init__", counting(torch.nn.Linear.__init__, made))
    with pytest.raises(ArtifactError, match=r"config\.json: its model is far larger than the weights that are stored"):
        artifact.load(folder)
    assert len(made) < 800  # of 200 blocks that have 1200


def counting(function, calls):
    def counted(*args, **kwargs):
        calls.append(function)
        return function(*args, **kwargs)

    return counted


def test_labels_that_nobody_names_are_not_counted_out(tmp_path):
    folder = tmp_path / "a"
    manifest = saved(folder, bert())
    raw = json.dumps(json.loads((folder / "config.json").read_text()) | {"num_labels": 10**12}).encode()
    (folder / "config.json").write_bytes(raw)
    rewritten(folder, files=manifest.files | manifests.describe({"config.json": raw}))
    assert artifact.load(folder).model.config.num_labels == 2


def test_one_block_of_many_comes_back(tmp_path):
    model = bert(num_hidden_layers=48, hidden_size=8, intermediate_size=8)
    base, anatomy = model.config.to_dict(), Anatomy(model)
    anatomy.remove_blocks(anatomy.stacks[0], range(1, 48))
    said = logits(model)
    saved(tmp_path / "a", model, base)
    assert torch.equal(logits(artifact.load(tmp_path / "a").model), said)


def test_the_attention_is_that_of_the_manifest(tmp_path):
    folder = tmp_path / "a"
    manifest = saved(folder, bert())
    keys = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
    held = json.loads((folder / "config.json").read_text())
    assert not set(keys) & set(held)
    raw = json.dumps(held | dict.fromkeys(keys, "someone/kernel")).encode()
    (folder / "config.json").write_bytes(raw)
    rewritten(folder, files=manifest.files | manifests.describe({"config.json": raw}), attention="eager")
    assert artifact.load(folder).model.config._attn_implementation == "eager"


def test_weights_of_another_model_are_refused(tmp_path):
    folder = tmp_path / "a"
    manifest = saved(folder, bert())
    tensors = store.decode((folder / "weights.safetensors").read_bytes())
    dropped = store.encode({n: t for n, t in tensors.items() if n != "classifier.bias"})
    turned = store.encode(tensors | {"classifier.weight": tensors["classifier.weight"].t()})
    for raw, said in ((dropped, "classifier.bias: not among"), (turned, "classifier.weight is float32")):
        (folder / "weights.safetensors").write_bytes(raw)
        rewritten(folder, files=manifest.files | manifests.describe({"weights.safetensors": raw}))
        with pytest.raises(ArtifactError, match=said):
            artifact.load(folder)


def test_a_pickle_in_the_folder_is_refused(tmp_path):
    saved(tmp_path / "a", bert())
    (tmp_path / "a" / "extra.pt").write_bytes(b"")
    with pytest.raises(ArtifactError, match="pickle"):
        artifact.load(tmp_path / "a")


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="not an artifact"):
        saved(tmp_path, bert())
    with pytest.raises(ArtifactError, match="not a folder"):
        saved(tmp_path / "thesis.txt", bert())
    assert bytes_of(tmp_path) == {"thesis.txt": b"years of work"}
    with pytest.raises(ArtifactError, match=r"no manifest\.json"):
        artifact.load(tmp_path)


def test_files_that_someone_put_beside_an_artifact_are_left_alone(tmp_path):
    saved(tmp_path / "a", bert())
    (tmp_path / "a" / "notes.txt").write_text("mine")
    before = bytes_of(tmp_path / "a")
    with pytest.raises(ArtifactError, match=r"notes\.txt: not part of the artifact.*move it away"):
        saved(tmp_path / "a", quantized(bert()))
    assert bytes_of(tmp_path / "a") == before
    (tmp_path / "a" / "notes.txt").unlink()
    saved(tmp_path / "a", quantized(bert()))


def test_what_a_kill_left_of_a_report_is_replaced_too(tmp_path, monkeypatch):
    folder = tmp_path / "a"
    saved(folder, bert())
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # nobody is left to remove it
    monkeypatch.setattr(place.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    for name in manifests.REPORTS:
        with pytest.raises(KeyboardInterrupt):
            artifact.write_file(folder / name, b"half")
    monkeypatch.undo()
    assert sum(path.suffix == ".partial" for path in folder.iterdir()) == len(manifests.REPORTS)
    artifact.check_target(folder)
    artifact.load(folder)
    saved(folder, quantized(bert()))
    assert sorted(bytes_of(folder)) == sorted([manifests.MANIFEST, *manifests.read(folder).files])


@pytest.mark.parametrize("name", [".notes.txt.1.partial", ".report.json.mine.partial", "report.json.1.partial"])
def test_what_is_only_named_like_it_is_left_alone(tmp_path, name):
    saved(tmp_path / "a", bert())
    (tmp_path / "a" / name).write_text("mine")
    with pytest.raises(ArtifactError, match="not part of the artifact"):
        artifact.check_target(tmp_path / "a")


def test_an_artifact_or_an_empty_folder_is_replaced(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    saved(folder, bert())
    (folder / "report.json").write_text("{}")
    first = bytes_of(folder)
    saved(folder, quantized(bert()))
    assert artifact.is_artifact(folder)
    assert bytes_of(folder)["weights.safetensors"] != first["weights.safetensors"]
    assert "report.json" not in bytes_of(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_stops_writing_comes_with_its_own_mend(tmp_path, monkeypatch):
    def forbidden(*_: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(place.os, "fsync", forbidden)
    with pytest.raises(ArtifactError, match=r"Permission denied.*ask for the right"):
        saved(tmp_path / "a", bert())


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, failing):
    saved(tmp_path / "a", bert())
    before = bytes_of(tmp_path / "a")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(place.os, failing, full)
    for target in ("a", "new"):
        with pytest.raises(ArtifactError, match=r"No space left on device.*make room"):
            saved(tmp_path / target, quantized(bert()))
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert bytes_of(tmp_path / "a") == before


def test_what_a_killed_process_left_is_mended(tmp_path):
    saved(tmp_path / "a", bert())
    before = bytes_of(tmp_path / "a")
    (tmp_path / ".a.partial").mkdir()
    (tmp_path / ".a.partial" / "weights.safetensors").write_bytes(b"half")
    os.rename(tmp_path / "a", tmp_path / ".a.old")
    saved(tmp_path / "a", bert())
    assert bytes_of(tmp_path / "a") == before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_measures_that_are_not_json_are_refused(tmp_path):
    model = bert()
    for value in (float("nan"), object()):
        about = ABOUT | {"measures": {"f1": value}}
        with pytest.raises(ArtifactError, match="JSON"):
            artifact.save(tmp_path / "a", model, words(), **about, base_config=model.config.to_dict())
    assert not list(tmp_path.iterdir())
