"""Movement pruning: scores are the sum written out, masked weights may return, and what moves to zero goes."""

import pytest
import torch

from laconic import layers, training
from laconic.errors import RecipeError
from laconic.layers.sparse import Sparse
from laconic.methods.gradual import Gradual
from laconic.methods.movement import Movement
from tests.methods import small

TEN = Movement(sparsity=0.6, until=0.5, every=2, epochs=1, batch=4, learning_rate=1e-3)


def test_scores_are_minus_the_gradient_of_the_masked_weight_times_the_weight_summed_up():
    torch.manual_seed(0)
    dense, x = torch.nn.Linear(5, 3), torch.randn(3, 7, 5)
    mask = torch.rand(3, 5) > 0.4
    layer = Sparse.of(dense, torch.ones_like(mask))
    layer.record(True)
    layer.prune(mask)
    slow = torch.zeros(3, 5)
    for step in range(3):
        weight = torch.where(mask, dense.weight.detach(), 0.0).requires_grad_()
        loss = torch.nn.functional.linear(x[step], weight, dense.bias).square().sum()
        (slope,) = torch.autograd.grad(loss, [weight])
        slow -= slope * dense.weight.detach()
        layer(x[step]).square().sum().backward()
        torch.testing.assert_close(layer.latent.grad, slope * mask, rtol=1e-5, atol=1e-5)
        layer.latent.grad = None
    torch.testing.assert_close(layer.moved, slow, rtol=1e-5, atol=1e-5)
    assert slow[~mask].any()  # so that a masked weight can return
    layer.freeze()
    assert layer.moved is None
    assert "moved" not in layer.state_dict()


def test_weights_that_shrink_go_though_they_are_the_largest(tmp_path, monkeypatch):
    work = small.work(tmp_path)
    path = "bert.encoder.layer.0.output.dense"

    def fit(work, options, *, on_step, best):
        held = work.model.get_submodule(path)
        with torch.no_grad():
            held.latent[:, :10] = 2.0
        for step in range(10):
            on_step(step, 10)
            slope = torch.full_like(held.latent, -1.0) * held.latent.sign()
            slope[:, :10] = 1.0  # descent lessens the largest and raises the rest
            torch.autograd.backward([held.weight], [slope])
            for _, other in layers.held(work.model):
                if other is not held:
                    other.weight.sum().backward()

    monkeypatch.setattr(training, "fit", fit)
    Movement(sparsity=10 / 48, where="ffn", scope="row", until=0.8, every=1, epochs=1).apply(work)
    pruned = work.model.get_submodule(path).weight == 0
    assert pruned[:, :10].all()
    assert not pruned[:, 10:].any()


def test_real_training_reaches_the_sparsity_by_other_masks_than_magnitude(tmp_path):
    found = {}
    for method in (TEN, Gradual(sparsity=0.6, until=0.5, every=2, epochs=1, batch=4, learning_rate=1e-3)):
        work = small.work(tmp_path / type(method).__name__)
        method.apply(work)
        found[type(method)] = [layer.mask for _, layer in layers.held(work.model)]
        assert all(layer.moved is None for _, layer in layers.held(work.model))
    sizes = {kind: sum(int(m.sum()) for m in masks) for kind, masks in found.items()}
    total = sum(m.numel() for m in found[Movement])
    assert sizes[Movement] == sizes[Gradual] == pytest.approx(0.4 * total, abs=1)
    assert any(not torch.equal(a, b) for a, b in zip(*found.values(), strict=True))


@pytest.mark.parametrize("scope", ["global", "layer", "row"])
def test_a_single_step_chooses_by_what_moved_in_it(scope, tmp_path):
    path, expected = "bert.encoder.layer.0.output.dense", small.work(tmp_path / "a")
    layer = Sparse.of(expected.model.get_submodule(path), torch.ones(32, 48, dtype=torch.bool))
    layers.swap(expected.model, path, layer)
    layer.record(True)
    one = training.Training(epochs=1, batch=64, learning_rate=1e-3)
    training.fit(expected, one, best=False)
    work = small.work(tmp_path / "b")
    Movement(sparsity=0.5, where="ffn", scope=scope, epochs=1, batch=64, learning_rate=1e-3).apply(work)
    kept = work.model.get_submodule(path).mask
    assert layer.moved[kept].mean() > 0 > layer.moved[~kept].mean()
    if scope != "global":
        assert layer.moved[kept].min() > layer.moved[~kept].max() or scope == "row"
        assert int(kept.sum()) == 32 * 48 / 2


def test_what_nothing_moved_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fit", lambda work, options, *, on_step, best: on_step(0, 1))
    with pytest.raises(RecipeError, match=r"training has moved no weight of 4 of 4 layers.*use gradual"):
        Movement(sparsity=0.5, where="ffn", epochs=1).apply(small.work(tmp_path))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"epochs": 0}, "epochs is 0"), ({"scope": "2:4"}, "cannot grow"), ({"until": 0}, "until is 0")],
)
def test_refusals(wrong, says):
    TEN.check()
    with pytest.raises(RecipeError, match=says):
        Movement(**wrong).check()
