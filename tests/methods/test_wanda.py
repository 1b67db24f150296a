"""Wanda: the formula written out slowly, planted answers, N:M, and inputs of pruned blocks."""

import pytest
import torch

from laconic import effects, layers, testing
from laconic.errors import RecipeError
from laconic.methods.awq import AWQ
from laconic.methods.magnitude import Magnitude
from laconic.methods.sparsegpt import SparseGPT
from laconic.methods.wanda import Wanda
from tests import slow
from tests.methods import small
from tests.workshop import work

QUERY = "bert.encoder.layer.0.attention.self.query"
LAST = "bert.encoder.layer.1.output.dense"


def slowly(weight, norms, pruned):
    """Row by row, one weight at a time."""
    found = weight.clone()
    for row in found:
        scores = [(abs(float(w)) * float(n), i) for i, (w, n) in enumerate(zip(row, norms, strict=True))]
        for _, i in sorted(scores)[:pruned]:
            row[i] = 0.0
    return found


def norms(at, path):
    columns = layers.take(at.model.get_submodule(path)).weight.shape[1]
    return slow.grams(at, [path], 64)[path].diagonal()[:columns].sqrt()


def test_masks_are_those_of_the_paper_and_what_stays_is_as_it_was(tmp_path):
    at = small.work(tmp_path)
    wanted = slowly(at.model.get_submodule(QUERY).weight.detach(), norms(at, QUERY), 12)
    Wanda(12 / 32, samples=64).apply(at)
    assert at.model.get_submodule(QUERY).weight.equal(wanted)


def test_later_blocks_are_weighed_by_what_pruned_ones_give(tmp_path):
    at = small.work(tmp_path)
    weight = at.model.get_submodule(LAST).weight.detach()
    before = slowly(weight, norms(at, LAST), 24)
    Wanda(0.5, samples=64, true_sequential=True).apply(at)
    after = at.model.get_submodule(LAST).weight
    assert after.equal(slowly(weight, norms(at, LAST), 24))  # only its own pruning comes after its inputs
    assert not after.equal(before)


@pytest.mark.parametrize("method", [Wanda(0.5, where="head"), SparseGPT(0.5, where="head"), AWQ(where="head")])
@pytest.mark.parametrize(
    ("family", "head"), [("bert", "tokens"), ("bert", "sequence"), ("llama", "lm"), ("gpt2", "lm"), ("t5", "translate")]
)
def test_a_head_is_weighed_by_its_inputs_as_any_linear(method, family, head):
    """Tied to the embeddings in GPT-2 and in T5, where it stays so."""
    at = work(family, head=head)
    path = at.anatomy.head[-1]
    module = at.model.get_submodule(path)
    tied = layers.take(module).weight is layers.take(at.model.get_submodule(at.anatomy.word_embedding)).weight
    wanted = slowly(layers.take(module).weight.detach(), norms(at, path), layers.take(module).weight.shape[1] // 2)
    before = effects.measure(at.model)
    method.apply(at)
    after = effects.measure(at.model)
    weight = layers.take(at.model.get_submodule(path)).weight
    assert all(effects.grew(before, after, made) for made in method.makes)
    assert not isinstance(method, Wanda) or weight.equal(wanted)
    assert tied == torch.equal(weight, layers.take(at.model.get_submodule(at.anatomy.word_embedding)).weight)
    layers.freeze(at.model)
    assert testing.logits(at).isfinite().all()


@pytest.mark.parametrize("family", ["llama", "t5", "gpt2"])
@pytest.mark.parametrize("scope", ["row", "layer", "2:4"])
def test_weights_planted_small_against_their_inputs_go(family, scope):
    at = work(family)
    path = at.anatomy.stacks[0].blocks[0].attention.q
    layers.take(at.model.get_submodule(path)).weight.data[:, ::2] *= 1e-9  # (out, in)
    Wanda(0.5, scope=scope, where="attention").apply(at)
    weight = layers.take(at.model.get_submodule(path)).weight
    assert not weight[:, ::2].any()
    assert weight[:, 1::2].all()


def test_zeros_of_an_earlier_step_stay_and_count(tmp_path):
    at = small.work(tmp_path)
    Magnitude(0.3, scope="row").apply(at)
    zeros = {path: layer.weight == 0 for path, layer in layers.held(at.model)}
    Wanda(0.5, samples=8).apply(at)
    for path, layer in layers.held(at.model):
        assert not layer.weight[zeros[path]].any()
        assert (layer.weight == 0).sum(1).eq(round(0.5 * layer.weight.shape[1])).all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"where": "all"}, "where is 'all'"), ({"scope": "global"}, "scope is 'global'"), ({"samples": 0}, "samples is 0"),
     ({"scope": "1:4"}, "make them agree"), ({"sparsity": 1.0}, "sparsity is 1.0")],
)  # fmt: skip
def test_refusals(wrong, says):
    Wanda().check()
    with pytest.raises(RecipeError, match=says):
        Wanda(**wrong).check()


def test_what_matters_by_its_input_alone_is_kept():
    at = work("bert")
    output = at.anatomy.stacks[0].blocks[0].ffn.output
    path = at.anatomy.stacks[0].blocks[0].ffn.inputs[0]
    with torch.no_grad():
        up = at.model.get_submodule(path)
        up.weight[0], up.bias[0] = 0, 50.0  # neuron 0 always gives 50
        at.model.get_submodule(output).weight[:, 0] = 0.02
    Wanda(0.9).apply(at)
    assert at.model.get_submodule(output).weight[:, 0].all()
