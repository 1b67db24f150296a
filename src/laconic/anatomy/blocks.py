"""Remove whole blocks of a stack and mend what counts them.

Men et al. 2024, arXiv:2403.03853 (ShortGPT): the residual stream goes on as if the block were not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

from laconic.anatomy.heads import RELATIVE
from laconic.anatomy.names import Blocks
from laconic.anatomy.neurons import rest
from laconic.anatomy.parts import Stack
from laconic.anatomy.read import at
from laconic.anatomy.sizes import configs
from laconic.errors import AnatomyError

PLACES = ("layer_idx", "layer_id")  # names modules give to the place of their block
KINDS = ("layer_types", "attention_layers", "no_rope_layers")  # config fields with an entry for each block


def remove(model: PreTrainedModel, stack: Stack, entry: Blocks, indices: Sequence[int]) -> None:
    """Remove these of the stack's `depth` blocks, in place.

    Where one block runs many times (ALBERT) it runs fewer times. T5's first block holds the relative position bias of
    all, which goes on to the new first. Raises AnatomyError for a block that isn't there, or all.
    """
    kept = rest(stack.depth, indices, "blocks", stack.path)
    listed = cast(nn.ModuleList, model.get_submodule(stack.path))
    if entry.inner is not None:
        if len(listed) > 1:
            raise AnatomyError(
                f"{stack.path} repeats {len(listed)} groups of blocks by a formula of their number, so none can be "
                "left out; a model with one group can run it fewer times"
            )
        for config in configs(model):
            setattr(config, entry.depth, len(kept))
        return
    _hand_on(listed[0], listed[kept[0]], entry)
    listed._modules = {str(i): listed[k] for i, k in enumerate(kept)}
    for i, block in enumerate(listed):
        for module in block.modules():
            for name in PLACES:
                if getattr(module, name, None) is not None:
                    setattr(module, name, i)
    for config in configs(model):
        for name in KINDS:
            if len(getattr(config, name, None) or []) == stack.depth:
                setattr(config, name, [getattr(config, name)[k] for k in kept])


def kinds(config: Any, depth: int) -> list[str] | None:
    """What a config says of each of its blocks; None where it says nothing of single ones."""
    lists = [found for name in KINDS if len(found := getattr(config, name, None) or []) == depth]
    return ["/".join(map(str, each)) for each in zip(*lists, strict=True)] if lists else None


def _hand_on(first: nn.Module, then: nn.Module, entry: Blocks) -> None:
    """Give what only a stack's first block holds to the block that becomes the first."""
    old, new = (cast(Any, at(block, entry.attention.path)) for block in (first, then))
    if hasattr(old, RELATIVE) and not hasattr(new, RELATIVE):
        new.relative_attention_bias = old.relative_attention_bias
        new.has_relative_attention_bias = True
