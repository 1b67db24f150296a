"""The contract checks every method must pass, for us and for authors of plug-ins.

No paper: what scikit-learn's estimator checks are to estimators. Each check takes `fresh`, which makes the same Work on
a tiny model every time it is called, and raises AssertionError saying which method broke which promise.
"""

from __future__ import annotations

import hashlib
import itertools
import types
import typing
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, cast

import torch

from laconic import artifact, effects, layers, tasks
from laconic.answers import logits_of
from laconic.contracts import WHERE, Method, Work
from laconic.data.batching import batches, model_inputs
from laconic.errors import RecipeError
from laconic.recipe import Recipe, Step, meet

Fresh = Callable[[], Work]

SMALL = {
    "epochs": 2, "batch": 4, "learning_rate": 1e-3, "multiple": 8, "every": 1, "clip": 100.0, "steps": 8,
}  # fmt: skip
"""Option -> a value that suits a tiny model and a dozen examples."""

NOTHING = {"keep": 1.0, "sparsity": 0.0, "bits": 8, "epochs": 0, "price": 0.0}
"""Option -> the value that asks for (nearly) nothing."""

OTHERS: dict[str, tuple[Any, ...]] = {
    "where": WHERE, "optimizer": ("sgd", "adam"), "group": ("tensor", 8), "bits": (3, 5), "blocks": ([0], [1], [2]),
    "keep": (0.75, 0.25), "sparsity": (0.3, 0.7), "tokens": (40, 60), "clip": (0.01,), "patience": (1,),
    "warmup": (0.5,), "samples": (1, 6, 12), "length": (1, 2, 4), "block": (8, 16), "rank": (2, 4), "delta_rank": (2,),
    "groups": (2, 8), "share": (3,), "precision": ("bfloat16",),
}  # fmt: skip
"""Option -> other values worth trying, where neither its type nor half and double say them."""

SHIFT = 0.1  # of the logits' standard deviation: what 8 bits a weight may move them, root mean square


def small(kind: type[Method]) -> Method:
    """A method with its defaults, but for options that must suit a tiny model."""
    names = {f.name for f in fields(cast(Any, kind))}
    return kind(**{name: value for name, value in SMALL.items() if name in names})


def logits(work: Work) -> torch.Tensor:
    """What the model says of the training examples, padded batch by batch, as one flat vector; changes nothing."""
    was_training = work.model.training
    work.model.train(False)
    features = work.task.encode(work.data.train, work.tokenizer, answers=False)
    with torch.no_grad():
        runs = batches(features, 8, work.tokenizer.pad_token_id or 0)
        said = [logits_of(work.model(**model_inputs(batch, work.model.device))).flatten() for _, batch in runs]
    work.model.train(was_training)
    return torch.cat(said)


def fingerprint(method: Method, fresh: Fresh) -> str:
    """Digest of every number and of the tokenizer that the method leaves."""
    work = fresh()
    torch.manual_seed(work.seed)
    method.apply(work)
    layers.freeze(work.model)
    digest = hashlib.sha256(work.tokenizer.backend_tokenizer.to_str().encode())
    for path, tensor in sorted(work.model.state_dict().items()):
        digest.update(f"{path} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    digest.update(str(work.anatomy.shape()).encode())
    return digest.hexdigest()


def declared_is_done(method: Method, fresh: Fresh) -> None:
    """Every property in `makes` grows by a measured amount."""
    _done(method, fresh())


def _done(method: Method, work: Work) -> None:
    before = effects.measure(work.model)
    method.apply(work)
    layers.freeze(work.model)
    after = effects.measure(work.model)
    for made in sorted(method.makes):
        assert effects.grew(before, after, made), f"{method} makes {made}, but {before[made]} became {after[made]}"


def round_trip(method: Method, fresh: Fresh, folder: Path) -> None:
    """What is declared is done, and saved and loaded the logits are equal bit for bit."""
    work = fresh()
    base = work.model.config.to_dict()
    _done(method, work)
    said = logits(work)
    about: dict[str, Any] = {"task": tasks.describe(work.task), "recipe": None, "provenance": {}, "measures": {}}
    artifact.save(folder, work.model, work.tokenizer, **about, base_config=base)
    opened = artifact.load(folder)
    again = logits(replace(work, model=opened.model, tokenizer=opened.tokenizer))
    assert said.equal(again), f"{method}: loaded logits differ by up to {(said - again).abs().max():.3g}"


def harmless_at_zero(method: Method, fresh: Fresh) -> None:
    """Asked for nothing, the outputs stay; a method without such an option, or that only trains, is not asked."""
    quiet = {f.name: NOTHING[f.name] for f in fields(cast(Any, method)) if f.name in NOTHING}
    if not quiet or not method.makes:
        return
    work = fresh()
    before = logits(work)
    cast(Method, replace(cast(Any, method), **quiet)).apply(work)
    layers.freeze(work.model)
    allowed = SHIFT * float(before.std()) if "bits" in quiet else 0.0
    moved = float((logits(work) - before).square().mean().sqrt())
    assert moved <= allowed, f"{method} with {quiet} moves the logits by {moved:.3g}; at most {allowed:.3g}"


def same_twice(method: Method, fresh: Fresh) -> None:
    """The same step on the same model leaves the same bits."""
    assert fingerprint(method, fresh) == fingerprint(method, fresh), f"{method} is not deterministic"


def every_option_matters(method: Method, *models: Fresh, unseen: Collection[str] = ()) -> None:
    """Some other value of every option changes what is left of some model; `unseen` options are left out.

    An option that speaks only beside one that is None by default (a group, beside bits), or beside another choice, is
    tried beside it. Means nothing unless `same_twice` holds.
    """
    names = {f.name for f in fields(cast(Any, method)) if f.name not in unseen}
    hints = typing.get_type_hints(type(method))
    beside = [name for name in sorted(names) if getattr(method, name) is None or _literals(hints[name])]
    bases = [method, *(other for name in beside for other in others(method, name))]
    for name in sorted(names):
        known = any(True for base in bases for _ in others(base, name))
        assert known, f"{type(method).__name__}: no other value of {name!r} is known; add some to testing.OTHERS"
    for base, fresh in itertools.product(bases, models):
        left = fingerprint(base, fresh)
        names = {n for n in names if all(fingerprint(other, fresh) == left for other in others(base, n))}
        if not names:
            return
    raise AssertionError(f"{type(method).__name__}: no other value changes anything of {sorted(names)}; remove these")


def others(method: Method, option: str) -> Iterator[Method]:
    """The method with other values of one option that its own check lets pass."""
    held = getattr(method, option)
    values: list[Any] = [*OTHERS.get(option, ()), *_literals(typing.get_type_hints(type(method))[option])]
    if isinstance(held, bool):
        values = [not held]
    elif isinstance(held, int | float) and not values:
        values = [held * 2, held + 1, held / 2 if isinstance(held, float) else held // 2]
    for value in values:
        other = cast(Method, replace(cast(Any, method), **{option: value}))
        if value != held and _allowed(other):
            yield other


def pairs(first: Method, second: Method, names: tuple[str, str], fresh: Fresh) -> None:
    """An order the recipe accepts keeps what both steps made; one it refuses says which step undoes what."""
    recipe = Recipe(tuple(Step(n, asdict(cast(Any, m))) for n, m in zip(names, (first, second), strict=True)))
    lost = sorted(first.makes - second.keeps) if meet(first, second) else []
    if lost:
        advice = "; move it before step 1"
        if second.makes - first.keeps:
            advice = ", and it can't come before step 1 either; leave one of the two out"
        undone = f"step 2 ({names[1]}) would undo what step 1 ({names[0]}) made {lost[0]}"
        assert _refusal(recipe) == undone + advice
        return
    recipe.check()
    work = fresh()
    start = effects.measure(work.model)
    first.apply(work)
    middle = effects.measure(work.model)
    second.apply(work)
    layers.freeze(work.model)
    end = effects.measure(work.model)
    for made in sorted(first.makes - second.makes):
        assert effects.grew(start, middle, made), f"{names[0]} made no {made}: {start[made]}, {middle[made]}"
    for made in sorted(first.makes):
        kept = effects.grew(start, end, made) if made in second.makes else not effects.lost(start, middle, end, made)
        assert kept, f"{names[1]} undid what {names[0]} made {made}: {middle[made]}, {end[made]}"
    for made in sorted(second.makes - first.makes):
        assert effects.grew(middle, end, made), (
            f"{names[1]} after {names[0]} made no {made}: {middle[made]}, {end[made]}"
        )


def nothing_left_behind(method: Method, fresh: Fresh) -> None:
    """No hooks; gradients, dropout, cache flag, attention and training mode as they were.

    Training itself ends in eval mode. The hooks with which transformers records hidden states are its own.
    """
    for training in (False, True):
        work = fresh()
        work.model.train(training)
        before = _state(work)
        method.apply(work)
        after = _state(work)
        if "training" in method.needs:
            before["training"] = [False]
        assert before == after, f"{type(method).__name__} leaves {after}, not {before}"


def _state(work: Work) -> dict[str, Any]:
    modules = list(work.model.modules())
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "hooks": sum(_ours(hook) for m in modules for kind in kinds for hook in getattr(m, kind).values()),
        "training": sorted({m.training for m in modules}),
        "gradients": sum(p.grad is not None for p in work.model.parameters()),
        "dropout": sorted({m.p for m in modules if isinstance(m, torch.nn.Dropout)}),
        "cache": getattr(work.model.config, "use_cache", None),
        "attention": work.model.config._attn_implementation,
        "recording gradients": torch.is_grad_enabled(),
    }


def _ours(hook: Any) -> bool:
    return not str(getattr(hook, "__module__", "")).startswith("transformers.")


def _literals(hint: Any) -> list[Any]:
    """Values that a type names: of Literal, and of a union with one."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return [value for part in typing.get_args(hint) for value in _literals(part)]
    return []


def _allowed(method: Method) -> bool:
    try:
        method.check()
    except RecipeError:
        return False
    return True


def _refusal(recipe: Recipe) -> str:
    try:
        recipe.check()
    except RecipeError as error:
        return str(error)
    return "accepted"
