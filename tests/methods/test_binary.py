"""Binary weights: the closed form against a search, two values a row, and training through."""

import pytest
import torch

from laconic import effects, layers, training
from laconic.errors import RecipeError
from laconic.layers.quantized import Quantized
from laconic.maths import grid
from laconic.methods.binary import Binary
from tests.methods import small


@pytest.mark.parametrize("group", ["tensor", "channel", 7])
def test_no_scale_is_better(group):
    weight = torch.randn(4, 20, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 5.0)[:, None]
    scale = grid.binary(weight, group)

    def errors(scales: torch.Tensor) -> torch.Tensor:
        return grid.split((grid.snap(weight, scales, None, 1, group) - weight).square(), group).sum(-1)

    mine = errors(scale)
    for part in torch.linspace(0.1, 3.0, 100):
        assert (mine <= errors(scale * part) * 1.001).all()


def test_by_hand():
    layer = Quantized.of(torch.nn.Linear(4, 1, bias=False), bits=1, scale=torch.tensor([[3.0]]))
    layer.latent.data = torch.tensor([[4.0, -0.5, 1.0, -2.5]])
    assert layer.weight.tolist() == [[1.5, -1.5, 1.5, -1.5]]
    layer.freeze()
    assert layer.codes.tolist() == [[1, 0, 1, 0]]
    assert layer.weight.tolist() == [[1.5, -1.5, 1.5, -1.5]]
    assert layer.bits() == 4 + 16


def test_gradient_of_a_scale_is_that_of_the_signs():
    module = torch.nn.Linear(6, 3, bias=False)
    layer = Quantized.of(module, bits=1, scale=torch.ones(3, 1), learned=True)
    slopes = torch.randn(3, 6)
    (layer.weight * slopes).sum().backward()
    signs = torch.where(module.weight > 0, 0.5, -0.5)
    assert torch.allclose(layer.step.grad, (slopes * signs).sum(1) / 6**0.5, atol=1e-6)


def test_a_model_is_trained_through_it(tmp_path):
    work = small.work(tmp_path)
    before = effects.measure(work.model)
    Binary(where="all").apply(work)
    start = training.evaluate(work.model, work.tokenizer, work.task, work.data.train)["bits"]
    training.fit(work, training.Training(epochs=4, learning_rate=2e-3), best=False)
    assert training.evaluate(work.model, work.tokenizer, work.task, work.data.train)["bits"] < start
    said = small.logits(work)
    layers.freeze(work.model)
    assert torch.equal(small.logits(work), said)
    for _, layer in layers.held(work.model):
        assert all(
            len(row.unique()) <= 2 and torch.equal(row.abs(), row.abs().max().expand_as(row)) for row in layer.weight
        )
    assert effects.grew(before, effects.measure(work.model), "low_bit")


def test_refusals_and_forecast():
    Binary().check()
    with pytest.raises(RecipeError, match="where is 'heads'"):
        Binary(where="heads").check()
    assert Binary(64).forecast(small.sketch()).linear_bits == 1.25
