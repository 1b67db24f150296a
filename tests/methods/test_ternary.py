"""Ternary weights: the best scale by brute force, zeros kept, and training through."""

import pytest
import torch

from laconic import effects, layers, training
from laconic.artifact import store
from laconic.errors import RecipeError
from laconic.layers.quantized import Quantized
from laconic.maths import grid
from laconic.methods.magnitude import Magnitude
from laconic.methods.rtn import RTN
from laconic.methods.ternary import Ternary
from tests.methods import small

QUERY = "bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize("group", ["tensor", "channel", 7])
@pytest.mark.parametrize("seed", range(4))
def test_no_scale_is_better(group, seed):
    weight = torch.randn(4, 20, generator=torch.Generator().manual_seed(seed)) * torch.arange(1.0, 5.0)[:, None]
    scale = grid.ternary(weight, group)
    parts = grid.split(weight, group)  # (R, G, n)

    def errors(scales: torch.Tensor) -> torch.Tensor:
        points = torch.stack([-scales, torch.zeros_like(scales), scales], -1).unsqueeze(2)  # (R, G, 1, 3)
        return (parts.unsqueeze(-1) - points).abs().amin(-1).square().sum(-1)

    mine = errors(scale)
    for part in torch.linspace(0.02, 1.0, 400):
        assert (mine <= errors(parts.abs().amax(-1) * part) * 1.001).all()
    snapped = (grid.snap(weight, scale, None, 2, group) - weight).square()
    assert torch.allclose(grid.split(snapped, group).sum(-1), mine, rtol=1e-4)


def test_by_hand():
    weight = torch.tensor([[4.0, -6.0, 1.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    scale = grid.ternary(weight, "channel")
    assert scale.tolist() == [[5.0], [1.0]]
    assert grid.snap(weight, scale, None, 2, "channel").tolist() == [[5.0, -5.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_a_model_is_trained_through_it(tmp_path):
    work, other = small.work(tmp_path), small.work(tmp_path)
    Magnitude(0.3).apply(work)
    before, pruned = effects.measure(work.model), {p: layer.weight == 0 for p, layer in layers.held(work.model)}
    Ternary().apply(work)
    RTN(2, where="linears").apply(other)
    start = training.evaluate(work.model, work.tokenizer, work.task, work.data.train)["bits"]
    training.fit(work, training.Training(epochs=4, learning_rate=2e-3), best=False)
    assert training.evaluate(work.model, work.tokenizer, work.task, work.data.train)["bits"] < start
    said = small.logits(work)
    layers.freeze(work.model)
    assert torch.equal(small.logits(work), said)
    for path, layer in layers.held(work.model):
        assert not layer.weight[pruned[path]].any()
        assert all(len(row.unique()) <= 3 for row in layer.weight)
    after = effects.measure(work.model)
    assert after["sparse"] > before["sparse"]
    assert effects.grew(before, after, "low_bit")


def test_codes_take_at_most_log2_of_three_bits():
    module = torch.nn.Linear(256, 256, bias=False)
    module.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    layer = Quantized.of(module, bits=2, scale=grid.ternary(module.weight.detach(), "tensor"), group="tensor")
    layer.freeze()
    assert len(layer.codes.unique()) == 3
    assert len(store.encode(layer.state_dict())) * 8 < 1.65 * 256 * 256


def test_refusals_and_forecast():
    Ternary().check()
    with pytest.raises(RecipeError, match="group is 'row'"):
        Ternary("row").check()
    assert Ternary(64).forecast(small.sketch()).linear_bits == 2.25
