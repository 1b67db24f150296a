"""AutoRound: blocks nearer than rounded to nearest, one step at most from it, zeros kept, nothing left behind."""

import copy
import itertools

import pytest
import torch

from laconic import effects, flow, layers
from laconic.calibration.sums import tokens
from laconic.contracts import Work
from laconic.errors import RecipeError
from laconic.flow import Seen
from laconic.layers.dense import Dense
from laconic.maths import factor, grid
from laconic.methods import autoround
from laconic.methods.autoround import AutoRound, Rounding
from laconic.methods.magnitude import Magnitude
from laconic.methods.rtn import RTN
from laconic.methods.tie import Tie
from tests import slow, workshop
from tests.methods import small


def block_error(work: Work, original, path: str) -> float:
    """Squared error of a block on what the original gives it."""
    calls = slow.calls(Work(**{**vars(work), "model": original}), path, 64, None, 16)
    with torch.no_grad(), flow.quiet(work.model):
        outs = [(s.call.again(work.model, s.given), s.gave, mask) for s, mask in calls]
    return sum(float((tokens(now, mask) - tokens(was, mask)).square().sum()) for now, was, mask in outs)


@pytest.mark.parametrize("options", [{}, {"symmetric": False}, {"group": "tensor"}])
@pytest.mark.parametrize("family", ["bert", "llama", "t5"])
def test_the_first_block_is_nearer_than_rounded_to_nearest(family, options):
    grids = {"group": 8, **options}
    errors = {}
    for method in (AutoRound(3, steps=60, samples=12, batch=4, **grids), RTN(3, where="linears", **grids)):
        work = workshop.work(family)
        original = copy.deepcopy(work.model)
        method.apply(work)
        errors[type(method)] = block_error(work, original, work.anatomy.stacks[0].blocks[0].path)
    assert errors[AutoRound] < 0.9 * errors[RTN]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_later_readers_of_a_weight_are_nearer_than_rounded_to_nearest(family):
    """And so is the block that holds it: the first, whose lessons don't depend on what was rounded before it."""
    errors = {}
    for method in (AutoRound(2, 8, steps=60, samples=64, batch=8), RTN(2, 8, where="linears")):
        work = workshop.work(family)
        Tie(2, samples=64).apply(work)
        original = copy.deepcopy(work.model)
        layers.bind(original)
        first = work.anatomy.stacks[0].blocks[0].path
        later = {path: some for path, some in layers.readers(original).items() if path.startswith(f"{first}.")}
        sums = slow.grams(Work(**{**vars(work), "model": original}), [p for some in later.values() for p in some], 64)
        method.apply(work)
        apart = 0.0
        for path, some in later.items():
            was, now = (layers.take(model.get_submodule(path)).weight.detach() for model in (original, work.model))
            apart += sum(factor.loss(was, now, sums[p][: was.shape[1], : was.shape[1]]) for p in some)
        errors[type(method)] = (apart, block_error(work, original, first))
    assert errors[AutoRound][0] < 0.9 * errors[RTN][0]
    assert errors[AutoRound][1] < 0.9 * errors[RTN][1]


@pytest.mark.parametrize("symmetric", [True, False])
def test_it_begins_as_rounding_to_nearest_and_ends_on_the_grid(symmetric):
    module = torch.nn.Linear(20, 6)
    rounding = Rounding(module, AutoRound(3, 8, symmetric))
    scale, zero = grid.fit(module.weight.detach(), 3, 8, symmetric)
    assert torch.allclose(rounding.soft(), grid.snap(module.weight.detach(), scale, zero, 3, 8), atol=1e-6)
    with torch.no_grad():
        rounding.offset.uniform_(-0.9, 0.9)
        rounding.high.uniform_(0.2, 1.1)
        rounding.low.uniform_(0.7, 1.1)
    rounding.bound()
    assert float(rounding.offset.detach().abs().max()) <= 0.5
    layer = rounding.layer(module)
    assert torch.allclose(layer.weight, rounding.soft(), atol=1e-5)
    layer.freeze()
    assert len(layer.codes.unique()) <= 8
    assert grid.is_half(layer.scale)


def test_slopes_pass_through_rounding():
    module = torch.nn.Linear(3, 1, bias=False)
    module.weight.data = torch.tensor([[0.4, 0.0, 1.0]])
    rounding = Rounding(module, AutoRound(2, "channel"))
    step = float(rounding.scale)
    rounding.soft().sum().backward()
    assert rounding.offset.grad.tolist() == [[pytest.approx(step), 0.0, pytest.approx(step)]]


def straightened(rounding, high, low):
    """The rounded weight (out, in), float64, at other ends of the ranges, where all that is rounded moves along.

    What rounding adds is what it adds at ends of 1: of the scale, of the zero, and of each weight.
    """

    def grid_of(high, low):
        if rounding.symmetric:
            return rounding.scale.double() * high, None
        zero = rounding.zero.double()
        below, above = zero * rounding.scale.double() * low, (most - zero) * rounding.scale.double() * high
        return (above + below) / most, below

    most = 2**rounding.bits - 1
    weight = rounding.weight.double().reshape(*rounding.scale.shape, -1)  # (R, G, n)
    before, whole = grid_of(1.0, 1.0)
    held = before.half().double()
    now, below = grid_of(high, low)
    scale = now + held - before
    steps = weight / scale[..., None] + ((weight / held[..., None]).round() - weight / held[..., None])  # (R, G, n)
    zero, lowest = torch.full_like(scale, most // 2), -float(most // 2)
    if not rounding.symmetric:
        zero, lowest = below / scale + ((whole / held).round() - whole / held), -(whole / held).round()[..., None]
    first = (weight / held[..., None]).round()
    highest = lowest + (most // 2 * 2 if rounding.symmetric else most)
    ends = torch.where(first < lowest, 0.0, highest - lowest) - zero[..., None]
    free = (first >= lowest) & (first <= highest)  # a code on an end is free, as in the paper's implementation
    return (torch.where(free, steps, ends) * scale[..., None]).reshape(rounding.weight.shape)


@pytest.mark.parametrize("symmetric", [True, False])
def test_slopes_of_the_ends_are_those_of_small_steps(symmetric):
    """On ranges that clip: weights at either end, and between them."""
    generator = torch.Generator().manual_seed(0)
    module = torch.nn.Linear(40, 3, bias=False)
    module.weight.data = torch.randn(3, 40, generator=generator) + 0.3
    rounding = Rounding(module, AutoRound(3, 20, symmetric))
    rounding.scale *= 0.8
    mixed = torch.randn(3, 40, generator=generator)
    (rounding.soft() * mixed).sum().backward()
    assert torch.allclose(rounding.soft().double(), straightened(rounding, 1.0, 1.0), atol=1e-5)
    step = 1e-6
    for number, end in enumerate([rounding.high] if symmetric else [rounding.high, rounding.low]):
        for place in itertools.product(range(3), range(2)):
            values = []
            for sign in (1, -1):
                ends = [torch.ones(3, 2, dtype=torch.float64) for _ in range(2)]
                ends[number][place] += sign * step
                values.append(float((straightened(rounding, *ends) * mixed).sum()))
            assert float(end.grad[place]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3, abs=1e-3)


class Layer:
    """A block of one linear, as a call that can be made again."""

    def again(self, _, given, weights):
        """Outputs with these weights."""
        return torch.nn.functional.linear(given, weights["it.weight"])


@pytest.mark.parametrize("symmetric", [True, False])
def test_of_all_ways_to_round_six_weights_one_near_the_best_is_found(symmetric, monkeypatch):
    """With the ends held; never better than the best of 64, nor worse than rounding to nearest."""
    monkeypatch.setattr(autoround, "FACTORS", (1.0, 1.0))
    gaps = []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        module = torch.nn.Linear(6, 1, bias=False)
        module.weight.data = torch.randn(1, 6, generator=generator)
        x = torch.randn(1, 32, 6, generator=generator) + 2 * torch.randn(1, 32, 1, generator=generator)
        said = x @ module.weight.detach().T  # (1, tokens, 1)
        method = AutoRound(2, "channel", symmetric, steps=200)
        rounding = Rounding(module, method)
        scale, zero = grid.fit(module.weight.detach(), 2, "channel", symmetric)
        middle = 0 if zero is None else int(zero)
        down = (module.weight.detach() / scale).floor()  # (1, 6)
        ways = [down + torch.tensor(up) for up in itertools.product([0.0, 1.0], repeat=6)]
        bounded = [way.clamp(-1 if zero is None else -middle, 1 if zero is None else 3 - middle) for way in ways]
        every = [float((x @ (way * scale).T - said).square().mean()) for way in bounded]
        nearest = float((x @ grid.snap(module.weight.detach(), scale, zero, 2, "channel").T - said).square().mean())
        calls = [(Seen(x, said, Layer()), (torch.ones(1, 32, dtype=torch.bool),))]
        method._learn(module, {"it": rounding}, calls, generator)
        mine = float((x @ rounding.layer(module).weight.detach().T - said).square().mean())
        assert min(every) * (1 - 1e-4) <= mine <= nearest * (1 + 1e-4)
        gaps.append((mine - min(every), nearest - min(every)))
    assert sum(mine for mine, _ in gaps) <= 0.1 * sum(nearest for _, nearest in gaps), gaps


def test_a_block_that_learned_nothing_good_stays_rounded_to_nearest(monkeypatch, tmp_path):
    work, other = small.work(tmp_path), small.work(tmp_path)
    losses = itertools.cycle([1.0, 2.0, 2.0])
    monkeypatch.setattr(autoround, "_loss", lambda *_: next(losses))
    AutoRound(3, steps=2, samples=8).apply(work)
    RTN(3, 128, where="linears").apply(other)
    assert torch.equal(small.logits(work), small.logits(other))


def test_a_block_keeps_the_best_it_has_seen(monkeypatch):
    work, seen, later = workshop.work("llama"), [], []
    real_loss, real_learn = autoround._loss, AutoRound._learn

    def loss(*given):
        seen.append(real_loss(*given))
        return seen[-1]

    def learn(self, model, inside, calls, generator):
        seen.clear()
        real_learn(self, model, inside, calls, generator)
        assert len(seen) == 11  # before, and ten times on the way
        assert real_loss(model, inside, calls) == min(seen)
        later.append(seen[-1] > min(seen))

    monkeypatch.setattr(autoround, "_loss", loss)
    monkeypatch.setattr(AutoRound, "_learn", learn)
    AutoRound(3, 8, steps=60, samples=12, batch=4).apply(work)
    assert any(later)  # the last was not the best everywhere


def test_pruned_weights_stay_pruned_and_freezing_changes_nothing(tmp_path):
    work = small.work(tmp_path)
    Magnitude(0.5).apply(work)
    work.model.train()
    before, pruned = effects.measure(work.model), {p: layer.weight == 0 for p, layer in layers.held(work.model)}
    AutoRound(3, symmetric=False, steps=10, samples=8).apply(work)
    assert all(module.training for module in work.model.modules())
    assert not any(isinstance(layer, Dense) for _, layer in layers.held(work.model))
    said = small.logits(work)
    layers.freeze(work.model)
    assert torch.equal(small.logits(work), said)
    assert all(not work.model.get_submodule(path).weight[mask].any() for path, mask in pruned.items())
    assert effects.measure(work.model)["sparse"] >= before["sparse"]


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5", "albert"])
def test_a_call_can_be_made_again(family):
    work = workshop.work(family)
    path = work.anatomy.stacks[-1].blocks[-1].path
    calls = slow.calls(work, path, 12, None, 4)
    assert len(calls) > 1
    for seen, _ in [*calls, *calls]:  # twice: nothing is remembered
        with torch.no_grad(), flow.quiet(work.model):
            assert torch.allclose(seen.call.again(work.model, seen.given), seen.gave, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"where": "head"}, "where is 'head', but autoround learns by what blocks give, .* gptq for the head"),
        ({"bits": 1}, "bits is 1"),
    ],
)
def test_refusals(wrong, says):
    AutoRound().check()
    with pytest.raises(RecipeError, match=says):
        AutoRound(**wrong).check()
