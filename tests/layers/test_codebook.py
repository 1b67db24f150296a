"""The codebook layer: function, gradient of the values, freezing, checkpoints."""

import copy
import json

import pytest
import torch
from torch import nn

from laconic import layers
from laconic.artifact import store
from laconic.errors import AnatomyError, ArtifactError, RecipeError
from laconic.layers.codebook import Codebook
from laconic.layers.dense import Dense
from laconic.maths import cluster, grid
from tests.layers.test_quantized import linear, table

GROUPS: list[grid.Group] = ["tensor", "channel", 4, 5]


def made(module: nn.Module, bits: int = 2, group: grid.Group = "channel") -> Codebook:
    codes, values, pruned = cluster.fit(module.weight.detach(), bits, group)
    return Codebook.of(module, bits=bits, group=group, codes=codes, values=values, pruned=pruned)


@pytest.mark.parametrize("bits", [1, 3, 8])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("make", [linear, table])
def test_frozen_layer_rebuilt_from_its_spec_computes_the_same_bits(make, bits, group):
    layer = made(make(), bits, group).eval()
    layer.values.data.add_(0.01)
    x = torch.randint(20, (3, 7)) if layer.role == "embedding" else torch.randn(3, 7, 12)
    before, weight = layer(x), layer.weight.detach()
    layer.freeze()
    assert torch.equal(layer(x), before)
    assert grid.is_half(layer.values)
    with torch.device("meta"):
        again = layers.build("codebook", json.loads(json.dumps(layer.spec())))
    again.load_state_dict(layer.state_dict(), strict=True, assign=True)
    assert torch.equal(again(x), before)
    assert torch.equal(again.weight, weight)
    layer.thaw()
    assert layer.values.requires_grad
    assert torch.equal(layer(x), before)


def test_gradient_of_a_value_is_the_sum_over_its_weights():
    layer = made(linear(), 2, 4)
    slopes = torch.randn(6, 12)
    (layer.weight * slopes).sum().backward()
    for row in range(6):
        for part in range(3):
            for code in range(4):
                mine = layer.codes[row, 4 * part : 4 * part + 4] == code
                expected = slopes[row, 4 * part : 4 * part + 4][mine].sum()
                assert float(layer.values.grad[row, part, code]) == pytest.approx(float(expected), abs=1e-5)


def test_pruned_weights_stay_zero_while_values_learn():
    module = linear()
    mask = torch.rand(6, 12, generator=torch.Generator().manual_seed(5)) > 0.5
    module.weight.data *= mask
    layer = made(module, 2, "tensor")
    first = layer.weight.detach().clone()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        layer(torch.randn(8, 12)).square().sum().backward()
        optimizer.step()
    layer.freeze()
    assert not layer.weight[~mask].any()
    assert not torch.equal(layer.weight, first)
    assert len(torch.unique(layer.weight)) <= 4


def test_embedding_looks_up_only_the_rows_it_gives(monkeypatch):
    layer = made(table()).eval()
    seen, real = [], grid.split
    monkeypatch.setattr(grid, "split", lambda x, group: seen.append(len(x)) or real(x, group))
    out = layer(torch.tensor([[3, 3, 19]]))
    monkeypatch.undo()
    assert seen == [3]
    assert torch.equal(out, layer.weight[torch.tensor([[3, 3, 19]])])


def test_loading_into_a_used_frozen_layer_is_seen():
    first, second = made(linear()).eval(), made(linear()).eval()
    second.values.data.neg_()
    first.freeze(), second.freeze()
    x = torch.randn(2, 12)
    assert not torch.equal(first(x), second(x))
    first.load_state_dict(second.state_dict())
    assert torch.equal(first(x), second(x))


def test_codes_are_entropy_coded():
    weight = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    module = nn.Linear(256, 256, bias=False)
    module.weight.data = weight
    layer = made(module, 3, "tensor")
    layer.freeze()
    counts = torch.bincount(layer.codes.flatten().long(), minlength=8).double()
    entropy = float(-(counts / counts.sum() * (counts / counts.sum()).log2()).sum())
    assert len(store.encode(layer.state_dict())) * 8 < (entropy + 0.08) * weight.numel() < 3 * weight.numel()


def test_bits_and_refusals():
    assert made(linear(bias=False), 2, 4).bits() == 6 * 12 * 2 + 18 * 4 * 16
    with pytest.raises(ArtifactError, match="can't be built"):
        layers.build("codebook", {"role": "linear", "shape": [2, 2], "bits": 9})
    with pytest.raises(RecipeError, match="give \\(6, 12\\) uint8"):
        Codebook.of(
            linear(), bits=1, group="tensor", codes=torch.zeros(2, 2), values=torch.zeros(1, 1, 2), pruned=False
        )


def pair(bits: int = 3, group: grid.Group = 4) -> nn.ModuleDict:
    """Two linears with one codebook, which the first holds."""
    modules = [linear(), linear()]
    modules[1].weight.data.mul_(3).add_(0.1)
    found, values, pruned = cluster.common([m.weight.detach() for m in modules], bits, group, [None, None])
    model = nn.ModuleDict({"first": modules[0], "second": modules[1]})
    for i, (name, (codes, scale)) in enumerate(zip(list(model), found, strict=True)):
        layer = Codebook.of(
            model[name], bits=bits, group=group, codes=codes, values=None if i else values, pruned=pruned,
            scale=scale, source="first" if i else "",
        )  # fmt: skip
        layers.swap(model, name, layer)
    return model


@pytest.mark.parametrize("group", GROUPS)
def test_a_common_codebook_is_stored_once_and_rebuilt(group):
    model = pair(3, group).eval()
    x = torch.randn(3, 12)
    before = [model[name](x) for name in model]
    layers.freeze(model)
    assert [torch.equal(model[name](x), said) for name, said in zip(model, before, strict=True)] == [True, True]
    state = model.state_dict()
    assert "first.values" in state
    assert "second.values" not in state
    with torch.device("meta"):
        specs = {name: json.loads(json.dumps(model[name].spec())) for name in model}
        again = nn.ModuleDict({name: layers.build("codebook", spec) for name, spec in specs.items()})
    again.load_state_dict(state, strict=True, assign=True)
    with pytest.raises(AnatomyError, match="not bound"):
        again["second"](x)
    layers.bind(again)
    assert [torch.equal(again[name](x), said) for name, said in zip(model, before, strict=True)] == [True, True]
    layers.thaw(again)
    assert [name for name, p in again.named_parameters() if p.requires_grad] == [
        "first.bias",
        "first.values",
        "second.bias",
    ]


def test_values_of_a_common_codebook_learn_from_every_layer():
    model = pair(2)
    slopes = torch.randn(2, 6, 12)
    sum((model[name].weight * slope).sum() for name, slope in zip(model, slopes, strict=True)).backward()
    expected = torch.zeros(4)
    for name, slope in zip(model, slopes, strict=True):
        wide = model[name].scale.repeat_interleave(4, 1)
        expected.index_add_(0, model[name].codes.flatten().long(), (slope * wide).flatten())
    assert torch.allclose(model["first"].values.grad[0, 0], expected, atol=1e-5)
    first = model["second"].weight.detach()
    model["first"].values.data.mul_(1.5)
    assert not torch.equal(model["second"].weight, first)


def test_a_frozen_reader_sees_its_codebook_change():
    model = pair()
    layers.freeze(model)
    before = model["second"].weight.clone()  # which is kept from now on
    model["first"].thaw()
    model["first"].values.data.neg_()
    model["first"].freeze()
    assert torch.equal(model["second"].weight, -before)


def trio() -> nn.ModuleDict:
    """`pair`, and a second reader."""
    model = pair()
    other = copy.deepcopy(model["second"])
    other._source = model["second"]._source
    model["third"] = other
    return model


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("by", ["dense", "codebook"])
def test_when_the_holder_is_replaced_the_next_layer_holds_the_codebook(by, frozen):
    model = trio()
    if frozen:
        layers.freeze(model)
    before = model["second"].weight.detach().clone()
    new = Dense.of(linear()) if by == "dense" else pair()["first"]
    layers.swap(model, "first", new)
    assert torch.equal(model["second"].weight, before)
    assert torch.equal(model["third"].weight, before)
    assert model["second"].spec().get("source") is None
    assert model["third"].spec()["source"] == "second"
    assert ("values" in dict(model["second"].named_parameters())) is not frozen
    layers.thaw(model)
    model["second"].values.data.neg_()
    assert torch.equal(model["third"].weight, -before)


def test_a_holder_that_moves_is_followed():
    model = trio()
    before = model["second"].weight.detach().clone()
    model["first"] = nn.ModuleDict({"inner": model["first"]})
    layers.bind(model)
    assert {model[name].source for name in ("second", "third")} == {"first.inner"}
    assert torch.equal(model["second"].weight, before)


def test_bits_of_a_common_codebook_and_of_its_readers():
    model = pair(3, 4)
    codes, scales, biases = 6 * 12 * 3, 18 * 16, grid.float_bits(model["first"].bias)
    assert model["first"].bits() == codes + scales + 8 * 16 + biases
    assert model["second"].bits() == codes + scales + grid.float_bits(model["second"].bias)


def test_a_source_that_is_no_text_is_refused():
    with pytest.raises(ArtifactError, match="source is 7"):
        layers.build("codebook", {"role": "linear", "shape": [2, 2], "bits": 2, "source": 7})


@pytest.mark.parametrize("source", ["nowhere", "second"])
def test_a_source_without_a_codebook_is_refused(source):
    model = pair()
    spec = {**model["second"].spec(), "source": source}
    model["second"] = layers.build("codebook", spec)
    with pytest.raises(AnatomyError, match=f"reads the codebook of '{source}'"):
        layers.bind(model)
