"""The low-rank layer: the same function as the product of its factors, rebuilt from its spec, tied and counted."""

import pytest
import torch
from torch import nn

from laconic import effects, layers
from laconic.anatomy import Anatomy
from laconic.errors import ArtifactError
from laconic.layers.lowrank import LowRank
from laconic.layers.quantized import Quantized
from tests.tiny import tiny, tiny_logits


def made(role: str = "linear") -> tuple[LowRank, torch.Tensor]:
    torch.manual_seed(1)
    module = (nn.Linear(8, 5) if role == "linear" else nn.Embedding(5, 8)).eval()
    left, right = torch.randn(5, 3), torch.randn(3, 8)
    return LowRank.of(module, left, right), left @ right


@pytest.mark.parametrize("role", ["linear", "embedding"])
def test_it_computes_the_product_and_is_rebuilt_from_its_spec(role):
    layer, weight = made(role)
    torch.testing.assert_close(layer.weight, weight)
    x = torch.randn(3, 8) if role == "linear" else torch.tensor([[0, 4, 2]])
    dense = layers.compute(layers.Parts(role, weight, layer.bias, 1.0), x)
    torch.testing.assert_close(layer(x), dense)
    with torch.device("meta"):
        again = layers.build("lowrank", layer.spec())
    again.load_state_dict(layer.state_dict(), strict=True, assign=True)
    assert torch.equal(again(x), layer(x))


@pytest.mark.parametrize("role", ["linear", "embedding"])
def test_rows_and_products_need_no_dense_weight(role):
    layer, weight = made(role)
    index = torch.tensor([3, 0, 3])
    torch.testing.assert_close(layer.rows(index), weight[index])
    x = torch.randn(2, 8)
    torch.testing.assert_close(layer.product(x), x @ weight.T)


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "t5", "bart"])
def test_a_tied_head_goes_through_the_factors(family):
    model = tiny(family, head="lm")
    anatomy = Anatomy(model)
    path = anatomy.word_embedding
    table = layers.take(model.get_submodule(path)).weight.detach()
    layers.swap(model, path, LowRank.of(model.get_submodule(path), table, torch.eye(32)))
    assert torch.allclose(tiny_logits(model, family), tiny_logits(tiny(family, head="lm"), family), atol=1e-4)
    assert [p for p, _ in Anatomy(model).linears("embeddings")][:2] == [f"{path}.down", f"{path}.up"]
    assert Anatomy(model).head == Anatomy(tiny(family, head="lm")).head


def test_parts_are_found_counted_and_multiplied():
    model = tiny("bert")
    path = "bert.encoder.layer.0.output.dense"
    before = Anatomy(model).macs(10)
    numbers = sum(p.numel() for p in model.parameters())
    layers.swap(model, path, LowRank.of(model.get_submodule(path), torch.randn(32, 4), torch.randn(4, 64)))
    anatomy = Anatomy(model)
    assert {f"{path}.down", f"{path}.up"} < {p for p, _ in anatomy.linears("ffn")}
    assert path in dict(anatomy.whole("ffn"))
    assert anatomy.macs(10) == before - 10 * (32 * 64 - 4 * 96)
    assert sum(p.numel() for p in model.parameters()) == numbers - 32 * 64 + 4 * 96
    full = 3 * 6 * 32 + 32 + 32 + 2
    assert effects.measure(model)["low_rank"] == pytest.approx(28 / full)
    assert effects.bits_per_weight(model) == 32
    layers.swap(model, f"{path}.up", Quantized.of(model.get_submodule(f"{path}.up"), bits=4))
    left = numbers - 32 * 64 + 4 * 96
    assert effects.bits_per_weight(model) == pytest.approx((32 * (left - 128) + 4 * 128 + 32 * 16) / left)


def test_refusals_say_what_is_allowed():
    with pytest.raises(ArtifactError, match="rank of 1 to 2"):
        layers.build("lowrank", {"role": "linear", "shape": [2, 3], "rank": 3})
