"""SparseGPT over a model: less error of the outputs than its simpler kin, N:M, grids whose zeros are zero."""

import copy

import pytest
import torch

from laconic import effects, layers
from laconic.errors import RecipeError
from laconic.layers.quantized import Quantized
from laconic.maths import hessian
from laconic.methods.magnitude import Magnitude
from laconic.methods.rtn import RTN
from laconic.methods.sparsegpt import SparseGPT
from laconic.methods.wanda import Wanda
from tests import slow
from tests.methods import small

QUERY = "bert.encoder.layer.0.attention.self.query"
N_OF_M = [("layer", 0.5), ("row", 0.5), ("2:4", 0.5), ("1:4", 0.75)]


@pytest.mark.parametrize(("scope", "sparsity"), N_OF_M)
def test_less_is_lost_than_by_wanda_and_magnitude(tmp_path, scope, sparsity):
    made = {}
    for kind in (SparseGPT, Wanda, Magnitude):
        at = small.work(tmp_path)
        weight, sums = at.model.get_submodule(QUERY).weight.detach(), slow.grams(at, [QUERY], 64)[QUERY][:32, :32]
        said = small.logits(at)
        kind(sparsity=sparsity, scope=scope).apply(at)
        found = at.model.get_submodule(QUERY).weight.detach()
        assert float((found == 0).float().mean()) == pytest.approx(sparsity, abs=0.01)
        made[kind] = (
            float(hessian.loss(weight, found, sums).sum()),
            float((small.logits(at) - said).square().mean()),
        )
    for other in (Wanda, Magnitude):
        assert made[SparseGPT][0] < 0.7 * made[other][0]
        assert made[SparseGPT][1] < made[other][1]


def test_with_bits_layers_are_on_a_grid_and_their_zeros_stay_zero(tmp_path):
    at = small.work(tmp_path)
    method = SparseGPT(0.5, "2:4", bits=4, group=16, symmetric=False)
    assert method.makes == {"sparse", "low_bit"}
    assert SparseGPT().makes == {"sparse"}
    before = effects.measure(at.model)
    method.apply(at)
    said = small.logits(at)
    layers.freeze(at.model)
    assert torch.equal(small.logits(at), said)
    after = effects.measure(at.model)
    assert all(effects.grew(before, after, made) for made in method.makes)
    for _, layer in layers.held(at.model):
        assert isinstance(layer, Quantized)
        assert (layer.weight.reshape(len(layer.weight), -1, 4) == 0).sum(-1).ge(2).all()


def test_pruned_and_rounded_at_once_less_is_lost_than_one_after_the_other(tmp_path):
    errors = {}
    for steps in ([SparseGPT(0.5, bits=3)], [SparseGPT(0.5), RTN(3, where="linears")]):
        at = small.work(tmp_path)
        said = small.logits(at)
        for step in steps:
            step.apply(at)
        errors[len(steps)] = float((small.logits(at) - said).square().mean())
    assert errors[1] < errors[2]


def test_zeros_of_an_earlier_step_stay(tmp_path):
    at = small.work(tmp_path)
    Magnitude(0.3).apply(at)
    zeros = {path: layer.weight == 0 for path, layer in layers.held(at.model)}
    SparseGPT(0.5, samples=16, bits=4).apply(at)
    assert all(not at.model.get_submodule(path).weight[mask].any() for path, mask in zeros.items())


def test_dead_inputs_go_and_the_function_stays(tmp_path):
    at = small.work(tmp_path)
    block = at.anatomy.stacks[0].blocks[0].ffn
    up, down = (at.model.get_submodule(path) for path in (block.inputs[0], block.output))
    with torch.no_grad():
        up.weight[::2], up.bias[::2] = 0, 0  # gelu(0) is 0
    before, kept = small.logits(at), copy.deepcopy(down.weight.detach()[:, 1::2])
    SparseGPT(0.5, "row", where="ffn", samples=64).apply(at)
    found = at.model.get_submodule(block.output).weight
    assert not found[:, ::2].any()
    torch.testing.assert_close(found[:, 1::2], kept, rtol=1e-3, atol=1e-3)
    assert not torch.equal(small.logits(at), before)  # other layers have no dead inputs


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"where": "all"}, "where is 'all'"), ({"scope": "global"}, "scope is 'global'"), ({"block": 0}, "block is 0"),
     ({"damp": 2.0}, "damp is 2.0"), ({"bits": 1}, "bits is 1"), ({"group": 64}, "group is 64, which nothing reads"),
     ({"length": 0}, "length is 0"), ({"scope": "1:4"}, "make them agree"), ({"propagate": -1.0}, "propagate is -1.0"),
     ({"scope": "2:4", "block": 8}, "block is 8, which nothing reads where scope is '2:4'"),
     ({"scope": "row", "block": 1}, "block is 1, in which a row of sparsity 0.5 has nothing to choose"),
     ({"scope": "row", "block": 9, "sparsity": 0.9}, "give at least 10, or scope layer")],
)  # fmt: skip
def test_refusals(wrong, says):
    SparseGPT().check()
    with pytest.raises(RecipeError, match=says):
        SparseGPT(**wrong).check()


@pytest.mark.parametrize(("scope", "sparsity"), [("layer", 0.5), ("2:4", 0.5)])
def test_what_earlier_pruning_changed_is_made_up_for(tmp_path, scope, sparsity):
    errors = []
    for propagate in (1.0, 0.0):
        at = small.work(tmp_path)
        said = small.logits(at)
        SparseGPT(sparsity, scope, samples=64, propagate=propagate).apply(at)
        found = at.model.get_submodule(QUERY).weight.detach()
        assert float((found == 0).float().mean()) == pytest.approx(sparsity, abs=0.01)
        errors.append(float((small.logits(at) - said).square().mean()))
    assert errors[0] < 0.9 * errors[1]
