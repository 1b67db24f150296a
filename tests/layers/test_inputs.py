"""Rounded inputs: against rounding by hand, straight-through gradients, rebuilt from its spec, around any linear."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from laconic import effects, layers
from laconic.anatomy import Anatomy
from laconic.errors import ArtifactError
from laconic.layers.inputs import Inputs
from laconic.layers.quantized import Quantized
from tests.tiny import tiny


def made(bits=8, highest=None):
    torch.manual_seed(0)
    module = nn.Linear(16, 6)
    return module, Inputs.of(module, bits, highest)


@given(st.integers(4, 8), st.integers(0, 2**16))
def test_each_token_has_its_own_range(bits, seed):
    """By hand, token after token: the nearest multiple of the token's largest magnitude over the top."""
    _, layer = made(bits)
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(seed)) * torch.logspace(-3, 3, 5)[:, None]
    found = layer.rounded(x)
    for token, said in zip(x.reshape(-1, 16), found.reshape(-1, 16), strict=True):
        step = float(token.abs().max()) / (2 ** (bits - 1) - 1)
        for value, rounded in zip(token.tolist(), said.tolist(), strict=True):
            assert abs(rounded - value) <= step * (0.5 + 1e-4)
            assert rounded / step == pytest.approx(round(rounded / step), abs=1e-3)


def test_a_static_range_clips_what_lies_beyond():
    module, layer = made(8, highest=2.0)
    x = torch.tensor([[3.0, -5.0, 1.0, 0.004] + [0.0] * 12])
    found = layer.rounded(x)
    assert found[0, :2].tolist() == pytest.approx([2.0, -2.0])
    assert float(found[0, 2]) == pytest.approx(1.0, abs=1 / 127)
    assert found[0, 3] == 0
    assert torch.allclose(layer(x), nn.functional.linear(found, module.weight, module.bias))


def test_rounding_twice_is_rounding_once():
    for layer in (made(8)[1], made(4)[1], made(6, 1.5)[1]):
        once = layer.rounded(torch.randn(7, 16))
        torch.testing.assert_close(layer.rounded(once), once)


def test_gradients_pass_but_where_an_input_is_clipped():
    _, layer = made(8, highest=1.0)
    x = torch.tensor([[0.3, -0.7, 1.5, -2.0] + [0.1] * 12], requires_grad=True)
    layer.rounded(x).sum().backward()
    assert x.grad[0, :6].tolist() == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("highest", [None, 3.0])
def test_it_is_rebuilt_from_its_spec(highest):
    _, layer = made(6, highest)
    with torch.device("meta"):
        again = layers.build("inputs", layer.spec())
    again.load_state_dict(layer.state_dict(), strict=True, assign=True)
    x = torch.randn(4, 16)
    assert torch.equal(again(x), layer(x))
    assert layer.bits() == (0 if highest is None else 32)


@pytest.mark.parametrize("bits", [3, 9, "8"])
def test_other_bits_are_refused(bits):
    with pytest.raises(ArtifactError, match="inputs have 4 to 8 bits"):
        layers.build("inputs", {"shape": [6, 8], "input_bits": bits})


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_it_stands_around_any_linear_and_is_measured(family):
    model = tiny(family)
    path, module = next(iter(Anatomy(model).linears("ffn")))
    number = len(list(Anatomy(model).linears("linears")))
    if family == "llama":
        layers.swap(model, path, Quantized.of(module, bits=4, group="channel", symmetric=True))
        module = model.get_submodule(path)
    weight = layers.take(module).weight.detach().clone()
    layers.swap(model, path, Inputs.of(module, 8))
    assert torch.equal(layers.take(model.get_submodule(path)).weight, weight)
    assert f"{path}.linear" in [p for p, _ in Anatomy(model).linears("ffn")]
    assert effects.measure(model)["low_bit_inputs"] == pytest.approx(24 / number)
