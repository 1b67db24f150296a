"""Split a matrix into two thin factors so that a weighted squared error is least, and least squares between layers.

Eckart and Young 1936 (plain SVD); Hsu et al. 2022, arXiv:2207.00112 (weights on the inputs); Wang et al. 2024,
arXiv:2403.07378 (SVD-LLM: whitening by the Cholesky factor of X X^T makes each truncated singular value the loss it
causes); Izenman 1975 (reduced-rank regression).
Differs from the papers: singular vectors come from the eigenvectors of the smaller Gram matrix, which is several times
faster, and what they leave out is the same to rounding; matrices that are singular are damped.
"""

import torch

from laconic.errors import RecipeError

DAMP = 1e-6  # of the mean diagonal
TRIES = 5  # each raises the damping tenfold


def rank(keep: float, rows: int, columns: int) -> int:
    """The largest rank whose two factors hold at most that fraction of the parameters; at least 1."""
    return max(1, min(rows, columns, int(keep * rows * columns / (rows + columns))))


def whitening(gram: torch.Tensor, damp: float = DAMP) -> torch.Tensor:
    """Lower triangular L (n, n) in float64 with L L^T = damped(gram)."""
    lower: torch.Tensor = torch.linalg.cholesky(damped(gram, damp))
    return lower


def damped(gram: torch.Tensor, damp: float = DAMP) -> torch.Tensor:
    """gram + damp mean(diag) I, (n, n) in float64 and positive definite; the identity where the matrix is 0.

    The damping is raised while rounding leaves the matrix indefinite; RecipeError when that does not help.
    """
    matrix = gram.double()
    mean = float(matrix.diagonal().mean())
    unit = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for raised in range(TRIES):
        found = matrix + (damp * 10**raised * mean if mean else 1.0) * unit
        if not torch.linalg.cholesky_ex(found).info:
            return found
    raise RecipeError("the calibration inputs are not finite, so they can't be whitened; check the model's weights")


def truncate(weight: torch.Tensor, rank: int, lower: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Left (out, rank) and right (rank, in), float64, with least ||(W - left right) L||_F; L is the identity if None.

    Both factors carry the square roots of the singular values, so that their scales are alike.
    """
    scaled = weight.double() if lower is None else weight.double() @ lower  # (out, in)
    wide = scaled.shape[0] <= scaled.shape[1]
    gram = scaled @ scaled.T if wide else scaled.T @ scaled
    vectors = torch.linalg.eigh(gram).eigenvectors[:, -rank:]  # (smaller side, rank), orthonormal
    left, right = (vectors, vectors.T @ scaled) if wide else (scaled @ vectors, vectors.T)
    values = (right.norm(dim=1) if wide else left.norm(dim=0)).clamp_min(torch.finfo(torch.float64).tiny)  # (rank,)
    root = values.sqrt()
    left, right = (left * root, right / root[:, None]) if wide else (left / root, right * root[:, None])
    if lower is not None:
        right = torch.linalg.solve_triangular(lower, right, upper=False, left=False)
    return left, right


def loss(weight: torch.Tensor, other: torch.Tensor, gram: torch.Tensor) -> float:
    """||(W - W') X||_F^2 over the inputs X of which `gram` is X X^T."""
    difference = weight.double() - other.double()  # (out, in)
    return float(((difference @ gram.double()) * difference).sum())


def centred(gram: torch.Tensor, biased: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Gram matrix about the mean (in, in) and the mean of the inputs (in,), float64, from one whose last row is of 1s.

    Without a bias, which could carry what the mean is worth, the matrix as it is and a mean of 0. Of a cross-product
    X X'^T, the mean is that of X'.
    """
    matrix = gram.double()
    if not biased:
        return matrix, torch.zeros_like(matrix[0])
    mean = matrix[-1, :-1] / matrix[-1, -1].clamp_min(1)  # (in,)
    return matrix[:-1, :-1] - matrix[:-1, -1:] * mean, mean


def regress(weight: torch.Tensor, cross: torch.Tensor, gram: torch.Tensor, damp: float = DAMP) -> torch.Tensor:
    """M (out, in), float64, with least ||W X - M X'||_F; `cross` is X X'^T and `gram` X' X'^T, both damped alike."""
    held = damped(gram, damp)
    added = held - gram.double()
    solved: torch.Tensor = torch.linalg.solve(held, weight.double() @ (cross.double() + added), left=False)
    return solved
