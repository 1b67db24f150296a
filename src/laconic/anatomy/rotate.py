"""Turn the residual stream of a pre-norm decoder into another basis, weights and all, so that its function stays.

Ashkboos et al. 2024, arXiv:2404.00456 (QuaRot); Ashkboos et al. 2024, arXiv:2401.15024 (SliceGPT) for why: an RMS norm
without gains gives the same whichever way its input is turned. LayerNorm takes a mean, which turns with nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from laconic import layers
from laconic.anatomy.cut import size
from laconic.anatomy.families import FAMILIES
from laconic.errors import AnatomyError

if TYPE_CHECKING:
    from laconic.anatomy import Anatomy

ROTATED = tuple(name for name, family in FAMILIES.items() if family.final is not None)


def check(anatomy: Anatomy) -> str:
    """Path of the norm after the last block; raises AnatomyError for a model that can't be turned."""
    final = anatomy.entry.final
    if final is None:
        raise AnatomyError(
            f"{anatomy.family} can't be rotated: only the residual stream of a pre-norm decoder with RMS norms can "
            f"({', '.join(ROTATED)}); leave rotate out"
        )
    for path, module in anatomy.whole("all"):
        if isinstance(module, layers.kinds()) and cast(Any, module).kind != "dense":
            raise AnatomyError(f"{path} is held as {cast(Any, module).kind}, which can't be rotated; rotate first")
    return f"{anatomy.base}{final}"


@torch.no_grad()
def fold_gains(anatomy: Anatomy, final: str) -> None:
    """Move the norms' gains, `final`'s too, into the linears behind; a head tied to the embeddings is so no longer."""
    model = anatomy.model
    words = model.get_submodule(anatomy.word_embedding)
    for path in anatomy.head:
        head = model.get_submodule(path)
        if head._parameters.get("weight") is words._parameters.get("weight", words):
            head.weight = nn.Parameter(cast(torch.Tensor, head.weight).detach().clone())
            model.config.tie_word_embeddings = False
    behind = {final: list(anatomy.head)}
    for stack in anatomy.stacks:
        before, _, between = cast(Any, anatomy.stack_entry(stack).norms)
        for block in stack.blocks:
            a = block.attention
            behind |= {f"{block.path}.{before}": [a.q, a.k, a.v], f"{block.path}.{between}": [*block.ffn.inputs]}
    for path, readers in behind.items():
        weight = cast(torch.Tensor, model.get_submodule(path).weight)  # (hidden,)
        for reader in dict.fromkeys(readers):
            layers.rescale(model.get_submodule(reader), columns=weight + anatomy.entry.plus)
        weight.fill_(1.0 - anatomy.entry.plus)


@torch.no_grad()
def turn_stream(anatomy: Anatomy, turned: torch.Tensor) -> None:
    """Multiply the residual stream by an orthogonal (hidden, hidden) matrix; gains must have been folded."""
    blocks = [block for stack in anatomy.stacks for block in stack.blocks]
    reads = [path for b in blocks for path in (b.attention.q, b.attention.k, b.attention.v, *b.ffn.inputs)]
    for path in dict.fromkeys((anatomy.word_embedding, *reads, *anatomy.head)):
        _turn(anatomy.model.get_submodule(path), columns=turned)
    for path in (path for b in blocks for path in (b.attention.o, b.ffn.output)):
        _turn(anatomy.model.get_submodule(path), rows=turned)


@torch.no_grad()
def turn_values(anatomy: Anatomy, turned: torch.Tensor) -> None:
    """Multiply every head's values by an orthogonal (head, head) matrix, and undo that where they are read."""
    for a in (block.attention for stack in anatomy.stacks for block in stack.blocks):
        own = torch.eye(size(anatomy.model.get_submodule(a.v))[0], dtype=turned.dtype)  # of a fused q, k, v: q, k stay
        rows = torch.tensor(a.rows("v", range(a.kv_heads)))
        own[rows[:, None], rows] = torch.kron(torch.eye(a.kv_heads, dtype=turned.dtype), turned)
        _turn(anatomy.model.get_submodule(a.v), rows=own)
        _turn(anatomy.model.get_submodule(a.o), columns=torch.kron(torch.eye(a.heads, dtype=turned.dtype), turned))


def _turn(module: nn.Module, *, rows: torch.Tensor | None = None, columns: torch.Tensor | None = None) -> None:
    """W Q, or Q^T W and Q^T b, in place; computed in float64."""
    parts = layers.take(module)
    if columns is not None:
        parts.weight.copy_(parts.weight.double() @ columns.to(parts.weight.device))
    if rows is not None:
        back = rows.T.to(parts.weight.device)
        parts.weight.copy_(back @ parts.weight.double())
        if parts.bias is not None:
            parts.bias.copy_(back @ parts.bias.double())
