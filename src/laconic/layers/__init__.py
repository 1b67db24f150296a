"""Layer kinds a saved model may contain, one file each, and how they are put into a model.

No paper: the layer kinds name theirs. What is replaced is found again by identity, so a module that stands at
two paths, or a weight that two modules share, stays one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from laconic import machine, units
from laconic.errors import AnatomyError, ArtifactError, LaconicError

if TYPE_CHECKING:
    from laconic.contracts import LayerKind

ROLES = ("linear", "embedding")
SCALES = ("embed_scale", "scalar_embed_scale")  # names that BART's and Gemma's word embeddings give to their scale
RESCALED = ("dense", "sparse")  # kinds whose numbers may take any value


@dataclass(frozen=True)
class Parts:
    """What a layer computes with, whatever holds it."""

    role: str  # of ROLES
    weight: torch.Tensor  # (out, in) or (rows, width)
    bias: torch.Tensor | None  # (out,)
    multiplier: float  # of what an embedding gives


def take(module: nn.Module) -> Parts:
    """Role, weight, bias and multiplier of a linear or embedding, stock or ours; AnatomyError for other modules."""
    if isinstance(module, kinds()):
        ours = cast(Any, module)
        return Parts(ours.role, ours.weight, ours.bias, ours.multiplier)
    if isinstance(module, nn.Linear):
        return Parts("linear", module.weight, module.bias, 1.0)
    if isinstance(module, Conv1D):  # GPT-2's linear holds (in, out)
        return Parts("linear", module.weight.t(), module.bias, 1.0)
    if isinstance(module, nn.Embedding) and type(module).forward is nn.Embedding.forward:
        return Parts("embedding", module.weight, None, 1.0)
    if isinstance(module, nn.Embedding) and (multiplier := scale(module)) is not None:
        return Parts("embedding", module.weight, None, multiplier)
    raise AnatomyError(
        f"{type(module).__name__} has a forward of its own; a linear or a plain embedding can be replaced"
    )


def scale(module: nn.Module) -> float | None:
    """What an embedding that scales its rows multiplies them by; None for any other module."""
    return next((float(vars(module)[name]) for name in SCALES if name in vars(module)), None)


def compute(parts: Parts, x: torch.Tensor) -> torch.Tensor:
    """A linear's (..., out) of (..., in), or an embedding's (..., width) of indices (...).

    A linear computes in the type of what it is given, so that it fits in between stock layers of a model in 16 bits.
    """
    if parts.role == "linear":
        bias = None if parts.bias is None else parts.bias.to(x.dtype)
        return functional.linear(x, parts.weight.to(x.dtype), bias)
    found = functional.embedding(x, parts.weight)  # (..., width)
    return found if parts.multiplier == 1.0 else found * parts.multiplier


def compute_rows(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """As `compute`, of a layer of ours with `rows`, which makes no more of an embedding than the rows asked for."""
    if layer.role == "linear":
        return compute(take(layer), x)
    found: torch.Tensor = layer.rows(x.reshape(-1)).reshape(*x.shape, layer.shape[1])  # (..., width)
    return found if layer.multiplier == 1.0 else found * layer.multiplier


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear, stock or ours."""
    return isinstance(module, nn.Linear | Conv1D) or (
        isinstance(module, kinds()) and cast(Any, module).role == "linear"
    )


def can_rescale(module: nn.Module) -> bool:
    """Whether the numbers of a linear can be multiplied where they stand: stock ones, dense and sparse layers."""
    return is_linear(module) and (not isinstance(module, kinds()) or cast(Any, module).kind in RESCALED)


@torch.no_grad()
def rescale(module: nn.Module, *, rows: torch.Tensor | None = None, columns: torch.Tensor | None = None) -> None:
    """Multiply a linear's outputs, bias included, by `rows` (out,), or its inputs by `columns` (in,), in place.

    AnatomyError for a layer whose numbers are not free, such as one on a grid.
    """
    if not can_rescale(module):
        held = cast(Any, module).kind if isinstance(module, kinds()) else type(module).__name__
        raise AnatomyError(f"a layer held as {held} can't be scaled; do it before that step")
    if isinstance(module, kinds()):
        cast(Any, module).thaw()
    weight = getattr(module, "latent", None)
    weight = take(module).weight if weight is None else weight  # (out, in)
    if columns is not None:
        weight.mul_(columns)
    if rows is not None:
        weight.mul_(rows[:, None])
        if take(module).bias is not None:
            cast(torch.Tensor, take(module).bias).mul_(rows)


def distinct(pairs: Iterable[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """The pairs a method can rewrite: each weight once, and nothing whose forward a layer kind can't give.

    Left out are layers that are shared from another path, second paths to the same weight (a tied head), and
    embeddings with a forward of their own (BART's positions).
    """
    seen: set[int] = set()
    kept = []
    for path, module in pairs:
        plain = isinstance(module, (*kinds(), nn.Linear, Conv1D)) or _plain_embedding(module)
        identity = id(module) if isinstance(module, kinds()) else id(getattr(module, "weight", module))
        if plain and not is_shared(module) and identity not in seen:
            seen.add(identity)
            kept.append((path, module))
    return kept


def build(kind: str, spec: dict[str, Any]) -> nn.Module:
    """An empty layer from its spec; raises ArtifactError when there is no such kind or the spec is not one of its."""
    made = units.find(_package(), kind, ArtifactError)
    try:
        return cast(nn.Module, made(**spec))
    except (
        TypeError,
        ValueError,
        OverflowError,
        RuntimeError,
        LaconicError,
    ) as error:  # RuntimeError: torch, of a size
        raise ArtifactError(f"a {kind} layer can't be built from {spec}: {error}") from error


def swap(model: nn.Module, path: str, layer: nn.Module) -> None:
    """Put a layer at a dotted path, in place.

    It also replaces the old module wherever else that stands, and a stock layer that holds the same weight tensor (a
    tied head) becomes `shared` from `path`, so what was one stays one.
    """
    from laconic.layers.shared import Shared

    old = _at(model, path)
    weight = old._parameters.get("weight")
    for holder_path, holder in list(model.named_modules()):
        for name, child in list(holder._modules.items()):
            if child is old:
                setattr(holder, name, layer)
            elif child is not None and weight is not None and child._parameters.get("weight") is weight:
                holder_name = f"{holder_path}.{name}" if holder_path else name
                if holder_name != path and not isinstance(child, kinds()):
                    setattr(holder, name, Shared.of(child, source=path))
    layer.train(old.training)
    bind(model)
    if weight is not None:
        machine.let_go(weight)


def bind(model: nn.Module) -> None:
    """Let layers find what they read of others; needed after layers are put in by hand or a source changes."""
    for _, layer in held(model):
        if getattr(layer, "source", ""):
            cast(Any, layer).bind(model)


def held(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every layer of ours in a model with its first path."""
    for path, module in model.named_modules():
        if isinstance(module, kinds()):
            yield path, module


def readers(model: nn.Module) -> dict[str, list[str]]:
    """Paths of the linears that read the weight of another path, by that path."""
    found: dict[str, list[str]] = {}
    for path, layer in held(model):
        if is_shared(layer) and take(layer).role == "linear":
            found.setdefault(cast(Any, layer).source, []).append(path)
    return found


def parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """(name, layer) of the layers that a composite kind computes with, in its order; none for any other module.

    They are linears and embeddings at paths of their own below it, so what rewrites layers rewrites them.
    """
    names = cast(Any, module).parts if isinstance(module, composites()) else ()
    return [(name, module.get_submodule(name)) for name in names]


def leaves(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, layer) of what holds a layer's numbers: itself, or the parts of a composite, theirs in turn."""
    inner = parts(module)
    if not inner:
        yield path, module
    for name, part in inner:
        yield from leaves(f"{path}.{name}", part)


def freeze(model: nn.Module) -> None:
    """Make the numbers of every layer final."""
    for _, layer in held(model):
        cast("LayerKind", layer).freeze()


def thaw(model: nn.Module) -> None:
    """Let every layer learn again, from the numbers it has; the opposite of `freeze`."""
    for _, layer in held(model):
        cast(Any, layer).thaw()


def size(layer: nn.Module) -> int:
    """Numbers a layer of ours stands for, zeros included; a shared one counts only its bias, a composite nothing."""
    ours = cast(Any, layer)
    if isinstance(layer, composites()):
        return 0
    bias = 0 if ours.bias is None else int(ours.bias.numel())
    return bias if is_shared(layer) else bias + int(ours.shape[0] * ours.shape[1])


def is_shared(module: nn.Module) -> bool:
    """Whether a layer only reads another's weight."""
    from laconic.layers.shared import Shared

    return isinstance(module, Shared)


@cache
def kinds() -> tuple[type[nn.Module], ...]:
    """The classes of all layer kinds."""
    package = _package()
    return tuple(units.find(package, name, ArtifactError) for name in units.names(package))


@cache
def composites() -> tuple[type[nn.Module], ...]:
    """The classes of the kinds that compute with layers below them (see `parts`) and hold no weight themselves."""
    return tuple(kind for kind in kinds() if "parts" in vars(kind))


def _plain_embedding(module: nn.Module) -> bool:
    own = type(module).forward is not nn.Embedding.forward
    return isinstance(module, nn.Embedding) and (not own or scale(module) is not None)


def _at(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise AnatomyError(f"the model has no layer at {path!r}: {error}") from error


def _package() -> ModuleType:
    return sys.modules[__name__]
