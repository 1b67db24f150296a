"""Rounding by error and bits: fewer stored bytes at less error than nearest rounding, and a dearer bit buys fewer."""

import pytest
import torch

from laconic import effects, layers
from laconic.artifact import store
from laconic.errors import RecipeError
from laconic.maths import grid, hessian, rate
from laconic.methods.magnitude import Magnitude
from laconic.methods.rate import Rate
from laconic.methods.rtn import RTN
from tests.methods import small


@pytest.mark.parametrize(("bits", "price"), [(2, 0.23), (3, 0.06), (4, 0.016)])
def test_nearest_rounding_takes_more_bytes_and_has_more_error(bits, price):
    """One Gaussian matrix whose rows and columns differ in size, scales counted: both less at the same time."""
    rng = torch.Generator().manual_seed(0)
    sizes = torch.rand(512, 1, generator=rng) * torch.linspace(0.3, 1, 256)
    weight = torch.randn(512, 256, generator=rng) * (0.2 + sizes)
    scale, _ = grid.fit(weight, bits, "channel", True)
    plain = grid.codes(weight, scale, None, bits, "channel")
    error = (grid.values(plain, scale, None, bits, "channel") - weight).square().sum()
    step, _, worth = rate.fit(weight, 8, "tensor", True, price)
    found = rate.solve(weight, None, step, None, 8, "tensor", worth=worth)
    held = len(store.encode({"codes": grid.codes(found, step, None, 8, "tensor"), "scale": step}))
    assert held < 0.96 * len(store.encode({"codes": plain, "scale": scale}))
    assert (found - weight).square().sum() < error


@pytest.mark.parametrize("price", [0.005, 0.1])
def test_a_weight_that_stands_out_is_not_clipped_where_its_input_is_large(price):
    """The step that 8 bits allow is coarse then, and still the outputs are nearer than with that weight cut off."""
    rng = torch.Generator().manual_seed(0)
    weight, x = 0.04 * torch.randn(64, 96, generator=rng), torch.randn(400, 96, generator=rng)
    weight[5, 7], x[:, 7] = 8.0, 20 * x[:, 7]
    inputs = x.T @ x
    scale, _, worth = rate.fit(weight, 8, "tensor", True, price, inputs.diagonal())
    found = rate.solve(weight, inputs, scale, None, 8, "tensor", worth=worth)
    assert found[5, 7] == pytest.approx(8.0, abs=float(scale))
    fresh = torch.randn(400, 96, generator=rng)
    fresh[:, 7] *= 20
    assert (fresh @ (found - weight).T).square().mean() < 0.02 * (fresh @ weight.T).square().mean()


def test_a_weight_whose_input_is_hardly_seen_does_not_carry_the_errors_of_others():
    rng = torch.Generator().manual_seed(0)
    weight, x = 0.05 * torch.randn(32, 48, generator=rng), torch.randn(60, 48, generator=rng)
    weight[3, 9], x[:, 11] = 6.0, 1e-3 * x[:, 11]
    inputs = x.T @ x
    scale, _, worth = rate.fit(weight, 8, "tensor", True, 0.01, inputs.diagonal())
    found = rate.solve(weight, inputs, scale, None, 8, "tensor", worth=worth)
    assert found[:, 11].norm() < 2 * weight[:, 11].norm()


def test_a_dearer_bit_leaves_a_smaller_and_less_exact_model(tmp_path):
    sizes, errors = [], []
    said = small.logits(small.work(tmp_path))
    for price in (0.0, 0.02, 0.1):
        work = small.work(tmp_path)
        Rate(price=price, samples=64).apply(work)
        layers.freeze(work.model)
        sizes.append(sum(rate.lengths(m.codes, 8)[m.codes.long()].sum().item() for _, m in layers.held(work.model)))
        errors.append(float((small.logits(work) - said).square().mean()))
    assert sizes[1] < 0.6 * sizes[0]
    assert sizes[2] < 0.8 * sizes[1]
    assert errors[0] < errors[1] < errors[2]


def test_a_layer_has_the_bits_that_it_uses(tmp_path):
    work = small.work(tmp_path)
    Rate(price=0.1, samples=16).apply(work)
    layers.freeze(work.model)
    for _, layer in layers.held(work.model):
        most = int((layer.codes.int() - 2 ** (layer.width - 1)).abs().max())
        assert 2 ** (layer.width - 2) <= most < 2 ** (layer.width - 1) or layer.width == 2
    assert {layer.width for _, layer in layers.held(work.model)} <= {2, 3, 4}


def test_without_a_price_it_is_gptq_over_everything_with_inputs(tmp_path):
    rng = torch.Generator().manual_seed(0)
    weight, x = torch.randn(8, 24, generator=rng), torch.randn(60, 24, generator=rng)
    inputs = x.T @ x
    scale, _ = grid.fit(weight, 3, "channel", True)
    solved = hessian.solve(weight, inputs, scale, None, 3, "channel")
    assert torch.equal(rate.solve(weight, inputs, scale, None, 3, "channel", worth=0.0), solved)
    free, nearest = small.work(tmp_path), small.work(tmp_path)
    Rate(3, price=0.0, group="channel", where="linears", samples=64).apply(free)
    RTN(3, where="linears").apply(nearest)
    said = small.logits(small.work(tmp_path))
    errors = [float((small.logits(w) - said).square().mean()) for w in (free, nearest)]
    assert errors[0] < errors[1]


def test_what_earlier_rounding_changed_is_made_up_for_at_as_many_bits(tmp_path):
    errors, bits = [], []
    for propagate in (1.0, 0.0):
        work = small.work(tmp_path)
        said = small.logits(work)
        Rate(price=0.06, where="linears", samples=64, propagate=propagate).apply(work)
        errors.append(float((small.logits(work) - said).square().mean()))
        layers.freeze(work.model)
        bits.append(sum(rate.lengths(m.codes, 8)[m.codes.long()].sum().item() for _, m in layers.held(work.model)))
    assert errors[0] < 0.7 * errors[1]
    assert bits[0] < 1.02 * bits[1]


def test_pruned_weights_stay_pruned_and_freezing_changes_nothing(tmp_path):
    work = small.work(tmp_path)
    Magnitude(0.5).apply(work)
    before = effects.measure(work.model)
    Rate(samples=16).apply(work)
    said = small.logits(work)
    layers.freeze(work.model)
    assert torch.equal(small.logits(work), said)
    assert effects.measure(work.model)["sparse"] >= before["sparse"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"price": -1.0}, "price is -1"),
        ({"damp": 0.0}, "damp is 0"),
        ({"propagate": 2.0}, "propagate is 2.0"),
        ({"samples": 0}, "samples is 0"),
        ({"bits": 9}, "bits is 9"),
    ],
)
def test_refusals(wrong, says):
    Rate().check()
    with pytest.raises(RecipeError, match=says):
        Rate(**wrong).check()
