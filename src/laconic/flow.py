"""Watch what goes into and out of chosen modules while a model runs; the only file with hooks.

No paper: torch's forward hooks. When the watching ends, however it ends, hooks are gone and training mode is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import Cache

from laconic.errors import AnatomyError


@dataclass(frozen=True)
class Seen:
    """One call of a module: its first tensor in and out, (batch, tokens, channels) as a rule; still in the graph."""

    given: torch.Tensor
    gave: torch.Tensor


@contextmanager
def watch(model: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, list[Seen]]]:
    """Calls of the modules at `paths`, as they happen, with the model in eval mode; the caller clears what it has read.

    Every path has a list from the start and again after `clear()`. Raises AnatomyError for a path the model lacks.
    """
    seen = _Calls()
    training = {module: module.training for module in model.modules()}
    handles = []
    try:
        model.eval()
        for path in paths:
            try:
                module = model.get_submodule(path)
            except AttributeError as error:
                raise AnatomyError(f"the model has no layer at {path!r} to watch") from error
            handles.append(module.register_forward_pre_hook(_track, with_kwargs=True))
            handles.append(module.register_forward_hook(_recorder(seen, path), with_kwargs=True))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
        for module, was in training.items():
            module.training = was


@dataclass(frozen=True)
class Call:
    """What a module was called with, to call it so again; without a cache, which a call would write to."""

    positional: tuple[Any, ...]
    named: dict[str, Any]

    def __call__(self, module: nn.Module, weights: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
        """The first tensor that comes out; `weights` stand for those of the module, by their names in it."""
        out = torch.func.functional_call(module, dict(weights or {}), self.positional, self.named)
        return out if isinstance(out, torch.Tensor) else cast(torch.Tensor, out[0])


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; after it, every module is in the mode it was in."""
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, was in training.items():
            module.training = was


@contextmanager
def calls(model: nn.Module, path: str) -> Iterator[list[Call]]:
    """Calls of the module at a path, as they happen, with the model in eval mode."""
    seen: list[Call] = []

    def record(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        kept = tuple(None if isinstance(x, Cache) else x for x in positional)
        seen.append(Call(kept, {k: None if isinstance(x, Cache) else x for k, x in named.items()}))

    with quiet(model):
        handle = model.get_submodule(path).register_forward_pre_hook(record, with_kwargs=True)
        try:
            yield seen
        finally:
            handle.remove()


class _Calls(dict[str, list[Seen]]):
    """An empty list for a path that has not been called."""

    def __missing__(self, path: str) -> list[Seen]:
        return self.setdefault(path, [])


def _recorder(seen: _Calls, path: str) -> Any:
    def record(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        given = _first(positional, named)
        gave = out if isinstance(out, torch.Tensor) else out[0]
        seen[path].append(Seen(given, gave))

    return record


def _track(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Let gradients reach what a module is given, where they are recorded, even when nothing before it is trained."""
    given = _first(positional, named)
    if torch.is_grad_enabled() and given.is_floating_point() and not given.requires_grad:
        given.requires_grad_()


def _first(positional: tuple[Any, ...], named: dict[str, Any]) -> torch.Tensor:
    return next(x for x in (*positional, *named.values()) if isinstance(x, torch.Tensor))
