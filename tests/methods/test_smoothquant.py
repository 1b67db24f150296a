"""SmoothQuant: the function stays, scales are those of the paper, and int8 inputs lose less."""

import pytest
import torch

from laconic import layers, scoring
from laconic.errors import AnatomyError, RecipeError
from laconic.methods.smoothquant import SmoothQuant
from tests import slow, workshop
from tests.tiny import tiny_logits


@pytest.mark.parametrize(
    "family", ["bert", "albert", "gpt2", "llama", "qwen2", "t5", "phi3", "gemma3_text", "gpt_neox", "phi"]
)
def test_the_float_function_stays(family):
    work = workshop.work(family)
    work.model.double()
    said = tiny_logits(work.model, family)
    SmoothQuant(samples=8).apply(work)
    assert torch.allclose(tiny_logits(work.model, family), said, atol=1e-5 * float(said.abs().max()))


@pytest.mark.parametrize("alpha", [0.3, 0.5, 1.0])
def test_ranges_afterwards_are_those_of_the_paper(alpha):
    """With s as in eq. 4, a channel's inputs reach x^(1 - alpha) w^(1 - alpha), its weights x^alpha w^alpha."""
    work = workshop.work("llama")
    paths = [f"model.layers.0.mlp.{name}_proj" for name in ("gate", "up")]
    x = scoring.peaks(work, paths, 12)[paths[0]]
    w = torch.stack([work.model.get_submodule(p).weight.detach().abs().amax(0) for p in paths]).amax(0)
    SmoothQuant(alpha, samples=12).apply(work)
    after = scoring.peaks(work, paths, 12)
    assert torch.allclose(after[paths[0]], (x * w) ** (1 - alpha), rtol=1e-3)
    assert torch.equal(after[paths[0]], after[paths[1]])
    columns = work.model.get_submodule(paths[0]).weight.detach().abs().amax(0)
    assert torch.allclose(torch.maximum(columns, x**alpha * w**alpha), x**alpha * w**alpha, rtol=1e-3)


def test_inputs_on_eight_bits_lose_less():
    """A norm with an outlier channel: one scale a tensor for inputs and weights, before and after."""
    errors = []
    for smooth in (False, True):
        work = workshop.work("llama")
        norm = work.model.model.layers[0].input_layernorm
        norm.weight.data[5] *= 60
        path = "model.layers.0.self_attn.q_proj"
        plain = work.model.get_submodule(path).weight.detach().clone()
        before = slow.grams(work, [path], 12)[path]
        if smooth:
            SmoothQuant(samples=12).apply(work)
        weight = work.model.get_submodule(path).weight.detach()
        high = scoring.peaks(work, [path], 12)[path]
        step = high.max() / 127  # an input is off by up to half a step, whatever its channel's size
        errors.append(float(step**2 / 12 * weight.square().sum() / ((plain @ before) * plain).sum()))
    assert errors[1] < 0.5 * errors[0]


def test_refusals():
    SmoothQuant().check()
    with pytest.raises(RecipeError, match=r"alpha is 1\.5"):
        SmoothQuant(1.5).check()
    with pytest.raises(RecipeError, match="where is 'all'"):
        SmoothQuant(where="all").check()
    work = workshop.work("bert")
    with pytest.raises(AnatomyError, match="no linear of this model can be smoothed: their input"):
        SmoothQuant(where="ffn").apply(work)
    assert not list(layers.held(work.model))
