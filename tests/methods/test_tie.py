"""Tied blocks: fitted better than copied, exact where blocks are alike, differences of their own, trained as one."""

import copy

import pytest
import torch

from laconic import effects, layers
from laconic.errors import AnatomyError, RecipeError
from laconic.methods.rtn import RTN
from laconic.methods.tie import Tie
from tests import slow
from tests.methods import small
from tests.workshop import work as workshop

PATHS = [f"bert.encoder.layer.{i}.attention.self.query" for i in range(2)]


def loss(work, original):
    """Squared error of both layers' outputs on the original's inputs, biases counted."""
    sums = slow.grams(small.work(work.folder, original), PATHS, 64)
    total = 0.0
    for path in PATHS:
        now, was = (layers.take(m.get_submodule(path)) for m in (work.model, original))
        difference = torch.cat([now.weight - was.weight, (now.bias - was.bias)[:, None]], 1).detach().double()
        total += float((difference @ sums[path].double() * difference).sum())
    return total


def test_fitted_is_better_than_copied_and_differences_better_still(tmp_path):
    original = small.model()
    losses = {}
    for rank in (0, 2, 32):
        work = small.work(tmp_path, copy.deepcopy(original))
        Tie(delta_rank=rank, samples=64).apply(work)
        losses[rank] = loss(work, original)
    copied = small.work(tmp_path, copy.deepcopy(original))
    with torch.no_grad():
        copied.model.get_submodule(PATHS[1]).weight.copy_(original.get_submodule(PATHS[0]).weight)
    assert losses[0] < loss(copied, original)
    assert losses[2] < losses[0]
    assert losses[32] < 1e-6 * losses[0]


def test_blocks_that_are_alike_stay_as_they_are(tmp_path):
    work = small.work(tmp_path)
    first, second = work.model.bert.encoder.layer
    second.load_state_dict(first.state_dict())
    said, before = small.logits(work), effects.measure(work.model)
    Tie().apply(work)
    torch.testing.assert_close(small.logits(work), said, atol=1e-4, rtol=1e-4)
    after = effects.measure(work.model)
    assert after["tied"] == before["tied"] + 6
    assert sum(p.numel() for p in work.model.parameters()) < sum(p.numel() for p in work.teacher.model.parameters())


@pytest.mark.parametrize("rank", [0, 2])
def test_a_shared_weight_is_trained_and_rounded_once(tmp_path, rank):
    work = small.work(tmp_path)
    Tie(delta_rank=rank, samples=16).apply(work)
    RTN(4, where="linears").apply(work)
    source = work.model.get_submodule(PATHS[0] + (".base" if rank else ""))
    follower = work.model.get_submodule(PATHS[1] + (".base" if rank else ""))
    assert (source.kind, follower.kind) == ("quantized", "shared")
    assert torch.equal(follower.weight, source.weight)
    work.model.get_submodule(PATHS[1])(torch.randn(2, 32)).square().sum().backward()
    assert source.latent.grad.any()


def test_cycles_join_blocks_far_apart(tmp_path):
    work = workshop("distilbert", tmp_path)
    Tie(pattern="cycle", where="ffn", samples=4).apply(work)
    sources = {path: layer.source for path, layer in layers.held(work.model) if layers.is_shared(layer)}
    stem = "distilbert.transformer.layer"
    assert sources == {f"{stem}.2.ffn.{name}": f"{stem}.0.ffn.{name}" for name in ("lin1", "lin2")}


def test_blocks_of_other_sizes_are_refused(tmp_path):
    work = small.work(tmp_path)
    work.anatomy.remove_neurons(work.anatomy.stacks[0].blocks[1], [0])
    with pytest.raises(AnatomyError, match="cut the same from every block"):
        Tie().apply(work)


def test_more_blocks_than_there_are_is_refused(tmp_path):
    Tie(share=3).apply(small.work(tmp_path, small.model(3)))
    with pytest.raises(RecipeError, match=r"share is 4, and no stack of the model has more than 3 blocks"):
        Tie(share=4).apply(small.work(tmp_path, small.model(3)))


@pytest.mark.parametrize(
    ("wrong", "says"), [({"share": 1}, "share is 1"), ({"delta_rank": -1}, "delta_rank"), ({"pattern": "x"}, "pattern")]
)
def test_refusals(wrong, says):
    Tie().check()
    with pytest.raises(RecipeError, match=says):
        Tie(**wrong).check()


def test_the_forecast_counts_a_shared_weight_once():
    sketch = small.sketch()
    assert Tie().forecast(sketch).ffn == 0.5 * sketch.ffn
    assert Tie(delta_rank=8).forecast(sketch).attention == pytest.approx(0.75 * sketch.attention)
