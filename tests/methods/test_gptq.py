"""GPTQ over a model: less error of the outputs, block by block, nothing left behind."""

import copy

import pytest
import torch

from laconic import calibration, effects, layers
from laconic.errors import RecipeError
from laconic.maths import grid, hessian
from laconic.methods.gptq import GPTQ
from laconic.methods.magnitude import Magnitude
from laconic.methods.rtn import RTN
from tests import slow
from tests.methods import small

QUERY = "bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize("options", [{}, {"symmetric": False}, {"group": 8}, {"group": "tensor"}, {"act_order": False}])
def test_outputs_of_the_first_block_are_nearer_than_rounding_to_nearest(tmp_path, options):
    work = small.work(tmp_path)
    original = copy.deepcopy(work.model)
    sums = slow.grams(work, [QUERY], 64)[QUERY][:32, :32]
    nearest = small.work(tmp_path, copy.deepcopy(original))
    rounding = {name: value for name, value in options.items() if name != "act_order"}
    RTN(3, where="linears", **rounding).apply(nearest)
    GPTQ(3, samples=64, **options).apply(work)
    weight = original.get_submodule(QUERY).weight
    losses = [
        float(hessian.loss(weight, w.model.get_submodule(QUERY).weight, sums).detach().sum()) for w in (work, nearest)
    ]
    assert losses[0] < 0.9 * losses[1]


def test_the_model_says_more_nearly_the_same(tmp_path):
    errors = {}
    for method in (GPTQ(3, samples=64), RTN(3, where="linears")):
        work = small.work(tmp_path)
        said = small.logits(work)
        method.apply(work)
        errors[type(method)] = float((small.logits(work) - said).square().mean())
    assert errors[GPTQ] < errors[RTN]


@pytest.mark.parametrize("sequential", [True, False])
def test_later_layers_see_what_earlier_ones_became(tmp_path, monkeypatch, sequential):
    work = small.work(tmp_path)
    asked = []
    real = calibration.Inputs

    def inputs(pairs, gram):
        asked.append(([path for path, _ in pairs], [path for path, _ in layers.held(work.model)]))
        return real(pairs, gram)

    monkeypatch.setattr(calibration, "Inputs", inputs)
    GPTQ(4, where="all", samples=8, true_sequential=sequential).apply(work)
    assert [len(paths) for paths, _ in asked] == [1, 1, 1, 3, 1, 1, 1, 3, 1, 1, 1, 1, 1]
    done = []
    for paths, rounded in asked:
        assert set(rounded) == set(done)
        done += paths
    assert done[:3] == list(work.anatomy.embeddings)
    assert sorted(done) == sorted(path for path, _ in work.anatomy.linears("all"))


def test_layers_that_read_one_input_are_solved_as_each_alone(tmp_path, monkeypatch):
    together, alone = small.work(tmp_path), small.work(tmp_path)
    GPTQ(3, "tensor", symmetric=False, samples=16).apply(together)
    real = hessian.solve

    def one_by_one(weight, *given, **options):
        gram, scale, zero, *rest = given
        zeros = zero.split(8) if zero is not None else [None] * len(weight)
        parts = zip(weight.split(8), scale.split(8), zeros, strict=False)
        return torch.cat([real(w, gram, s, z, *rest, **options) for w, s, z in parts])

    monkeypatch.setattr(hessian, "solve", one_by_one)
    GPTQ(3, "tensor", symmetric=False, samples=16).apply(alone)
    torch.testing.assert_close(small.logits(together), small.logits(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("group", ["channel", 8])
def test_a_scale_weighed_by_the_inputs_has_the_least_weighed_error(tmp_path, group):
    work = small.work(tmp_path)
    found = next(calibration.inputs(work, "linears", 64))
    weight, squares = layers.take(found.pairs[0][1]).weight.detach(), found.gram.diagonal()
    errors = {}
    for scale in ("weighted", "mse", "minmax"):
        fitted = GPTQ(3, group)._grid(weight, squares, scale)
        errors[scale] = float(((grid.snap(weight, *fitted, 3, group) - weight).square() * squares).sum())
    assert errors["weighted"] <= min(errors["mse"], errors["minmax"])
    assert errors["weighted"] < errors["minmax"]


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_best_scale_of_each_row_gives_outputs_at_least_as_near(tmp_path, symmetric):
    original, losses, scales = small.work(tmp_path), {}, {}
    sums = next(calibration.inputs(original, "linears", 64)).gram
    weight = layers.take(original.model.get_submodule(QUERY)).weight.detach()
    for scale in ("mse", "weighted", "minmax", "best"):
        work = small.work(tmp_path, copy.deepcopy(original.model))
        GPTQ(3, 8, symmetric, scale=scale, samples=64).apply(work)
        layer = work.model.get_submodule(QUERY)
        losses[scale], scales[scale] = hessian.loss(weight, layer.weight, sums), layer.scale
    single = torch.stack([losses[scale] for scale in ("mse", "weighted", "minmax")])  # (3, out)
    torch.testing.assert_close(losses["best"], single.amin(0), rtol=1e-4, atol=1e-6)
    for row, kind in enumerate(single.argmin(0).tolist()):
        assert torch.equal(scales["best"][row], scales[("mse", "weighted", "minmax")[kind]][row])


def test_pruned_weights_stay_pruned_and_freezing_changes_nothing(tmp_path):
    work = small.work(tmp_path)
    Magnitude(0.5).apply(work)
    before = effects.measure(work.model)
    pruned = {path: layer.weight == 0 for path, layer in layers.held(work.model)}
    GPTQ(4, samples=16).apply(work)
    said = small.logits(work)
    layers.freeze(work.model)
    assert torch.equal(small.logits(work), said)
    assert all(not work.model.get_submodule(path).weight[mask].any() for path, mask in pruned.items())
    after = effects.measure(work.model)
    assert after["sparse"] >= before["sparse"]
    assert effects.grew(before, after, "low_bit")


def test_samples_and_damp_matter(tmp_path):
    found = []
    for method in (GPTQ(3, samples=64), GPTQ(3, samples=8), GPTQ(3, samples=64, damp=1.0)):
        work = small.work(tmp_path)
        method.apply(work)
        found.append(small.logits(work))
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_no_hook_and_no_mode_is_left(tmp_path):
    work = small.work(tmp_path)
    work.model.train()
    GPTQ(samples=8).apply(work)
    assert all(module.training for module in work.model.modules())
    assert not any(module._forward_hooks for module in work.model.modules())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"damp": 0.0}, "damp is 0.0"),
        ({"samples": 0}, "samples is 0"),
        ({"bits": 1}, "bits is 1"),
        ({"length": 0}, "length is 0"),
        ({"scale": "max"}, "scale is 'max'"),
        ({"propagate": 1.5}, "propagate is 1.5; give a part of what the step has changed so far, 0 to 1"),
        ({"propagate": float("nan")}, "propagate is nan"),
    ],
)
def test_refusals(wrong, says):
    GPTQ().check()
    with pytest.raises(RecipeError, match=says):
        GPTQ(**wrong).check()


def test_solved_layers_are_final_and_those_without_inputs_are_not(tmp_path):
    work = small.work(tmp_path)
    GPTQ(4, where="all", samples=16).apply(work)
    words = {path for path, _ in work.anatomy.linears("embeddings")}
    for path, layer in layers.held(work.model):
        assert layer.frozen is not (path in words)


def test_what_earlier_rounding_changed_is_made_up_for(tmp_path):
    errors = []
    for propagate in (1.0, 0.0):
        work = small.work(tmp_path)
        said = small.logits(work)
        GPTQ(3, samples=64, propagate=propagate).apply(work)
        errors.append(float((small.logits(work) - said).square().mean()))
    assert errors[0] < 0.6 * errors[1]


def test_pruned_weights_stay_zero_when_an_original_is_followed(tmp_path):
    work = small.work(tmp_path)
    Magnitude(0.5, where="linears").apply(work)
    pruned = {path: layers.take(m).weight == 0 for path, m in work.anatomy.linears("linears")}
    GPTQ(4, samples=16, propagate=1.0).apply(work)
    assert all(not layers.take(work.model.get_submodule(path)).weight[mask].any() for path, mask in pruned.items())
