"""Watch what goes into and out of chosen modules while a model runs; the only file with hooks.

No paper: torch's forward hooks. When the watching ends, however it ends, hooks are gone and training mode is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from laconic.errors import AnatomyError


@dataclass(frozen=True)
class Seen:
    """One call of a module: its first tensor in and out, (batch, tokens, channels) as a rule; still in the graph.

    `positional` and `named` are all it was given, to call it again with.
    """

    given: torch.Tensor
    gave: torch.Tensor
    positional: tuple[Any, ...]
    named: dict[str, Any]


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


class _Calls(dict[str, list[Seen]]):
    """An empty list for a path that has not been called."""

    def __missing__(self, path: str) -> list[Seen]:
        return self.setdefault(path, [])


def _recorder(seen: _Calls, path: str) -> Any:
    def record(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        given = _first(positional, named)
        gave = out if isinstance(out, torch.Tensor) else out[0]
        seen[path].append(Seen(given, gave, positional, named))

    return record


def _track(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Let gradients reach what a module is given, where they are recorded, even when nothing before it is trained."""
    given = _first(positional, named)
    if torch.is_grad_enabled() and given.is_floating_point() and not given.requires_grad:
        given.requires_grad_()


def _first(positional: tuple[Any, ...], named: dict[str, Any]) -> torch.Tensor:
    return next(x for x in (*positional, *named.values()) if isinstance(x, torch.Tensor))
