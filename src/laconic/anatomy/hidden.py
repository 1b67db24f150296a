"""Remove dimensions of the residual stream from every layer that reads or writes it.

Muralidharan et al. 2024, arXiv:2407.14679 (Minitron), width pruning of the embedding channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from laconic.anatomy.cut import Side, growing, keep
from laconic.anatomy.names import Family
from laconic.anatomy.neurons import rest
from laconic.anatomy.parts import Stack


def remove(model: PreTrainedModel, family: Family, stacks: Sequence[Stack], hidden: int, dims: Sequence[int]) -> None:
    """Remove these dimensions, in place: embeddings, projections, norms, poolers and heads.

    Heads keep their size and number, neurons their number, and a relative position bias stays. Norms then take their
    statistics over what is left, so a function with LayerNorm is not that of zeroed dimensions.
    """
    kept = rest(hidden, dims, "hidden dimensions", type(model).__name__)
    keep(model, sides(model, family, stacks), kept)


def sides(model: PreTrainedModel, family: Family, stacks: Sequence[Stack]) -> list[Side]:
    """Every side that lies in the residual stream."""
    follows = embedding_follows(model, family)

    def widen(config: Any, more: int) -> None:
        wide = int(getattr(config, family.hidden)) + more
        if family.embedding is not None:
            narrow = int(getattr(config, family.embedding))
            wide += 2 * (wide in (narrow, narrow + 1))  # equal sizes would lose the projection between them
            if follows:
                setattr(config, family.embedding, wide)
        setattr(config, family.hidden, wide)

    inner = set()  # sides whose size is heads x head size, which many configs tie to the hidden size
    for block in (block for stack in stacks for block in stack.blocks):
        for attention in (block.attention, block.cross):
            if attention is not None:
                inner |= {(path, 0) for path in (attention.q, attention.k, attention.v)} | {(attention.o, 1)}
    return [side for side in growing(model, family, widen) if (side.path, side.axis) not in inner]


def embedding_follows(model: PreTrainedModel, family: Family) -> bool:
    """Whether the embeddings' width has a config field of its own yet is the hidden size (ELECTRA base)."""
    if family.embedding is None:
        return False
    name = (family.projection or "").rpartition(".")[2]
    return not any(path.rpartition(".")[2] == name for path, _ in model.named_modules())
