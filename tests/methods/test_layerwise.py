"""Blocks taught one by one: nearer to the original's, through grids, and left alone where there is nothing to learn."""

import copy

import pytest
import torch

from laconic import layers
from laconic.calibration import sums
from laconic.errors import RecipeError
from laconic.methods.basis import Basis
from laconic.methods.blocks import Blocks
from laconic.methods.kmeans import KMeans
from laconic.methods.layerwise import Layerwise
from laconic.methods.magnitude import Magnitude
from laconic.methods.rtn import RTN
from laconic.methods.tie import Tie
from laconic.methods.width import Width
from tests import slow
from tests.methods import small
from tests.workshop import work as workshop


def error(work):
    """Squared error of the last block's tokens, padding left out."""
    path = work.anatomy.stacks[0].blocks[-1].path
    goal = scoring_goal(work)
    total = 0.0
    for gave, told, mask in slow.together(work, path, goal, 64):
        own, target = (sums.tokens(x, mask) for x in (gave, told))
        total += float((own - target).square().sum())
    return total


def scoring_goal(work):
    teacher = copy.copy(work)
    teacher.model = work.teacher.model
    return teacher.anatomy.stacks[0].blocks[-1].path


@pytest.mark.parametrize("damage", [Magnitude(0.5), RTN(3, where="linears"), Blocks(keep=0.5)])
def test_the_last_block_gives_more_nearly_what_the_originals_gave(tmp_path, damage):
    work = small.work(tmp_path)
    damage.apply(work)
    before = error(work)
    Layerwise(epochs=8, learning_rate=1e-3, samples=64).apply(work)
    assert error(work) < 0.8 * before
    said = small.logits(work)
    layers.freeze(work.model)
    assert torch.equal(small.logits(work), said)


def test_masks_hold_and_what_is_outside_the_blocks_stays(tmp_path):
    work = small.work(tmp_path)
    Magnitude(0.5).apply(work)
    zeros = {path: layer.weight == 0 for path, layer in layers.held(work.model)}
    outside = {n: p.detach().clone() for n, p in work.model.named_parameters() if ".layer." not in n}
    Layerwise(epochs=2, samples=16).apply(work)
    assert all(not work.model.get_submodule(path).weight[mask].any() for path, mask in zeros.items())
    now = dict(work.model.named_parameters())
    assert all(torch.equal(now[name], held) for name, held in outside.items())
    assert all(p.grad is None for p in now.values())


@pytest.mark.parametrize("sharing", [Tie(share=2), Basis(keep=0.5, share=2), KMeans(3, share=True, group=8)])
def test_what_several_blocks_read_stays_and_the_rest_learns(tmp_path, sharing):
    work = small.work(tmp_path)
    sharing.apply(work)
    layers.thaw(work.model)
    sources = {layer.source for _, layer in layers.held(work.model) if getattr(layer, "source", "")}
    assert sources
    held = {f"{path}.{name}" for path in sources for name in dict(work.model.get_submodule(path).named_parameters())}
    before = {name: p.detach().clone() for name, p in work.model.named_parameters()}
    lines = []
    work.log = lines.append
    Layerwise(epochs=8, learning_rate=1e-3, samples=32).apply(work)
    errors = [[float(part) for part in line.split("error ")[1].split(" -> ")] for line in lines]
    assert all(after < start for start, after in errors)
    for name, parameter in work.model.named_parameters():
        assert parameter.requires_grad
        assert parameter.grad is None
        if name in held and not name.endswith("bias"):
            assert torch.equal(parameter, before[name])


def test_the_original_itself_has_nothing_to_learn(tmp_path):
    work = small.work(tmp_path)
    before = {name: p.detach().clone() for name, p in work.model.named_parameters()}
    Layerwise(epochs=2, samples=16).apply(work)
    assert all(torch.equal(p, before[name]) for name, p in work.model.named_parameters())


@pytest.mark.parametrize("family", ["albert", "llama", "t5", "bart"])
def test_any_stack_is_taught(family, tmp_path):
    work = workshop(family, tmp_path, head="sequence")
    lines = []
    work.log = lines.append
    cached = work.model.config.use_cache if family != "albert" else None
    RTN(3, where="linears").apply(work)
    Layerwise(epochs=4, learning_rate=1e-3, samples=8).apply(work)
    assert len(lines) == sum(len(stack.blocks) for stack in work.anatomy.stacks)
    errors = [[float(part) for part in line.split("error ")[1].split(" -> ")] for line in lines]
    assert all(after <= before for before, after in errors)
    assert sum(after for _, after in errors) < 0.95 * sum(before for before, _ in errors)
    assert family == "albert" or work.model.config.use_cache == cached


def test_refusals(tmp_path):
    work = small.work(tmp_path)
    Width(keep=0.5, multiple=8).apply(work)
    with pytest.raises(RecipeError, match="16 wide and the original's 32; use distill"):
        Layerwise().apply(work)
    work.teacher = None
    with pytest.raises(RecipeError, match="needs a teacher"):
        Layerwise().apply(work)
    for wrong, says in (({"epochs": 0}, "epochs is 0"), ({"learning_rate": 0.0}, "learning_rate is 0")):
        with pytest.raises(RecipeError, match=says):
            Layerwise(**wrong).check()
    assert Layerwise().forecast(small.sketch()) == small.sketch()
