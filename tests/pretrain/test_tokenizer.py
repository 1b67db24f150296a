"""The same text gives the same tokenizer, in this process and in another."""

import json
import random
import subprocess
import sys

import pytest

from laconic.pretrain import config, tokenizer

SPECIAL = {"bpe": "causal", "wordpiece": "masked", "unigram": "sentinels"}
DRIVER = """
import json
from tests.pretrain.test_tokenizer import SPECIAL, written
print(json.dumps({kind: written(kind) for kind in SPECIAL}))
"""


def texts():
    """Words of few letters, once each: nearly everything in them is as frequent as something else."""
    draw = random.Random(0)
    words = {"".join(draw.choices("abcdefgh猫狗", k=draw.randint(2, 9))) for _ in range(700)}
    return iter([" ".join(words) for words in [sorted(words)] * 2])


def written(kind, vocabulary=600, source=texts):
    """The file of a tokenizer that is trained on them."""
    made = tokenizer.train(config.Tokens(kind, vocabulary), source, SPECIAL[kind], 64)
    return made.backend_tokenizer.to_str()


@pytest.fixture(scope="module")
def elsewhere():
    """The files that another process makes."""
    ended = subprocess.run([sys.executable, "-c", DRIVER], capture_output=True, text=True, check=True)
    return json.loads(ended.stdout)


@pytest.mark.parametrize("kind", SPECIAL)
def test_the_same_text_gives_the_same_tokenizer(kind, elsewhere):
    first = written(kind)
    assert len(json.loads(first)["model"]["vocab"]) == 600
    assert written(kind) == first
    assert elsewhere[kind] == first


def test_wordpiece_has_the_pieces_of_its_trainer_and_no_other_tokens():
    """Where nothing is as frequent as something else, `tokenizers` leaves nothing to chance."""
    said = [f"{'ab' * 9} " * 64 + "abc " * 16 + "xy " * 4]
    held = json.loads(written("wordpiece", 24, lambda: iter(said)))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert [token["content"] for token in held["added_tokens"]] == special
    assert list(held["model"]["vocab"])[:5] == special
    assert {"a", "b", "c", "x", "y", "##a", "##b", "##c", "##y", "xy", "abc"} < set(held["model"]["vocab"])
    assert "##x" not in held["model"]["vocab"]


@pytest.mark.parametrize("lowercase", [False, True])
def test_unigram_lowers_case_where_it_is_told_to(lowercase):
    made = tokenizer.train(config.Tokens("unigram", 140, lowercase), lambda: iter(["Ab aB AB"] * 9), "seq2seq", 64)
    assert ("A" in made.get_vocab()) != lowercase
    assert made.decode(made("AB Ab")["input_ids"], skip_special_tokens=True) == ("ab ab" if lowercase else "AB Ab")
