"""The grouped layer: a grouped 1x1 convolution between two orders, rebuilt from its spec and counted."""

import pytest
import torch
from torch import nn

from laconic import effects, layers
from laconic.anatomy import Anatomy
from laconic.errors import ArtifactError
from laconic.layers.grouped import Grouped
from tests.tiny import tiny


def made(shuffled: bool = True) -> Grouped:
    torch.manual_seed(1)
    orders = (torch.randperm(6), torch.randperm(8)) if shuffled else None
    return Grouped.of([torch.randn(3, 4), torch.randn(3, 4)], torch.randn(6), orders).eval()


def test_in_the_order_as_it_comes_it_is_torchs_grouped_convolution():
    layer = made(shuffled=False)
    x = torch.randn(2, 5, 8)
    kernel = torch.cat([held.weight for held in layer.filters]).unsqueeze(-1)  # (out, in / groups, 1)
    expected = nn.functional.conv1d(x.transpose(1, 2), kernel, layer.bias, groups=2).transpose(1, 2)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("shuffled", [True, False])
def test_it_computes_with_its_dense_weight_and_is_rebuilt_from_its_spec(shuffled):
    layer = made(shuffled)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    assert int((layer.weight == 0).sum()) == 24
    with torch.device("meta"):
        again = layers.build("grouped", layer.spec())
    again.load_state_dict(layer.state_dict(), strict=True, assign=True)
    assert torch.equal(again(x), layer(x))


def test_the_orders_are_those_given():
    outputs, inputs = torch.tensor([2, 0, 1, 3]), torch.tensor([3, 1, 0, 2])
    layer = Grouped.of([torch.ones(2, 2), 2 * torch.ones(2, 2)], torch.arange(4.0), (outputs, inputs))
    expected = torch.zeros(4, 4)
    for rows, columns, value in ((outputs[:2], inputs[:2], 1.0), (outputs[2:], inputs[2:], 2.0)):
        expected[rows[:, None], columns] = value
    assert torch.equal(layer.weight, expected)
    assert torch.equal(layer.bias, torch.arange(4.0))


def test_connections_bits_and_products_are_counted():
    model = tiny("bert")
    path = "bert.encoder.layer.0.attention.self.query"
    before = Anatomy(model).macs(10)
    layer = Grouped.of([torch.randn(8, 8) for _ in range(4)], torch.randn(32), (torch.randperm(32), torch.randperm(32)))
    layers.swap(model, path, layer)
    assert Anatomy(model).macs(10) == before - 10 * 32 * 32 * 3 // 4
    table = {p: layers.take(m).weight.numel() for p, m in Anatomy(model).whole("embeddings")}
    total = 3 * (4 * 32 * 32 + 2 * 32 * 64) + sum(table.values())
    assert effects.measure(model)["grouped"] == pytest.approx(768 / total)
    assert layer.bits() == 2 * 32 * 5


def test_refusals_say_what_is_allowed():
    with pytest.raises(ArtifactError, match="must divide both sides"):
        layers.build("grouped", {"shape": [6, 8], "groups": 4})
