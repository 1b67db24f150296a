"""Tokenizers: small, equal after a round trip, and bounded."""

import json
import lzma
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from laconic.artifact import tokenizer as tokenizers
from laconic.errors import ArtifactError

MODELS = {
    "wordpiece": WordPiece({"[UNK]": 0, "a": 1, "##b": 2, "é": 3}, unk_token="[UNK]"),
    "bpe": BPE({"[UNK]": 0, "a": 1, "b": 2, "ab": 3}, [("a", "b")], unk_token="[UNK]"),
    "unigram": Unigram([("[UNK]", 0.0), ("a", -1.5), ("ab", -2.25)], unk_id=0),
    "gaps": WordPiece({"[UNK]": 0, "a": 7, "b": 9}, unk_token="[UNK]"),
}


def fast(model) -> PreTrainedTokenizerFast:
    """A tokenizer around a model, with an added token."""
    backend = Tokenizer(model)
    backend.pre_tokenizer = Whitespace()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", model_max_length=17)
    made.add_tokens(["[NEW]"])
    return made


@pytest.mark.parametrize("name", MODELS)
def test_a_tokenizer_comes_back(name):
    made = fast(MODELS[name])
    again = tokenizers.decode(tokenizers.encode(made), Path("t"))
    assert again.backend_tokenizer.to_str() == made.backend_tokenizer.to_str()
    assert again.model_max_length == 17
    assert again.unk_token == "[UNK]"
    assert again.name_or_path == ""
    assert again("ab [NEW] a é")["input_ids"] == made("ab [NEW] a é")["input_ids"]


def test_use_of_a_tokenizer_leaves_no_trace():
    made = fast(MODELS["bpe"])
    before = tokenizers.encode(made)
    made("ab a", truncation=True, max_length=1)
    assert made.backend_tokenizer.truncation is not None
    assert tokenizers.encode(made) == before


def test_a_vocabulary_costs_a_few_bytes_a_piece():
    stems = ["re", "un", "in", "com", "sur", "pro", "dis", "over", "under", "out"]
    pieces = [f"{a}{b}{c}" for a in stems for b in "abcdefghijklmnopqrst" for c in ("ing", "ed", "er", "s", "ly")]
    vocabulary = {piece: number for number, piece in enumerate(["[UNK]", *pieces])}
    packed = tokenizers.encode(fast(WordPiece(vocabulary, unk_token="[UNK]")))
    assert len(packed) < 3 * len(vocabulary)


def test_damage_and_bombs_are_refused(monkeypatch):
    packed = tokenizers.encode(fast(MODELS["bpe"]))
    for bad in (b"", b"no", packed[:-20], lzma.compress(b"[]"), lzma.compress(b"{}")):
        with pytest.raises(ArtifactError, match="t: "):
            tokenizers.decode(bad, Path("t"))
    escaping = {"tokenizer.json": {"model": {"vocab": {}}}, "tokenizer_config.json": {}, "../x.json": {}}
    with pytest.raises(ArtifactError, match="plain file name"):
        tokenizers.decode(lzma.compress(json.dumps(escaping).encode()), Path("t"))
    deep = b'{"tokenizer.json":' + b"[" * 100_000
    with pytest.raises(ArtifactError, match="t: does not unpack"):
        tokenizers.decode(lzma.compress(deep), Path("t"))
    monkeypatch.setattr(tokenizers, "LARGEST", 100)
    with pytest.raises(ArtifactError, match="t: "):
        tokenizers.decode(packed, Path("t"))


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer.json": {}},
        {"tokenizer.json": []},
        {"tokenizer.json": {"model": {}}},
        {"tokenizer.json": {"model": {"type": "Newer", "vocab": {}}}},
        {"tokenizer.json": "\ud800"},
        {"tokenizer_config.json": []},
        {"tokenizer_config.json": {"tokenizer_class": 5}},
        {"tokenizer_config.json": {"added_tokens_decoder": []}},
    ],
)
def test_what_holds_no_tokenizer_known_here_is_named(changes):
    """As a file does that a later version wrote, or one who makes its hash good again."""
    held = json.loads(lzma.decompress(tokenizers.encode(fast(MODELS["bpe"])))) | changes
    with pytest.raises(
        ArtifactError, match=r"t: not a tokenizer that is known here \(\w+: .*\); copy or make"
    ) as caught:
        tokenizers.decode(lzma.compress(json.dumps(held).encode()), Path("t"))
    assert "\n" not in str(caught.value)
