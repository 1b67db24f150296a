"""LSQ: gradients against numeric differences, scales that learn, and what was trained is what is stored."""

import copy
import itertools
import json

import pytest
import torch
from torch import nn

from laconic import layers, training
from laconic.errors import RecipeError
from laconic.layers.quantized import Quantized
from laconic.maths import grid
from laconic.methods.half import Half
from laconic.methods.lsq import LSQ
from laconic.methods.rtn import RTN
from tests.methods import small

QUERY = "bert.encoder.layer.0.attention.self.query"
GROUPS: list[grid.Group] = ["tensor", "channel", 5]
WEIGHTS = {"tensor": 40, "channel": 10, 5: 5}  # of a (4, 10) layer, that have a scale
HIGHEST = {  # the paper's Q_P, of codes with a sign and without, by bits and whether the grid is symmetric
    (2, True): 1, (3, True): 3, (8, True): 127,
    (2, False): 3, (3, False): 7, (8, False): 255,
}  # fmt: skip


def linear(rows: int = 4, columns: int = 10) -> nn.Linear:
    module = nn.Linear(columns, rows)
    module.weight.data = torch.randn(rows, columns, generator=torch.Generator().manual_seed(7))
    module.weight.data[1, 2] = 0
    return module


def wide(per_group: torch.Tensor, group: grid.Group) -> torch.Tensor:
    """What belongs to each weight of a (4, 10) layer."""
    ones = grid.split(torch.ones(4, 10).double(), group)
    return grid.join(ones * per_group.unsqueeze(-1), 4, 10)


@pytest.mark.parametrize("group", GROUPS)
def test_a_row_moves_its_scale_as_much_whatever_else_is_looked_up(group):
    found = []
    for index in (torch.tensor([0]), torch.arange(20)):
        torch.manual_seed(0)
        layer = Quantized.of(torch.nn.Embedding(20, 10), bits=3, group=group, learned=True)
        layer(index)[0].sum().backward()
        found.append(layer.step.grad)
    assert found[0].any()
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_are_numeric_differences(bits, group, symmetric):
    module = linear()
    scale, zero = grid.fit(module.weight.detach(), bits, group, symmetric)
    scale = (scale * 0.6).half().float()  # so that some weights are clipped
    layer = Quantized.of(module, bits=bits, group=group, symmetric=symmetric, scale=scale, zero=zero, learned=True)
    slopes = torch.randn(4, 10, generator=torch.Generator().manual_seed(8))
    (layer.weight * slopes).sum().backward()
    weight, steps = module.weight.detach().double(), wide(scale, group)
    middle = 2.0 ** (bits - 1) if zero is None else wide(zero, group)
    low, high = (1 if symmetric else 0) - middle, 2**bits - 1 - middle
    free = (low < weight / steps) & (weight / steps < high)  # the paper's condition of eq. 3 and 5
    assert not free.all()
    added = (weight / steps).round() - weight / steps

    def value(scales: torch.Tensor, weights: torch.Tensor) -> float:
        """Clipped, with what rounding adds between the ends held fixed: of this LSQ's gradient is the derivative."""
        each = wide(scales, group)
        clipped = torch.minimum(torch.maximum(weights / each, low + 0 * each), high + 0 * each)
        return float(((clipped + torch.where(free, added, 0.0)) * each * slopes.double()).sum())

    shown = layer.step.grad.reshape(scale.shape)
    share = (WEIGHTS[group] * HIGHEST[bits, symmetric]) ** -0.5  # g = 1 / sqrt(N Q_P)
    for place in range(scale.numel()):
        moved = torch.zeros(scale.numel()).double()
        moved[place] = 1e-9  # so little that no weight crosses an end
        moved = moved.reshape(scale.shape)
        numeric = (value(scale.double() + moved, weight) - value(scale.double() - moved, weight)) / 2e-9
        assert float(shown.flatten()[place]) == pytest.approx(numeric * share, rel=1e-3, abs=1e-3)
    back = slopes * module.weight > 0  # a clipped weight is let back in
    for row, column in itertools.product(range(4), range(10)):
        moved = torch.zeros(4, 10).double()
        moved[row, column] = 1e-9
        numeric = (value(scale.double(), weight + moved) - value(scale.double(), weight - moved)) / 2e-9
        if (free | ~back)[row, column] and weight[row, column]:
            assert float(layer.latent.grad[row, column]) == pytest.approx(numeric, abs=1e-4)
    assert layer.latent.grad[1, 2] == 0


def test_scales_learn_and_what_was_trained_is_stored(tmp_path):
    work = small.work(tmp_path)
    LSQ(2).apply(work)
    layer = work.model.get_submodule(QUERY)
    first = layer.step.detach().clone()
    training.fit(work, training.Training(epochs=2, learning_rate=2e-3), best=False)
    assert not torch.equal(layer.step, first)
    trained = copy.deepcopy(layer)
    with torch.device("meta"):
        again = layers.build("quantized", json.loads(json.dumps(layer.spec())))
    again.load_state_dict(layer.state_dict(), strict=True, assign=True)
    assert torch.equal(again.weight, layer.weight)
    layer.freeze()
    assert torch.equal(layer.weight, trained.weight)
    assert grid.is_half(layer.scale)
    assert layer.bits() == trained.bits()
    layer.thaw()
    assert layer.step.requires_grad
    assert torch.equal(layer.weight, trained.weight)


def test_scales_that_are_too_large_are_made_up_for():
    module, errors = linear(), {}
    x = torch.randn(200, 10, generator=torch.Generator().manual_seed(9))
    said = module(x).detach()
    for learned in (True, False):
        scale = (grid.fit(module.weight.detach(), 3, "channel", True)[0] * 4).half().float()
        layer = Quantized.of(module, bits=3, scale=scale, learned=learned)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
        for _ in range(300):
            optimizer.zero_grad()
            (layer(x) - said).square().mean().backward()
            optimizer.step()
        errors[learned] = float((layer(x) - said).square().mean().detach())
    assert errors[True] < 0.3 * errors[False]


def test_without_training_it_is_rounding_to_nearest_and_half_leaves_it(tmp_path):
    work, other = small.work(tmp_path), small.work(tmp_path)
    LSQ(3, 8, False).apply(work)
    RTN(3, 8, False, "linears").apply(other)
    assert torch.equal(small.logits(work), small.logits(other))
    weight = work.model.get_submodule(QUERY).weight.detach().clone()
    Half().apply(work)
    assert torch.equal(work.model.get_submodule(QUERY).weight, weight)


def test_refusals():
    LSQ().check()
    with pytest.raises(RecipeError, match="bits is 1"):
        LSQ(1).check()
    with pytest.raises(RecipeError, match="where is 'heads'"):
        LSQ(where="heads").check()
