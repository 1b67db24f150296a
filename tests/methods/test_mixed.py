"""Mixed bits: the mean kept, a planted sensitive layer found, weights put back, no worse than equal bits."""

import pytest
import torch

from laconic import layers
from laconic.errors import RecipeError
from laconic.layers.quantized import Quantized
from laconic.methods.mixed import Mixed
from laconic.methods.rtn import RTN
from tests.methods import small

OUTPUT = "bert.encoder.layer.1.output.dense"


def mean(work) -> float:
    held = [layer for _, layer in layers.held(work.model)]
    assert all(isinstance(layer, Quantized) for layer in held)
    return sum(layer.width * layers.size(layer) for layer in held) / sum(layers.size(layer) for layer in held)


@pytest.mark.parametrize("where", ["linears", "all"])
@pytest.mark.parametrize("bits", [2.5, 4.0])
def test_the_mean_is_kept(tmp_path, where, bits):
    work = small.work(tmp_path)
    Mixed(bits, where=where).apply(work)
    assert bits - 0.5 < mean(work) <= bits + 0.05  # biases are counted among the weights here
    assert {path for path, _ in layers.held(work.model)} == {path for path, _ in work.anatomy.linears(where)}


def test_a_planted_sensitive_layer_gets_most(tmp_path):
    work = small.work(tmp_path)
    with torch.no_grad():
        for path, module in work.anatomy.linears("linears"):
            module.weight.mul_(1.0 if path == OUTPUT else 0.01)
    Mixed(3.0).apply(work)
    widths = {path: layer.width for path, layer in layers.held(work.model)}
    assert widths[OUTPUT] == max(widths.values())
    assert widths[OUTPUT] > 3


def test_the_model_says_more_nearly_the_same_than_with_equal_bits(tmp_path):
    errors = {}
    for method in (Mixed(3.0), RTN(3, where="linears")):
        work = small.work(tmp_path)
        said = small.logits(work)
        method.apply(work)
        errors[type(method)] = float((small.logits(work) - said).square().mean())
    assert errors[Mixed] < errors[RTN]


def test_layers_hold_the_weights_they_had(tmp_path):
    work = small.work(tmp_path)
    before = work.model.get_submodule(OUTPUT).weight.detach().clone()
    Mixed(4.0).apply(work)
    assert torch.equal(work.model.get_submodule(OUTPUT).latent, before)


@pytest.mark.parametrize(("bits", "group"), [(4, "channel"), (8, "channel"), (3, 8)])
def test_weights_that_lie_on_a_grid_already_keep_it(tmp_path, bits, group):
    work = small.work(tmp_path)
    RTN(bits, group, where="linears").apply(work)
    layers.freeze(work.model)
    said = small.logits(work)
    Mixed(bits, group).apply(work)
    assert mean(work) == pytest.approx(bits, abs=0.05)
    assert torch.allclose(small.logits(work), said, atol=1e-4)


def test_refusals_and_forecast():
    Mixed().check()
    with pytest.raises(RecipeError, match=r"bits is 1\.5; give a mean from 2 to 8"):
        Mixed(1.5).check()
    with pytest.raises(RecipeError, match="where is 'heads'"):
        Mixed(where="heads").check()
    assert Mixed(3.5, 64).forecast(small.sketch()).linear_bits == 3.75
