"""Keep the first rows of learned position tables, and add rows to a token type table.

No paper: a text of n tokens reads n rows. RoBERTa counts positions from its padding id + 1, BART from 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from laconic.anatomy.cut import Side, growing, keep, size
from laconic.anatomy.names import Family
from laconic.anatomy.read import base_path, present
from laconic.anatomy.sizes import configs
from laconic.errors import AnatomyError

FIELD = "max_position_embeddings"


def before(family: Family, padding: int | None) -> int:
    """Rows of a position table before the first position."""
    return family.offset if family.offset is not None else (padding or 0) + 1


def longest(model: PreTrainedModel, paths: Sequence[str], family: Family, padding: int | None) -> int | None:
    """Tokens of the longest text that the position tables serve; None where there is no table."""
    rows = [size(model.get_submodule(path))[0] for path in paths]
    return min(rows) - before(family, padding) if rows else None


def trim(model: PreTrainedModel, family: Family, padding: int | None, now: int | None, tokens: int) -> None:
    """Keep what texts up to this many tokens need, in place; raises AnatomyError for more than there is, or none."""
    if now is None:
        raise AnatomyError(f"{type(model).__name__} learns no positions, so there is nothing to trim; leave it out")
    if not 0 < tokens <= now:
        raise AnatomyError(f"{type(model).__name__} has positions for {now} tokens; trim to 1 to {now}, not {tokens}")
    _select(model, family, list(range(tokens + before(family, padding))))


def shift(model: PreTrainedModel, family: Family, old: int, new: int) -> None:
    """Move the rows so that counting from padding id `new` finds what counting from `old` found."""
    path = present(model, base_path(model), family.positions)[0]
    rows = size(model.get_submodule(path))[0]
    _select(model, family, [max(row - new + old, 0) for row in range(rows - old + new)])


def widen_types(model: PreTrainedModel, path: str | None, rows: int) -> None:
    """Give the token type table that many rows, in place; a new row begins as row 0, so the function stays.

    Raises AnatomyError where there is no such table or it has more rows.
    """
    if path is None:
        raise AnatomyError(f"{type(model).__name__} has no token types; use a model that has, such as BERT")
    table = model.get_submodule(path)
    now = size(table)[0]
    if rows < now:
        raise AnatomyError(f"{path} has {now} token types; widen it to {now} or more, not {rows}")
    weight = cast(torch.Tensor, table.weight)
    if not isinstance(weight, nn.Parameter):
        raise AnatomyError(f"{path} is held as {cast(Any, table).kind}, which can't grow; widen it before that step")
    index = [*range(now), *([0] * (rows - now))]
    if rows > now:
        keep(model, [Side(path, "weight", 0)], index)
    for config in configs(model):
        config.type_vocab_size = rows


def _select(model: PreTrainedModel, family: Family, rows: Sequence[int]) -> None:
    def widen(config: Any, more: int) -> None:
        setattr(config, FIELD, int(getattr(config, FIELD)) + more)

    old = size(model.get_submodule(present(model, base_path(model), family.positions)[0]))[0]
    sides = growing(model, family, widen, buffers=True)
    keep(model, [side for side in sides if side.name == "weight"], rows)
    for side in sides:
        if side.name != "weight":
            resize(model.get_submodule(side.path), side.name, len(rows))
    for config in configs(model):
        setattr(config, FIELD, int(getattr(config, FIELD)) - old + len(rows))


def resize(module: nn.Module, name: str, rows: int) -> None:
    """Make a buffer that counts positions anew: `position_ids` or `token_type_ids`, (1, rows), or GPT-Neo's mask."""
    device = cast(torch.Tensor, getattr(module, name)).device
    if name == "position_ids":
        setattr(module, name, torch.arange(rows, device=device).expand(1, -1))
    elif name == "token_type_ids":
        setattr(module, name, torch.zeros(1, rows, dtype=torch.long, device=device))
    elif name == "bias" and hasattr(module, "attention_type"):
        seen = torch.ones(rows, rows, dtype=torch.bool, device=device).tril()  # (rows, rows)
        if cast(Any, module).attention_type == "local":
            seen = seen.triu(1 - int(cast(Any, module).config.window_size))
        module.bias = seen[None, None]
    else:
        raise AnatomyError(f"{type(module).__name__}.{name} follows the positions in a way that laconic does not know")
