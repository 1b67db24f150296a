"""Folding scales leaves the function of every family, and what can't be folded is named with its reason."""

import copy

import pytest
import torch

from laconic import layers
from laconic.anatomy import Anatomy, feeds
from laconic.errors import AnatomyError
from laconic.layers.delta import Delta
from laconic.layers.lowrank import LowRank
from laconic.layers.quantized import Quantized
from laconic.layers.shared import Shared
from laconic.layers.sparse import Sparse
from tests.tiny import ALIKE, FAMILIES, GROUPED, PRE_NORM, heads, tiny, tiny_logits


@pytest.mark.parametrize("family", FAMILIES + ALIKE)
def test_folding_changes_nothing_that_is_computed(family):
    model = tiny(family, head=heads(family)[-1])
    if family != "gemma2":  # its attention masks doubles by what its softmax, in floats, takes for minus infinity
        model = model.double()
    before, weights = tiny_logits(model, family), {n: p.clone() for n, p in model.named_parameters()}
    found, reasons = Anatomy(model).feeds("linears")
    generator = torch.Generator().manual_seed(0)
    for feed in found:
        feed.fold(model, torch.rand(len(feed.rows), generator=generator).double() * 3 + 0.2)
    assert (tiny_logits(model, family) - before).abs().max() <= 1e-5 * before.abs().max().clamp(min=1)
    for feed in found:
        for path in feed.readers:
            assert not torch.allclose(dict(model.named_parameters())[f"{path}.weight"], weights[f"{path}.weight"])
    told = {path for feed in found for path in feed.readers} | set(reasons)
    assert told == {path for path, _ in Anatomy(model).linears("linears")}
    assert not {path for feed in found for path in feed.readers} & set(reasons)
    assert any(not layers.is_linear(model.get_submodule(feed.source)) for feed in found) == (family in PRE_NORM)


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_scales_go_into_the_factors_of_low_rank_layers(family):
    model = tiny(family, head=heads(family)[-1]).double()
    whole, _ = Anatomy(model).feeds("linears")
    for path, module in list(Anatomy(model).linears("linears")):
        weight = layers.take(module).weight.detach()
        left, size, right = torch.linalg.svd(weight, full_matrices=False)
        layers.swap(model, path, LowRank.of(module, left * size, right))
    before = tiny_logits(model, family)
    found, _ = Anatomy(model).feeds("linears")
    assert [f.readers for f in found] == [tuple(f"{path}.down" for path in f.readers) for f in whole]
    generator = torch.Generator().manual_seed(0)
    for feed in found:
        held = [layers.take(model.get_submodule(path)).weight.clone() for path in feed.readers]
        feed.fold(model, torch.rand(len(feed.rows), generator=generator).double() * 3 + 0.2)
        assert not any(
            torch.allclose(layers.take(model.get_submodule(path)).weight, weight)
            for path, weight in zip(feed.readers, held, strict=True)
        )
    assert (tiny_logits(model, family) - before).abs().max() <= 1e-5 * before.abs().max().clamp(min=1)


def test_layers_of_several_parts_that_can_not_be_scaled_are_named():
    model = tiny("llama")
    block = Anatomy(model).stacks[0].blocks[0]
    base = model.get_submodule(block.attention.o)
    layers.swap(model, block.attention.o, Delta.of(base, torch.ones(32, 2), torch.ones(2, 32)))
    found, reasons = Anatomy(model).feeds("attention")
    assert not any(block.attention.o in feed.readers for feed in found)
    assert reasons[block.attention.o] == feeds.SHARED


@pytest.mark.parametrize("family", GROUPED)
def test_query_heads_that_share_a_value_share_its_scales(family):
    model = tiny(family)
    block = Anatomy(model).stacks[0].blocks[0]
    (feed,) = [f for f in Anatomy(model).feeds("attention")[0] if f.readers == (block.attention.o,)]
    assert len(feed.rows) == 16
    assert len(feed.columns) == 32
    assert feed.columns[:8] == feed.columns[8:16] == tuple(range(8))


def test_a_fused_matrix_is_scaled_only_where_the_values_are():
    model = tiny("gpt2")
    block = Anatomy(model).stacks[0].blocks[0]
    (feed,) = [f for f in Anatomy(model).feeds("attention")[0] if f.readers == (block.attention.o,)]
    assert feed.rows == tuple(range(64, 96))
    before = layers.take(model.get_submodule(block.attention.v)).weight.detach().clone()
    feed.fold(model, torch.full((32,), 2.0))
    after = layers.take(model.get_submodule(block.attention.v)).weight
    assert torch.equal(after[:64], before[:64])
    assert torch.equal(after[64:], before[64:] / 2)


def test_a_norm_that_feeds_attention_and_feed_forward_is_scaled_for_both_or_not_at_all():
    model = tiny("phi")
    block = Anatomy(model).stacks[0].blocks[0]
    a = block.attention
    assert Anatomy(model).feeds("linears")[0][0].readers == (a.q, a.k, a.v, *block.ffn.inputs)
    found, reasons = Anatomy(model).feeds("attention")
    assert {feed.readers for feed in found} == {(b.attention.o,) for b in Anatomy(model).stacks[0].blocks}
    assert reasons[a.q] == reasons[a.v] == feeds.SPLIT


def test_relu_lets_scales_pass():
    model = tiny("distilbert")
    assert feeds.NONLINEAR in Anatomy(model).feeds("ffn")[1].values()
    model.config.activation = "relu"
    for block in model.distilbert.transformer.layer:
        block.ffn.activation = torch.nn.ReLU()
    before = tiny_logits(model, "distilbert")
    found, reasons = Anatomy(model).feeds("ffn")
    assert feeds.NONLINEAR not in reasons.values()
    for feed in found:
        feed.fold(model, torch.rand(len(feed.rows)) + 0.5)
    assert torch.allclose(tiny_logits(model, "distilbert"), before, atol=1e-5)


def test_what_stands_at_two_places_or_on_a_grid_is_left_out():
    model = tiny("llama")
    first, second = (f"model.layers.{i}.self_attn.o_proj" for i in (0, 1))
    anatomy = Anatomy(model)
    count = len(anatomy.feeds("linears")[0])
    layers.swap(model, first, Quantized.of(model.get_submodule(first), bits=4))
    found, reasons = anatomy.feeds("linears")
    assert len(found) == count - 1
    assert reasons == {first: feeds.SHARED}
    gate, up = (f"model.layers.{i}.mlp.gate_proj" for i in (1, 2))
    layers.swap(model, up, Shared.of(model.get_submodule(up), gate))
    layers.bind(model)
    reasons = anatomy.feeds("linears")[1]
    assert {first, gate, up} <= set(reasons)
    assert second not in reasons
    with pytest.raises(AnatomyError, match="held as quantized can't be scaled"):
        layers.rescale(model.get_submodule(first), rows=torch.ones(32))


def test_sparse_layers_are_scaled_and_keep_their_zeros():
    model = tiny("llama")
    path = "model.layers.0.mlp.down_proj"
    mask = torch.rand(32, 64, generator=torch.Generator().manual_seed(1)) > 0.5
    layer = Sparse.of(model.get_submodule(path), mask)
    layer.freeze()
    layers.swap(model, path, layer)
    before, scaled = tiny_logits(model, "llama"), copy.deepcopy(layer)
    layers.rescale(scaled, rows=torch.arange(1.0, 33.0), columns=torch.arange(1.0, 65.0))
    assert torch.allclose(scaled.weight, layer.weight * torch.arange(1.0, 33.0)[:, None] * torch.arange(1.0, 65.0))
    for feed in Anatomy(model).feeds("ffn")[0]:
        feed.fold(model, torch.rand(len(feed.rows)) + 0.5)
    assert torch.allclose(tiny_logits(model, "llama"), before, atol=1e-5)
    assert not layer.weight[~mask].any()
