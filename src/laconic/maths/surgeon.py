"""Set weights to zero so that a layer's outputs on calibration inputs stay: the weights that are left make up for them.

Frantar and Alistarh 2023, arXiv:2301.00774 (SparseGPT), algorithm 1: optimal brain surgery (Hassibi et al. 1993) input
by input, the mask chosen a block of inputs at a time, by what each weight then costs.
Differs from the paper: with the mask chosen, what is left is brought near its least squares solution by conjugate
gradients; a weight that is zero beforehand stays zero and counts as pruned.
"""

import math
from collections.abc import Sequence

import torch

from laconic.errors import RecipeError
from laconic.maths import hessian, masks

FINE = 1e-3  # damping below which float64 is needed to tell it from rounding
STEPS = 8  # of conjugate gradients; twice as many lessen the loss by 3 % at 2:4, and not at 50 %


def fewest(sparsity: float) -> int:
    """Inputs in which a row has one to lose and one to keep; with fewer, whole inputs go whatever they cost."""
    part = min(sparsity, 1 - sparsity)
    return math.ceil(round(1 / part, 6)) if part > 0 else 1


def check(sparsity: float, scope: str, block: int) -> None:
    """Raise RecipeError for a block in which a row has nothing to choose."""
    if scope == "row" and block < fewest(sparsity):
        raise RecipeError(
            f"block is {block}, in which a row of sparsity {sparsity:g} has nothing to choose; "
            f"give at least {fewest(sparsity)}, or scope layer"
        )


def prune(
    weights: Sequence[torch.Tensor],
    gram: torch.Tensor,
    sparsity: float,
    scope: str,
    *,
    damp: float = 0.01,
    block: int = hessian.BLOCK,
) -> list[torch.Tensor]:
    """What weights (out, in) become that read one input: zero where pruned, the rest moved to make up for it.

    `gram` is the sum of x x^T (in, in). `sparsity` of every `block` inputs go from each layer, or from each of its rows
    with scope "row", where a last block too short to choose in joins the one before; with an N:M scope, all but N of
    every M.
    """
    wanted = torch.cat(list(weights)).float().t().contiguous()  # (in, out of all)
    factor = hessian.inverse_factor(gram, damp).float()  # (in, in)
    rows, step = [len(w) for w in weights], masks.pattern(scope)[1] if ":" in scope else block
    starts = list(range(0, len(wanted), step))
    if scope == "row" and len(starts) > 1 and len(wanted) - starts[-1] < fewest(sparsity):
        starts.pop()
    ends = dict(zip(starts, [*starts[1:], len(wanted)], strict=True))
    kept = wanted != 0  # (in, out of all)
    fires = gram.diagonal().unsqueeze(1) > 0  # (in, 1)

    def decide(i: int, left: torch.Tensor, _: int) -> torch.Tensor:
        if i in ends:
            span = slice(i, ends[i])
            share = sparsity
            if scope == "row":  # what rounding leaves over in a row goes to its next block
                share = (round(sparsity * span.stop) - round(sparsity * i)) / (span.stop - i)
            cost = (left[span] / factor.diagonal()[span].unsqueeze(1)).square() * fires[span]  # (step, out of all)
            scores = torch.where(kept[span], cost, -1.0).t()
            chosen = masks.kept(torch.split(scores, rows), share, scope)
            kept[span] &= torch.cat(chosen).t()
        return torch.where(kept[i], left[i], 0.0)

    found = hessian.compensate(wanted, factor, decide, -(-block // step) * step)
    found = refit(wanted, found, kept, gram, damp, STEPS)
    return [w.contiguous() for w in torch.split(found.t(), rows)]


def refit(
    wanted: torch.Tensor, found: torch.Tensor, kept: torch.Tensor, gram: torch.Tensor, damp: float, steps: int
) -> torch.Tensor:
    """Move the kept weights towards the least damped squared error of the outputs; all weights are (in, out).

    Conjugate gradients, preconditioned by the diagonal, for all outputs at once: each step lessens the error, and as
    many as there are inputs find its least. Damping is at least what float32 rounds of the sum `gram`, and an output
    stops where rounding leaves the error no least along its way.
    """
    damp = max(damp, torch.finfo(torch.float32).eps * math.sqrt(len(gram)))
    matrix = hessian.damped(gram, damp, torch.float64 if damp < FINE else torch.float32)  # (in, in)
    tiny = torch.finfo(matrix.dtype).tiny
    diagonal = matrix.diagonal().unsqueeze(1).clamp_min(tiny)  # (in, 1)
    found = found.to(matrix.dtype, copy=True)
    rest = (matrix @ (wanted - found)) * kept  # (in, out)
    way = rest / diagonal
    size = (rest * way).sum(0)  # (out,)
    going = torch.ones_like(size, dtype=torch.bool)  # (out,)
    for _ in range(steps):
        bent = (matrix @ way) * kept  # (in, out)
        curvature = (way * bent).sum(0)  # (out,)
        going &= curvature > 0
        length = torch.where(going, size / curvature.clamp_min(tiny), 0.0)  # (out,)
        found += length * way
        rest -= length * bent
        scaled = rest / diagonal
        fresh = (rest * scaled).sum(0)  # (out,)
        way = scaled + fresh / size.clamp_min(tiny) * way
        size = fresh
    return found.to(wanted.dtype)
