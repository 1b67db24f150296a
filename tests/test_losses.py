"""Losses against their formulas, written out slowly; what each learns from; what does not fit."""

import math

import pytest
import torch

from laconic import losses
from laconic.errors import RecipeError

LOGITS = torch.tensor([[1.0, -0.5, 0.25], [0.0, 2.0, -1.0]])
LABELS = torch.tensor([2, 1])


def log_p() -> list[list[float]]:
    rows = []
    for row in LOGITS.tolist():
        total = sum(math.exp(x) for x in row)
        rows.append([x - math.log(total) for x in row])
    return rows


def test_cross_entropy_is_the_mean_surprise():
    slowly = -(log_p()[0][2] + log_p()[1][1]) / 2
    assert float(losses.loss("cross_entropy", LOGITS, LABELS)) == pytest.approx(slowly)


def test_label_smoothing_gives_every_class_a_share_of_a_tenth():
    slowly = 0.0
    for row, label in zip(log_p(), LABELS.tolist(), strict=True):
        slowly -= sum((0.9 * (k == label) + 0.1 / 3) * x for k, x in enumerate(row)) / 2
    assert float(losses.loss("label_smoothing", LOGITS, LABELS)) == pytest.approx(slowly)


def test_focal_weighs_by_what_is_missing_squared():
    said = [log_p()[0][2], log_p()[1][1]]
    slowly = sum(-((1 - math.exp(x)) ** 2) * x for x in said) / 2
    assert float(losses.loss("focal", LOGITS, LABELS)) == pytest.approx(slowly)


def test_binary_cross_entropy_asks_of_every_label_by_itself():
    flags = torch.tensor([[1, 0, 1], [0, 0, 0]])
    slowly = 0.0
    for row, true in zip(LOGITS.tolist(), flags.tolist(), strict=True):
        for x, flag in zip(row, true, strict=True):
            p = 1 / (1 + math.exp(-x))
            slowly -= math.log(p if flag else 1 - p) / 6
    assert float(losses.loss("binary_cross_entropy", LOGITS, flags)) == pytest.approx(slowly)


def test_binary_cross_entropy_reads_one_label_each_as_flags():
    flags = torch.tensor([[0, 0, 1], [0, 1, 0]])
    one, all_of_them = (losses.loss("binary_cross_entropy", LOGITS, labels) for labels in (LABELS, flags))
    assert float(one) == pytest.approx(float(all_of_them))


def test_what_does_not_fit_is_refused():
    with pytest.raises(RecipeError, match="there is no loss 'hinge'; choose one of cross_entropy, label_smoothing"):
        losses.check("hinge", several=False)
    for name in losses.LOSSES:
        losses.check(name, several=False)
        if name != losses.SEVERAL:
            with pytest.raises(RecipeError, match=f"{name} takes one label an example"):
                losses.check(name, several=True)
    losses.check(losses.SEVERAL, several=True)
