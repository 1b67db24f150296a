"""The hashed layer: least-squares values, even and repeatable places, trained through the shared values."""

import pytest
import torch
from torch import nn

from laconic import effects, layers
from laconic.errors import ArtifactError
from laconic.layers.hashed import Hashed, _mix, places
from tests.tiny import tiny


def test_places_are_even_repeatable_and_differ_by_seed():
    cpu = torch.device("cpu")
    index, sign = places([64, 128], 100, 7, cpu)
    again, _ = places([64, 128], 100, 7, cpu)
    other, _ = places([64, 128], 100, 8, cpu)
    assert torch.equal(index, again)
    assert float((index == other).float().mean()) < 0.03
    readers = torch.bincount(index.reshape(-1), minlength=100).float()
    assert len(readers) == 100
    expected = 64 * 128 / 100
    assert float(((readers - expected) ** 2 / expected).sum()) < 149  # chi-squared of 99 degrees: 0.1%
    assert abs(float(sign.mean())) < 0.05


def test_the_hash_is_this_one_and_loses_nothing():
    """A file must open alike everywhere, so its numbers are fixed here; they were computed with Python's integers."""

    def slow(x: int) -> int:
        for _ in range(2):
            x = ((x ^ (x >> 16)) * 0x45D9F3B) % 2**32
        return x ^ (x >> 16)

    values = [0, 1, 2, 12345, 2**31, 2**32 - 1]
    assert _mix(torch.tensor(values)).tolist() == [slow(v) for v in values]
    assert len(_mix(torch.arange(2**16)).unique()) == 2**16


def test_values_are_the_least_squares_ones_and_a_planted_layer_is_exact():
    torch.manual_seed(0)
    module = nn.Linear(12, 10).eval()
    layer = Hashed.of(module, 20, 3)
    index, sign = places([10, 12], 20, 3, torch.device("cpu"))
    design = torch.zeros(120, 20)  # weight = design @ values
    design[torch.arange(120), index.reshape(-1)] = sign.reshape(-1)
    slow = torch.linalg.lstsq(design, module.weight.detach().reshape(-1, 1)).solution[:, 0]
    torch.testing.assert_close(layer.values.detach(), slow)
    torch.testing.assert_close(Hashed.of(layer, 20, 3).weight, layer.weight)


@pytest.mark.parametrize("role", ["linear", "embedding"])
def test_it_is_rebuilt_from_its_spec_and_trained(role):
    torch.manual_seed(0)
    module = (nn.Linear(8, 5) if role == "linear" else nn.Embedding(5, 8)).eval()
    layer = Hashed.of(module, 7, 3)
    x = torch.randn(3, 8) if role == "linear" else torch.tensor([[0, 4, 2]])
    said = layer(x)
    with torch.device("meta"):
        again = layers.build("hashed", layer.spec())
    again.load_state_dict(layer.state_dict(), strict=True, assign=True)
    assert torch.equal(again(x), said)
    said.square().sum().backward()
    assert layer.values.grad.any()


def test_bits_are_of_what_is_stored():
    model = tiny("bert")
    path = "bert.encoder.layer.0.attention.self.query"
    numbers = sum(p.numel() for p in model.parameters())
    layers.swap(model, path, Hashed.of(model.get_submodule(path), 128, 0))
    assert effects.bits_per_weight(model) == pytest.approx(32 * (numbers - 1024 + 128) / numbers)


def test_refusals_say_what_is_allowed():
    with pytest.raises(ArtifactError, match="shares 1 to 6 values"):
        layers.build("hashed", {"role": "linear", "shape": [2, 3], "count": 7, "seed": 0})
