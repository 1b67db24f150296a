"""How much a head, a neuron, a hidden dimension or a block matters, and which to keep.

Gates by first-order Taylor: Michel et al. 2019, arXiv:1905.10650; Molchanov et al. 2019, arXiv:1906.10771. By Fisher
information: Kwon et al. 2022, arXiv:2204.09656. By activation: Muralidharan et al. 2024, arXiv:2407.14679. Blocks: Men
et al. 2024, arXiv:2403.03853 (ShortGPT); Gromov et al. 2024, arXiv:2403.17887 (angles).
Reconstruction of what is removed: He et al. 2017, arXiv:1707.06168; how far few tokens are to be believed: Chen et al.
2010, arXiv:0907.4698 (oracle approximating shrinkage of a covariance).

Differs from the papers: a structure's activation is weighed by what the output projection makes of it, since the scale
of a neuron can move between its incoming and its outgoing weights without changing the function; and reconstruction is
damped towards the weights it starts from instead of towards 0, so that it never does worse than plain removal.
"""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from laconic.maths import factor

SCOPES = ("block", "global")
DAMP = 1e-4  # of the Gram matrix's mean diagonal: solves what is singular, changes little else


def gates(values: torch.Tensor, gradients: torch.Tensor, size: int = 1, *, squared: bool = False) -> torch.Tensor:
    """|dL/d gate| of every structure, summed over examples; gates multiply `size` neighbouring channels and stand at 1.

    `squared` gives (dL/d gate)^2 instead, the diagonal of the gates' empirical Fisher information (Kwon et al.).
    `values` and `gradients` are (examples, tokens, structures * size); returns (structures,) in float64.
    """
    products = (values.double() * gradients.double()).sum(1)  # (examples, structures * size)
    slopes = products.reshape(len(products), -1, size).sum(-1)  # (examples, structures)
    return (slopes.square() if squared else slopes.abs()).sum(0)  # (structures,)


def contributions(gram: torch.Tensor, weight: torch.Tensor, size: int = 1) -> torch.Tensor:
    """Root mean square of what every structure adds through its output projection, up to one common factor.

    `gram` is sum x x^T of the projection's inputs, (in, in), `weight` (out, in); returns (in / size,) in float64:
    sqrt(trace(W_s C_ss W_s^T)) over the columns s of a structure.
    """
    columns = weight.double().T.reshape(-1, size, len(weight))  # (structures, size, out)
    own = torch.stack([gram[i : i + size, i : i + size] for i in range(0, len(gram), size)])  # (structures, size, size)
    energy = torch.einsum("sio,sij,sjo->s", columns, own.double(), columns)  # (structures,)
    return energy.clamp_min(0).sqrt()


def influence(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """1 - cos(in, out) of every token of a block, (tokens,) in float64; `before` and `after` are (tokens, hidden)."""
    return 1 - functional.cosine_similarity(before.double(), after.double(), dim=-1)  # (tokens,)


def angle(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """arccos(cos(in, out)) / pi of every token, (tokens,) in float64; `before` and `after` are (tokens, hidden)."""
    return torch.acos((1 - influence(before, after)).clamp(-1, 1)) / math.pi  # (tokens,)


def count(keep: float, total: int, multiple: int = 1) -> int:
    """How many of `total` structures a fraction keeps: the nearest multiple, at least one of it; all of them for 1."""
    return total if keep == 1 else min(total, max(multiple, round(keep * total / multiple) * multiple))


def strongest(scores: torch.Tensor, kept: int) -> list[int]:
    """Indices of the `kept` highest scores, ascending; of equals the first stay. `scores` is (structures,)."""
    return sorted(torch.argsort(scores, descending=True, stable=True)[:kept].tolist())


def share(scores: Sequence[torch.Tensor], keep: float, scope: str) -> list[list[int]]:
    """Kept indices of every block: the same fraction of each ("block"), or the best of all ("global").

    With "global", a block's scores are divided by their norm (Michel et al. 2019) and its best one always stays.
    """
    if scope == "block":
        return [strongest(s, count(keep, len(s))) for s in scores]
    scaled = [s / s.norm().clamp_min(torch.finfo(s.dtype).tiny) for s in scores]
    for s in scaled:
        s[s.argmax()] = torch.inf
    chosen = set(strongest(torch.cat(scaled), max(len(scores), count(keep, sum(map(len, scores))))))
    kept, start = [], 0
    for s in scores:
        kept.append([i for i in range(len(s)) if start + i in chosen])
        start += len(s)
    return kept


def evenly(kept: int, total: int) -> list[int]:
    """`kept` of `total` positions spread evenly, both ends among them; one position is the first."""
    return [round(i * (total - 1) / max(1, kept - 1)) for i in range(kept)]


def shrinkage(gram: torch.Tensor, tokens: float) -> float:
    """How much of sum x x^T (n, n) over so many tokens is best taken as a multiple of the identity: 0 to 1 (eq. 23).

    About (1 + r) / tokens, where r = trace(G)^2 / trace(G^2) is how many directions the tokens fill; 1 says that they
    tell nothing of how inputs hang together.
    """
    squares, whole = float(gram.double().square().sum()), float(gram.double().trace()) ** 2
    own, size = 1 - 2 / len(gram), len(gram)
    apart = (tokens + own) * (squares - whole / size)
    return min(1.0, (own * squares + whole) / apart) if apart > 0 else 1.0


def reconstruct(
    weight: torch.Tensor, gram: torch.Tensor, kept: Sequence[int], damp: float = DAMP, tokens: float = math.inf
) -> torch.Tensor:
    """Weights on the kept inputs that come nearest to what all inputs gave, by least squares: (out, kept).

    `weight` is (out, in), `gram` = X X^T is (in, in), over so many tokens. The change D of the kept columns solves
    min ||W_r X_r - D X_s||^2 + damp mean(diag) ||D||^2, so D = W_r G_rs (G_ss + damp mean(diag) I)^-1. G is first moved
    by its `shrinkage` towards its mean diagonal, so that few tokens leave the weights as they are.
    """
    index = torch.as_tensor(kept, dtype=torch.long, device=gram.device)  # (kept,)
    removed = torch.ones_like(gram[0], dtype=torch.bool).index_fill(0, index, False).nonzero().squeeze(1)  # (removed,)
    plain, g = weight[:, index].double(), gram.double()
    doubt = 0.0 if tokens == math.inf else shrinkage(g, tokens)
    inner = (1 - doubt) * g[index][:, index]  # (kept, kept)
    added = damp * inner.diagonal().mean() + doubt * g.diagonal().mean()
    inner.diagonal().add_(added.clamp_min(torch.finfo(torch.float32).tiny))
    lost = (1 - doubt) * weight[:, removed].double() @ g[removed][:, index]  # (out, kept)
    change: torch.Tensor = torch.linalg.solve(inner, lost, left=False)  # (out, kept)
    return (plain + change).to(weight.dtype)


def refit(weight: torch.Tensor, gram: torch.Tensor, kept: Sequence[int]) -> torch.Tensor:
    """`reconstruct` of a matrix with a bias as its last column, or without one: (out, kept + 1), or (out, kept).

    `gram` is sum x x^T of inputs that end with a 1, (in + 1, in + 1), so it ends with the number of tokens. The bias
    makes up for what tokens have in common, which few of them tell well enough, and is not damped.
    """
    inputs = len(gram) - 1
    biased = weight.shape[1] > inputs
    about, mean = factor.centred(gram if biased else gram[:-1, :-1], biased)  # (in, in), (in,)
    found = reconstruct(weight[:, :inputs], about, kept, tokens=float(gram[-1, -1]))  # (out, kept)
    if not biased:
        return found
    given = weight[:, :inputs].double() @ mean - found.double() @ mean[list(kept)]  # (out,)
    return torch.cat([found, weight[:, inputs:] + given.to(weight.dtype)[:, None]], 1)
