"""Every method alone on a small trained encoder and a small trained decoder: bytes, score and the bits it costs.

No paper: measurement. `python -m benchmarks.methods`; rows that stand in the file are kept, so a killed run goes on
where it was, `--again NAME` measures those of one method anew, `--model NAME` those of one model only, and `--pages`
writes the methods' pages from the file without measuring.
"""

from __future__ import annotations

import argparse
import copy
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import method_pages, pages, record
from benchmarks.pages import measured
from benchmarks.settings import MODELS, key, remark, settings
from benchmarks.tasks import original
from laconic import answers, artifact, checkpoint, data, effects, layers, prove, tasks, trained
from laconic.contracts import Example, Method, Splits, Task, Teacher, Work
from laconic.errors import EffectError, LaconicError
from laconic.measures import size
from laconic.recipe import Recipe, Step
from laconic.tasks.lm import LM

ENCODER, INTENTS = "all-minilm-l6-v2", "banking77"
DECODER, STORIES = "stories260k", "tinystories"
ASKED = {"train": 3000, "validation": 300, "test": 500}  # questions to learn from, to choose an epoch and to judge by
WRITTEN = {"train": 600, "validation": 40, "test": 60}  # stories, likewise


@dataclass(frozen=True)
class Case:
    """A model, the examples its methods learn from, those it is judged by, and the bytes of its checkpoint."""

    model: str
    dataset: str
    source: trained.Source
    splits: Splits
    examples: list[Example]
    bytes: int


def encoder() -> Case:
    """MiniLM, fine-tuned to 77 intents as `benchmarks.tasks` does."""
    source = record.folder("LACONIC_DATA", INTENTS)
    run = original(INTENTS)
    origin = trained.read(run)
    splits = data.read_splits(source, origin.task, seed=origin.seed, progress=False)
    test = drawn(data.read_split(source, origin.task, "test"), ASKED["test"])
    held = Splits(drawn(splits.train, ASKED["train"]), drawn(splits.validation, ASKED["validation"]), splits.digest)
    return Case(ENCODER, INTENTS, origin, held, test, size.folder_bytes(run))


def decoder() -> Case:
    """A Llama that was pretrained on stories, as it stands."""
    folder, source = record.folder("LACONIC_MODELS", DECODER), record.folder("LACONIC_DATA", STORIES)
    task: Task = LM(context=256)
    tokenizer, model = checkpoint.tokenizer(folder), checkpoint.model(LM.auto, folder).eval()
    tokenizer.model_max_length = 256
    read = drawn(data.read_split(source, task, "train"), WRITTEN["train"] + WRITTEN["validation"])
    splits = Splits(read[: WRITTEN["train"]], read[WRITTEN["train"] :], "0" * 64)
    test = drawn(data.read_split(source, task, "validation"), WRITTEN["test"])
    weights = sum((folder / name).stat().st_size for name in ("model.safetensors", "tokenizer.json", "config.json"))
    return Case(DECODER, STORIES, trained.Source(model, tokenizer, task, {}), splits, test, weights)


CASES: dict[str, Callable[[], Case]] = {ENCODER: cache(encoder), DECODER: cache(decoder)}


def drawn(examples: list[Example], number: int) -> list[Example]:
    """So many of the examples, the same each time, in their order."""
    chosen = np.random.default_rng(0).permutation(len(examples))[:number]
    return [examples[i] for i in sorted(chosen.tolist())]


def main() -> None:
    """Measure what is not in the file yet, writing it after every row; then the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="append", default=[], help="measure the rows of this method anew")
    parser.add_argument("--model", choices=CASES, help="measure on this model only; rows of the other stay")
    parser.add_argument("--pages", action="store_true", help="write the pages from the rows there are")
    given = parser.parse_args()
    if not given.pages:
        torch.set_num_threads(1)
        measure(set(given.again), [given.model] if given.model else list(CASES))
    pages.write(method_pages.written())


def measure(again: set[str], models: Sequence[str]) -> None:
    """The rows of all settings, in their order: those of the file, and what is missing of these models.

    A recipe that stands for two methods is measured once.
    """
    kept = {key(row): row for row in measured("methods") if row["method"] not in again or row["model"] not in models}
    for head in settings():
        if head["model"] in models and key(head) not in kept:
            same = [row for row in kept.values() if (row["model"], row["steps"]) == (head["model"], head["steps"])]
            found = same[0] if same else {**result(CASES[head["model"]](), head["steps"]), **record.origin()}
            kept[key(head)] = {**head, **found, **head}
            publish([kept[key(other)] for other in settings() if key(other) in kept])
            print(*method_pages.cells(kept[key(head)]), flush=True)
    publish([kept[key(head)] for head in settings() if key(head) in kept])


def result(case: Case, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Apply the steps to the model as `laconic compress` does, save it, and judge it; or what it was refused for."""
    found: dict[str, Any] = {"model": case.model, "dataset": case.dataset}
    folder = record.runs() / "methods" / case.model
    shutil.rmtree(folder, ignore_errors=True)
    teacher = Teacher(case.source.model, case.source.tokenizer)
    work = Work(
        copy.deepcopy(case.source.model), case.source.tokenizer, case.source.task, case.splits, teacher,
        0, folder / "work", False, lambda _: None,
    )  # fmt: skip
    started = time.monotonic()
    try:
        apply(work, steps)
    except LaconicError as error:
        return {**found, "refused": str(error)}
    seconds = time.monotonic() - started
    layers.freeze(work.model)
    return {**found, **judged(case, work, folder / "artifact"), "seconds": round(seconds, 2)}


def apply(work: Work, steps: list[dict[str, Any]]) -> None:
    """The steps, each held to what it says it makes."""
    folder, recipe = work.folder, Recipe(tuple(Step(name, options) for step in steps for name, options in step.items()))
    for number, method in enumerate(recipe.check(), 1):
        work.folder = folder / str(number)
        work.folder.mkdir(parents=True)
        before = effects.measure(work.model)
        torch.manual_seed(work.seed)
        work.idle = None
        method.apply(work)
        if work.idle is None:
            require(number, method, before, effects.measure(work.model))


def require(number: int, method: Method, before: dict[str, float], after: dict[str, float]) -> None:
    """Raise EffectError where a method did not make what it says."""
    for made in sorted(method.makes):
        if not effects.grew(before, after, made):
            raise EffectError(f"step {number} makes the model no more {made} ({after[made]:.6g})")


def judged(case: Case, work: Work, folder: Path) -> dict[str, Any]:
    """What the model weighs as an artifact, and how it does on the examples."""
    artifact.save(
        folder, work.model, work.tokenizer, task=tasks.describe(work.task), recipe=None, provenance={}, measures={},
        base_config=case.source.model.config.to_dict(),
    )  # fmt: skip
    whole = size.take(folder, work.model, prove.stored(folder))
    figures = answers.evaluate(work.model, work.tokenizer, work.task, case.examples)
    letters = sum(work.task.answers(example) for example in case.examples)
    loss = figures["bits"] * len(case.examples) / letters  # bits an answer: a label, or a byte of text
    found = {"metric": work.task.main, "score": figures[work.task.main], "loss": loss}
    found |= {"loss_increase": loss - original_loss(case.model), "examples": len(case.examples)}
    found |= {"bytes": whole.bytes, "block_bytes": whole.parts["attention"] + whole.parts["ffn"]}
    return found | {"times_smaller": case.bytes / whole.bytes, "parameters": whole.parameters}


@cache
def original_loss(model: str) -> float:
    """Bits an answer of the model before any step."""
    case = CASES[model]()
    source = case.source
    found = answers.evaluate(source.model, source.tokenizer, source.task, case.examples)
    return float(found["bits"] * len(case.examples) / sum(source.task.answers(e) for e in case.examples))


def publish(rows: list[dict[str, Any]]) -> None:
    """Write the rows and their page."""
    sections = []
    for model in MODELS:
        own = [method_pages.cells(r, with_method=True) for r in rows if r["model"] == model]
        sections.append((model, remark(model), [["method", *method_pages.HEADER], *own]))
    record.write("methods", rows, sections)


if __name__ == "__main__":
    main()
