"""Bits of texts against a token-by-token count in plain PyTorch, and what counts as a document."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from laconic.errors import DataError
from laconic.lossless import bits
from tests.lossless.small import causal
from tests.subwords.built import TEXT


def slow(given, ids):
    """Bits of all tokens, each asked for alone behind what its window holds before it."""
    first = given.tokenizer.bos_token_id
    first = given.tokenizer.eos_token_id if first is None else first
    total = 0.0 if first is not None or not ids else math.log2(len(given.tokenizer))
    ids = ids if first is None else [first, *ids]
    begin, done, overlap = 0, 1, int(given.task.overlap * given.context)
    while done < len(ids):
        end = min(begin + given.context, len(ids))
        for place in range(done, end):
            with torch.no_grad():
                logits = given.model(input_ids=torch.tensor([ids[begin:place]])).logits[0, -1].double()
            total -= float(logits.log_softmax(-1)[ids[place]]) / math.log(2)
        begin, done = end - overlap, end
    return total


@pytest.mark.parametrize("kind", ["gpt", "llama", "bert", "t5", "clip"])
def test_bits_are_those_of_the_chain_rule(kind):
    given, texts = causal(kind), [line.encode() for line in (*TEXT, "")]
    found = bits.weigh(given, texts)
    ids, rest = given.spell(texts)
    for one, tokens, text in zip(found.documents, ids, texts, strict=True):
        assert one.bits == pytest.approx(slow(given, tokens), rel=1e-5)
        assert (one.bytes, one.tokens) == (len(text), len(tokens))
    assert found.rest_bits == 8 * len(rest)
    assert found.per_byte == pytest.approx(found.bits / sum(map(len, texts)))


def test_what_tokens_lose_is_paid():
    """BERT's tokenizer lower-cases; the model of bytes keeps all."""
    texts = [TEXT[0].encode()]
    assert bits.weigh(causal("bert"), texts).rest_bits > 0
    assert bits.weigh(causal("gpt"), texts).rest_bits == 0


def test_a_file_is_its_bytes_and_records_are_documents(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\n\ntwo\xff")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in TEXT))
    assert bits.documents(tmp_path / "a.txt") == [b"one\n\ntwo\xff"]
    assert bits.documents(tmp_path / "a.jsonl") == [line.encode() for line in TEXT]


def test_columns_are_bytes_and_what_is_no_record_says_how_to_weigh_it(tmp_path):
    (tmp_path / "a.conll").write_bytes(b"the O\n")
    assert bits.documents(tmp_path / "a.conll") == [b"the O\n"]
    (tmp_path / "a.json").write_text('{\n "a": 1\n}\n')
    with pytest.raises(DataError, match=r"a.json, line 1: not JSON .* under a name that ends in .bin"):
        bits.documents(tmp_path / "a.json")
    reference = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
    told = reference.split("### `laconic bits MODEL TEXT`")[1].split("\n| option")[0]
    assert set(re.findall(r"`(\.\w+)`", told)) - {".bin"} == bits.RECORDS


def test_a_folder_gives_the_split_that_is_asked_for(tmp_path):
    for split, line in (("train", TEXT[0]), ("validation", TEXT[1]), ("test", TEXT[2])):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"text": line}) + "\n")
    assert bits.documents(tmp_path, "validation") == [TEXT[1].encode()]
    assert bits.documents(tmp_path) == [TEXT[2].encode()]


def test_no_text_is_an_error(tmp_path):
    (tmp_path / "empty.bin").write_bytes(b"")
    with pytest.raises(DataError, match="there is no text in it"):
        bits.documents(tmp_path / "empty.bin")


def test_the_record_adds_the_models_own_bits(tmp_path):
    given = causal("gpt")
    found = bits.weigh(given, [b"the sea"])
    assert found.record(given)["description_length_bits"] is None
    held = type(given)(given.name, given.model, given.tokenizer, given.task, 1000)
    assert found.record(held)["description_length_bits"] == pytest.approx(8000 + found.bits)
