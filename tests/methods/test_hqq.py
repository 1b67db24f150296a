"""HQQ: the update of its source written out, no group worse than rounded to nearest, and zero points of any value."""

import pytest
import torch

from laconic import effects, layers
from laconic.errors import RecipeError
from laconic.maths import grid
from laconic.methods import hqq
from laconic.methods.hqq import HQQ
from laconic.methods.rtn import RTN
from tests.methods import small


def slowly(row: list[float], scale: float, zero: float, bits: int, norm: float, rounds: int) -> list[float]:
    """Zero points of one group, round by round, with plain numbers."""
    zeros, beta = [zero], 10.0
    for _ in range(rounds):
        moved = []
        for w in row:
            code = min(max(round(w / scale + zero), 0), 2**bits - 1)
            error = w - (code - zero) * scale
            kept = max(abs(error) - abs(error) ** (norm - 1) / beta, 0.0) if error else 0.0
            kept = kept if error > 0 else -kept
            moved.append(code - (w - kept) / scale)
        zero = float(torch.tensor(sum(moved) / len(moved)).half())
        beta *= 1.01
        zeros.append(zero)
    return zeros


def lost(row: list[float], scale: float, zero: float, bits: int, norm: float) -> float:
    codes = [min(max(round(w / scale + zero), 0), 2**bits - 1) for w in row]
    return sum(abs(w - (code - zero) * scale) ** norm for w, code in zip(row, codes, strict=True))


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("size", [0.05, 5.0])
def test_zero_points_are_those_of_the_source_written_out(bits, size):
    torch.manual_seed(bits)
    weight = torch.randn(3, 8) * size + 0.3 * size
    scale, zero = hqq.solve(weight, bits, "channel", 0.7, 6)
    for i, row in enumerate(weight.tolist()):
        tried = []
        for ratios in ((1.0,), grid.RATIOS):
            steps, start = grid.fit(weight, bits, "channel", False, ratios=ratios)
            step = float(steps[i])
            zeros = slowly(row, step, float(start[i]), bits, 0.7, 6)
            tried += [lost(row, step, z, bits, 0.7) for z in zeros]
        assert lost(row, float(scale[i]), float(zero[i]), bits, 0.7) == pytest.approx(min(tried), rel=1e-3)


@pytest.mark.parametrize("group", ["channel", 8, 5])
def test_no_group_is_worse_than_rounded_to_nearest_and_most_are_better(tmp_path, group):
    work = small.work(tmp_path)
    before = {p: m.weight.detach().clone() for p, m in work.anatomy.linears("linears")}
    nearest = small.work(tmp_path)
    RTN(3, group, False, "linears").apply(nearest)
    HQQ(3, group).apply(work)
    won = []
    for path, weight in before.items():
        errors = [
            grid.split((at.model.get_submodule(path).weight.detach() - weight).abs().pow(0.7), group).sum(-1)
            for at in (work, nearest)
        ]
        assert (errors[0] <= errors[1] * (1 + 1e-4)).all()
        won.append((errors[0] < errors[1]).float().mean())
    assert float(torch.stack(won).mean()) > 0.7


def test_it_finds_a_planted_grid_between_whole_zero_points():
    codes = torch.randint(0, 4, (4, 32), generator=torch.Generator().manual_seed(1)).float()
    codes[:, 0], codes[:, 1] = 0, 3
    planted = (codes - 1.375) * 0.5
    scale, zero = hqq.solve(planted, 2, "channel", 0.7, 60)
    whole, start = grid.fit(planted, 2, "channel", False)
    found = (grid.snap(planted, scale, zero, 2, "channel") - planted).abs().mean()
    assert found < 0.5 * (grid.snap(planted, whole, start, 2, "channel") - planted).abs().mean()


def test_numbers_are_halves_and_freezing_changes_nothing(tmp_path):
    work = small.work(tmp_path)
    before = effects.measure(work.model)
    HQQ(3, 8, "all").apply(work)
    said = small.logits(work)
    layers.freeze(work.model)
    assert torch.equal(small.logits(work), said)
    for _, layer in layers.held(work.model):
        assert grid.is_half(layer.zero)
        assert (layer.zero != layer.zero.round()).any()
    layers.thaw(work.model)
    assert torch.equal(small.logits(work), said)
    assert effects.grew(before, effects.measure(work.model), "low_bit")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"norm": 1.5}, "norm is 1.5"), ({"rounds": 0}, "rounds is 0"), ({"group": "tensor"}, "per zero")],
)
def test_refusals(wrong, says):
    HQQ().check()
    with pytest.raises(RecipeError, match=says):
        HQQ(**wrong).check()
    assert HQQ(4, 64).forecast(small.sketch()).linear_bits == 4.5
