"""k-means codebooks over a model: nearer than grids, weighed by inputs, zeros kept, values that learn."""

import copy
from dataclasses import replace

import pytest
import torch

from laconic import artifact, effects, layers, methods, scoring, tasks, testing, training
from laconic.errors import RecipeError
from laconic.layers.codebook import Codebook
from laconic.methods.kmeans import KMeans
from laconic.methods.magnitude import Magnitude
from laconic.methods.rtn import RTN
from tests import slow, workshop
from tests.methods import small
from tests.test_calibration import MODELS

QUERY = "bert.encoder.layer.0.attention.self.query"


@pytest.mark.parametrize("group", ["tensor", "channel", 16])
def test_weighed_error_is_below_that_of_rounding_and_of_plain_clusters(tmp_path, group):
    work = small.work(tmp_path)
    weight = work.model.get_submodule(QUERY).weight.detach().clone()
    squares = scoring.squares(work, [QUERY], 64)[QUERY]
    errors = []
    for method in (KMeans(3, group), KMeans(3, group, importance="none"), RTN(3, group, False, "linears")):
        given = small.work(tmp_path)
        method.apply(given)
        difference = given.model.get_submodule(QUERY).weight.detach() - weight
        errors.append(float((difference.square() * squares).sum()))
    assert errors[0] < errors[1] < errors[2]


def test_squares_are_those_of_the_inputs(tmp_path):
    work = small.work(tmp_path)
    sums, squares = slow.grams(work, [QUERY], 16)[QUERY], scoring.squares(work, [QUERY], 16)[QUERY]
    assert torch.allclose(squares, sums.diagonal()[:-1] / sums[-1, -1], rtol=1e-4)


def test_every_place_and_every_zero(tmp_path):
    work = small.work(tmp_path)
    Magnitude(0.5).apply(work)
    before, pruned = effects.measure(work.model), {p: layer.weight == 0 for p, layer in layers.held(work.model)}
    KMeans(4, where="all", samples=16).apply(work)
    said = small.logits(work)
    layers.freeze(work.model)
    assert torch.equal(small.logits(work), said)
    held = dict(layers.held(work.model))
    assert set(held) == {path for path, _ in work.anatomy.linears("all")}
    assert all(isinstance(layer, Codebook) for layer in held.values())
    assert all(not held[path].weight[mask].any() for path, mask in pruned.items())
    after = effects.measure(work.model)
    assert after["sparse"] >= before["sparse"]
    assert effects.grew(before, after, "low_bit")


def test_values_learn_and_codes_stay(tmp_path):
    work = small.work(tmp_path)
    KMeans(2, samples=16).apply(work)
    layer = work.model.get_submodule(QUERY)
    codes, values = layer.codes.clone(), layer.values.detach().clone()
    loss = copy.deepcopy(training.evaluate(work.model, work.tokenizer, work.task, work.data.train)["bits"])
    training.fit(work, training.Training(epochs=3, learning_rate=3e-3), best=False)
    assert torch.equal(layer.codes, codes)
    assert not torch.equal(layer.values, values)
    assert training.evaluate(work.model, work.tokenizer, work.task, work.data.train)["bits"] < loss


def test_layers_share_one_codebook_that_learns(tmp_path):
    work = small.work(tmp_path)
    before = effects.measure(work.model)
    KMeans(4, where="all", share=True, samples=16).apply(work)
    held = {path: layer for path, layer in layers.held(work.model) if isinstance(layer, Codebook)}
    assert set(held) == {path for path, _ in work.anatomy.linears("all")}
    holders = [layer for layer in held.values() if not layer.source]
    assert {layer.role for layer in holders} == {"linear", "embedding"}
    assert len(holders) == 2
    assert effects.grew(before, effects.measure(work.model), "low_bit")
    values = [layer.values.detach().clone() for layer in holders]
    training.fit(work, training.Training(epochs=1, learning_rate=3e-3), best=False)
    assert not any(torch.equal(layer.values, old) for layer, old in zip(holders, values, strict=True))


@pytest.mark.parametrize(("family", "head"), MODELS)
def test_a_common_codebook_survives_saving_and_other_steps(family, head, tmp_path):
    work = workshop.work(family, head=head)
    base = work.model.config.to_dict()
    KMeans(3, where="all", share=True, samples=4).apply(work)
    RTN(4, where="attention").apply(work)  # the first holder is among them
    holders = [layer for _, layer in layers.held(work.model) if isinstance(layer, Codebook) and not layer.source]
    assert len(holders) == 2  # of what is left, and of the embeddings
    layers.freeze(work.model)
    said = testing.logits(work)
    about = {"task": tasks.describe(work.task), "recipe": None, "provenance": {}, "measures": {}}
    artifact.save(tmp_path / "out", work.model, work.tokenizer, **about, base_config=base)
    again = artifact.load(tmp_path / "out")
    assert torch.equal(testing.logits(replace(work, model=again.model, tokenizer=again.tokenizer)), said)


@pytest.mark.parametrize("first", ["convolve", "separable"])
def test_grouped_layers_take_a_codebook_that_rows_do_not_pay_for(first, tmp_path):
    grouped = testing.small(methods.kind(first))
    for step in (KMeans(4, share=True, samples=8), KMeans(4, "tensor", samples=8), KMeans(4, samples=8)):
        testing.pairs(grouped, step, (first, "kmeans"), lambda: workshop.work("bert", tmp_path))
    held = [KMeans(share=True), KMeans(group="tensor"), KMeans(), KMeans(group=8)]
    assert ["grouped" in step.keeps for step in held] == [True, True, False, False]


def test_one_layer_has_nobody_to_share_with():
    work = workshop.work("llama", head="lm")
    with pytest.raises(RecipeError, match="share needs two layers of a kind, and 'head' has 1; leave share out"):
        KMeans(3, where="head", share=True).apply(work)


def test_on_short_rows_a_common_codebook_is_better_at_fewer_bits(tmp_path):
    """A row's own codebook of 3 bits has 8 values of 16 bits; the multiple of a common one of 4 bits has 16 in all."""
    sizes, errors = [], []
    for method in (KMeans(3), KMeans(4, share=True)):
        work = small.work(tmp_path)
        weights = {path: layers.take(m).weight.detach().clone() for path, m in work.anatomy.linears("linears")}
        method.apply(work)
        held = {path: work.model.get_submodule(path) for path in weights}
        sizes.append(sum(layer.bits() for layer in held.values()))
        errors.append(sum(float((held[path].weight - w).detach().square().sum()) for path, w in weights.items()))
    assert sizes[1] < sizes[0]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("share", [False, True])
def test_one_bit_is_for_both_signs_and_refused_where_weights_were_pruned(tmp_path, share):
    work = small.work(tmp_path)
    rows = layers.take(work.model.get_submodule(next(iter(work.anatomy.embeddings)))).weight
    with torch.no_grad():
        rows[0] = 0.0  # of padding, as BERT has it
    KMeans(1, where="all", share=share).apply(work)
    for _, layer in layers.held(work.model):
        row = layer.weight[1]
        assert bool((row > 0).any())
        assert bool((row < 0).any())
    pruned = small.work(tmp_path)
    Magnitude(0.5).apply(pruned)
    with pytest.raises(RecipeError, match="were pruned, and bits is 1, which has no 0; give at least 2 bits"):
        KMeans(1, share=share).apply(pruned)


def test_refusals_and_forecast():
    KMeans().check()
    KMeans(bits=1).check()
    with pytest.raises(RecipeError, match="bits is 9; a grid has 1 to 8 bits"):
        KMeans(9).check()
    with pytest.raises(RecipeError, match="importance is 'taylor'"):
        KMeans(importance="taylor").check()
    for unread in ({"samples": 3}, {"length": 7}):
        with pytest.raises(RecipeError, match="which nothing reads where importance is 'none'"):
            KMeans(importance="none", **unread).check()
    assert KMeans(3, 128).forecast(small.sketch()).linear_bits == 4
    assert KMeans(3, 128, share=True).forecast(small.sketch()).linear_bits == 3 + 1 / 8
