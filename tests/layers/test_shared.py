"""Shared layers and the swapping of layers that stand at two paths."""

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from laconic import layers
from laconic.errors import AnatomyError
from laconic.layers.dense import Dense
from laconic.layers.quantized import Quantized
from laconic.layers.shared import Shared
from laconic.layers.sparse import Sparse


class Tied(nn.Module):
    """An embedding at two paths and a head that holds its weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.words = nn.Embedding(9, 6)
        self.encoder = nn.ModuleDict({"words": self.words})
        self.body = nn.Linear(6, 6)
        self.head = nn.Linear(6, 9)
        self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.encoder["words"](ids)))


IDS = torch.tensor([[1, 8, 3]])


def test_swapping_an_embedding_replaces_it_everywhere_and_ties_the_head():
    model = Tied()
    bias = model.head.bias.detach().clone()
    layer = Quantized.of(model.words, bits=8)
    layers.swap(model, "words", layer)
    assert model.encoder["words"] is layer
    assert isinstance(model.head, Shared)
    expected = nn.functional.linear(model.body(layer.weight[IDS]), layer.weight, bias)
    assert torch.equal(model(IDS), expected)
    assert not any(name.startswith("head.weight") for name in model.state_dict())
    layers.freeze(model)
    assert torch.equal(model(IDS), expected)


def test_a_later_source_is_found_and_learns_through_both_uses():
    model = Tied()
    layers.swap(model, "words", Quantized.of(model.words, bits=8))
    layers.swap(model, "words", Quantized.of(model.words, bits=3))
    assert torch.equal(model.head.weight, model.words.weight)
    model(IDS).sum().backward()
    assert model.words.latent.grad[5].any()  # not among the ids: only the head uses this row


def test_a_copy_reads_its_own_source():
    model = Tied()
    layers.swap(model, "words", Quantized.of(model.words, bits=8))
    twin = copy.deepcopy(model)
    twin.words.latent.data.zero_()
    assert not twin.head.weight.any()
    assert model.head.weight.any()


def test_rebuilt_from_specs_it_computes_the_same():
    model = Tied()
    layers.swap(model, "words", Quantized.of(model.words, bits=5))
    layers.freeze(model)
    with torch.device("meta"):
        other = Tied()
        for path, layer in list(layers.held(model)):
            layers.swap(other, path, layers.build(layer.kind, layer.spec()))
    other.load_state_dict(model.state_dict(), strict=True, assign=True)
    layers.bind(other)
    assert torch.equal(other(IDS), model(IDS))
    assert {path: layer.kind for path, layer in layers.held(other)} == {"words": "quantized", "head": "shared"}


class Twice(Tied):
    """Two embeddings, one weight: as T5's encoder and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder["words"] = nn.Embedding(9, 6)
        self.encoder["words"].weight = self.words.weight


def test_a_shared_embedding_computes_only_the_rows_it_gives(monkeypatch):
    model = Twice()
    layers.swap(model, "words", Quantized.of(model.words, bits=8))
    other = model.encoder["words"]
    assert isinstance(other, Shared)
    assert torch.equal(other(IDS), model.words(IDS))
    asked = []
    real = Quantized.rows
    monkeypatch.setattr(Quantized, "rows", lambda self, index: asked.append(index.tolist()) or real(self, index))
    other.multiplier = 2.0
    assert torch.equal(other(IDS), model.words.weight[IDS] * 2)
    assert asked == [[1, 8, 3]]


def test_bits_of_a_shared_layer_are_those_of_its_bias():
    model = Tied()
    assert Shared.of(nn.Linear(6, 9, bias=False), "words").bits() == 0
    assert Shared.of(model.head, "words").bits() == 9 * 32


def test_distinct_gives_each_weight_once():
    model = Tied()
    pairs = [("words", model.words), ("encoder.words", model.words), ("body", model.body), ("head", model.head)]
    assert [path for path, _ in layers.distinct(pairs)] == ["words", "body"]
    layers.swap(model, "words", Dense.of(model.words))
    assert [path for path, _ in layers.distinct([("words", model.words), ("head", model.head)])] == ["words"]


@pytest.mark.parametrize("make", [Dense.of, lambda m: Sparse.of(m, torch.ones(4, 3, dtype=torch.bool))])
def test_a_transposed_linear_becomes_out_by_in(make):
    module = Conv1D(4, 3)
    nn.init.uniform_(module.bias)
    x = torch.randn(2, 5, 3)
    layer = make(module)
    assert layer.weight.shape == (4, 3)
    assert torch.allclose(layer(x), module(x), atol=1e-6)


def test_an_embedding_that_multiplies_keeps_its_factor():
    class Scaled(nn.Embedding):
        embed_scale: float

        def forward(self, ids):
            return super().forward(ids) * self.embed_scale

    module = Scaled(9, 4)
    module.embed_scale = 3.0
    for layer in (Dense.of(module), Sparse.of(module, torch.ones(9, 4, dtype=torch.bool))):
        assert torch.equal(layer(IDS), module(IDS))
        assert layers.build(layer.kind, layer.spec()).multiplier == 3.0
    quantized = Quantized.of(module, bits=8)
    assert torch.equal(quantized(IDS), quantized.weight[IDS] * 3.0)


def test_dense_round_trip_and_bits():
    module = nn.Linear(3, 4)
    layer = Dense.of(module)
    x = torch.randn(2, 3)
    assert torch.equal(layer(x), module(x))
    again = layers.build("dense", layer.spec())
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(x), module(x))
    assert layer.bits() == 16 * 32
    layer.weight.data = layer.weight.data.half().float()
    assert layer.bits() == 12 * 16 + 4 * 32


def test_refusals_name_the_path():
    model = Tied()
    with pytest.raises(AnatomyError, match="no layer at 'tail'"):
        layers.swap(model, "tail", Dense.of(model.body))
    with pytest.raises(AnatomyError, match="reads 'tail'"):
        Shared("tail").bind(model)
    with pytest.raises(AnatomyError, match="not bound"):
        _ = Shared("words").weight
    layers.swap(model, "words", Dense.of(model.words))
    with pytest.raises(AnatomyError, match="holds no weight itself"):
        Shared("head").bind(model)
