"""Rows of a masked encoder: which tokens are hidden, what is said, what is left over, written out by hand."""

import pytest

from laconic.errors import RecipeError
from laconic.writing import masked
from tests.workshop import tokenizer

MASK = "[mask]"


def shown(prompts, answers, **options):
    reader = tokenizer(masks=True)
    rows = masked.features(prompts, answers, reader, **{"labels": False, **options})
    for feature in (f for some in rows for f in some):
        assert feature["attention_mask"] == [1] * len(feature["input_ids"])
    spelt = reader.convert_ids_to_tokens
    return [[(spelt(f["input_ids"]), f["slots"], spelt(f["said"]), f["uncoded"]) for f in some] for some in rows]


def test_each_token_of_an_answer_is_hidden_in_turn_and_the_rest_of_its_word_with_it():
    first, second = shown(["ab ac", "ab ac "], ["abca ad", "ad"])
    assert first == [
        (["ab", "ac", MASK, MASK, MASK, "ad", "[eos]"], [2], ["ab"], [0]),
        (["ab", "ac", "ab", MASK, MASK, "ad", "[eos]"], [3], ["##c"], [0]),
        (["ab", "ac", "ab", "##c", MASK, "ad", "[eos]"], [4], ["##a"], [0]),
        (["ab", "ac", "ab", "##c", "##a", MASK, "[eos]"], [5], ["ad"], [0]),
    ]
    assert second == [(["ab", "ac", MASK, "[eos]"], [2], ["ad"], [0])]


def test_bytes_without_a_token_are_counted_once_for_an_answer():
    (rows,) = shown(["ab"], ["ad \u00e9\u00e9 ac"])
    assert [(said, left) for _, _, said, left in rows] == [(["ad"], [4]), (["[unk]"], [0]), (["ac"], [0])]
    (rows,) = shown(["ab"], [" "])
    assert rows == [(["ab", "[eos]"], [], [], [1])]


def test_labels_are_what_is_said_and_change_nothing_else():
    reader = tokenizer(masks=True)
    (bare,), (taught,) = (masked.features(["ab"], ["ac ad"], reader, labels=labels) for labels in (False, True))
    assert [f["labels"] for f in taught] == [f["said"] for f in taught] == [f["said"] for f in bare]
    assert [{k: v for k, v in f.items() if k != "labels"} for f in taught] == bare


def test_a_tokenizer_without_a_mask_is_refused():
    with pytest.raises(RecipeError, match="the tokenizer has no mask"):
        masked.features(["ab"], ["ac"], tokenizer(), labels=False)
