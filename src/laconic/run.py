"""Apply a recipe, verify every step, write the artifact.

No paper: the main road. Each finished step is written below the steps folder under a key made of everything that went
into it, so a killed run goes on after the last finished step and recipes that begin alike share their beginning.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from laconic import (
    answers,
    artifact,
    checkpoint,
    claims,
    data,
    effects,
    finished,
    generations,
    layers,
    lock,
    machine,
    ranks,
    tasks,
    trained,
)
from laconic.anatomy import Anatomy
from laconic.contracts import Method, Sketch, Splits, Teacher, Work
from laconic.data.batching import SIDES
from laconic.errors import ArtifactError, EffectError
from laconic.measures import size
from laconic.recipe import Recipe

LOCK = "lock"  # in a step's folder, while a process does the step
FORMAT = 6  # raise when what a step writes changes meaning: old steps are then not taken up again


@dataclass(frozen=True)
class Result:
    """What a run of a recipe gave: the artifact's folder and the trace of its steps; `own` where no data were given."""

    folder: Path
    steps: list[dict[str, Any]] = field(default_factory=list)
    validation: dict[str, Any] = field(default_factory=dict)
    own: bool = False


def compress(
    source: str | Path,
    recipe: str | Path | Recipe,
    out: str | Path,
    *,
    data_source: str | Path | None = None,
    unlabelled: str | Path | Literal[False] | None = None,
    steps: str | Path | None = None,
    progress: bool = True,
    log: Callable[[str], None] = print,
) -> Result:
    """Compress the run folder `source`, or a decoder as it stands, by a recipe into the artifact `out`.

    `data_source` and `unlabelled` (texts without answers, for the methods to learn from) are what the run was trained
    on unless given, no texts if `unlabelled` is False; a decoder as it stands learns from texts that it writes itself
    unless others are given. `steps` is where finished steps are kept, by default beside the run folder (of a decoder as
    it stands, beside `out`). The same call after a kill goes on after the last finished step and writes the same bytes.
    """
    ranks.alone("compression")
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe)
    methods = recipe.check()
    origin = _sound(source)
    artifact.check_target(Path(out))
    folder, own = _steps_folder(Path(out), origin, source, steps), _writes(origin, data_source)
    target = Path(os.path.abspath(out))
    with lock.held(target.with_name(f".{target.name}.lock"), partial(_taken, target)):
        splits = _own(origin, recipe.seed, folder, progress, log) if own else _splits(origin, data_source, unlabelled)
        asked = any("teacher" in method.needs for method in methods)  # a second model is held only where one is
        teacher = Teacher(copy.deepcopy(origin.model), origin.tokenizer) if asked else None
        work = Work(origin.model, origin.tokenizer, origin.task, splits, teacher, recipe.seed, folder, progress, log)
        return _result(work, origin, recipe, methods, Path(out), own)


def _taken(target: Path) -> None:
    raise ArtifactError(f"{target}: another process is making it; wait until that is done, or choose another place")


def _result(work: Work, origin: trained.Source, recipe: Recipe, methods: list[Method], out: Path, own: bool) -> Result:
    """Every step, and the artifact of what they left."""
    known, config = checkpoint.identity(origin.model, origin.tokenizer), origin.model.config.to_dict()
    base = {"model": known, "length": origin.tokenizer.model_max_length, "data": work.data.digest}
    trace = _steps(work, recipe, methods, base | {"task": tasks.describe(origin.task), "seed": recipe.seed}, config)
    layers.freeze(work.model)
    with machine.on_device([work.model], work.log):
        validation = answers.evaluate(work.model, work.tokenizer, work.task, work.data.validation)
    artifact.save(
        out, work.model, work.tokenizer,
        task=tasks.describe(work.task),
        recipe=recipe.record(),
        provenance={
            "data": work.data.digest, "seed": origin.seed,
            "model": known, "source": Path(origin.record.get("model", "")).name,
        },
        measures={"validation": {k: v for k, v in validation.items() if isinstance(v, float)}},
        base_config=config,
    )  # fmt: skip
    return Result(out, trace, validation, own)


def plan(
    source: str | Path,
    recipe: Recipe,
    data_source: str | Path | None = None,
    unlabelled: str | Path | Literal[False] | None = None,
) -> list[dict[str, Any]]:
    """What each step is expected to leave, in bytes, without running any: a row per step, the original first."""
    origin = trained.read(source)
    splits = None if _writes(origin, data_source) else _splits(origin, data_source, unlabelled)
    sketches = recipe.forecast(sketch(origin, splits))
    names = ["original", *(step.method for step in recipe.steps)]
    options: list[dict[str, Any]] = [{}, *(step.options for step in recipe.steps)]
    rows = zip([0, *recipe.numbers], names, options, sketches, strict=True)
    return [{"number": i, "step": n, "options": o, "bytes": s.bytes(), "sketch": asdict(s)} for i, n, o, s in rows]


def _steps_folder(out: Path, origin: trained.Source, source: str | Path, steps: str | Path | None) -> Path:
    """The steps folder; ArtifactError where the artifact would lie in it or hold it, as it replaces all it finds."""
    near = Path(os.path.abspath(out if origin.untrained else source))
    folder = Path(steps) if steps else near.with_name(f"{near.name}.steps")
    one, other = out.resolve(), folder.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise ArtifactError(
            f"the artifact {out} and the steps {folder} lie one in the other; choose another place for one of them"
        )
    return folder


def _sound(source: str | Path) -> trained.Source:
    """What a run folder or a decoder holds; ArtifactError where its numbers are not finite."""
    origin = trained.read(source)
    if broken := claims.broken(origin.model):
        raise ArtifactError(
            f"{source}: numbers of {broken[0]} are not finite; train it again with a lower learning rate"
        )
    return origin


def _splits(origin: trained.Source, given: str | Path | None, unlabelled: str | Path | Literal[False] | None) -> Splits:
    """The data of a run, or those that are given; with them the texts without answers, where there are any."""
    source, task, seed = origin.data(given), origin.task, origin.seed
    splits = data.read_splits(source, task, seed=seed)
    texts = origin.texts if unlabelled is None else unlabelled
    return data.with_texts(splits, texts, task, data.unseen(source, task, seed)) if texts else splits


def _writes(origin: trained.Source, given: str | Path | None) -> bool:
    """Whether a model has to write its own texts: a decoder as it stands, without data."""
    return origin.untrained and given is None


def _own(origin: trained.Source, seed: int, folder: Path, progress: bool, log: Callable[[str], None]) -> Splits:
    """Texts that the model writes, kept in the steps folder."""
    key = _key({"model": checkpoint.identity(origin.model, origin.tokenizer), "seed": seed})
    file = folder / f"own-{key}.jsonl"
    log(f"no data: the model is calibrated on texts that it writes itself, {file}")
    return generations.splits(origin.model, origin.tokenizer, seed, file, progress=progress)


def sketch(origin: trained.Source, splits: Splits | None) -> Sketch:
    """The dimensions of a model, and the tokens its training text uses, where there is one."""
    anatomy = Anatomy(origin.model)
    blocks = [block for stack in anatomy.stacks for block in stack.blocks]
    parts = {
        where: sum(layers.take(m).weight.numel() for _, m in anatomy.linears(where)) for where in ("attention", "ffn")
    }
    tables = {path: layers.take(m).weight.shape[0] for path, m in anatomy.linears("embeddings")}
    total = sum(p.numel() for p in origin.model.parameters())
    texts = [*splits.train, *splits.unlabelled] if splits else []
    features = origin.task.encode(texts, origin.tokenizer, answers=False)
    used = {token for feature in features for key in (*SIDES, "said") for token in feature.get(key, ())}
    vocabulary = tables.pop(anatomy.word_embedding)
    held = (vocabulary + sum(tables.values())) * anatomy.hidden + sum(parts.values())
    return Sketch(
        vocabulary=vocabulary, hidden=anatomy.hidden, blocks=len(blocks),
        attention=parts["attention"] / len(blocks), ffn=parts["ffn"] / len(blocks),
        positions=sum(tables.values()), rest=total - held, used_tokens=len(used) if splits else None,
    )  # fmt: skip


def _steps(
    work: Work, recipe: Recipe, methods: list[Method], base: dict[str, Any], config: dict[str, Any]
) -> list[dict[str, Any]]:
    """Run every step, or take it up from the steps folder; the trace says what each one left.

    `config` is that of the model before any step.
    """
    folder, trace, key = work.folder, [], _key({"format": FORMAT, **base})
    start, keys = effects.measure(work.model), []
    for step, method in zip(recipe.steps, methods, strict=True):
        key = _key({"before": key, "method": step.method, "options": _all_options(method)})
        keys.append(key)
    done = finished.rows([folder / k for k in keys], work.log)
    first = next(
        (count for count in range(len(done), 0, -1) if finished.take(work, folder / keys[count - 1], count)), 0
    )
    for i in range(first):
        trace.append(done[i])
        work.log(f"step {i + 1} ({recipe.steps[i].method}) was done before: taken up")
    for i in range(first, len(methods)):
        amounts = [start, *(row["effects"] for row in trace)]
        name, place = recipe.steps[i].method, folder / keys[i]
        busy = f"step {i + 1} ({name}) is being done by another process: it is waited for"
        with lock.held(place / LOCK, partial(work.log, busy)):
            row = None if i < len(done) else finished.meanwhile(work, place, i + 1)  # a damaged one is done again
            trace.append(row or _step(work, place, name, methods[: i + 1], amounts, config))
    return trace


def _step(
    work: Work,
    folder: Path,
    name: str,
    methods: list[Method],
    amounts: list[dict[str, float]],
    config: dict[str, Any],
) -> dict[str, Any]:
    """Apply the last of the methods, verify what it says of itself, and write what it left, at once.

    `amounts` are the effects before the first step and after each one that is done.
    """
    started, method, step = time.monotonic(), methods[-1], f"step {len(methods)} ({name})"
    work.log(f"{step} ...")
    work.folder = folder / "work"
    work.folder.mkdir(parents=True, exist_ok=True)
    before, known = effects.measure(work.model), checkpoint.identity(work.model, work.tokenizer)
    torch.manual_seed(work.seed)
    work.idle = None
    taught = [work.teacher.model] if work.teacher and "teacher" in method.needs else []
    with machine.on_device([work.model, *taught], work.log):
        method.apply(work)
        if method.makes and work.idle is None and checkpoint.identity(work.model, work.tokenizer) == known:
            work.idle = "with these options all stays as it is"
        after = _verified(work, methods, amounts, before, step)
        score = answers.evaluate(work.model, work.tokenizer, work.task, work.data.validation)[work.task.main]
    fresh = folder / "model"
    shutil.rmtree(fresh, ignore_errors=True)
    artifact.save(
        fresh, work.model, work.tokenizer, task=tasks.describe(work.task), recipe=None, provenance={}, measures={},
        base_config=config,
    )  # fmt: skip
    row = {
        "step": name, "options": _all_options(method), "score": score, "effects": after,
        "seconds": round(time.monotonic() - started, 1), "bytes": size.folder_bytes(fresh),
    }  # fmt: skip
    artifact.write_file(folder / finished.FILE, json.dumps(row).encode())
    shutil.rmtree(work.folder)
    work.log(f"{step}: validation {work.task.main} {score:.4f}, {row['seconds']:.0f} s")
    return row


def _verified(
    work: Work, methods: list[Method], amounts: list[dict[str, float]], before: dict[str, float], step: str
) -> dict[str, float]:
    """The effects after the last of the methods; EffectError where they are not what it says of itself."""
    claims.finite(work.model, methods[-1], step)
    after = effects.measure(work.model)
    if work.idle is None:
        claims.made(methods[-1], before, after, step)
        claims.kept(methods[:-1], [*amounts, after], step)
    elif before != after:
        raise EffectError(f"{step} says it had nothing to do ({work.idle}), but the model is another")
    else:
        work.log(f"{step} has nothing to do: {work.idle}")
    return after


def _all_options(method: Method) -> dict[str, Any]:
    return asdict(method)  # type: ignore[call-overload,no-any-return]


def _key(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:24]
