"""Folders that are damaged, that bring code, or that are not known: one line from whichever part is asked for."""

import json
import re
import shutil

import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForTokenClassification, RobertaTokenizerFast, modeling_utils

from laconic import checkpoint
from laconic.data import distance, prepare
from laconic.errors import ArtifactError
from laconic.finetune import train
from laconic.trained import RUN_FILE, read
from tests import road
from tests.workshop import TAGS, tokenizer

MAP = {"AutoConfig": "evil.Evil", "AutoModelForTokenClassification": "evil.Evil", "AutoModelForMaskedLM": "evil.Evil"}
PARTS = {
    "config": checkpoint.config,
    "tokenizer": checkpoint.tokenizer,
    "model": lambda folder: checkpoint.model(AutoModelForTokenClassification, folder),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    road.dataset(folder / "data")
    road.checkpoint(folder / "encoder")
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole / "encoder", tmp_path / "encoder")


def put(folder, name, **changed):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def evil(folder, **config):
    """The folder with code beside it that leaves a trace when it is run."""
    ran = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Evil: pass\n")
    put(folder, "config.json", auto_map=MAP, **config)
    put(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, tokenizer_class="Evil")
    return ran


@pytest.mark.parametrize("kind", ["bert", "evil"])
def test_code_in_a_folder_is_never_run_nor_asked_about(folder, whole, monkeypatch, kind):
    monkeypatch.setattr("builtins.input", lambda *_: "yes")
    ran = evil(folder, model_type=kind)
    asked = [
        *PARTS.values(),
        lambda folder: distance.load(folder, tokenizer()),
        lambda folder: prepare.prepare(whole / "data", "ner", model=folder),
        lambda folder: train(folder, "ner", whole / "data", folder.parent / "out", log=str, progress=False),
    ]
    for ask in asked[: 4 if kind == "bert" else None]:
        if kind == "bert":
            ask(folder)
        else:
            with pytest.raises(ArtifactError, match="has no model type 'evil', and no code in a folder is run"):
                ask(folder)
    assert not ran.exists()
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("tokenizer", "its tokenizer cannot be read .ValueError"),
        ("model", "no TokenClassification of model type 'vit'"),
    ],
)
def test_code_for_what_transformers_lacks_is_never_run_nor_asked_about(folder, monkeypatch, part, says):
    """transformers knows the configuration, and has no class of its own for the part."""
    monkeypatch.setattr("builtins.input", lambda *_: "yes")
    ran = evil(folder, model_type="vit")
    with pytest.raises(ArtifactError, match=says):
        PARTS[part](folder)
    assert not ran.exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"])
@pytest.mark.parametrize("kernel", ["someone/kernel", "kernels-community/flash-attn2", "flash_attention_2", "newer"])
def test_kernels_that_a_config_asks_for_are_never_fetched(folder, monkeypatch, key, kernel):
    def fetched(*_, **__):
        raise AssertionError("a kernel was asked for")

    monkeypatch.setattr(modeling_utils, "lazy_import_flash_attention", fetched)
    put(folder, "config.json", **{key: kernel})
    assert checkpoint.config(folder)._attn_implementation is None
    assert PARTS["model"](folder).config._attn_implementation == "sdpa"


def test_kernels_that_a_part_of_a_config_asks_for_are_not_fetched_either(folder):
    part = {"model_type": "bert", "attn_implementation": "someone/kernel"}
    put(folder, "config.json", model_type="encoder-decoder", encoder=part, decoder=part)
    found = checkpoint.config(folder)
    assert [found._attn_implementation, found.encoder._attn_implementation, found.decoder._attn_implementation] == [
        None, None, None,
    ]  # fmt: skip


def test_weights_that_are_quantized_are_refused(folder):
    put(folder, "config.json", quantization_config={"quant_method": "mxfp4"})
    for ask in PARTS.values():
        with pytest.raises(ArtifactError, match="quantized already; give the model with its float weights"):
            ask(folder)
    put(folder, "config.json", quantization_config=None)
    PARTS["model"](folder)


def test_an_unknown_architecture_says_what_to_add_and_where(folder):
    put(folder, "config.json", model_type="retro")
    for ask in PARTS.values():
        with pytest.raises(ArtifactError, match=r"add an entry 'retro' to FAMILIES in laconic/anatomy/families\.py"):
            ask(folder)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("config.json", b"[]", r"config\.json"),
        ("config.json", b"{", r"config\.json"),
        ("config.json", b"\xff\xfe", r"config\.json"),
        ("config.json", b'{"model_type": ["bert"]}', r"config\.json"),
        ("config.json", b'{"model_type": "bert", "hidden_size": "x"}', r"config\.json"),
        ("config.json", b'{"model_type": "bert", "num_attention_heads": 0}', "model"),
        ("config.json", b'{"model_type": "bert", "hidden_size": -4}', "model"),
        ("tokenizer.json", b"{}", "tokenizer"),
        ("tokenizer.json", b"[", "tokenizer"),
        ("tokenizer.json", b'{"added_tokens": [], "model": {"type": "odd"}}', "tokenizer"),
        ("tokenizer_config.json", b"[]", "tokenizer"),
        ("model.safetensors", b"", r"model\.safetensors"),
        ("model.safetensors", b"\0" * 100, r"model\.safetensors"),
    ],
)
def test_what_is_damaged_is_named(folder, name, content, part):
    (folder / name).write_bytes(content)
    said = []
    for ask in PARTS.values():
        try:
            ask(folder)
        except ArtifactError as error:
            said.append(str(error))
    assert all(re.fullmatch(rf".*encoder: its {part} cannot be read \(\w+: .*; copy the model.*", one) for one in said)
    assert said


def test_weights_that_end_early_are_named_by_every_command(folder, whole, tmp_path):
    raw = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(raw[: len(raw) // 2])
    task = {"name": "ner", "labels": list(TAGS)}
    (folder / RUN_FILE).write_text(json.dumps({"task": task}))
    for ask in (
        lambda: read(folder),
        lambda: prepare.prepare(whole / "data", "ner", model=folder),
        lambda: train(folder, "ner", whole / "data", tmp_path / "out", log=str, progress=False),
    ):
        with pytest.raises(ArtifactError, match=r"its model\.safetensors cannot be read \(SafetensorError"):
            ask()


def test_a_pickle_is_refused_by_every_part(folder, whole):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    for ask in (*PARTS.values(), lambda folder: prepare.prepare(whole / "data", "ner", model=folder)):
        with pytest.raises(ArtifactError, match="pickle can run code"):
            ask(folder)


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(ArtifactError, match="there is no model folder"):
        checkpoint.config(tmp_path / "nothing")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match="there is no tokenizer"):
        checkpoint.tokenizer(folder)
    (folder / "vocab.txt").write_text("")
    with pytest.raises(ArtifactError, match="tokenizer"):
        checkpoint.tokenizer(folder)


def test_a_byte_level_tokenizer_reads_words_with_their_space(folder):
    made = ByteLevelBPETokenizer()
    made.train_from_iterator(["ab ba"] * 9, vocab_size=280, special_tokens=["<s>", "</s>", "<unk>", "<pad>", "<mask>"])
    RobertaTokenizerFast(tokenizer_object=made._tokenizer, add_prefix_space=False).save_pretrained(folder)
    found = checkpoint.tokenizer(folder, words=True)
    assert found(["ab", "ba"], is_split_into_words=True).word_ids().count(1) > 0
    assert not checkpoint.tokenizer(folder).add_prefix_space


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "vocab.txt", "chat_template.jinja", "laconic.json"]
)
def test_what_is_read_of_a_folder_is_its_content(folder, tmp_path, name):
    before = checkpoint.content(folder)
    moved = shutil.copytree(folder, tmp_path / "moved")
    for stray in ("README.md", "notes.json", "all_results.json", "other.safetensors", "page.jinja"):
        (moved / stray).write_text("not read")
    (moved / "runs").mkdir()
    assert checkpoint.content(moved) == before
    with (moved / name).open("ab") as file:
        file.write(b" ")
    assert checkpoint.content(moved) != before


def test_the_content_of_a_hub_id_is_its_revision_from_the_first_call_on(tmp_path, monkeypatch):
    """What is not there yet is fetched, or a run that is killed would know another content when it goes on."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--org--name"

    def fetched(source):
        (cached / "snapshots" / "abc").mkdir(parents=True, exist_ok=True)
        (cached / "snapshots" / "abc" / "config.json").write_text("{}")
        (cached / "refs").mkdir(exist_ok=True)
        (cached / "refs" / "main").write_text("abc")

    monkeypatch.setattr(checkpoint, "config", fetched)
    assert checkpoint.content("org/name") == checkpoint.content("org/name") == "abc"
    monkeypatch.setattr(checkpoint, "config", lambda source: None)
    assert checkpoint.content("org/other") is None
