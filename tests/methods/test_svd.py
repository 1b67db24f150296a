"""SVD over a model: closed forms of each importance, planted ranks found, and factors that other steps can rewrite."""

import copy

import pytest
import torch

from laconic import effects, layers, scoring
from laconic.errors import RecipeError
from laconic.layers.lowrank import LowRank
from laconic.maths import factor
from laconic.methods.gptq import GPTQ
from laconic.methods.svd import SVD
from tests import slow
from tests.methods import small

QUERY = "bert.encoder.layer.0.attention.self.query"


def weight(work, path=QUERY):
    return layers.take(work.model.get_submodule(path)).weight.detach().double()


def test_a_planted_rank_is_found_and_nothing_is_lost(tmp_path):
    work = small.work(tmp_path)
    with torch.no_grad():
        for _, module in work.anatomy.linears("linears"):
            left, right = torch.randn(module.weight.shape[0], 5), torch.randn(5, module.weight.shape[1])
            module.weight.copy_(left @ right / 5)
    for importance in ("none", "fisher", "whitened"):
        copied = small.work(tmp_path, copy.deepcopy(work.model))
        SVD(rank=5, importance=importance).apply(copied)
        assert all(module.rank == 5 for _, module in copied.anatomy.whole("linears"))
        torch.testing.assert_close(small.logits(copied), small.logits(work), atol=1e-4, rtol=1e-4)
        assert effects.grew(effects.measure(work.model), effects.measure(copied.model), "low_rank")


def test_whitened_loss_is_the_sum_of_the_truncated_singular_values(tmp_path):
    """The paper's theorem 1: with S S^T = X X^T, ||(W - W') X||^2 is the energy of the singular values left out."""
    work = small.work(tmp_path)
    original = weight(work)
    gram = slow.grams(work, [QUERY], 64)[QUERY][:32, :32].double()
    SVD(rank=8, samples=64).apply(work)
    left_out = torch.linalg.svdvals(original @ torch.linalg.cholesky(factor.damped(gram)))[8:].square().sum()
    assert factor.loss(original, weight(work), gram) == pytest.approx(float(left_out), rel=1e-3)


def test_plain_svd_leaves_the_smallest_singular_values(tmp_path):
    work = small.work(tmp_path)
    original = weight(work)
    SVD(rank=8, importance="none").apply(work)
    error = (original - weight(work)).square().sum()
    assert float(error) == pytest.approx(float(torch.linalg.svdvals(original)[8:].square().sum()), rel=1e-4)


def test_fisher_weighs_each_input_by_its_squared_gradients_one_example_at_a_time(tmp_path):
    work = small.work(tmp_path)
    summed = torch.zeros(32, 32)
    features = work.task.encode(work.data.train[:8], work.tokenizer, answers=True)
    work.data.train[8:] = []
    module = work.model.get_submodule(QUERY)
    for feature in features:
        logits = work.model(input_ids=torch.tensor([feature["input_ids"]])).logits
        loss = work.task.loss(logits, torch.tensor([feature["labels"]]).reshape(-1))
        summed += torch.autograd.grad(loss, module.weight)[0].square() / 8
    torch.testing.assert_close(scoring.fisher(work, [QUERY], 8)[QUERY], summed.double().sum(0), atol=1e-9, rtol=1e-3)
    original = weight(work)
    SVD(rank=8, importance="fisher", samples=8).apply(work)
    root = factor.damped(torch.diag(summed.double().sum(0))).diagonal().sqrt()  # (in,)
    u, s, v = torch.linalg.svd(original * root, full_matrices=False)
    expected = (u[:, :8] * s[:8]) @ v[:8] / root
    torch.testing.assert_close(weight(work), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("importance", ["none", "fisher"])
def test_whitening_loses_least_on_the_inputs(tmp_path, importance):
    losses = {}
    for chosen in ("whitened", importance):
        work = small.work(tmp_path)
        gram = slow.grams(work, [QUERY], 64)[QUERY][:32, :32]
        original = weight(work)
        SVD(importance=chosen, samples=64).apply(work)
        losses[chosen] = factor.loss(original, weight(work), gram)
    assert losses["whitened"] < losses[importance]


def test_updating_makes_up_for_earlier_blocks(tmp_path):
    """Outputs of the last linears on the inputs as they are, against those of the original on its own."""
    path = "bert.encoder.layer.1.output.dense"
    errors = []
    for update in (False, True):
        work = small.work(tmp_path)
        before = copy.deepcopy(work.model)
        full = layers.take(before.get_submodule(path))
        SVD(keep=0.4, update=update, samples=64).apply(work)
        cross, gram = slow.crossed(work, before, [path], 64)[path]
        now = layers.take(work.model.get_submodule(path))
        a, b = (torch.cat([p.weight, p.bias[:, None]], 1).detach().double() for p in (full, now))
        own = slow.grams(small.work(tmp_path, before), [path], 64)[path].double()
        error = (a @ own * a).sum() - 2 * (a @ cross.double() * b).sum() + (b @ gram.double() * b).sum()
        errors.append(float(error))
    assert errors[1] < 0.9 * errors[0]


def test_reduced_rank_regression_beats_random_maps():
    torch.manual_seed(0)
    x, y = torch.randn(6, 40).double(), torch.randn(6, 40).double()
    y = y + x
    matrix = torch.randn(5, 6).double()
    target = factor.regress(matrix, x @ y.T, y @ y.T, 0.0)
    left, right = factor.truncate(target, 2, factor.whitening(y @ y.T, 0.0))
    best = (matrix @ x - left @ right @ y).square().sum()
    for step in (0.3, 0.03, 0.003):
        for _ in range(200):
            other = (left + step * torch.randn_like(left)) @ (right + step * torch.randn_like(right))
            assert (matrix @ x - other @ y).square().sum() > best


def test_biases_stay_and_small_layers_stay_dense(tmp_path):
    work = small.work(tmp_path)
    bias = work.model.get_submodule(QUERY).bias.detach().clone()
    SVD(keep=0.5).apply(work)
    assert torch.equal(work.model.get_submodule(QUERY).bias, bias)
    work = small.work(tmp_path)
    SVD(rank=17, importance="none").apply(work)  # 32 x 32 pays off below rank 16, 48 x 32 below 19.2
    held = [path for path, _ in layers.held(work.model)]
    assert len(held) == 4
    assert all("intermediate" in path or "layer" in path for path in held)
    assert QUERY not in held


def test_factors_are_rounded_and_trained_where_they_stand(tmp_path):
    work = small.work(tmp_path)
    SVD(keep=0.5).apply(work)
    before = effects.measure(work.model)
    GPTQ(4, samples=16).apply(work)
    layer = work.model.get_submodule(QUERY)
    assert isinstance(layer, LowRank)
    assert [part.kind for _, part in layers.parts(layer)] == ["quantized", "quantized"]
    after = effects.measure(work.model)
    assert after["low_rank"] == before["low_rank"]
    assert effects.grew(before, after, "low_bit")
    layers.thaw(layer)
    layer(torch.randn(2, 32)).square().sum().backward()
    assert layer.down.latent.grad.any()
    assert layer.up.latent.grad.any()
    said = small.logits(work)
    layers.freeze(work.model)
    assert torch.equal(small.logits(work), said)


def test_a_second_step_only_lowers_ranks(tmp_path):
    work = small.work(tmp_path)
    SVD(rank=6).apply(work)
    SVD(rank=9).apply(work)
    assert all(m.rank == 6 for _, m in work.anatomy.whole("linears"))
    SVD(rank=3, where="ffn").apply(work)
    assert {m.rank for _, m in work.anatomy.whole("ffn")} == {3}
    assert all(isinstance(part, torch.nn.Linear) for _, part in work.anatomy.linears("ffn"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"keep": 0.0}, "keep is 0.0"),
        ({"rank": 0}, "rank is 0"),
        ({"importance": "fisher", "update": True}, "update"),
        ({"importance": "fisher", "length": 8}, "length is 8, which nothing reads where importance is 'fisher'"),
        ({"importance": "none", "samples": 9}, "samples is 9, which nothing reads where importance is 'none'"),
        ({"importance": "none", "length": 8}, "length is 8, which nothing reads where importance is 'none'"),
        ({"rank": 8, "keep": 0.9}, "keep is 0.9, which nothing reads where rank is 8; leave keep out, or change rank"),
    ],
)
def test_refusals(wrong, says):
    SVD().check()
    SVD(rank=8, keep=0.5).check()  # which says no more than the default
    with pytest.raises(RecipeError, match=says):
        SVD(**wrong).check()


def test_the_forecast_shrinks_what_is_replaced():
    sketch = small.sketch()
    assert SVD(keep=0.25).forecast(sketch).ffn == 0.25 * sketch.ffn
    assert SVD(keep=0.25, where="attention").forecast(sketch).ffn == sketch.ffn
    assert SVD(rank=8).forecast(sketch).attention == pytest.approx(sketch.attention * 0.25)
