"""Deal the inputs and outputs of a matrix into groups that keep the most of it.

No paper: greedy block-diagonalisation; each group grows from the strongest input that is left, then inputs and outputs
change groups in turn while that keeps more.
"""

from collections.abc import Mapping, Sequence

import torch

from laconic.errors import RecipeError

SWEEPS = 10


def check(groups: int, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Raise RecipeError for the first layer, of its path and its (out, in), that the groups do not divide."""
    for path, (rows, columns) in sizes.items():
        if rows % groups or columns % groups:
            raise RecipeError(f"groups is {groups}, which does not divide {path}, {rows} x {columns}")


def dealt(
    weight: torch.Tensor, squares: torch.Tensor, groups: int, *, permute: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """`orders` of a weight (out, in) by the squares (in,) of its inputs, summed; without `permute`, as they come."""
    if permute:
        return orders((weight.square() * squares).cpu(), groups)
    return torch.arange(weight.shape[0]), torch.arange(weight.shape[1])


def parted(
    found: Sequence[torch.Tensor], outputs: torch.Tensor, width: int
) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Each group's weight (out / groups, width), and the bias (out,) of all, where the matrices have a column more."""
    filters = [matrix[:, :width] for matrix in found]
    ends = torch.cat([matrix[:, width:] for matrix in found])  # (out, 1), group after group, or (out, 0)
    return filters, ends[outputs.argsort().to(ends.device), 0] if ends.shape[1] else None


def orders(energy: torch.Tensor, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs (out,) and inputs (in,), group after group, so that the blocks on the diagonal hold the most energy.

    `energy` (out, in) is not negative, and `groups` divides both sides. Never less than in the order as it comes.
    """
    energy = energy.double()
    plain = (_even(energy.shape[0], groups), _even(energy.shape[1], groups))  # group of each output, of each input
    found = max((_improved(energy, *start, groups) for start in (_grown(energy, groups), plain)), key=lambda f: f[0])
    return found[1].argsort(stable=True), found[2].argsort(stable=True)


def kept(energy: torch.Tensor, outputs: torch.Tensor, inputs: torch.Tensor) -> float:
    """Energy between outputs (out,) and inputs (in,) of the same group."""
    return float((energy * (outputs[:, None] == inputs)).sum())


def _even(count: int, groups: int) -> torch.Tensor:
    return torch.arange(groups).repeat_interleave(count // groups)


def _grown(energy: torch.Tensor, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Groups of outputs and inputs, each grown from its strongest input."""
    outputs, inputs = (torch.full((n,), -1) for n in energy.shape)
    each, width = (n // groups for n in energy.shape)
    for group in range(groups):
        free = energy * (outputs < 0)[:, None] * (inputs < 0)
        seed = _strongest(free.sum(0), inputs < 0, 1)
        rows = _strongest(free[:, seed].sum(1), outputs < 0, each)
        columns = _strongest(free[rows].sum(0), inputs < 0, width)
        outputs[_strongest(free[:, columns].sum(1), outputs < 0, each)] = group
        inputs[columns] = group
    return outputs, inputs


def _strongest(scores: torch.Tensor, free: torch.Tensor, count: int) -> torch.Tensor:
    return scores.masked_fill(~free, -1.0).argsort(descending=True, stable=True)[:count]


def _improved(
    energy: torch.Tensor, outputs: torch.Tensor, inputs: torch.Tensor, groups: int
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Deal outputs, then inputs, anew by what each has in common with the groups, while that keeps more."""
    best = kept(energy, outputs, inputs)
    for _ in range(SWEEPS):
        rows = _dealt(energy @ torch.nn.functional.one_hot(inputs, groups).double())
        columns = _dealt(energy.T @ torch.nn.functional.one_hot(rows, groups).double())
        now = kept(energy, rows, columns)
        if now <= best:
            break
        best, outputs, inputs = now, rows, columns
    return best, outputs, inputs


def _dealt(common: torch.Tensor) -> torch.Tensor:
    """The group of every item, as many for each: those with most to lose choose first; `common` is (items, groups)."""
    items, groups = common.shape
    room = [items // groups] * groups
    ranked = common.sort(dim=1, descending=True, stable=True)
    lead = ranked.values[:, 0] - ranked.values[:, min(1, groups - 1)]  # (items,)
    found = torch.empty(items, dtype=torch.long)
    wishes = ranked.indices.tolist()
    for item in lead.argsort(descending=True, stable=True).tolist():
        group = next(g for g in wishes[item] if room[g])
        room[group] -= 1
        found[item] = group
    return found
