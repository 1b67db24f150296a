"""Neurons: dead ones go first and nothing changes; reconstruction mends what removal lost."""

import pytest
import torch

from laconic import layers, scoring
from laconic.calibration import sums
from laconic.errors import RecipeError
from laconic.methods.neurons import Neurons
from laconic.testing import logits
from tests.tiny import FFN
from tests.workshop import work

FAMILIES = [
    ("bert", "tokens"),
    ("roberta", "tokens"),
    ("distilbert", "tokens"),
    ("gpt2", "tokens"),
    ("llama", "tokens"),
    ("gpt_neox", "lm"),
    ("phi3", "lm"),
    ("gpt_neo", "lm"),
    ("albert", "tokens"),
    ("t5", "sequence"),
    ("bart", "sequence"),
]


def feedforwards(w):
    return [block.ffn for stack in w.anatomy.stacks for block in stack.blocks]


@torch.no_grad()
def kill(w, ffn, neurons):
    layers.take(w.model.get_submodule(ffn.output)).weight[:, neurons] = 0  # (out, in)


@pytest.mark.parametrize(("family", "head"), FAMILIES)
@pytest.mark.parametrize("importance", ["taylor", "fisher", "activation"])
def test_dead_neurons_go_and_the_function_stays(family, head, importance):
    w = work(family, head=head)
    for i, ffn in enumerate(feedforwards(w)):
        kill(w, ffn, torch.randperm(FFN, generator=torch.Generator().manual_seed(i))[: FFN // 2])
    said = logits(w)
    Neurons(keep=0.5, importance=importance, reconstruct=False).apply(w)
    assert {ffn.size for ffn in feedforwards(w)} == {FFN // 2}
    torch.testing.assert_close(logits(w), said, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_reconstruction_brings_the_output_of_the_first_feedforward_nearer(family):
    errors = {}
    for reconstruct in (False, True):
        w = work(family, number=60)
        path = feedforwards(w)[0].output
        before = outputs(w, path)
        Neurons(keep=0.5, reconstruct=reconstruct).apply(w)
        errors[reconstruct] = (outputs(w, path) - before).square().sum().item()
    assert errors[True] < 0.7 * errors[False]


@pytest.mark.parametrize("samples", [1, 2, 4])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
def test_few_examples_do_little_harm_and_better_what_they_show(family, samples):
    """Errors of the first feed-forward on the examples that were run, and on 60."""
    errors = {}
    for reconstruct in (False, True):
        w = work(family, number=60)
        path = feedforwards(w)[0].output
        before = [outputs(w, path, number) for number in (samples, 60)]
        Neurons(keep=0.5, importance="activation", reconstruct=reconstruct, samples=samples).apply(w)
        after = [outputs(w, path, number) for number in (samples, 60)]
        errors[reconstruct] = [float((a - b).square().sum()) for a, b in zip(after, before, strict=True)]
    assert errors[True][0] < errors[False][0]
    assert errors[True][1] < 1.05 * errors[False][1]


def outputs(w, path, samples=1000):
    passes = scoring._passes(w, [path], samples)
    return torch.cat([sums.tokens(s.gave, mask) for seen, mask in passes for s in seen[path]])


def test_reconstruction_is_exact_where_removed_neurons_repeat_kept_ones():
    w = work("bert", number=60)
    with torch.no_grad():
        for ffn in feedforwards(w):
            up, down = (w.model.get_submodule(p) for p in (ffn.inputs[0], ffn.output))
            half = FFN // 2
            up.weight[half:], up.bias[half:] = up.weight[:half], up.bias[:half]
            down.weight[:, half:] *= 0.01  # so that the copies are those that go
    said = logits(w)
    plain = work("bert", number=60)
    plain.model.load_state_dict(w.model.state_dict())
    Neurons(keep=0.5, reconstruct=False).apply(plain)
    Neurons(keep=0.5, reconstruct=True).apply(w)
    worst = (logits(w) - said).abs().max()
    assert worst < 0.1 * (logits(plain) - said).abs().max()
    assert worst < 2e-3


def test_a_constant_neuron_moves_into_the_bias():
    w = work("bert", number=60)
    ffn = feedforwards(w)[0]
    up, down = (w.model.get_submodule(p) for p in (ffn.inputs[0], ffn.output))
    with torch.no_grad():
        up.weight[0], up.bias[0] = 0, 3.0
        down.weight[:, 0] *= 1e-3
        down.weight[:, 0] += 1e-3
    before, bias, column = outputs(w, ffn.output), down.bias.detach().clone(), down.weight[:, 0].detach().clone()
    Neurons(keep=1 - 1 / FFN, importance="activation").apply(w)
    torch.testing.assert_close(outputs(w, ffn.output), before, rtol=1e-3, atol=1e-3)
    moved = (w.model.get_submodule(ffn.output).bias - bias) @ column / column.square().sum()
    assert moved.item() == pytest.approx(3.0, rel=0.1)  # gelu(3) is 2.996


def test_global_scope_takes_neurons_where_they_are_dead():
    w = work("bert")
    dead = (40, 10, 0)
    for n, ffn in zip(dead, feedforwards(w), strict=True):
        kill(w, ffn, list(range(n)))
    Neurons(keep=1 - 50 / (3 * FFN), scope="global").apply(w)
    assert [ffn.size for ffn in feedforwards(w)] == [FFN - n for n in dead]


def test_same_seed_same_model():
    made = []
    for _ in range(2):
        w = work("bert", number=30)
        Neurons(samples=8).apply(w)
        made.append(w.model.state_dict())
    assert all(made[0][k].equal(made[1][k]) for k in made[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": -1}, "keep is -1"),
        ({"importance": "l2"}, "importance is 'l2'"),
        ({"scope": ""}, "scope is ''"),
        ({"samples": -3}, "samples is -3"),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        Neurons(**options).check()
