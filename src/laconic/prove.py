"""The evidence: an artifact beside the model it came from, on examples neither was tuned on.

No paper: one measurement run fills one report.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from laconic import artifact, checkpoint, data, engines, machine, predict, tasks, trained, writing
from laconic.contracts import Engine, Example, Feature, Task, Writer
from laconic.data import cuts
from laconic.data.batching import firsts
from laconic.errors import ArtifactError, DataError, LaconicError
from laconic.measures import bits, latency, memory, quality, size
from laconic.report import notes, page
from laconic.report.record import Curve, Report, Row, Trace, Weighed

PACKAGES = ("laconic", "torch", "transformers", "tokenizers", "onnxruntime", "constriction", "datasets", "numpy")
THREADS = 2
HELD = 64  # examples that are answered while memory is measured
WRITTEN = 32  # answers that are timed, and of which memory is measured, where they are written, token by token
FILES = {"test": artifact.REPORTS[:2], "validation": artifact.REPORTS[2:]}  # split -> its report, as JSON and a page
ANSWERS = ("name", "labels", "multiple")  # of a task: what says which answers there are


@dataclass(frozen=True)
class Candidate:
    """A model in a folder with its answers to the examples. It holds no engine, so that one can be timed alone."""

    name: str
    folder: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    task: Task
    engine: str  # what answered
    note: str  # why that one
    features: list[Feature]
    outputs: list[Any]
    predictions: list[Any]

    def open(self, engine: str) -> Engine:
        """The model in an engine."""
        return engines.choose(engine)(self.model, threads=THREADS)


def candidate(
    name: str, folder: Path, examples: Sequence[Example], engine: str = "auto", *, progress: bool = False
) -> Candidate:
    """Open a folder and answer the examples with it."""
    loaded = predict.load(folder, engine, threads=THREADS)
    features = loaded.task.encode(examples, loaded.tokenizer, answers=False)
    outputs = loaded.outputs(features, progress=progress)
    return Candidate(
        name, folder, loaded.model, loaded.tokenizer, loaded.task, loaded.engine.name, loaded.note, features, outputs,
        list(loaded.task.predict(outputs, features, examples)),
    )  # fmt: skip


def compare(
    folder: str | Path,
    against: str | Path,
    source: str | Path | None = None,
    *,
    split: str = "test",
    engine: str = "auto",
    steps: Sequence[dict[str, Any]] = (),
    timed: bool = True,
    progress: bool = False,
) -> Report:
    """Measure the artifact `folder` beside the run folder `against` on a split of `source`, by default the run's data.

    The original answers in PyTorch, the artifact in `engine`; where engines differ, the original is also timed in the
    artifact's engine, so that the engine's share of the speed can be seen.
    """
    folder, against = Path(folder), Path(against)
    manifest = artifact.read_manifest(folder)
    origin = trained.read(against)
    _comparable(manifest, origin, folder, against)
    source = origin.data(source)
    examples = data.read_split(source, origin.task, split, seed=origin.seed)
    if not examples:
        raise DataError(f"the {split} split of {source} is empty; give one with at least one example")
    before = candidate("original", against, examples, "torch", progress=progress)
    after = candidate("laconic", folder, examples, engine, progress=progress)
    times = speeds([before, after]) if timed else {}
    peaks = {one.name: _peak(one, examples) for one in (before, after)}
    recipe, rows = manifest.recipe or {}, _rows(before, after, examples, times, peaks)
    return Report(
        task=origin.task.name, model=Path(str(origin.record.get("model", against.name))).name,
        dataset=Path(str(source)).name,
        recipe=str(recipe.get("name", "")), seed=int(recipe.get("seed", 0)), main=origin.task.main,
        rows=rows, sizes=_beside(rows[0].size), created=date.today().isoformat(),
        split=split, examples=len(examples),
        steps=[_trace(s) for s in steps],
        layers=size.layers(after.model, stored(folder)),
        curves=_curves(origin.record.get("history", []), origin.task.main), environment=environment(),
        notes=[
            *_another(manifest, origin, against), *_cut(before, after),
            *notes.uncounted(against), *notes.unknown(peaks),
        ],
    )  # fmt: skip


def evidence(
    folder: str | Path, against: str | Path, source: str | Path | None = None, *, command: str = "", **choices: Any
) -> Report:
    """`compare` with these choices; the report is written into the artifact, as JSON and as a page.

    `command` repeats it. What the artifact's report on test says of the steps stays where they are not given.
    """
    folder = Path(folder)
    record, drawn = (folder / name for name in FILES[choices.get("split", "test")])
    report = compare(folder, against, source, **choices)
    steps = report.steps or _kept(folder / FILES["test"][0])
    report = replace(report, steps=steps, commands=[command] if command else [])
    report.write(record)
    page.write(report, drawn)
    return report


def _kept(file: Path) -> list[Trace]:
    """The steps of the report that is there, if it can be read; one that can't is written anew."""
    try:
        return Report.read(file).steps if file.is_file() else []
    except LaconicError:
        return []


def check_test(against: str | Path, source: str | Path | None = None) -> None:
    """Raise DataError, before work is done for it, where `compare` would find no test split or one it can't score."""
    origin = trained.read(against)
    if source is not None or not origin.untrained:
        data.read_split(origin.data(source), origin.task, "test", seed=origin.seed)


def agreement(one: Candidate, examples: Sequence[Example]) -> float | None:
    """Share of answers that PyTorch gives as well, with the same weights; an engine's own rounding changes the rest."""
    if one.engine == "torch":
        return 1.0
    reference = predict.Loaded(one.model, one.tokenizer, one.task, one.open("torch"), "")
    said = one.task.predict(reference.outputs(one.features), one.features, examples)
    return quality.agreement(examples, said, one.predictions)


def speeds(candidates: Sequence[Candidate]) -> dict[str, latency.Latency]:
    """Times of every candidate in its engine, and of the first one in the last one's engine where that differs."""
    contestants = [contestant(c.name, c, c.engine) for c in candidates]
    first, last = candidates[0], candidates[-1].engine
    if last != first.engine:
        contestants.append(contestant(f"original, {last}", first, last))
    texts = {} if writing.of(candidates[0].task) is None else {"texts": WRITTEN}
    return latency.take(contestants, threads=THREADS, **texts)


def contestant(name: str, one: Candidate, engine: str) -> latency.Contestant:
    """A candidate in an engine, to be timed; one that writes is timed writing."""
    how, pad = writing.of(one.task), one.tokenizer.pad_token_id or 0
    opened = partial(one.open, engine)
    if how is None:
        return latency.Contestant(name, opened, firsts(one.features), pad)
    chosen = writing.settings(how, one.tokenizer)
    asked = [prompt for _, prompt in writing.prompts(firsts(one.features))]
    return latency.Contestant(name, lambda: _Author(cast(Writer, opened()), chosen), asked, pad)


@dataclass(frozen=True)
class _Author:
    """An engine as something to be timed: what it runs is the writing of a batch of answers."""

    engine: Writer
    chosen: GenerationConfig

    def run(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """The ids that are written, (batch, written)."""
        return np.array(self.engine.write(batch, self.chosen))


def stored(folder: Path) -> dict[str, int] | None:
    """Bytes of each tensor in an artifact; None for a run folder."""
    return {path: held for path, _, held in artifact.weigh(folder)} if artifact.is_artifact(folder) else None


def _comparable(manifest: artifact.Manifest, origin: trained.Source, folder: Path, against: Path) -> None:
    """Raise ArtifactError for two models that do not answer the same question, before either is measured."""
    if artifact.is_artifact(against):
        raise ArtifactError(f"{against} is an artifact; compare {folder} with the run folder that it was made from")
    described = tasks.describe(origin.task)
    for key in ANSWERS:
        mine, theirs = manifest.task.get(key), described.get(key)
        if mine != theirs:
            raise ArtifactError(
                f"{folder} and {against} have different tasks ({key} {str(mine)[:60]} and {str(theirs)[:60]}); compare "
                "an artifact with the run folder it was made from"
            )


def _another(manifest: artifact.Manifest, origin: trained.Source, against: Path) -> list[str]:
    """A note where the artifact says that it was made from another model; none where it does not say from which."""
    made = manifest.provenance.get("model")
    if made is None or made in {of(origin.model, origin.tokenizer) for of in (checkpoint.identity, checkpoint.digest)}:
        return []  # artifacts that say less know the weights and the tokenizer only
    return [f"The artifact was made from another model than {against.name}: part of the differences is that model's."]


def _cut(*candidates: Candidate) -> list[str]:
    found = [(one.name, cuts.said(one.features, one.tokenizer)) for one in candidates]
    return [f"{name}: {words}." for name, words in found if words]


def _same_engine(after: Candidate, times: dict[str, latency.Latency]) -> list[Row]:
    name = f"original, {after.engine}"
    if name not in times:
        return []
    return [Row(name=name, engine=after.engine, note="speed only", latency=times[name])]


def _peak(one: Candidate, examples: Sequence[Example]) -> memory.Memory | str:
    """The memory it takes to load a model and answer a few examples, or why that is not known."""
    few = list(examples[: HELD if writing.of(one.task) is None else WRITTEN])
    try:
        return memory.take("laconic.prove:answer", str(one.folder), one.engine, few)
    except LaconicError as error:  # all else is measured by then
        return str(error)


def _rows(
    before: Candidate, after: Candidate, examples: Sequence[Example], times: dict[str, latency.Latency],
    peaks: dict[str, memory.Memory | str],
) -> list[Row]:  # fmt: skip
    """The original, in the artifact's engine too where that is another, and the artifact."""
    judged = quality.take(before.task, examples, before.predictions, after.predictions)
    return [
        _row(before, judged.before, examples, times, peaks, note="PyTorch, float32"),
        *_same_engine(after, times),
        _row(after, judged.after, examples, times, peaks, judged=judged, note=after.note),
    ]


def _row(
    one: Candidate, score: dict[str, Any], examples: Sequence[Example], times: dict[str, latency.Latency],
    peaks: dict[str, memory.Memory | str], judged: quality.Quality | None = None, note: str = "",
) -> Row:  # fmt: skip
    task, peak = one.task, peaks[one.name]
    weighed = size.take(one.folder, one.model, stored(one.folder))
    return Row(
        name=one.name, engine=one.engine, note=note, size=weighed, score=score,
        differences={task.main: judged.difference} if judged else {},
        flips=judged.flips if judged else None, token_flips=judged.token_flips if judged else None,
        agreement=None if one.engine == "torch" else agreement(one, examples),
        latency=times.get(one.name),
        memory=None if isinstance(peak, str) else peak,
        bits=bits.take(task, one.outputs, one.features, examples, model_bytes=weighed.bytes),
    )  # fmt: skip


def answer(folder: str, engine: str, examples: list[Example]) -> None:
    """Load a model and answer a few examples: what the memory measure runs in a process of its own."""
    predict.load(folder, engine, threads=THREADS).answer(examples)


def _beside(original: size.Size | None) -> list[Weighed]:
    """What the original would weigh without any method, with its numbers rounded to 16 bits."""
    if original is None or not original.parts:
        return []
    rest = original.bytes - sum(original.parts.values())
    return [Weighed("original in float16", rest + 2 * original.parameters, "counted: 2 bytes a parameter")]


def _trace(row: dict[str, Any]) -> Trace:
    return Trace(row["step"], row["options"], row["bytes"], row["score"], row["seconds"], row["effects"])


def _curves(history: Sequence[dict[str, Any]], main: str) -> list[Curve]:
    curves = []
    for key, title, unit in (("loss", "training loss", "nats"), (f"eval_{main}", f"validation {main}", main)):
        points = [(float(row["step"]), float(row[key])) for row in history if key in row]
        if points:
            curves.append(Curve(title, "fine-tuning of the original", "step", unit, points))
    return curves


def environment() -> dict[str, str]:
    """Versions, processor and threads of this run."""
    return {
        **machine.versions(PACKAGES),
        "python": platform.python_version(),
        "processor": machine.processor(),
        "threads": str(torch.get_num_threads()),
    }
