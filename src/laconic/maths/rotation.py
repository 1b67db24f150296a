"""Random orthogonal matrices that spread every direction over all dimensions: randomized Hadamard transforms.

Ashkboos et al. 2024, arXiv:2404.00456 (QuaRot); Sylvester 1867 for sizes that are powers of two. Differs from the
paper: of another size, the odd factor is a random rotation (Kronecker product) and not one of the tabled Hadamard
matrices, so that every size has one.
"""

import torch


def hadamard(size: int, generator: torch.Generator) -> torch.Tensor:
    """An orthogonal (size, size) matrix in float64, the same for the same generator's state."""
    even = size & -size  # the largest power of two that divides it
    made = torch.ones(1, 1, dtype=torch.float64)
    while len(made) < even:
        made = torch.cat([torch.cat([made, made], 1), torch.cat([made, -made], 1)]) / 2**0.5
    if size > even:
        drawn = torch.randn(size // even, size // even, dtype=torch.float64, generator=generator)
        made = torch.kron(torch.linalg.qr(drawn).Q.contiguous(), made)
    signs = torch.randint(0, 2, (size,), generator=generator) * 2.0 - 1.0  # (size,)
    return signs[:, None] * made
