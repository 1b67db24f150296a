"""Let every config of a model say the sizes the model has, as far as it has fields for them.

No paper: a head count is said only where it leaves the head size right; per-block differences can't be said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from laconic.anatomy.names import Family
from laconic.anatomy.parts import Stack

MIRRORS = {  # names modules give to sizes they copy from the config -> the config field
    "vocab_size": "vocab_size",
    "max_source_positions": "max_position_embeddings",
    "max_target_positions": "max_position_embeddings",
}


def configs(model: nn.Module) -> list[Any]:
    """Every config object in a model, each once: T5's stacks have copies of their own."""
    found = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    return list(found.values())


def say(model: PreTrainedModel, family: Family, sizes: dict[str, int], read: Sequence[tuple[str, Stack]]) -> None:
    """Write `sizes` (config field -> value) and what blocks agree on into the configs, and into modules' copies.

    `read` pairs the path of each stack's entry with the stack.
    """
    entries = {entry.path: entry for entry in family.stacks}
    fields: dict[str, set[int]] = {name: {value} for name, value in sizes.items()}
    for path, stack in read:
        entry = entries[path]
        fields.setdefault(entry.depth, set()).add(stack.depth)
        for block in stack.blocks:
            fields.setdefault(entry.ffn, set()).add(block.ffn.size)
            for attention in (block.attention, block.cross):
                if attention is not None and _sayable(attention.heads * attention.head_size, family, sizes):
                    fields.setdefault(entry.heads, set()).add(attention.heads)
                    if entry.kv_heads is not None:
                        fields.setdefault(entry.kv_heads, set()).add(attention.kv_heads)
                elif attention is not None:
                    fields.setdefault(entry.heads, set()).add(-1)  # no number is right for this block
        for name in (family.head_size, family.rotary):
            if name is not None:
                fields.setdefault(name, set()).update(b.attention.head_size for b in stack.blocks)
    for config in configs(model):
        for name, values in fields.items():
            if len(values) == 1 and min(values) >= 0:
                setattr(config, name, min(values))
    _own_depths(model, read)
    for module in model.modules():
        for name, field in MIRRORS.items():
            if isinstance(vars(module).get(name), int):
                setattr(module, name, getattr(model.config, field))


def _sayable(width: int, family: Family, sizes: dict[str, int]) -> bool:
    return family.head_size is not None or width == sizes[family.hidden]


def _own_depths(model: PreTrainedModel, read: Sequence[tuple[str, Stack]]) -> None:
    """A stack with a config of its own says its own depth there."""
    for _, stack in read:
        own = getattr(model.get_submodule(stack.path.rpartition(".")[0]), "config", None)
        if own is not None and own is not model.config and len(read) > 1:
            own.num_hidden_layers = stack.depth
