"""Gradual pruning: the schedule, the masks on the way, and what is held at the end."""

from dataclasses import replace

import pytest
import torch

from laconic import effects, layers, training
from laconic.errors import RecipeError
from laconic.layers.sparse import Sparse
from laconic.methods.gradual import Gradual
from laconic.methods.magnitude import Magnitude
from tests.methods import small

TEN = Gradual(sparsity=0.6, until=0.5, every=2, epochs=1, batch=4, learning_rate=1e-3)

PLAIN = {"learning_rate": 5e-5, "batch": 16}  # as they are by default


def test_the_schedule_is_zhu_and_guptas():
    assert [TEN.at(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 0.6 * 0.875, 0.6])


def test_sparsity_grows_on_schedule_and_training_goes_on_under_the_masks(tmp_path, monkeypatch):
    work = small.work(tmp_path)
    seen, masks = {}, {}

    def fit(work, options, *, on_step, best):
        assert not best
        held = [layer for _, layer in layers.held(work.model)]
        for step in range(20):
            on_step(step, 20)
            seen[step] = 1 - sum(int(h.mask.sum()) for h in held) / sum(h.mask.numel() for h in held)
            masks[step] = [h.mask.clone() for h in held]
            for h in held:
                h.latent.data.add_(torch.randn_like(h.latent) * 0.01)

    monkeypatch.setattr(training, "fit", fit)
    TEN.apply(work)
    expected = {step: TEN.at((step - step % 2) / 10) if step < 10 else 0.6 for step in range(20)}
    assert seen == pytest.approx(expected, abs=1e-3)
    final = [layer.mask for _, layer in layers.held(work.model)]
    assert all(torch.equal(a, b) for a, b in zip(final, masks[10], strict=True))


def test_real_training_reaches_the_sparsity_and_moves_what_is_left(tmp_path):
    work = small.work(tmp_path)
    path = "bert.encoder.layer.0.output.dense"
    before = work.model.get_submodule(path).weight.detach().clone()
    TEN.apply(work)
    layer = work.model.get_submodule(path)
    assert isinstance(layer, Sparse)
    assert effects.measure(work.model)["sparse"] > 0.4  # of linears and embeddings
    assert not torch.equal(layer.weight[layer.mask], before[layer.mask])


def test_zeros_of_an_earlier_step_stay(tmp_path):
    work = small.work(tmp_path)
    Magnitude(0.3, "ffn", "layer").apply(work)
    pruned = {path: layer.weight == 0 for path, layer in layers.held(work.model)}
    TEN.apply(work)
    assert all(not work.model.get_submodule(path).weight[mask].any() for path, mask in pruned.items())


def test_without_epochs_it_prunes_at_once(tmp_path):
    one, other = small.work(tmp_path), small.work(tmp_path, small.model())
    replace(TEN, epochs=0).apply(one)
    Magnitude(0.6).apply(other)
    assert torch.equal(small.logits(one), small.logits(other))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"until": 0}, "until is 0"), ({"every": 0}, "every is 0"), ({"scope": "2:4", "sparsity": 0.5}, "cannot grow"),
     ({"learning_rate": 0}, "learning_rate is 0"), ({"sparsity": 1.0}, "sparsity is 1.0"),
     ({"epochs": 0}, "learning_rate is 0.001, which nothing reads where epochs is 0"),
     ({"epochs": 0, **PLAIN}, "until is 0.5, which nothing reads where epochs is 0"),
     ({"epochs": 0, **PLAIN, "until": 0.7}, "every is 2, which nothing reads where epochs is 0")],
)  # fmt: skip
def test_refusals(wrong, says):
    TEN.check()
    Gradual(sparsity=0.6, epochs=0).check()
    with pytest.raises(RecipeError, match=says):
        replace(TEN, **wrong).check()


def sparsity(work):
    held = [layer for _, layer in layers.held(work.model)]
    return 1 - sum(int(h.mask.sum()) for h in held) / sum(h.mask.numel() for h in held)


def test_the_sparsity_is_reached_where_training_stops_early(tmp_path):
    work = small.work(tmp_path)
    replace(TEN, epochs=8, patience=1, learning_rate=1e-9, until=1.0).apply(work)  # no score gets better: two epochs
    assert sparsity(work) == pytest.approx(0.6, abs=1e-3)


def test_the_sparsity_is_reached_where_all_batches_are_one_step(tmp_path):
    work = small.work(tmp_path)
    replace(TEN, accumulate=1000).apply(work)
    assert sparsity(work) == pytest.approx(0.6, abs=1e-3)
