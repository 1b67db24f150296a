"""Healing on the labels: it learns them, and what earlier steps made stays."""

import pytest
import torch

from laconic import answers, effects, layers
from laconic.data.batching import batches
from laconic.errors import RecipeError
from laconic.methods.finetune import Finetune
from laconic.methods.magnitude import Magnitude
from laconic.methods.rtn import RTN
from tests.workshop import work


def loss(given) -> float:
    features = given.task.encode(given.data.train, given.tokenizer, answers=True)
    (_, batch), *_ = batches(features, len(features), 1)
    with torch.no_grad():
        return float(answers.task_objective(given.task)(given.model, batch, []))


def test_it_learns_the_labels_through_masks_and_grids(tmp_path):
    given = work("bert", tmp_path)
    Magnitude(sparsity=0.5).apply(given)
    RTN(bits=4).apply(given)
    layers.freeze(given.model)
    before, made = loss(given), effects.measure(given.model)
    Finetune(epochs=8, learning_rate=3e-3, batch=4).apply(given)
    layers.freeze(given.model)
    after = effects.measure(given.model)
    assert loss(given) < 0.8 * before
    assert after["sparse"] >= made["sparse"] > 0.2
    assert after["low_bit"] == made["low_bit"] > 0


def test_its_options_are_those_of_training():
    Finetune().check()
    with pytest.raises(RecipeError, match="optimizer is 'lion'"):
        Finetune(optimizer="lion").check()
