"""Grouped convolutions over a model: planted blocks found, least squares, and parts that other steps rewrite."""

import pytest
import torch

from laconic import effects, layers, scoring
from laconic.errors import RecipeError
from laconic.maths import factor
from laconic.methods.convolve import Convolve
from laconic.methods.gptq import GPTQ
from tests import slow, workshop
from tests.methods import small

QUERY = "bert.encoder.layer.0.attention.self.query"


def test_planted_groups_are_found_and_nothing_is_lost(tmp_path):
    work = small.work(tmp_path)
    with torch.no_grad():
        for _, module in work.anatomy.linears("linears"):
            rows, columns = module.weight.shape
            planted = torch.block_diag(*(0.2 * torch.randn(rows // 4, columns // 4) for _ in range(4)))
            module.weight.copy_(planted[torch.randperm(rows)][:, torch.randperm(columns)])
    said, before = small.logits(work), effects.measure(work.model)
    Convolve(samples=64).apply(work)
    torch.testing.assert_close(small.logits(work), said, atol=1e-3, rtol=1e-3)
    after = effects.measure(work.model)
    assert after["grouped"] > before["grouped"]
    assert sum(p.numel() for p in work.model.parameters()) < sum(p.numel() for p in work.teacher.model.parameters())


def test_weights_and_bias_lose_hardly_more_than_the_least_squares_ones(tmp_path):
    """Against torch's solver on the inputs themselves, group by group; some hundred tokens are almost believed."""
    work = small.work(tmp_path)
    full = layers.take(work.model.get_submodule(QUERY))
    sums = slow.grams(work, [QUERY], 64)[QUERY].double()
    root = torch.linalg.cholesky(factor.damped(sums, 1e-9)).T  # (tokens', in + 1) with the same Gram matrix
    wanted = root @ torch.cat([full.weight, full.bias[:, None]], 1).detach().double().T  # (tokens', out)
    Convolve(permute=False, where="attention", samples=64).apply(work)
    layer = work.model.get_submodule(QUERY)
    for i, held in enumerate(layer.filters):
        columns = [*range(8 * i, 8 * i + 8), 32]
        solved = torch.linalg.lstsq(root[:, columns], wanted[:, 8 * i : 8 * i + 8]).solution.T
        found = torch.cat([held.weight, held.bias[:, None]], 1).detach().double()
        lost = [
            float((root[:, columns] @ some.T - wanted[:, 8 * i : 8 * i + 8]).square().sum()) for some in (solved, found)
        ]
        assert lost[1] < 1.03 * lost[0]


@pytest.mark.parametrize("samples", [1, 2, 4])
@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_few_examples_do_little_harm_and_better_what_they_show(family, samples):
    """Beside the same groups of the weights as they are; inputs of the first block are those of the original."""
    work = workshop.work(family, number=60)
    path = work.anatomy.stacks[0].blocks[0].ffn.output
    weight = scoring.columns(work.model.get_submodule(path))
    shown, all_of_them = (slow.grams(work, [path], number)[path] for number in (samples, 60))
    Convolve(permute=False, where="ffn", samples=samples).apply(work)
    layer = work.model.get_submodule(path)
    found, plain = torch.zeros_like(weight), torch.zeros_like(weight)
    rows, columns = layers.take(layer).weight.shape
    found[:, :columns] = layers.take(layer).weight.detach()
    plain[:, columns:] = weight[:, columns:]
    if weight.shape[1] > columns:
        found[:, -1] = layers.take(layer).bias.detach()
    for i in range(4):
        block = slice(i * rows // 4, (i + 1) * rows // 4), slice(i * columns // 4, (i + 1) * columns // 4)
        plain[block] = weight[block]
    assert factor.loss(weight, found, shown) < factor.loss(weight, plain, shown)
    assert factor.loss(weight, found, all_of_them) < 1.1 * factor.loss(weight, plain, all_of_them)


def test_choosing_the_groups_loses_less(tmp_path):
    losses = []
    for permute in (True, False):
        work = small.work(tmp_path)
        said = small.logits(work)
        original = layers.take(work.model.get_submodule(QUERY)).weight.detach()
        gram = slow.grams(work, [QUERY], 64)[QUERY][:32, :32]
        Convolve(permute=permute, samples=64).apply(work)
        losses.append(factor.loss(original, layers.take(work.model.get_submodule(QUERY)).weight.detach(), gram))
        assert not torch.equal(small.logits(work), said)
    assert losses[0] < losses[1]


def test_groups_are_rounded_on_their_own_inputs_and_trained(tmp_path):
    work = small.work(tmp_path)
    Convolve(samples=16).apply(work)
    GPTQ(4, samples=16).apply(work)
    layer = work.model.get_submodule(QUERY)
    assert [part.kind for _, part in layers.parts(layer)] == ["quantized"] * 4
    layers.thaw(layer)
    layer(torch.randn(2, 32)).square().sum().backward()
    assert all(part.latent.grad.any() for _, part in layers.parts(layer))


def test_groups_that_do_not_divide_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="groups is 5, which does not divide"):
        Convolve(groups=5).apply(small.work(tmp_path))
    with pytest.raises(RecipeError, match="groups is 1"):
        Convolve(groups=1).check()
    Convolve().check()


def test_the_forecast_divides_what_is_replaced():
    sketch = small.sketch()
    assert Convolve(groups=4, where="ffn").forecast(sketch).ffn == sketch.ffn / 4
    assert Convolve(groups=4, where="ffn").forecast(sketch).attention == sketch.attention
