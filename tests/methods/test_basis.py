"""One basis for several blocks: planted, cheaper than a basis each at the same error, and shared where it stands."""

import copy

import pytest
import torch

from laconic import effects, layers
from laconic.errors import RecipeError
from laconic.maths import factor
from laconic.methods.basis import Basis
from laconic.methods.gptq import GPTQ
from laconic.methods.svd import SVD
from tests import slow, workshop
from tests.methods import small

PATHS = [f"bert.encoder.layer.{i}.attention.self.query" for i in range(2)]


def planted(tmp_path):
    work = small.work(tmp_path)
    with torch.no_grad():
        for paths in work.anatomy.alike(work.anatomy.stacks[0].blocks, "linears"):
            right = torch.randn(4, layers.take(work.model.get_submodule(paths[0])).weight.shape[1])
            for path in paths:
                weight = work.model.get_submodule(path).weight
                weight.copy_(torch.randn(len(weight), 4) @ right / 4)
    return work


def test_a_planted_basis_is_found(tmp_path):
    work = planted(tmp_path)
    said, before = small.logits(work), effects.measure(work.model)
    Basis(rank=4).apply(work)
    torch.testing.assert_close(small.logits(work), said, atol=1e-3, rtol=1e-3)
    after = effects.measure(work.model)
    assert effects.grew(before, after, "low_rank")
    assert after["tied"] == before["tied"] + 4  # query, key, value and the feed-forward's input
    assert torch.equal(*(work.model.get_submodule(f"{path}.down").weight for path in PATHS))
    assert isinstance(work.model.get_submodule("bert.encoder.layer.1.output.dense").down, torch.nn.Linear)


def test_where_blocks_have_a_basis_in_common_it_loses_less_than_one_each_of_the_same_size(tmp_path):
    work = planted(tmp_path)
    original = copy.deepcopy(work.model)
    sums = slow.grams(work, PATHS, 64)
    losses = []
    for method in (Basis(keep=0.19, samples=64), SVD(keep=0.19, samples=64)):
        other = small.work(tmp_path, copy.deepcopy(original))
        method.apply(other)
        losses.append(
            sum(
                factor.loss(
                    *(layers.take(m.get_submodule(p)).weight.detach() for m in (original, other.model)),
                    sums[p][:32, :32],
                )
                for p in PATHS
            )
        )
    assert losses[0] < 1e-3 * losses[1]


def test_the_fraction_is_of_bases_and_coefficients_together(tmp_path):
    work = small.work(tmp_path)
    Basis(keep=0.5).apply(work)
    held = sum(p.numel() for path in PATHS for p in work.model.get_submodule(path).parameters() if p.dim() == 2)
    assert 0.45 * 2 * 32 * 32 < held <= 0.5 * 2 * 32 * 32


def test_a_basis_is_rounded_once_and_trained_through_every_layer(tmp_path):
    work = planted(tmp_path)
    Basis().apply(work)
    GPTQ(4, samples=8).apply(work)
    source, follower = (work.model.get_submodule(f"{path}.down") for path in PATHS)
    assert (source.kind, follower.kind) == ("quantized", "shared")
    layers.thaw(work.model)
    work.model.get_submodule(PATHS[1])(torch.randn(2, 32)).square().sum().backward()
    assert source.latent.grad.any()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"share": 1}, "share is 1"), ({"keep": 0.0}, "keep is 0.0"), ({"rank": 8, "keep": 0.9}, "keep is 0.9")],
)
def test_refusals(wrong, says):
    Basis().check()
    with pytest.raises(RecipeError, match=says):
        Basis(**wrong).check()


def test_the_forecast_shrinks_what_is_replaced():
    sketch = small.sketch()
    assert Basis(keep=0.25, where="ffn").forecast(sketch).ffn == 0.25 * sketch.ffn
    assert Basis(rank=16).forecast(sketch).attention == pytest.approx(0.375 * sketch.attention)


def test_more_blocks_than_there_are_is_refused_before_anything_changes():
    for family, share in (("albert", 2), ("bert", 9)):
        given = workshop.work(family)
        before = effects.measure(given.model)
        with pytest.raises(RecipeError, match=rf"share is {share}, and no stack .* or leave basis out"):
            Basis(share=share).apply(given)
        assert effects.measure(given.model) == before
