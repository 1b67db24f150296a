"""Banking77 and SST-2: original and the recipe `balanced`, test read once.

No paper: measurement. `python -m benchmarks.classification`; a killed run goes on where it was.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import laconic
from benchmarks import record
from benchmarks.conll2003 import PRECISION, in_precision, judge
from laconic import data, prove, trained
from laconic.measures import quality, size
from laconic.recipe import Recipe

MODEL, RECIPE = "all-minilm-l6-v2", "balanced"
TRAINING = {
    "banking77": laconic.Training(epochs=8, learning_rate=2e-4, batch=16, precision="bfloat16"),
    "sst2": laconic.Training(epochs=3, learning_rate=1e-4, batch=32, precision="bfloat16"),
}


def main() -> None:
    """Train, compress, judge on test, time, write the page."""
    publish([row for name in TRAINING for row in dataset(name)])


def publish(rows: list[dict[str, Any]]) -> None:
    """The page of the rows."""
    header = ["data", "model", "bytes", "times smaller", "accuracy", "difference (95%)", "as PyTorch"]
    table = [[*header, "x PyTorch, 1", "x PyTorch, 32"]]
    for row in rows:
        change = f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
        table.append(
            [row["dataset"], row["name"], f"{row['bytes']:,}", f"{row['times_smaller']:.1f}", f"{row['score']:.4f}"]
        )
        table[-1] += [change, f"{row['engine_agreement']:.1%}"]
        table[-1] += [f"{row['speedup_batch1']:.1f}", f"{row['speedup_batch32']:.1f}"]
    remark = (
        f"Accuracy on test, read once; the recipe is `{RECIPE}`, from {MODEL}. Texts without labels: for banking77 the "
        "training texts of clinc150. sst2 is trained on the phrases of its training sentences, as GLUE has it. "
        f"{PRECISION} As PyTorch: the share of answers that PyTorch gives as well with the same weights."
    )
    record.write("classification", rows, [("Models", remark, table)])


def dataset(name: str) -> list[dict[str, Any]]:
    """The rows of one data set."""
    source = source_of(name)
    model = record.folder("LACONIC_MODELS", MODEL)
    base = record.runs() / name
    original = laconic.train(model, "classify", source, base / "original", options=TRAINING[name])
    unlabelled = record.folder("LACONIC_DATA", "clinc150") / "train.jsonl" if name == "banking77" else None
    laconic.compress(original, in_precision(Recipe.read(RECIPE), "bfloat16"), base / RECIPE, unlabelled=unlabelled)
    examples = data.read_split(source, trained.read(original).task, "test")
    judged = judge({"original": original, RECIPE: base / RECIPE}, examples)
    times = prove.speeds(list(judged.values()))
    first = judged["original"]
    whole = size.folder_bytes(first.folder)
    rows = []
    for model_name, one in judged.items():
        found = quality.take(first.task, examples, first.predictions, one.predictions)
        held = size.folder_bytes(one.folder)
        row = {"name": model_name, "model": MODEL, "dataset": name, "tool": "laconic", "engine": one.engine}
        row |= {"bytes": held, "times_smaller": whole / held, "score": found.after["accuracy"]}
        row |= {"accuracy": found.after["accuracy"], "macro_f1": found.after["macro_f1"]}
        row |= {"difference": found.difference.value, "low": found.difference.low, "high": found.difference.high}
        row |= {"flips": found.flips, "engine_agreement": prove.agreement(one, examples)}
        row |= {"speedup_batch1": times[model_name].single_speedup.median}
        rows.append(row | {"speedup_batch32": times[model_name].batch_speedup.median})
    return rows


def source_of(name: str) -> Path:
    """The data set's folder; of SST-2 the three files of GLUE's split, without its second training file."""
    folder = record.folder("LACONIC_DATA", name)
    if name != "sst2":
        return folder
    phrases = record.runs() / "sst2-phrases"
    phrases.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation", "test"):
        shutil.copyfile(folder / f"{split}.jsonl", phrases / f"{split}.jsonl")
    return phrases


if __name__ == "__main__":
    main()
