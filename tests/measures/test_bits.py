"""Bits of a coin and of certainty, by hand."""

import numpy as np
import pytest

from laconic.errors import DataError
from laconic.measures import bits


class Labels:
    def answers(self, example):
        return 1

    def bits(self, outputs, features, examples):
        return float(sum(-np.log2(o[e["label"]]) for o, e in zip(outputs, examples, strict=True)))


def test_a_fair_coin_costs_one_bit_an_answer():
    examples = [{"text": "t", "label": 0}, {"text": "t", "label": 1}]
    got = bits.take(Labels(), [np.array([0.5, 0.5])] * 2, [{}] * 2, examples, model_bytes=3)
    assert (got.answers, got.bits_per_answer, got.data_bits) == (2, 1.0, 2.0)
    assert (got.model_bits, got.description_length_bits) == (24, 26.0)


def test_words_are_answers():
    class Silent:
        def answers(self, example):
            return len(example["tokens"])

        def bits(self, outputs, features, examples):
            return 6.0

    got = bits.take(Silent(), [], [], [{"tokens": ["a", "b"]}, {"tokens": ["c"]}], model_bytes=0)
    assert (got.answers, got.bits_per_answer) == (3, 2.0)


def test_no_answers_are_refused():
    with pytest.raises(DataError, match="no answers"):
        bits.take(Labels(), [], [], [], model_bytes=1)
