"""Half: every float that remains becomes a float16 number, and weights on a grid stay on it."""

from dataclasses import replace

import pytest
import torch

from laconic import effects, layers
from laconic.anatomy import Anatomy
from laconic.errors import RecipeError
from laconic.methods.gradual import Gradual
from laconic.methods.half import Half
from laconic.methods.magnitude import Magnitude
from laconic.methods.rtn import RTN
from laconic.recipe import Recipe
from tests.methods import small


def test_every_parameter_becomes_its_nearest_half(tmp_path):
    work = small.work(tmp_path)
    before = {name: p.detach().clone() for name, p in work.model.named_parameters()}
    Half().apply(work)
    for name, parameter in work.model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, before[name].half().float())
    assert effects.measure(work.model)["low_bit"] == 16.0
    assert effects.measure(work.model)["half"] == 1.0


@pytest.mark.parametrize("later", ["finetune", "distill", "lora", "layerwise"])
def test_training_comes_before(later):
    with pytest.raises(RecipeError, match=f"step 2 .{later}. would undo what step 1 .half. made half; move it before"):
        Recipe.parse({"steps": ["half", later]})
    Recipe.parse({"steps": [later, "half"]})
    Recipe.parse({"steps": ["half", {"rtn": {"where": "embeddings"}}]})


def test_codes_do_not_move_and_bits_fall(tmp_path):
    work = small.work(tmp_path)
    Magnitude(0.5, "attention").apply(work)
    RTN(4, where="ffn").apply(work)
    codes = {p: layer.weight.detach().clone() for p, layer in layers.held(work.model) if layer.kind == "quantized"}
    between = effects.measure(work.model)
    layers.freeze(work.model)
    Half().apply(work)
    layers.freeze(work.model)
    after = effects.measure(work.model)
    assert effects.grew(between, after, "low_bit")
    assert after["sparse"] >= between["sparse"]
    assert all(torch.equal(work.model.get_submodule(p).weight, weight) for p, weight in codes.items())
    sparse = work.model.get_submodule("bert.encoder.layer.0.attention.self.query")
    assert torch.equal(sparse.values.half().float(), sparse.values)
    assert torch.equal(sparse.weight[sparse.mask], sparse.values)


def test_numbers_beyond_half_are_cut_and_a_second_time_is_nothing(tmp_path):
    work = small.work(tmp_path)
    with torch.no_grad():
        work.model.classifier.bias.copy_(torch.tensor([1e6, -1e6]))
    Half().apply(work)
    assert work.model.classifier.bias.tolist() == [65504.0, -65504.0]
    once = effects.measure(work.model)
    assert work.idle is None
    Half().apply(work)
    assert effects.measure(work.model) == once
    assert work.idle == "every float is a number of 16 bits already"


@pytest.mark.parametrize("method", [Magnitude(0.5), Gradual(sparsity=0.5, epochs=1, every=1)])
def test_numbers_that_a_mask_leaves_out_do_not_count(method, tmp_path):
    """Of a checkpoint in bfloat16, whose smallest numbers float16 has not; without a learning rate they stay."""
    made = small.model()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(parameter.bfloat16().float())
        for _, linear in Anatomy(made).linears("linears"):
            linear.weight[:, ::3] = 1.2345e-8
            linear.weight.copy_(linear.weight.bfloat16().float())
    work = small.work(tmp_path, made)
    if isinstance(method, Gradual):
        method = replace(method, learning_rate=1e-30)
    method.apply(work)
    before = effects.measure(work.model)
    Half().apply(work)
    assert work.idle is not None
    assert effects.measure(work.model) == before


def test_forecast():
    after = Half().forecast(RTN(4, "tensor", where="linears").forecast(small.sketch()))
    assert (after.embedding_bits, after.linear_bits, after.rest_bits) == (16, 4, 16)
