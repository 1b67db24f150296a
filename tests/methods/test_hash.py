"""Hashing over a model: as many values as asked, learned from, seeds that differ."""

import pytest
import torch

from laconic import answers, effects, layers
from laconic.errors import RecipeError
from laconic.methods.finetune import Finetune
from laconic.methods.hash import Hash
from laconic.methods.svd import SVD
from tests.methods import small


def test_every_layer_has_that_many_values_and_places_of_its_own(tmp_path):
    work = small.work(tmp_path)
    before = effects.measure(work.model)
    Hash(keep=0.25).apply(work)
    held = dict(layers.held(work.model))
    assert len(held) == 12
    assert all(len(layer.values) == layer.weight.numel() // 4 for layer in held.values())
    assert len({layer.seed for layer in held.values()}) == 12
    assert effects.grew(before, effects.measure(work.model), "low_bit")
    other = small.work(tmp_path)
    other.seed = 1
    Hash(keep=0.25).apply(other)
    assert not torch.equal(small.logits(other), small.logits(work))


def test_training_follows(tmp_path):
    work = small.work(tmp_path)
    Hash(keep=0.25).apply(work)
    loss = answers.evaluate(work.model, work.tokenizer, work.task, work.data.train)["bits"]
    values = {path: layer.values.detach().clone() for path, layer in layers.held(work.model)}
    Finetune(epochs=4, learning_rate=0.01).apply(work)
    assert answers.evaluate(work.model, work.tokenizer, work.task, work.data.train)["bits"] < loss
    assert all(not torch.equal(layer.values, values[path]) for path, layer in layers.held(work.model))


def test_factors_are_hashed_where_they_stand(tmp_path):
    work = small.work(tmp_path)
    SVD(keep=0.5).apply(work)
    before = effects.measure(work.model)["low_rank"]
    Hash().apply(work)
    assert effects.measure(work.model)["low_rank"] == before
    assert {part.kind for _, part in work.anatomy.linears("linears")} == {"hashed"}


def test_refusals_and_forecast():
    Hash().check()
    for wrong, says in (({"keep": 0.0}, "keep is 0.0"), ({"where": "x"}, "where is 'x'")):
        with pytest.raises(RecipeError, match=says):
            Hash(**wrong).check()
    assert Hash(keep=0.25).forecast(small.sketch()).linear_bits == 8
