"""Watch what goes into and out of modules while a model runs, or answer in their place; the only file with hooks.

No paper: torch's forward hooks. When the watching ends, however it ends, hooks are gone and training mode is as it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from greenlet import getcurrent, greenlet
from torch import nn
from transformers import Cache

from laconic.errors import AnatomyError


class Enough(Exception):
    """No error: raised to end a pass of which the rest is not needed; who runs the model catches it."""


@dataclass(frozen=True)
class Call:
    """How a module was called but for its first tensor, so that it can be called again with another."""

    path: str
    positional: tuple[Any, ...]  # None where the first tensor, or a cache, stood
    named: dict[str, Any]
    slot: int | str  # where the first tensor stood

    def again(
        self, model: nn.Module, given: torch.Tensor, weights: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """What the module says of that first tensor: its own first tensor.

        `weights` stand for those of the module, by their names in it.
        """
        positional, named = list(self.positional), dict(self.named)
        if isinstance(self.slot, int):
            positional[self.slot] = given
        else:
            named[self.slot] = given
        module = model.get_submodule(self.path)
        if weights:
            return first(torch.func.functional_call(module, dict(weights), tuple(positional), named))
        return first(module(*positional, **named))


@dataclass(frozen=True)
class Seen:
    """One call of a module: its first tensor in and out, (batch, tokens, channels) as a rule; still in the graph."""

    given: torch.Tensor
    gave: torch.Tensor
    call: Call


Answer = Callable[[Call, torch.Tensor, Callable[[], Any]], Any]
"""Of a call, its first tensor, and a function that lets the module itself answer, makes what the caller gets."""


@contextmanager
def watch(model: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, list[Seen]]]:
    """Calls of the modules at `paths`, as they happen, with the model in eval mode; the caller clears what it has read.

    Every path has a list from the start and again after `clear()`. Raises AnatomyError for a path the model lacks.
    """
    seen: defaultdict[str, list[Seen]] = defaultdict(list)
    with _hooked(model, paths) as hooked:
        for path, module, handles in hooked:
            handles.append(module.register_forward_pre_hook(_track, with_kwargs=True))
            handles.append(module.register_forward_hook(_recorder(seen, path), with_kwargs=True))
        yield seen


@contextmanager
def entering(
    model: nn.Module, paths: Sequence[str], last: tuple[str, int] | None = None
) -> Iterator[dict[str, list[torch.Tensor]]]:
    """First tensors given to the modules at `paths`, in the order of the first calls, with the model in eval mode.

    The pass ends by Enough when the path `last` says has been given a tensor so many times.
    """
    seen: defaultdict[str, list[torch.Tensor]] = defaultdict(list)
    with _hooked(model, paths) as hooked:
        for path, module, handles in hooked:
            handles.append(module.register_forward_pre_hook(_keeper(seen, path, last), with_kwargs=True))
        yield seen


@contextmanager
def standing_in(model: nn.Module, answers: Mapping[str, Answer]) -> Iterator[None]:
    """While it lasts, a function answers each call of the modules at these paths; the model is in eval mode.

    Hooks can't keep a module from computing, so the instance's `forward` is covered and uncovered again.
    """
    with _hooked(model, list(answers)) as hooked:
        covered = []
        try:
            for path, module, _ in hooked:
                covered.append((module, vars(module).get("forward")))
                vars(module)["forward"] = _answering(path, module.forward, answers[path])
            yield
        finally:
            for module, own in covered:
                del vars(module)["forward"]
                if own is not None:
                    vars(module)["forward"] = own


class Pass:
    """A computation that waits where `waiting` says."""

    def __init__(self, run: Callable[[], torch.Tensor]) -> None:
        """Nothing runs yet."""
        self.fibre = greenlet(run)

    def on(self) -> torch.Tensor:
        """Run to the next place: the first tensor that is given there; at the end, what was computed."""
        found: torch.Tensor = self.fibre.switch()
        return found

    def end(self) -> None:
        """Leave the rest undone."""
        self.fibre.throw()


@contextmanager
def waiting(model: nn.Module, paths: Sequence[str], runs: Sequence[Callable[[], torch.Tensor]]) -> Iterator[list[Pass]]:
    """Passes of the model that wait at the modules at `paths`; each goes on with the module that is there by then."""
    passes = [Pass(run) for run in runs]
    fibres = {one.fibre for one in passes}
    modules = {path: model.get_submodule(path) for path in paths}

    def wait(call: Call, given: torch.Tensor, own: Callable[[], Any]) -> Any:
        outside = getcurrent().parent
        if outside is None or getcurrent() not in fibres:
            return own()
        outside.switch(given)
        same = model.get_submodule(call.path) is modules[call.path]
        return own() if same else call.again(model, given)

    with standing_in(model, dict.fromkeys(paths, wait)), ExitStack() as ends:
        for one in passes:
            ends.callback(one.end)
        yield passes


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; after it, every module is in the mode it was in, and a new one in that of its place."""
    training = {path: module.training for path, module in model.named_modules()}
    try:
        model.eval()
        yield
    finally:
        for path, module in model.named_modules():
            while path not in training:
                path = path.rpartition(".")[0]
            module.training = training[path]


def first(out: Any) -> torch.Tensor:
    """The tensor a module gave, or the first of a tuple."""
    found: torch.Tensor = out if isinstance(out, torch.Tensor) else out[0]
    return found


def replaced(out: Any, by: torch.Tensor) -> Any:
    """What a module gave, with another first tensor."""
    return by if isinstance(out, torch.Tensor) else (by, *out[1:])


@contextmanager
def _hooked(
    model: nn.Module, paths: Sequence[str]
) -> Iterator[list[tuple[str, nn.Module, list[torch.utils.hooks.RemovableHandle]]]]:
    """Each path with its module and a list for handles, which are removed at the end; eval mode until then."""
    handles: list[torch.utils.hooks.RemovableHandle] = []
    found = []
    for path in paths:
        try:
            found.append((path, model.get_submodule(path), handles))
        except AttributeError as error:
            raise AnatomyError(f"the model has no layer at {path!r} to watch") from error
    try:
        with quiet(model):
            yield found
    finally:
        for handle in handles:
            handle.remove()


def _recorder(seen: dict[str, list[Seen]], path: str) -> Any:
    def record(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        given, call = _call(path, positional, named)
        seen[path].append(Seen(given, first(out), call))

    return record


def _keeper(seen: dict[str, list[torch.Tensor]], path: str, last: tuple[str, int] | None) -> Any:
    def keep(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen[path].append(_first(positional, named))
        if last == (path, len(seen[path])):
            raise Enough

    return keep


def _answering(path: str, own: Callable[..., Any], answer: Answer) -> Callable[..., Any]:
    def forward(*positional: Any, **named: Any) -> Any:
        given, call = _call(path, positional, named)
        return answer(call, given, lambda: own(*positional, **named))

    return forward


def _call(path: str, positional: tuple[Any, ...], named: dict[str, Any]) -> tuple[torch.Tensor, Call]:
    """The first tensor, and the call without it and without caches, which a second call would fill twice."""
    given = _first(positional, named)
    slots: list[tuple[int | str, Any]] = [*enumerate(positional), *named.items()]
    bare = tuple(None if x is given or isinstance(x, Cache) else x for x in positional)
    rest = {k: None if x is given or isinstance(x, Cache) else x for k, x in named.items()}
    return given, Call(path, bare, rest, next(slot for slot, x in slots if x is given))


def _track(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Let gradients reach what a module is given, where they are recorded, even when nothing before it is trained."""
    given = _first(positional, named)
    if torch.is_grad_enabled() and given.is_floating_point() and not given.requires_grad:
        given.requires_grad_()


def _first(positional: tuple[Any, ...], named: dict[str, Any]) -> torch.Tensor:
    return next(x for x in (*positional, *named.values()) if isinstance(x, torch.Tensor))
