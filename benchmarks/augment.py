"""More data for a classifier that has few: texts written by a decoder, and rewritten by a masked encoder.

Kumar et al. 2020, arXiv:2003.02245: a few records of each label, a classifier of these alone as judge, and the same
classifier with the new records beside them, trained for as many steps. `python -m benchmarks.augment`; a killed run
goes on where it was.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import laconic
from benchmarks import pages, record, task_pages
from benchmarks.conll2003 import judge
from benchmarks.pretrain import decoder
from laconic import data, trained
from laconic.augment import augment
from laconic.augment.rewriting import FRONT
from laconic.measures import quality
from laconic.pretrain import config, pretrain

ENCODER = "all-minilm-l6-v2"
SHOTS = {"trec": 50}  # training records of each label
TIMES = 2  # new records for each that there is
OTHERS = "clinc150"  # whose training texts, without labels, the masked encoder reads beside
TRAINING = laconic.Training(epochs=20, learning_rate=2e-4, batch=32, precision="bfloat16")
CONTROL = laconic.Training(epochs=15, learning_rate=5e-4, batch=32, precision="bfloat16")
MASKED: dict[str, Any] = {
    "training": {"block": 64, "batch": 32, "steps": 300, "learning_rate": 5e-4, "precision": "bfloat16"},
}


def main() -> None:
    """Both generators on every data set; the page."""
    rows = [row for name in SHOTS for row in dataset(name)]
    table = [
        ["data", "new records by", "records", "new", "label kept", "distinct-1", "distinct-2", "accuracy", "gain (95%)"]
    ]
    for row in rows:
        made = row["name"] != "original"
        table.append([row["dataset"], row["name"], f"{row['records']:,}", f"{row['new_share']:.0%}" if made else ""])
        table[-1] += [
            f"{row['label_kept']:.1%}" if made else "",
            f"{row['distinct_1']:.3f}",
            f"{row['distinct_2']:.3f}",
        ]
        table[-1] += [f"{row['score']:.4f}", f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"]
    shots = ", ".join(f"{number} of {name}" for name, number in SHOTS.items())
    remark = (
        f"So many training records of each label: {shots}. `original` is the classifier of these alone, which also "
        f"judges; the others have {TIMES} new records for each beside them and are trained for as many steps. "
        "`decoder` is a Llama of eight million weights, pretrained on 12 MB of text and tuned on the few records (task "
        f"`control`); `encoder` is {ENCODER} with a new masked head, tuned on lines `label: text` of the few records "
        f"and on texts of {OTHERS}. Distinct-n is of the new records; in the row `original`, of the few. Test is read "
        "once, after all choices; validation is whole."
    )
    record.write("augment", rows, [("Few records and more", remark, table)])
    pages.write(task_pages.written())


def dataset(name: str) -> list[dict[str, Any]]:
    """A row for the classifier of few records, and one for each generator."""
    base = record.runs() / "augment" / name
    few = shots(name, base / "few")
    first = classifier(few, base / "original", 1)
    records = len(data.read_splits(few, "classify", progress=False).train)
    writers = {"decoder": control(few, base), "encoder": masked(few, base)}
    folders, facts = {"original": first}, {}
    for kind, model in writers.items():
        number = TIMES * SHOTS[name]
        facts[kind] = augment(model, few, base / f"more-{kind}", number=number, judge=first, temperature=0.8).figures()
        folders[kind] = classifier(base / f"more-{kind}", base / kind, records / (records + facts[kind]["records"]))
    examples = data.read_split(few, trained.read(first).task, "test")
    judged = judge(folders, examples)
    rows = []
    for kind, one in judged.items():
        found = quality.take(one.task, examples, judged["original"].predictions, one.predictions)
        made = facts["decoder" if kind == "original" else kind]
        end = "_train" if kind == "original" else ""
        row = {"dataset": name, "task": "control", "name": kind, "metric": "accuracy", "shots": SHOTS[name]}
        row |= {"records": records if kind == "original" else made["records"], "score": found.after["accuracy"]}
        row |= {"difference": found.difference.value, "low": found.difference.low, "high": found.difference.high}
        row |= {f"distinct_{n}": made["distinct"][f"distinct_{n}{end}"] for n in (1, 2)}
        if kind != "original":
            row |= {"label_kept": made["label_kept"], "new_share": made["new"] / made["written"]}
        rows.append(row)
    return rows


def shots(name: str, folder: Path) -> Path:
    """The data set with the first SHOTS training records of each label."""
    source, seen = record.folder("LACONIC_DATA", name), defaultdict(int)
    splits = data.read_splits(source, "classify", progress=False)
    few = []
    for example in splits.train:
        seen[example["label"]] += 1
        if seen[example["label"]] <= SHOTS[name]:
            few.append(example)
    folder.mkdir(parents=True, exist_ok=True)
    test = data.read_split(source, "classify", "test")
    for split, part in (("train", few), ("validation", splits.validation), ("test", test)):
        text = "".join(json.dumps(example, ensure_ascii=False) + "\n" for example in part)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return folder


def classifier(source: Path, out: Path, share: float) -> Path:
    """The encoder tuned on data, for a share of the epochs."""
    model = record.folder("LACONIC_MODELS", ENCODER)
    return laconic.train(model, "classify", source, out, options=replace(TRAINING, epochs=TRAINING.epochs * share))


def control(few: Path, base: Path) -> Path:
    """The decoder that writes texts of a label."""
    return laconic.train(decoder(), "control", few, base / "control", options=CONTROL)


def masked(few: Path, base: Path) -> Path:
    """The encoder with a masked head, tuned on texts with their labels in front."""
    text = base / "text"
    text.mkdir(parents=True, exist_ok=True)
    rows = data.read_splits(few, "classify", progress=False)
    others = data.read_splits(record.folder("LACONIC_DATA", OTHERS), "classify", progress=False).train
    lines = {"train": _lines(rows.train) * 8 + [e["text"] for e in others], "validation": _lines(rows.validation[:64])}
    for split, some in lines.items():
        rows_of = "".join(json.dumps({"text": line}) + "\n" for line in some)
        (text / f"{split}.jsonl").write_text(rows_of, encoding="utf-8")
    source = record.folder("LACONIC_MODELS", ENCODER)
    plan = config.parse(MASKED, "benchmarks.augment", scratch=False)
    return pretrain("mlm", plan, text, base / "masked", source=source)


def _lines(examples: list[Any]) -> list[str]:
    """Texts behind their labels, as `laconic augment` has a masked model read them."""
    return [FRONT.format(e["label"]) + e["text"] for e in examples]


if __name__ == "__main__":
    main()
