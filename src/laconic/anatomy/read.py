"""Read the parts of a model: which family it is, and the sizes its blocks have.

No paper: paths come from `families.py`, sizes from the weights that stand there, whatever layer holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from laconic import layers
from laconic.anatomy.cut import size
from laconic.anatomy.families import FAMILIES
from laconic.anatomy.names import Blocks, Family, Heads
from laconic.anatomy.parts import Attention, Block, FeedForward, Stack
from laconic.errors import AnatomyError


def family_of(model: PreTrainedModel) -> tuple[str, Family]:
    """A model's family and its name; raises AnatomyError that says what to add for an unknown one."""
    name = str(getattr(model.config, "model_type", ""))
    if name not in FAMILIES:
        raise AnatomyError(
            f"{type(model).__name__} is a {name!r} model, which has no anatomy (known: {', '.join(FAMILIES)}); add an "
            f"entry {name!r} to FAMILIES in laconic/anatomy/families.py with its words, positions and stacks (path of "
            "the blocks, attention's q, k, v, o, feed-forward's inputs and output, config fields), and to tests/tiny.py"
        )
    family = FAMILIES[name]
    for flag in (*family.refused, *family.needed):
        value = getattr(model.config, flag, False)
        if bool(value) is (flag in family.refused):
            raise AnatomyError(
                f"{name} with {flag}={value} has other parts than laconic/anatomy/families.py names, or elsewhere; add "
                "an entry for such models there, or use one without"
            )
    return name, family


def at(model: nn.Module, path: str) -> nn.Module | None:
    """The module at a path, or None where the model has none."""
    module: Any = model
    for name in path.split(".") if path else []:
        module = getattr(module, name, None)
        if module is None:
            return None
    return cast(nn.Module, module)


def base_path(model: PreTrainedModel) -> str:
    """Dotted prefix of the base model, with its dot; empty when the model is its own base."""
    prefix = model.base_model_prefix
    return f"{prefix}." if prefix and isinstance(getattr(model, prefix, None), nn.Module) else ""


def present(model: nn.Module, base: str, paths: Iterable[str | None]) -> list[str]:
    """Full paths of those that the model has."""
    return [base + path for path in paths if path is not None and at(model, base + path) is not None]


def stacks(model: PreTrainedModel, family: Family, base: str) -> tuple[Stack, ...]:
    """The stacks of a model, encoder first; AnatomyError for a decoder whose attention to an encoder never runs."""
    found = tuple(_stack(model, base + b.path, b) for b in family.stacks if at(model, base + b.path) is not None)
    crossed = [block.cross.path for block in found[0].blocks if block.cross is not None] if len(found) == 1 else []
    if crossed:
        raise AnatomyError(
            f"{type(model).__name__} attends to an encoder ({crossed[0]}) and has none, so no text reaches that part; "
            "give the whole encoder-decoder, with a task that writes, or a decoder that is made to stand alone"
        )
    return found


def hidden(model: PreTrainedModel, read: tuple[Stack, ...]) -> int:
    """Width of the residual stream."""
    return size(model.get_submodule(read[0].blocks[0].attention.o))[0]


def tables(model: nn.Module, read: tuple[Stack, ...]) -> Iterator[tuple[str, nn.Module]]:
    """Every embedding outside the blocks with its path."""
    for path, module in _outside(model, read):
        if isinstance(module, nn.Embedding) or getattr(module, "role", None) == "embedding":
            yield path, module


def matrices(model: nn.Module, read: tuple[Stack, ...]) -> Iterator[tuple[str, nn.Module]]:
    """Every linear outside the blocks with its path: heads, poolers, projections of embeddings."""
    for path, module in _outside(model, read):
        if isinstance(module, nn.Linear | Conv1D) or getattr(module, "role", None) == "linear":
            yield path, module


def plain(module: nn.Module) -> bool:
    """Whether an embedding only looks rows up, so that a layer kind can hold it; BART's positions do more."""
    stock = isinstance(module, nn.Embedding) and not isinstance(module, layers.kinds())
    return not stock or type(module).forward is nn.Embedding.forward or layers.scale(module) is not None


def _outside(model: nn.Module, read: tuple[Stack, ...]) -> Iterator[tuple[str, nn.Module]]:
    blocks = tuple(f"{stack.path}." for stack in read)
    composite = tuple(f"{path}." for path, layer in layers.held(model) if layers.parts(layer))
    return ((path, m) for path, m in model.named_modules() if not path.startswith(blocks + composite))


def _stack(model: PreTrainedModel, path: str, entry: Blocks) -> Stack:
    listed = cast(nn.ModuleList, model.get_submodule(path))
    shared_heads = entry.shared_heads
    if entry.inner is None:
        blocks = [_block(model, f"{path}.{i}", entry, 1) for i in range(len(listed))]
        return Stack(path, tuple(blocks), len(blocks), shared_heads)
    depth, groups = int(getattr(model.config, entry.depth)), len(listed)
    blocks = []
    for g, group in enumerate(listed):
        repeats = sum(int(i / (depth / groups)) == g for i in range(depth))  # transformers' own formula
        inner = cast(nn.ModuleList, getattr(group, entry.inner))
        blocks += [_block(model, f"{path}.{g}.{entry.inner}.{i}", entry, repeats) for i in range(len(inner))]
    return Stack(path, tuple(blocks), depth, shared_heads)


def _block(model: PreTrainedModel, path: str, entry: Blocks, repeats: int) -> Block:
    block = model.get_submodule(path)
    crossed = entry.cross is not None and at(block, entry.cross.path) is not None
    inputs = tuple(f"{path}.{name}" for name in entry.inputs if at(block, name) is not None)
    neurons = size(model.get_submodule(inputs[0]))[0] // (2 if entry.fused else 1)
    return Block(
        path,
        _attention(model, path, entry.attention),
        _attention(model, path, entry.cross) if crossed and entry.cross is not None else None,
        FeedForward(inputs, f"{path}.{entry.output}", neurons, entry.fused),
        repeats,
        entry.norms is not None,
        entry.altered,
    )


def _attention(model: PreTrainedModel, block: str, entry: Heads) -> Attention:
    path, q, k, v, o = (f"{block}.{name}" for name in (entry.path, entry.q, entry.k, entry.v, entry.o))
    each = int(getattr(model.get_submodule(path), entry.size))
    heads = size(model.get_submodule(o))[1] // each
    rows = size(model.get_submodule(k))[0] // each
    kv_heads = (rows - heads) // 2 if q == k else rows
    return Attention(path, q, k, v, o, heads, kv_heads, each, entry.by_head)
