"""The separable layer: torch's depthwise convolution before a linear, reading back only, rebuilt and counted."""

import pytest
import torch
from torch import nn

from laconic import effects, layers
from laconic.anatomy import Anatomy
from laconic.errors import ArtifactError
from laconic.layers.grouped import Grouped
from laconic.layers.separable import Separable
from laconic.measures import size
from tests.tiny import tiny

PATH = "bert.encoder.layer.0.attention.self.query"


def made(outputs: int = 6, inputs: int = 8, taps: int = 3, groups: int = 2) -> Separable:
    torch.manual_seed(1)
    filters = [torch.randn(outputs // groups, inputs // groups) for _ in range(groups)]
    pointwise = Grouped.of(filters, torch.randn(outputs), (torch.randperm(outputs), torch.randperm(inputs)))
    return Separable.of(pointwise, torch.randn(taps, inputs)).eval()


def test_it_is_torchs_causal_depthwise_convolution_and_then_the_pointwise_layer():
    layer, x = made(), torch.randn(2, 5, 8)
    kernel = layer.kernel.flip(0).T[:, None]  # (in, 1, taps): torch's last tap is the position itself
    filtered = nn.functional.conv1d(nn.functional.pad(x.transpose(1, 2), (2, 0)), kernel, groups=8).transpose(1, 2)
    expected = nn.functional.linear(filtered, layer.pointwise.weight, layer.bias)
    torch.testing.assert_close(layer(x), expected)


def test_its_weights_are_those_of_each_position_and_the_first_is_its_weight():
    layer, x = made(), torch.randn(4, 8)
    expected = layer.bias.expand(4, 6).clone()
    for token in range(4):
        for back in range(min(3, token + 1)):
            expected[token] += layer.weights[back] @ x[token - back]
    torch.testing.assert_close(layer(x), expected)
    assert torch.equal(layer.weight, layer.weights[0])


def test_a_text_says_the_same_whatever_stands_behind_it():
    layer, x, behind = made(), torch.randn(2, 5, 8), torch.randn(2, 4, 8)
    torch.testing.assert_close(layer(torch.cat([x, behind], 1))[:, :5], layer(x), atol=1e-6, rtol=0)
    assert layer(x[:, :1]).shape == (2, 1, 6)  # fewer tokens than taps


def test_it_is_rebuilt_from_specs_in_specs():
    layer, x = made(), torch.randn(2, 5, 8)
    with torch.device("meta"):
        again = layers.build("separable", layer.spec())
        again.pointwise = layers.build("grouped", layer.pointwise.spec())
    again.load_state_dict(layer.state_dict(), strict=True, assign=True)
    assert torch.equal(again(x), layer(x))


def test_connections_numbers_bits_and_products_are_counted():
    model = tiny("bert")
    before, numbers = Anatomy(model).macs(10), sum(p.numel() for p in model.parameters())
    by_row = sum(row.macs for row in size.layers(model))
    layers.swap(model, PATH, made(32, 32, groups=4))
    fewer = 32 * 32 * 3 // 4 - 3 * 32
    assert [p for p, _ in Anatomy(model).linears("attention")][:4] == [
        f"{PATH}.pointwise.filters.{i}" for i in range(4)
    ]
    assert sum(p.numel() for p in model.parameters()) == numbers - fewer
    assert Anatomy(model).macs(10) == before - 10 * fewer
    rows = size.layers(model)
    assert sum(row.macs for row in rows) == by_row - fewer
    assert {row.part for row in rows if row.path.startswith(PATH)} == {"attention"}
    assert sum(row.parameters for row in rows) == numbers - fewer
    matrices = [m for where in ("linears", "embeddings") for _, m in Anatomy(model).whole(where)]
    total = sum(m.shape[0] * m.shape[1] if isinstance(m, Separable) else m.weight.numel() for m in matrices)
    assert effects.measure(model)["grouped"] == pytest.approx(768 / total)
    assert effects.bits_per_weight(model) == pytest.approx(32, abs=0.1)


def test_refusals_say_what_is_allowed():
    with pytest.raises(ArtifactError, match="taps is 0; a filter has a whole number of them"):
        layers.build("separable", {"shape": [6, 8], "taps": 0})
