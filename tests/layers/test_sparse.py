"""The sparse layer: masks held in training, values kept when frozen."""

import copy

import pytest
import torch
from torch import nn

from laconic import layers
from laconic.errors import ArtifactError, RecipeError
from laconic.layers.sparse import Sparse


def made(role: str = "linear") -> tuple[Sparse, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    module = (nn.Linear(8, 5) if role == "linear" else nn.Embedding(5, 8)).eval()
    mask = torch.rand(5, 8) > 0.6
    return Sparse.of(module, mask), mask, module.weight.detach().clone() * mask


@pytest.mark.parametrize("role", ["linear", "embedding"])
def test_frozen_layer_rebuilt_from_its_spec_computes_the_same_bits(role):
    layer, mask, weight = made(role)
    x = torch.randn(3, 8) if role == "linear" else torch.tensor([[0, 4, 2]])
    before = layer(x)
    layer.freeze()
    assert torch.equal(layer.weight, weight)
    assert torch.equal(layer(x), before)
    assert layer.values.shape == (int(mask.sum()),)
    with torch.device("meta"):
        again = layers.build("sparse", layer.spec())
    again.load_state_dict(layer.state_dict(), strict=True, assign=True)
    assert torch.equal(again(x), before)


def test_training_moves_only_what_the_mask_keeps():
    layer, mask, weight = made()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.randn(4, 8)).square().sum().backward()
    assert not layer.latent.grad[~mask].any()
    optimizer.step()
    layer.freeze()
    assert torch.equal(layer.mask, mask)
    assert not layer.weight[~mask].any()
    assert (layer.weight != weight)[mask].all()


def test_a_kept_zero_leaves_the_mask():
    module = nn.Linear(3, 1, bias=False)
    module.weight.data = torch.tensor([[1.0, 0.0, -2.0]])
    layer = Sparse.of(module, torch.ones(1, 3, dtype=torch.bool))
    layer.freeze()
    assert layer.spec()["count"] == 2
    assert layer.weight.tolist() == [[1.0, 0.0, -2.0]]


def test_checkpoint_of_the_training_state_and_copies():
    layer, mask, weight = made()
    other = Sparse.of(nn.Linear(8, 5), torch.ones(5, 8, dtype=torch.bool))
    other.load_state_dict(layer.state_dict(), strict=True)
    assert torch.equal(other.weight, weight)
    twin = copy.deepcopy(layer)
    twin.prune(torch.zeros(5, 8, dtype=torch.bool))
    assert not twin.weight.any()
    assert torch.equal(layer.mask, mask)


def test_loading_into_a_used_frozen_layer_is_seen():
    layer, _, _ = made()
    layer.freeze()
    x = torch.randn(2, 8)
    layer(x)
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    state["values"].neg_()
    layer.load_state_dict(state)
    assert torch.equal(layer.weight[layer.mask], state["values"])


def test_thawed_it_computes_the_same_and_learns():
    layer, mask, _ = made()
    before = layer.weight.detach()
    layer.freeze()
    layer.thaw()
    assert torch.equal(layer.weight, before)
    layer(torch.randn(2, 8)).sum().backward()
    assert layer.latent.grad[mask].all()
    assert "values" not in layer.state_dict()


def test_bits_are_counted():
    layer, mask, _ = made()
    kept = int(mask.sum())
    assert layer.bits() == 40 + 32 * kept + 5 * 32
    layer.freeze()
    assert layer.bits() == 40 + 32 * kept + 5 * 32
    layer.values = layer.values.half().float()
    assert layer.bits() == 40 + 16 * kept + 5 * 32


def test_refusals_say_what_is_allowed():
    layer, mask, _ = made()
    with pytest.raises(RecipeError, match=r"give bool \(5, 8\)"):
        Sparse.of(layer, mask.t())
    layer.freeze()
    with pytest.raises(RecipeError, match="before it is frozen"):
        layer.prune(mask)
    with pytest.raises(ArtifactError, match="keeps 0 to 4"):
        layers.build("sparse", {"role": "linear", "shape": [2, 2], "count": 5})
