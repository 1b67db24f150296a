"""AWQ: planted large inputs are protected, no layer is worse than rounded to nearest, and what is skipped is told."""

import copy
from dataclasses import replace

import pytest
import torch

from laconic import layers, testing
from laconic.errors import RecipeError
from laconic.flow import watch
from laconic.maths import grid, hessian
from laconic.methods.awq import AWQ
from laconic.methods.rtn import RTN
from tests import slow, workshop
from tests.methods import small
from tests.tiny import tiny_logits


def before_rounding(monkeypatch, work, method) -> None:
    """The method without its last step: scales folded, floats left."""
    monkeypatch.setattr(AWQ, "_rounded", lambda self, module, gram: module)
    monkeypatch.setattr(layers, "swap", lambda model, path, layer: None)
    method.apply(work)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "qwen3", "t5"])
def test_the_float_function_stays(monkeypatch, family):
    work = workshop.work(family)
    said, weights = tiny_logits(work.model, family), copy.deepcopy(work.model.state_dict())
    before_rounding(monkeypatch, work, AWQ(3, 8, samples=8))
    assert torch.allclose(tiny_logits(work.model, family), said, atol=1e-5 * float(said.abs().max()))
    moved = [n for n, w in work.model.state_dict().items() if not torch.equal(w, weights[n])]
    assert moved


@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"group": "tensor"}, {"group": "channel"}])
@pytest.mark.parametrize("clip", [True, False])
def test_a_feed_forward_is_nearer_than_rounded_to_nearest(options, clip):
    grids = {"group": 8, "symmetric": False, **options}
    errors = {}
    for method in (AWQ(3, where="ffn", clipping=clip, **grids), RTN(3, where="ffn", **grids)):
        work = workshop.work("llama")
        norm = "model.layers.0.post_attention_layernorm"
        with watch(work.teacher.model, [norm]) as seen:
            testing.logits(replace(work, model=work.teacher.model))
            inputs = torch.cat([s.given.flatten(0, -2) for s in seen[norm]])  # (tokens, hidden)
        method.apply(work)
        said, mine = (
            block.mlp(block.post_attention_layernorm(inputs)).detach()
            for block in (at.model.layers[0] for at in (work.teacher.model, work.model))
        )
        errors[type(method)] = float((mine - said).square().mean())
    assert errors[AWQ] < 0.9 * errors[RTN]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", ["channel", 8])
def test_no_layer_of_an_encoder_is_worse_than_rounded_to_nearest(tmp_path, symmetric, group):
    """Behind the norms of a post-norm block only the ranges are searched, so layers can be compared one by one."""
    work, nearest = small.work(tmp_path), small.work(tmp_path)
    original = copy.deepcopy(work.model)
    behind = [p for p, _ in work.anatomy.linears("ffn")]
    sums = slow.grams(work, behind, 64)
    AWQ(3, group, symmetric, samples=64).apply(work)
    RTN(3, group, symmetric, "linears").apply(nearest)
    for path in behind:
        weight, inputs = original.get_submodule(path).weight, original.get_submodule(path).weight.shape[1]
        losses = [
            float(
                hessian.loss(weight, at.model.get_submodule(path).weight, sums[path][:inputs, :inputs]).detach().sum()
            )
            for at in (work, nearest)
        ]
        assert losses[0] < losses[1]


def test_a_channel_with_large_inputs_is_scaled_up():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 16, generator=generator)
    x[:, 3] *= 30
    weight = torch.randn(12, 16, generator=generator)
    columns = torch.arange(16)
    scales = AWQ(3, 16)._scales([weight], x.T @ x, columns, 16)
    assert scales is not None
    assert int(scales.argmax()) == 3
    assert float(scales[3] / scales.median()) > 1.5


def tried(weight, x, step, clipping):
    """(scales, squared error of the outputs) of alpha = step / 20, on the inputs x (tokens, in) themselves."""
    size = x.square().mean(0).sqrt()
    scales = size ** (step / 20)
    scales = scales / (scales.max() * scales.min()).sqrt()
    wide, inputs = weight * scales, x / scales
    ranges = [grid.fit(wide, 2, "channel", False)]
    ranges += [grid.fit(wide * part, 2, "channel", False, ratios=(1.0,)) for part in grid.RATIOS if clipping]
    points = [grid.snap(wide, *found, 2, "channel") for found in ranges]
    errors = torch.stack([(inputs @ p.T - x @ weight.T).double().square().sum(0) for p in points])  # (ranges, out)
    return scales, float(errors.amin(0).sum())


@pytest.mark.parametrize("clipping", [True, False])
def test_of_all_alphas_the_best_is_taken(clipping):
    picked = set()
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(40, 4, generator=generator) @ torch.randn(4, 4, generator=generator)
        x = x * torch.rand(4, generator=generator) ** 3
        weight = torch.randn(3, 4, generator=generator)
        every = [tried(weight, x, step, clipping) for step in range(20)]
        best = min(range(20), key=lambda step: every[step][1])
        found = AWQ(2, "channel", clipping=clipping)._scales([weight], x.T @ x, torch.arange(4), 4)
        torch.testing.assert_close(torch.ones(4) if found is None else found, every[best][0])
        picked.add(best)
    assert len(picked) > 4


def test_what_is_left_unscaled_is_logged(tmp_path):
    work, said = small.work(tmp_path), []
    work.log = said.append
    AWQ(samples=8).apply(work)
    assert any("their input feeds the residual stream as well" in line for line in said)
    assert any("awq leaves 2 linears unscaled: their input is behind an activation" in line for line in said)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"where": "all"}, "where is 'all'"), ({"samples": 0}, "samples is 0"), ({"bits": 1}, "bits is 1")],
)
def test_refusals(wrong, says):
    AWQ().check()
    with pytest.raises(RecipeError, match=says):
        AWQ(**wrong).check()
