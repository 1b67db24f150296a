"""A data set of each task: original and the recipe `balanced`, test read once.

No paper: measurement. `python -m benchmarks.tasks --dataset NAME` runs one and replaces its rows alone; a killed run
goes on where it was. `--untimed` only trains and compresses and leaves the rows as they are, so that time can be taken
later on a quiet machine. `--precision float32` trains and pretrains in that, where a processor has no arithmetic of 16
bits; by default each data set has that of its row. `--pages` only writes the tasks' pages from the rows there are.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import laconic
from benchmarks import pages, record, task_pages
from benchmarks.conll2003 import in_precision, judge
from benchmarks.datasets import DECODER, SETTINGS
from benchmarks.task_pages import RECIPE, SMALLER, WITHIN, WITHIN_BITS, verdicts
from laconic import data, prove, trained
from laconic.measures import quality, size
from laconic.recipe import Recipe
from laconic.writing.said import BYTE


def main() -> None:
    """Train, compress, judge on test, time, and write the page with what other runs left of other data sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", action="append", choices=list(SETTINGS), help="only these; by default every one")
    parser.add_argument("--untimed", action="store_true", help="only train and compress")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="of training; by default the setting's")
    parser.add_argument("--pages", action="store_true", help="only write the tasks' pages from the rows there are")
    given = parser.parse_args()
    if given.pages:
        pages.write(task_pages.written())
        return
    for name in given.dataset or SETTINGS:
        precision = given.precision or SETTINGS[name].precision
        folders = made(name, precision)
        if not given.untimed:
            publish(name, [row | {"precision": precision} for row in measured(name, folders)])


def made(name: str, precision: str) -> dict[str, Path]:
    """Run folder and artifact of one data set."""
    setting, base = SETTINGS[name], record.runs() / name
    first = original(name, precision)
    prove.check_test(first)
    texts = setting.unlabelled(base) if setting.unlabelled else None
    recipe = in_precision(Recipe.read(RECIPE).override(list(setting.changes)), precision)
    laconic.compress(first, recipe, base / RECIPE, unlabelled=texts)
    return {"original": first, RECIPE: base / RECIPE}


def original(name: str, precision: str | None = None) -> Path:
    """The run folder of the model that learnt a data set, in that precision or in the setting's."""
    setting, base = SETTINGS[name], record.runs() / name
    precision = precision or setting.precision
    folder = record.folder("LACONIC_DATA", setting.data or name)
    source = setting.files.source(folder, base) if setting.files else folder
    model = (
        record.folder("LACONIC_MODELS", setting.model) if isinstance(setting.model, str) else setting.model(precision)
    )
    return laconic.train(
        model, setting.task, source, base / "original",
        options=replace(setting.training, precision=precision), **setting.options,
    )  # fmt: skip


def measured(name: str, folders: dict[str, Path]) -> list[dict[str, Any]]:
    """A row for each model, by its answers to the test split and its time."""
    setting, origin = SETTINGS[name], trained.read(folders["original"])
    examples = data.read_split(origin.data(None), origin.task, "test", seed=origin.seed)
    judged = judge(folders, examples)
    times = prove.speeds(list(judged.values()))
    first, rows = judged["original"], []
    whole = size.folder_bytes(first.folder)
    for model, one in judged.items():
        found = quality.take(first.task, examples, first.predictions, one.predictions)
        held = size.folder_bytes(one.folder)
        row = {"dataset": name, "task": setting.task, "name": model, "engine": one.engine}
        row |= {"model": setting.model if isinstance(setting.model, str) else setting.model.__name__}
        row |= {"changes": " ".join(setting.changes) if model == RECIPE else "", **scored(found)}
        row |= {"bytes": held, "times_smaller": whole / held}
        row |= {"flips": found.flips, "engine_agreement": prove.agreement(one, examples)}
        row |= {"speedup_batch1": times[model].single_speedup.median}
        row |= {"speedup_batch32": times[model].batch_speedup.median, "examples": len(examples), "bar": setting.bar}
        row |= {key: value for key, value in found.after.items() if isinstance(value, float)}
        rows.append(row | record.origin())
    return rows


def scored(found: quality.Quality) -> dict[str, Any]:
    """The main figure and its difference to the original's; bits per byte in place of the share of them saved."""
    change = found.difference
    if found.main != "saved":
        held = {"metric": found.main, "score": found.after[found.main]}
        return held | {"difference": change.value, "low": change.low, "high": change.high}
    held = {"metric": "bits_per_byte", "score": found.after["bits_per_byte"]}
    return held | {
        "difference": 0.0 - BYTE * change.value,
        "low": 0.0 - BYTE * change.high,
        "high": 0.0 - BYTE * change.low,
    }


def publish(name: str, rows: list[dict[str, Any]]) -> None:
    """Put the rows of one data set in the place of those that stand in the file, and write the pages."""
    kept = [row for row in pages.measured("tasks") if row["dataset"] != name] + rows
    order = list(SETTINGS)
    kept.sort(key=lambda row: order.index(row["dataset"]) if row["dataset"] in order else len(order))
    record.write("tasks", kept, [("Models", REMARK, verdicts(kept)), ("Recipes", HOW, recipes(kept))])
    pages.write(task_pages.written())


REMARK = (
    "CoNLL-2003 has [a benchmark of its own](conll2003.md). Test is read once, after all choices. "
    "Differences are to the original, with their paired bootstrap interval of "
    "95 %. Of bits per byte less is better, of the other figures more. The last column says whether the original "
    f"reaches the bar that was set for it, and `{RECIPE}` is {SMALLER} times smaller and at most {100 * WITHIN:g} "
    f"points worse, of bits per byte {WITHIN_BITS:.0%}. As PyTorch: the share of answers that PyTorch gives as well "
    "with the same weights. Training, and the pretraining of a model made for it, is in the precision a row says; "
    "bfloat16 is for time, where the processor has its arithmetic. Each row has its commit and date; the line above is "
    "that of the last one."
)
HOW = (
    f"What `--set` changed in `{RECIPE}`, whose steps are vocabulary, positions, blocks, neurons, bits of linears and "
    f"of embeddings, distill and half; `null` leaves a step out. {DECODER} was trained on stories for children: what "
    "it chooses and answers shows what compression changed, not what a language model knows."
)


def recipes(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Of every data set, which files are its splits and how its recipe was changed."""
    lines = [["data", "begins with", "files", "test examples", "changes"]]
    for row in (row for row in rows if row["name"] == RECIPE):
        setting = SETTINGS[row["dataset"]]
        changes = " ".join(f"`{change}`" for change in row["changes"].split())
        files = str(setting.files or "its own")
        lines.append([row["dataset"], row["model"], files, f"{row['examples']:,}", changes])
    return lines


if __name__ == "__main__":
    main()
