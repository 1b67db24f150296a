"""k-means of numbers on a line, many groups at once: the values of a codebook and which of them each number takes.

Lloyd 1982, doi:10.1109/TIT.1982.1056489, on sorted numbers, so that a round costs as much as the values and not as the
numbers. It begins from values spread evenly (Han et al. 2016, arXiv:1510.00149), from values as dense as the cube root
of the density (Panter and Dite 1951, doi:10.1109/JRPROC.1951.230245), and from the best partition between a few places
by dynamic programming (Wang and Song 2011, doi:10.32614/RJ-2011-015); each group keeps the best end.
"""

from collections.abc import Sequence

import torch

from laconic.maths import grid

ROUNDS = 200  # most groups have settled long before
BINS = 256  # of the density
STEP = 2**24  # numbers at once, to bound memory
SAMPLE = 2**22  # numbers that a common codebook is sought with at first
TURNS = 10  # of values, scales and codes; later ones gain next to nothing
PLACES = 64  # between which partitions are sought; groups of fewer numbers get the best there is


def fit(
    weight: torch.Tensor, bits: int, group: grid.Group, weigh: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Codes uint8 (rows, columns), values (R, G, 2^bits) of float16 numbers, and whether the first value is held at 0.

    It is where a weight is exactly 0, unless there are two values only, which are for both signs. `weigh` counts each
    column's squared error, (columns,).
    """
    pruned = bits > 1 and bool((weight == 0).any())
    weight = weight.float().contiguous()
    parts = grid.split(weight, group)  # (R, G, n)
    mass = _mass(weight, group, weigh)
    lines, masses = parts.flatten(0, 1), mass.expand_as(parts).flatten(0, 1)  # (L, n)
    if pruned:
        masses = masses * (lines != 0)  # they have a value already
    step = max(1, STEP // max(lines.shape[1], PLACES**2))
    starts = range(0, len(lines), step)
    solved = [_solve(lines[i : i + step], masses[i : i + step], 2**bits, pruned) for i in starts]
    codes, values = (torch.cat(pieces) for pieces in zip(*solved, strict=True))
    codes = grid.join(codes.reshape(parts.shape), *weight.shape)
    return codes.to(torch.uint8), values.reshape(*parts.shape[:2], -1), pruned


def common(
    weights: Sequence[torch.Tensor], bits: int, group: grid.Group, weighs: Sequence[torch.Tensor | None]
) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor, bool]:
    """One codebook (1, 1, 2^bits) for weights (rows, columns), and codes and scales (R, G) of each; as `fit` otherwise.

    A group's weights are about its scale times values. From each group's largest magnitude, values, scales and codes
    are found in turn, each the best for the others, so that the weighed squared error falls.
    """
    pruned = bits > 1 and any(bool((w == 0).any()) for w in weights)
    lines = [grid.split(w.float(), group) for w in weights]  # (R, G, n) each
    masses = [_mass(w, group, weigh) for w, weigh in zip(weights, weighs, strict=True)]
    scales = [grid.upward(x.abs().amax(-1)) for x in lines]  # (R, G) each
    table = _begun(lines, masses, scales, 2**bits, pruned)  # (K,)
    for _ in range(TURNS):
        sums = torch.zeros(2, len(table), dtype=torch.float64, device=table.device)
        for i, (x, mass) in enumerate(zip(lines, masses, strict=True)):
            scales[i] = _scale(x, mass, scales[i], _nearest(x, scales[i], table, pruned), table)
            sums += _moments(x, mass, scales[i], _nearest(x, scales[i], table, pruned), len(table))
        table = torch.where(sums[0] > 0, sums[1] / sums[0].clamp(min=torch.finfo(sums.dtype).tiny), table.double())
        table = grid.half((table * (torch.arange(len(table)) > 0).to(table) if pruned else table).float())
    found = []
    for weight, x, scale in zip(weights, lines, scales, strict=True):
        codes = _nearest(x, scale, table, pruned).to(torch.uint8)  # (R, G, n)
        found.append((grid.join(codes, *weight.shape), scale))
    return found, table[None, None], pruned


def _mass(weight: torch.Tensor, group: grid.Group, weigh: torch.Tensor | None) -> torch.Tensor:
    """What each weight's squared error counts, (R or 1, G, n); nothing where a group is filled up.

    In a group of which no input ever fires, all count alike.
    """
    ones = weight.new_ones(len(weight) if group == "tensor" else 1, weight.shape[1], dtype=torch.float32)
    alike = grid.split(ones, group)
    if weigh is None:
        return alike
    mass = grid.split(weigh.float().expand_as(ones), group)
    return torch.where(mass.sum(-1, keepdim=True) > 0, mass, alike)


def _begun(
    lines: Sequence[torch.Tensor],
    masses: Sequence[torch.Tensor],
    scales: Sequence[torch.Tensor],
    count: int,
    pruned: bool,
) -> torch.Tensor:
    """The values (count,) that k-means finds for a sample of all weights, each divided by its scale."""
    part = min(1.0, SAMPLE / sum(x.numel() for x in lines))
    generator = torch.Generator().manual_seed(0)
    units, weighs = [], []
    for x, mass, scale in zip(lines, masses, scales, strict=True):
        unit, weigh = (x / scale.unsqueeze(-1)).flatten(), (mass * scale.unsqueeze(-1).square()).flatten()
        if part < 1:
            chosen = torch.randint(len(unit), (1 + int(part * len(unit)),), generator=generator).to(unit.device)
            unit, weigh = unit[chosen], weigh[chosen]
        units.append(unit)
        weighs.append(weigh)
    unit, weigh = torch.cat(units), torch.cat(weighs)
    if pruned:
        weigh = weigh * (unit != 0)  # they have a value already
    return _solve(unit[None], weigh[None], count, pruned)[1][0]


def _nearest(x: torch.Tensor, scale: torch.Tensor, table: torch.Tensor, pruned: bool) -> torch.Tensor:
    """Codes (R, G, n) of the values next to x; where there is a held 0, what is 0 has it."""
    order, places = table.sort()
    unit = (x / scale.unsqueeze(-1)).contiguous()
    codes = places[torch.searchsorted((order[1:] + order[:-1]) / 2, unit)]
    return torch.where(x == 0, 0, codes) if pruned else codes


def _scale(
    x: torch.Tensor, mass: torch.Tensor, scale: torch.Tensor, codes: torch.Tensor, table: torch.Tensor
) -> torch.Tensor:
    """The float16 scales (R, G) of least error for these codes, or those that were."""
    near = table[codes]  # (R, G, n)
    best = (mass * x * near).sum(-1) / (mass * near.square()).sum(-1).clamp(min=torch.finfo(torch.float32).tiny)
    best = grid.half(torch.where(best > 0, best, scale), grid.SMALLEST)
    errors = [(mass * (x - s.unsqueeze(-1) * near).square()).sum(-1) for s in (best, scale)]
    return torch.where(errors[0] < errors[1], best, scale)


def _moments(x: torch.Tensor, mass: torch.Tensor, scale: torch.Tensor, codes: torch.Tensor, count: int) -> torch.Tensor:
    """For each value what its weights count, and that times what they would have it be: (2, count) float64."""
    wide, flat = scale.unsqueeze(-1), codes.flatten()  # (R, G, 1), (R * G * n,)
    parts = [(mass * wide.square()).expand_as(x), mass * wide * x]
    return torch.stack([part.new_zeros(count).double().index_add_(0, flat, part.flatten().double()) for part in parts])


def _solve(x: torch.Tensor, mass: torch.Tensor, count: int, pruned: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (L, n) and values (L, count), the held 0 first where there is one."""
    order, places = x.double().sort(dim=1)  # (L, n)
    weigh = mass.double().gather(1, places)
    sums = torch.stack([weigh, weigh * order, weigh * order.square()]).cumsum(-1)  # (3, L, n)
    sums = torch.nn.functional.pad(sums, (1, 0))  # (3, L, n + 1)
    best, least = None, None
    few = [_partition(order, sums, count)] if 2 * count <= PLACES else []
    for start in (*few, _even(order, count), _density(order, count)):
        held = start.abs().argmin(1, keepdim=True) if pruned else None  # (L, 1)
        values, error = _settled(order, sums, start, held)
        if best is None or least is None:
            best, least = values, error
        best = torch.where((error < least)[:, None], values, best)
        least = torch.minimum(error, least)
    assert best is not None
    values = grid.half(best.float())  # (L, K)
    codes = torch.searchsorted((values[:, 1:] + values[:, :-1]) / 2, x.contiguous())  # (L, n)
    if pruned:  # a value that is 0 goes first
        zero = values.abs().argmin(1, keepdim=True)  # (L, 1)
        codes = torch.where(codes == zero, 0, codes + (codes < zero))
        codes = torch.where(x == 0, 0, codes)
        shifted = torch.arange(count, device=x.device).expand_as(values)
        shifted = torch.where(shifted == 0, zero, shifted - (shifted <= zero).long())
        values = values.gather(1, shifted)
    return codes, values


def _settled(
    x: torch.Tensor, sums: torch.Tensor, values: torch.Tensor, held: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lloyd's rounds from a start, on sorted x (L, n): values (L, K) and squared error (L,).

    Clusters are runs between two midpoints, so their sums are differences of `sums` (3, L, n + 1). One that is empty
    keeps its value; so does the one `held` at 0.
    """
    if held is not None:
        values = values.scatter(1, held, 0.0)
    for _ in range(ROUNDS):
        mass, first, _ = _runs(x, sums, values)
        moved = torch.where(mass > 0, first / mass.clamp(min=torch.finfo(mass.dtype).tiny), values)
        if held is not None:
            moved = moved.scatter(1, held, 0.0)
        if torch.equal(moved, values):
            break
        values = moved
    mass, first, second = _runs(x, sums, values)
    return values, (second - 2 * values * first + values.square() * mass).sum(1)


def _runs(x: torch.Tensor, sums: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Mass, first and second moment of every cluster: (3, L, K)."""
    ends = torch.searchsorted(x, (values[:, 1:] + values[:, :-1]) / 2)  # (L, K - 1)
    ends = torch.nn.functional.pad(ends, (1, 0))
    ends = torch.cat([ends, ends.new_full((len(ends), 1), x.shape[1])], 1)  # (L, K + 1)
    return sums.gather(2, ends.expand(3, *ends.shape)).diff(dim=2)


def _even(x: torch.Tensor, count: int) -> torch.Tensor:
    """From the least to the largest, (L, K)."""
    place = torch.linspace(0, 1, count, dtype=x.dtype, device=x.device)
    return x[:, :1] + (x[:, -1:] - x[:, :1]) * place


def _density(x: torch.Tensor, count: int) -> torch.Tensor:
    """As dense as the cube root of the numbers' density, (L, K)."""
    edges, room = _room(x)
    if edges.shape[1] == 1:
        return x.expand(-1, count)
    wanted = room[:, -1:] * ((torch.arange(count, device=x.device) + 0.5) / count)  # (L, K)
    place = torch.searchsorted(room, wanted).clamp(1, room.shape[1] - 1)
    low, high = room.gather(1, place - 1), room.gather(1, place)
    part = (wanted - low) / (high - low).clamp(min=torch.finfo(x.dtype).tiny)
    edges = x.gather(1, edges)
    left, right = edges.gather(1, place - 1), edges.gather(1, place)
    return left + (right - left) * part.clamp(0, 1)


def _room(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of about as many numbers each in sorted x, and how many values should lie before them: (L, B), (L, B)."""
    places = torch.linspace(0, x.shape[1] - 1, min(BINS, x.shape[1]), device=x.device).round().long()
    width = x[:, places].diff(dim=1)  # 1 / density
    return places.expand(len(x), -1), torch.nn.functional.pad(width.pow(2 / 3).cumsum(1), (1, 0))


def _partition(x: torch.Tensor, sums: torch.Tensor, count: int) -> torch.Tensor:
    """Means of the runs of sorted x (L, n) with the least squared error, cut only at some places: (L, K)."""
    cuts = _cuts(x)  # (L, C)
    at = sums.gather(2, cuts.expand(3, -1, -1))  # (3, L, C)
    mass, first, second = at.unsqueeze(2) - at.unsqueeze(3)  # (L, C, C): from one place to another
    cost = second - first.square() / mass.clamp(min=torch.finfo(x.dtype).tiny)
    cost = cost.masked_fill(torch.ones_like(cost[0], dtype=torch.bool).tril(-1), torch.inf)
    total, chosen = cost[:, 0], []  # (L, C), error of all before a place in the clusters so far
    for _ in range(count - 1):
        total, before = (total.unsqueeze(2) + cost).min(1)
        chosen.append(before)
    ends = [torch.full_like(cuts[:, :1], cuts.shape[1] - 1)]  # (L, 1) each, among the cuts
    for before in reversed(chosen):
        ends.insert(0, before.gather(1, ends[0]))
    bounds = torch.cat([torch.zeros_like(ends[0]), *ends], 1)  # (L, K + 1)
    mass, first, _ = at.gather(2, bounds.expand(3, -1, -1)).diff(dim=2)  # (L, K)
    near = x.gather(1, cuts.gather(1, bounds[:, :-1]).clamp(max=x.shape[1] - 1))  # for runs that are empty
    return torch.where(mass > 0, first / mass.clamp(min=torch.finfo(x.dtype).tiny), near)


def _cuts(x: torch.Tensor) -> torch.Tensor:
    """Where runs of sorted x may end, 0 and n among them: everywhere, or where values should be dense: (L, C)."""
    if x.shape[1] < PLACES:
        return torch.arange(x.shape[1] + 1, device=x.device).expand(len(x), -1)
    edges, room = _room(x)
    wanted = room[:, -1:] * torch.linspace(0, 1, PLACES, dtype=x.dtype, device=x.device)[1:-1]
    found = edges.gather(1, torch.searchsorted(room, wanted.contiguous()).clamp(max=room.shape[1] - 1))
    return torch.nn.functional.pad(torch.nn.functional.pad(found, (1, 0)), (0, 1), value=x.shape[1])
