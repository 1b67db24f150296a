"""The quantized layer: function, gradient, freezing, checkpoints."""

import copy
import itertools
import json

import pytest
import torch
from torch import nn

from laconic import layers
from laconic.errors import AnatomyError, ArtifactError, RecipeError
from laconic.layers.dense import Dense
from laconic.layers.quantized import Quantized
from laconic.layers.sparse import Sparse
from laconic.maths import grid

GROUPS: list[grid.Group] = ["tensor", "channel", 4, 5]
EVERY = list(itertools.product(range(2, 9), GROUPS, [True, False]))


def linear(rows: int = 6, columns: int = 12, bias: bool = True) -> nn.Linear:
    torch.manual_seed(3)
    module = nn.Linear(columns, rows, bias=bias)
    if bias:
        nn.init.uniform_(module.bias, 0.5, 1.0)
    return module.eval()


def table() -> nn.Embedding:
    torch.manual_seed(4)
    return nn.Embedding(20, 12).eval()


@pytest.mark.parametrize(("bits", "group", "symmetric"), EVERY)
@pytest.mark.parametrize("make", [linear, table])
def test_frozen_layer_rebuilt_from_its_spec_computes_the_same_bits(make, bits, group, symmetric):
    layer = Quantized.of(make(), bits=bits, group=group, symmetric=symmetric).eval()
    x = torch.randint(20, (3, 7)) if layer.role == "embedding" else torch.randn(3, 7, 12)
    before, weight = layer(x), layer.weight.detach()
    training = copy.deepcopy(layer).train()
    layer.freeze()
    assert torch.equal(layer(x), before)
    assert torch.equal(training(x), before)
    with torch.device("meta"):
        again = layers.build("quantized", json.loads(json.dumps(layer.spec())))
    again.load_state_dict(layer.state_dict(), strict=True, assign=True)
    assert torch.equal(again(x), before)
    assert torch.equal(again.weight, weight)
    assert len(torch.unique(layer.codes)) <= 2**bits - symmetric
    assert torch.equal(layer.scale.half().float(), layer.scale)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_values_are_the_formula_written_out(bits):
    layer = Quantized.of(linear(), bits=bits, group=4, symmetric=False)
    layer.freeze()
    for row, column in itertools.product(range(6), range(12)):
        group = column // 4
        code, zero = int(layer.codes[row, column]), int(layer.zero[row, group])
        assert float(layer.weight[row, column]) == pytest.approx((code - zero) * float(layer.scale[row, group]), abs=0)


def test_embedding_computes_only_the_rows_it_gives(monkeypatch):
    for frozen in (False, True):
        layer = Quantized.of(table(), bits=4).eval()
        if frozen:
            layer.freeze()
        seen: list[int] = []
        for name in ("snap", "values"):
            real = getattr(grid, name)
            watched = lambda x, *rest, real=real, seen=seen: seen.append(len(x)) or real(x, *rest)  # noqa: E731
            monkeypatch.setattr(grid, name, watched)
        ids = torch.tensor([[3, 3, 19]])
        out = layer(ids)
        monkeypatch.undo()
        assert seen == [3]
        assert torch.equal(out, layer.weight[ids])


def test_gradient_passes_where_a_weight_is_free():
    module = nn.Linear(4, 1, bias=False)
    module.weight.data = torch.tensor([[0.4, 0.0, 9.0, -9.0]])
    for sign, expected in ((1.0, [1.0, 0.0, 1.0, 0.0]), (-1.0, [-1.0, 0.0, 0.0, -1.0])):
        layer = Quantized.of(module, bits=2, scale=torch.ones(1, 1))
        assert layer.weight.tolist() == [[0.0, 0.0, 1.0, -1.0]]
        (layer(torch.ones(1, 4)) * sign).sum().backward()
        assert layer.latent.grad.tolist() == [expected]


def test_asymmetric_gradient_knows_both_ends():
    module = nn.Linear(3, 1, bias=False)
    module.weight.data = torch.tensor([[-0.4, 2.7, 3.3]])
    layer = Quantized.of(module, bits=2, symmetric=False, scale=torch.ones(1, 1), zero=torch.zeros(1, 1).byte())
    assert layer.weight.tolist() == [[0.0, 3.0, 3.0]]
    layer(-torch.ones(1, 3)).sum().backward()
    assert layer.latent.grad.tolist() == [[-1.0, -1.0, 0.0]]


@pytest.mark.parametrize("symmetric", [True, False])
def test_pruned_weights_stay_zero_while_the_others_learn(symmetric):
    module = linear()
    mask = torch.rand(6, 12) > 0.5
    layer = Quantized.of(Sparse.of(module, mask), bits=3, group=4, symmetric=symmetric)
    first = layer.weight.detach().clone()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        layer(torch.randn(8, 12)).square().sum().backward()
        optimizer.step()
    layer.freeze()
    assert not layer.weight[~mask].any()
    assert not torch.equal(layer.weight, first)


def test_training_state_survives_a_checkpoint():
    layer = Quantized.of(linear(), bits=4, group=4, symmetric=False)
    layer.latent.data.add_(0.02)
    other = Quantized.of(linear(), bits=4, group=4, symmetric=False)
    other.scale.fill_(1)
    other.load_state_dict(layer.state_dict(), strict=True)
    assert torch.equal(other.weight, layer.weight)
    with torch.device("meta"):
        built = layers.build("quantized", layer.spec())
    built.load_state_dict(layer.state_dict(), strict=True, assign=True)
    assert built.latent.requires_grad
    assert torch.equal(built.weight, layer.weight)


def test_loading_into_a_used_frozen_layer_is_seen():
    first, second = Quantized.of(linear(), bits=4).eval(), Quantized.of(linear(), bits=4).eval()
    second.latent.data.neg_()
    first.freeze(), second.freeze()
    x = torch.randn(2, 12)
    assert not torch.equal(first(x), second(x))
    first.load_state_dict(second.state_dict())
    assert torch.equal(first(x), second(x))
    first.codes = 16 - second.codes  # the symmetric zero is 8, so these are the negated weights
    assert torch.equal(first.weight, -second.weight)


def test_a_kept_weight_can_meet_autograd_after_inference_mode():
    layer = Quantized.of(linear(), bits=4)
    layer.freeze()
    with torch.inference_mode():
        layer(torch.randn(2, 12))
    x = torch.randn(2, 12, requires_grad=True)
    layer(x).sum().backward()
    assert torch.allclose(x.grad[0], layer.weight.sum(0))


@pytest.mark.parametrize(("bits", "group", "symmetric"), EVERY)
def test_thawed_it_computes_the_same_and_freezes_to_the_same_codes(bits, group, symmetric):
    layer = Quantized.of(linear(), bits=bits, group=group, symmetric=symmetric)
    layer.freeze()
    weight, codes = layer.weight, layer.codes
    layer.thaw()
    assert torch.equal(layer.weight, weight)
    assert layer.latent.requires_grad
    layer.freeze()
    assert torch.equal(layer.codes, codes)


def test_bits_are_counted():
    half = linear()
    half.bias.data = half.bias.data.half().float()
    assert Quantized.of(half, bits=3, group=4).bits() == 6 * 12 * 3 + 18 * 16 + 6 * 16
    assert Quantized.of(linear(), bits=3, group=4, symmetric=False).bits() == 6 * 12 * 3 + 18 * (16 + 3) + 6 * 32
    assert Quantized.of(linear(bias=False), bits=8, group="tensor").bits() == 6 * 12 * 8 + 16


def test_given_grid_and_weight_are_used():
    module = linear()
    solved = torch.full((6, 12), 2.0)
    layer = Quantized.of(module, bits=4, latent=solved, scale=torch.full((6, 1), 0.5))
    assert torch.equal(layer.weight, solved)
    assert torch.equal(layer.bias, module.bias)


def test_refusals_say_what_is_allowed():
    with pytest.raises(RecipeError, match="2 to 8 bits"):
        Quantized.of(linear(), bits=9)
    with pytest.raises(RecipeError, match="columns per scale"):
        Quantized.of(linear(), bits=8, group="row")
    with pytest.raises(ArtifactError, match="can't be built"):
        layers.build("quantized", {"role": "linear", "shape": [2, 2], "bits": 4, "colour": 1})
    with pytest.raises(ArtifactError, match="did you mean 'quantized'"):
        layers.build("quantised", {})
    broken = linear()
    broken.weight.data[0, 0] = torch.nan
    with pytest.raises(AnatomyError, match="not a finite number"):
        Quantized.of(broken, bits=8)
    with pytest.raises(AnatomyError, match="LayerNorm"):
        Dense.of(nn.LayerNorm(3))
