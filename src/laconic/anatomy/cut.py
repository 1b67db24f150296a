"""Keep some entries of a side of weights, and find which sides follow a size of the model.

Dependency groups: Fang et al. 2023, arXiv:2301.12900. Differs from the paper: a group is found by building the stock
model twice on the meta device with another config value and comparing shapes, not by tracing gradients.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from laconic import layers
from laconic.anatomy.names import Family
from laconic.errors import AnatomyError

CUTTABLE = ("dense", "shared")


@dataclass(frozen=True)
class Side:
    """An axis of a tensor; of a linear's weight, axis 0 is out and axis 1 is in, however the module holds it."""

    path: str  # of the module
    name: str  # of the parameter or buffer
    axis: int


def size(module: nn.Module) -> tuple[int, int]:
    """(out, in) of a linear or (rows, width) of an embedding, whatever holds it, without computing its weight."""
    if isinstance(module, Conv1D):
        return int(module.nf), int(module.nx)
    held = cast(Any, module)
    shape = held.shape if isinstance(module, layers.kinds()) and not layers.is_shared(module) else held.weight.shape
    return int(shape[0]), int(shape[1])


def outs(model: nn.Module, path: str) -> list[Side]:
    """The out side of a linear: its rows and its bias."""
    biased = getattr(model.get_submodule(path), "bias", None) is not None
    return [Side(path, "weight", 0), *([Side(path, "bias", 0)] if biased else [])]


def keep(model: nn.Module, sides: Iterable[Side], indices: Sequence[int]) -> None:
    """Keep these entries of every side, in this order, in place; a tensor that modules share stays shared.

    Raises AnatomyError, before anything is changed, when a layer is held in a form that can't be cut.
    """
    chosen = [(side, model.get_submodule(side.path)) for side in sides]
    check(model, (side for side, _ in chosen))
    made: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # id of the old -> the old, kept alive, and the new
    for side, module in chosen:
        if side.name == "weight" and layers.is_shared(module):
            continue  # its source is cut where it stands
        old = cast(torch.Tensor, getattr(module, side.name))
        if id(old) not in made:
            axis = 1 - side.axis if isinstance(module, Conv1D) and side.name == "weight" else side.axis
            index = torch.tensor(list(indices), dtype=torch.long, device=old.device)
            new = old.detach().index_select(axis, index)
            made[id(old)] = old, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
        setattr(module, side.name, made[id(old)][1])
        _measure(module)


def check(model: nn.Module, sides: Iterable[Side]) -> None:
    """Raise AnatomyError when one of the layers is held in a form that can't be cut."""
    for side in sides:
        kind = getattr(model.get_submodule(side.path), "kind", None)
        if isinstance(model.get_submodule(side.path), layers.kinds()) and kind not in CUTTABLE:
            raise AnatomyError(f"{side.path} is held as {kind}, which can't be cut; remove structures before that step")


def growing(
    model: PreTrainedModel, family: Family, change: Callable[[Any, int], None], *, buffers: bool = False
) -> list[Side]:
    """Every side that grows when `change(config, more)` makes a size of the config larger by `more`."""
    shapes = []
    for more in (1, 2):
        config = _plain(model.config, family)
        change(config, more)
        with torch.device("meta"):
            stock = type(model)(config)
        found: dict[Side, int] = {}
        for path, module in stock.named_modules(remove_duplicate=False):
            held = {**module._parameters, **(module._buffers if buffers else {})}
            for name, tensor in held.items():
                turned = isinstance(module, Conv1D) and name == "weight"
                for axis, length in enumerate(() if tensor is None else tensor.shape):
                    found[Side(path, name, 1 - axis if turned else axis)] = length
        shapes.append(found)
    return [side for side, length in shapes[0].items() if shapes[1].get(side, length) != length]


def _plain(config: Any, family: Family) -> Any:
    """A copy that any hidden size fits: one head, and no size that follows from another."""
    config = copy.deepcopy(config)
    for blocks in family.stacks:
        setattr(config, blocks.heads, 1)
        setattr(config, blocks.ffn, 8)
        if blocks.kv_heads is not None:
            setattr(config, blocks.kv_heads, 1)
    if family.head_size is not None:
        setattr(config, family.head_size, 2)
    if config.pad_token_id is not None:
        config.pad_token_id = 0  # an id that is cut off would be refused as the padding of a table
    return config


def _measure(module: nn.Module) -> None:
    """Let a module's own size fields say what its tensors are."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, Conv1D):
        module.nx, module.nf = module.weight.shape
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, layers.kinds()) and not layers.is_shared(module):
        held = cast(Any, module)
        held.shape = list(held.weight.shape)
