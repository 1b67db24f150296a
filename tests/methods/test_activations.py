"""Rounded activations: ranges found by hand, what they cost beside smoothing, and which steps may follow."""

import pytest
import torch

from laconic import layers
from laconic.errors import RecipeError
from laconic.layers.inputs import Inputs
from laconic.methods.activations import Activations
from laconic.methods.rtn import RTN
from laconic.methods.smoothquant import SmoothQuant
from laconic.recipe import Recipe
from laconic.testing import logits
from tests.workshop import work


def found(given):
    return {path: layer for path, layer in layers.held(given.model) if isinstance(layer, Inputs)}


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
def test_a_static_range_is_the_largest_input_of_the_samples(family, tmp_path):
    """Taken down by plain hooks while all training examples run one by one."""
    head = "lm" if family in ("gpt2", "llama") else "translate" if family == "t5" else "tokens"
    given = work(family, tmp_path, head=head)
    seen = {path: 0.0 for path, _ in given.anatomy.linears("linears")}

    def watch(path):
        def hook(module, args):
            seen[path] = max(seen[path], float(args[0].abs().max()))

        return hook

    hooks = [given.model.get_submodule(path).register_forward_pre_hook(watch(path)) for path in seen]
    for example in given.data.train:
        logits(type(given)(**{**vars(given), "data": type(given.data)([example], [], "0")}))
    for hook in hooks:
        hook.remove()
    Activations(samples=12).apply(given)
    layers_found = found(given)
    assert layers_found.keys() == seen.keys()
    for path, layer in layers_found.items():
        assert float(layer.scale) == pytest.approx(seen[path] / 127, rel=1e-4), path


def test_eight_bits_move_little_and_four_more(tmp_path):
    said = {}
    for bits in (None, 8, 4):
        given = work("llama", tmp_path, head="lm")
        if bits:
            Activations(bits).apply(given)
        said[bits] = logits(given)
    spread = said[None].std()
    off = {bits: float((said[bits] - said[None]).square().mean().sqrt() / spread) for bits in (8, 4)}
    assert 0 < off[8] < 0.03
    assert off[8] < off[4] / 5


def test_smoothing_makes_large_channels_cheap(tmp_path):
    """One channel of a norm is a hundred times larger: with SmoothQuant before, the error falls to a part."""
    errors = []
    for smooth in (False, True):
        given = work("llama", tmp_path, head="lm")
        with torch.no_grad():
            for name, parameter in given.model.named_parameters():
                if name.endswith("layernorm.weight"):
                    parameter[3] *= 100
        before = logits(given)
        if smooth:
            SmoothQuant(0.5).apply(given)
        Activations(4).apply(given)
        errors.append(float((logits(given) - before).square().mean()))
    assert errors[1] < 0.6 * errors[0]


def test_layers_on_a_grid_stay_there_and_none_is_rounded_twice(tmp_path):
    given = work("bert", tmp_path)
    RTN(4, where="linears").apply(given)
    Activations(where="attention").apply(given)
    half = len(found(given))
    Activations().apply(given)
    assert 0 < half < len(found(given))
    assert all(layer.linear.kind == "quantized" for layer in found(given).values())


def test_what_may_follow():
    Recipe.parse({"steps": ["smoothquant", "rtn", "activations", {"distill": {"epochs": 1}}, "half"]}).check()
    for later in ("rtn", "gptq", "neurons", "svd"):
        with pytest.raises(RecipeError, match=r"would undo what step 1 .activations. made low_bit_inputs"):
            Recipe.parse({"steps": ["activations", later]}).check()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_bits": 3}, "input_bits is 3; inputs have 4 to 8 bits"),
        ({"where": "embeddings"}, "where is 'embeddings'"),
        ({"samples": 0}, "samples is 0"),
        ({"length": -5}, "length is -5; give a whole number of at least 1"),
        ({"length": 8}, "length is 8, which nothing reads where samples is null; leave length out, or change samples"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(RecipeError, match=said):
        Activations(**options).check()
