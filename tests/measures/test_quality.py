"""Planted predictions: scores, interval, flips."""

from dataclasses import dataclass

import numpy as np
import pytest

from laconic.errors import DataError
from laconic.measures import quality


@dataclass
class Words:
    main = "accuracy"

    def counts(self, predictions, examples):
        return np.array(
            [[sum(map(str.__eq__, p, e["tags"])), len(p)] for p, e in zip(predictions, examples, strict=True)]
        )

    def metric(self, summed):
        return summed[..., 0] / summed[..., 1]

    def score(self, predictions, examples):
        return {"accuracy": float(self.metric(self.counts(predictions, examples).sum(0)))}


EXAMPLES = [{"tokens": ["a", "b"], "tags": ["X", "O"]}] * 30 + [{"tokens": ["c"], "tags": ["O"]}] * 10


def test_scores_difference_and_flips_of_planted_errors():
    right = [e["tags"] for e in EXAMPLES]
    wrong = [["O", "O"]] * 6 + right[6:]  # six of seventy words, six of forty examples
    got = quality.take(Words(), EXAMPLES, right, wrong, resamples=500)
    assert got.before == {"accuracy": 1.0}
    assert got.after["accuracy"] == pytest.approx(64 / 70)
    assert got.difference.value == pytest.approx(-6 / 70)
    assert got.difference.low < -6 / 70 < got.difference.high < 0
    assert got.flips == pytest.approx(6 / 40)
    assert got.token_flips == pytest.approx(6 / 70)
    assert quality.agreement(EXAMPLES, right, wrong) == pytest.approx(64 / 70)
    assert quality.agreement([{"text": ""}] * 4, [*"abcd"], [*"abxd"]) == 3 / 4
    assert got.examples == 40


def test_equal_scores_can_hide_flips():
    right = [e["tags"] for e in EXAMPLES]
    one, two = [["O", "O"], *right[1:]], [right[0], ["O", "O"], *right[2:]]
    got = quality.take(Words(), EXAMPLES, one, two)
    assert got.difference.value == 0.0
    assert got.flips == pytest.approx(2 / 40)


def test_examples_without_words_have_no_token_flips():
    assert quality.token_flips([{"text": "a"}], ["X"], ["Y"]) is None


@pytest.mark.parametrize("before", [[], [["O"]] * 3])
def test_predictions_that_do_not_pair_are_refused(before):
    with pytest.raises(DataError, match="cannot be compared"):
        quality.take(Words(), EXAMPLES[:2], before, [["O"]] * 2)
