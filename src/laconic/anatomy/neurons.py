"""Remove feed-forward neurons: rows of the inputs (up and gate), columns of the output.

No paper: the dimension between two matrices; which neurons go is the matter of a method.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from laconic.anatomy.cut import Side, check, keep, outs
from laconic.anatomy.parts import FeedForward
from laconic.errors import AnatomyError


def remove(model: nn.Module, ffn: FeedForward, neurons: Sequence[int]) -> None:
    """Remove these neurons, in place; raises AnatomyError for one that isn't there, or all."""
    kept = rest(ffn.size, neurons, "neurons", ffn.output)
    sides, output = [side for path in ffn.inputs for side in outs(model, path)], Side(ffn.output, "weight", 1)
    check(model, [*sides, output])
    keep(model, sides, ffn.rows(kept))
    keep(model, [output], kept)
    holder = model.get_submodule(ffn.output.rpartition(".")[0])
    if hasattr(holder, "intermediate_size"):
        holder.intermediate_size = len(kept)  # type: ignore[assignment]


def rest(total: int, gone: Sequence[int], what: str, where: str) -> list[int]:
    """What stays of `range(total)`; raises AnatomyError when an index is not in it, or nothing stays."""
    outside = sorted(set(gone) - set(range(total)))
    if outside:
        raise AnatomyError(f"{where} has {total} {what}, 0 to {total - 1}; it has no {outside[0]} to remove")
    kept = sorted(set(range(total)) - set(gone))
    if not kept:
        raise AnatomyError(f"{where} has {total} {what} and all were to be removed; at least one must stay")
    return kept
