"""The contract checks every method must pass, for us and for authors of plug-ins.

No paper: the checks of scikit-learn's estimators, for compression. Each check takes `fresh`, which makes a new Work on the
same tiny model every time, and raises AssertionError saying which method broke which promise.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, cast

import torch

from laconic import artifact, effects, layers, tasks
from laconic.contracts import WHERE, Method, Work
from laconic.data.batching import batches, model_inputs
from laconic.errors import RecipeError
from laconic.recipe import Recipe, Step

Fresh = Callable[[], Work]

NOTHING = {"keep": 1.0, "sparsity": 0.0, "bits": 8, "epochs": 0.0}  # option -> the value that asks for (nearly) nothing
OTHERS: dict[str, tuple[Any, ...]] = {"where": WHERE, "bits": (3, 4), "keep": (0.75, 0.25), "sparsity": (0.3, 0.7)}
CLOSE = {8: 0.05}  # share of the logits' spread that `bits` may move them when asked for nothing


def logits(work: Work) -> torch.Tensor:
    """What the model says of the training examples, padded batch by batch, as one flat vector; changes nothing."""
    was_training = work.model.training
    work.model.eval()
    features = work.task.encode(work.data.train, work.tokenizer, answers=False)
    with torch.no_grad():
        runs = batches(features, 8, work.tokenizer.pad_token_id or 0)
        said = [work.model(**model_inputs(batch, work.model.device)).logits.flatten() for _, batch in runs]
    work.model.train(was_training)
    return torch.cat(said)


def declared_is_done(method: Method, fresh: Fresh) -> None:
    """Every property in `makes` grows by a measured amount."""
    work = fresh()
    before = effects.measure(work.model)
    method.apply(work)
    layers.freeze(work.model)
    after = effects.measure(work.model)
    for made in sorted(method.makes):
        assert effects.grew(before, after, made), (
            f"{method} says it makes {made}; it was {before[made]}, is {after[made]}"
        )


def round_trip(method: Method, fresh: Fresh, folder: Path) -> None:
    """Saved and loaded, the logits are equal bit for bit."""
    work = fresh()
    base = work.model.config.to_dict()
    method.apply(work)
    layers.freeze(work.model)
    work.model.eval()
    said = logits(work)
    about: dict[str, Any] = {"task": tasks.describe(work.task), "recipe": None, "provenance": {}, "measures": {}}
    artifact.save(folder, work.model, work.tokenizer, **about, base_config=base)
    opened = artifact.load(folder)
    again = logits(replace(work, model=opened.model, tokenizer=opened.tokenizer))
    assert said.equal(again), f"{method}: loaded logits differ by up to {(said - again).abs().max():.3g}"


def harmless_at_zero(method: Method, fresh: Fresh) -> None:
    """Asked for nothing, the outputs stay; methods without such an option are not asked."""
    quiet = {f.name: NOTHING[f.name] for f in fields(cast(Any, method)) if f.name in NOTHING}
    if not quiet or not method.makes:
        return
    work = fresh()
    before = logits(work)
    cast(Method, replace(cast(Any, method), **quiet)).apply(work)
    layers.freeze(work.model)
    allowed = CLOSE.get(quiet.get("bits", 0), 0.0) * float(before.std())
    moved = float((logits(work) - before).abs().max())
    assert moved <= allowed, f"{method} with {quiet} moves the logits by {moved:.3g}; at most {allowed:.3g}"


def others(method: Method, option: str) -> Iterator[Method]:
    """The method with other values of one option that its own check lets pass."""
    held = getattr(method, option)
    hint = typing.get_type_hints(type(method))[option]
    choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else OTHERS.get(option, ())
    if isinstance(held, bool):
        choices = (not held,)
    elif isinstance(held, int | float) and not choices:
        choices = (held * 2, held + 1, held / 2 if isinstance(held, float) else held // 2)
    for value in choices:
        other = cast(Method, replace(cast(Any, method), **{option: value}))
        if value != held and _allowed(other):
            yield other


def every_option_matters(method: Method, option: str, fresh: Fresh) -> None:
    """Some other value of the option changes what the model says or what it is."""
    work = fresh()
    method.apply(work)
    said, shape = logits(work), effects.measure(work.model)
    for other in others(method, option):
        again = fresh()
        other.apply(again)
        if effects.measure(again.model) != shape or not logits(again).equal(said):
            return
    raise AssertionError(f"{type(method).__name__}: no other value of {option!r} changes anything; remove it")


def pairs(first: Method, second: Method, names: tuple[str, str], fresh: Fresh) -> None:
    """An order the recipe accepts keeps what the first step made; one it refuses says which step undoes what."""
    steps = tuple(Step(n, asdict(cast(Any, m))) for n, m in zip(names, (first, second), strict=True))
    lost = first.makes - second.keeps
    if lost:
        try:
            Recipe(steps).check()
        except RecipeError as error:
            assert "would undo" in str(error) and min(lost) in str(error), str(error)
            return
        raise AssertionError(f"{names[1]} would undo {sorted(lost)} of {names[0]}, but the recipe was accepted")
    Recipe(steps).check()
    work = fresh()
    start = effects.measure(work.model)
    first.apply(work)
    second.apply(work)
    layers.freeze(work.model)
    end = effects.measure(work.model)
    for made in sorted(first.makes | second.makes):
        assert effects.grew(start, end, made), (
            f"{names[0]} then {names[1]} left no {made}: {start[made]} to {end[made]}"
        )


def nothing_left_behind(method: Method, fresh: Fresh) -> None:
    """No hooks; training mode, gradients, cache flag and attention as they were."""
    for training in (False, True):
        work = fresh()
        work.model.train(training)
        before = _state(work)
        method.apply(work)
        after = _state(work)
        if "training" in method.needs:
            after["training"] = before["training"]  # training ends in evaluation mode by itself
        assert before == after, f"{type(method).__name__} leaves {after}, not {before}"


def _state(work: Work) -> dict[str, Any]:
    modules = list(work.model.modules())
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "hooks": sum(len(getattr(m, kind)) for m in modules for kind in kinds),
        "training": sorted({m.training for m in modules}),
        "gradients": sum(p.grad is not None for p in work.model.parameters()),
        "cache": getattr(work.model.config, "use_cache", None),
        "attention": work.model.config._attn_implementation,
        "grad mode": torch.is_grad_enabled(),
    }


def _allowed(method: Method) -> bool:
    try:
        method.check()
    except RecipeError:
        return False
    return True
