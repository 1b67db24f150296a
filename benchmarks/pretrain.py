"""A decoder to compress: a Llama of eight million weights, pretrained on WikiText-2 and TinyStories.

No paper: measurement. `python -m benchmarks.pretrain`; a killed run goes on where it was, and the model stays below the
folder of runs. `--pages` writes the page from the file without measuring. The model has seen 12 MB of text, an epoch or
two: enough for trained weights, not for a good writer.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import record
from laconic import answers, checkpoint, data
from laconic.pretrain import RECORD, config, pretrain
from laconic.tasks.lm import LM

NAME = "llama-8m"
TEXTS = {"wikitext2": "test", "tinystories": "validation"}  # data set -> the split that is measured
PRECISION = "bfloat16"  # of training, where no other is asked for
POINTS = 13  # of the curve, on the page
PLAN: dict[str, Any] = {
    "model": {
        "model_type": "llama", "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 8,
        "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    },
    "tokenizer": {"kind": "bpe", "vocabulary": 8192},
    "training": {
        "block": 256, "batch": 16, "epochs": 2, "learning_rate": 2e-3, "schedule": "cosine",
    },
}  # fmt: skip


def main() -> None:
    """Pretrain, measure bits per byte on text that was not seen, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default=PRECISION, help="of training")
    parser.add_argument("--pages", action="store_true", help="write the page from the rows there are")
    given = parser.parse_args()
    if given.pages:
        record.renew("pretrain", sections)
        return
    model = decoder(given.precision)
    held = json.loads((model / RECORD).read_text(encoding="utf-8"))
    rows = [measured(model, name, split) for name, split in TEXTS.items()]
    speed = {**held["speed"], "training_tokens": held["counts"]["train"]["tokens"]}
    curve = [[r["step"], round(float(r["loss"]), 3)] for r in held["history"] if "loss" in r]
    found: list[dict[str, Any]] = [{"model": NAME, "name": "original", **row, **speed} for row in rows]
    found.append({"model": NAME, "name": "training", "curve": curve})
    record.write("pretrain", found, sections(found))


def sections(rows: list[dict[str, Any]]) -> record.Sections:
    """The page's tables: figures of each text, what training did a second, and about POINTS of its losses."""
    *texts, training = rows
    table = [["text", "split", "bytes", "bits per byte", "perplexity of a token"]]
    for row in texts:
        table.append([row["dataset"], row["split"], f"{row['text_bytes']:,}", f"{row['bits_per_byte']:.4f}"])
        table[-1].append(f"{row['perplexity']:.1f}")
    one = texts[0]
    speed = [["tokens an epoch", "tokens a second", "model FLOPs utilization", "peak FLOPs a second"]]
    speed.append([f"{one['training_tokens']:,}", f"{one['tokens_per_second']:,.0f}"])
    speed[-1] += [f"{one['model_flops_utilization']:.1%}", f"{one['peak_flops']:.3g}"]
    points = training["curve"]
    step = -(-len(points) // POINTS)
    curve = [["step", "loss on training text"]]
    curve += [[f"{at:,}", f"{loss:.3f}"] for at, loss in reversed(points[::-1][::step])]  # the last one among them
    said = "The utilization is the share of the peak, measured on large matrix products, that the model's own are."
    every = f"One loss in {step} of those that were logged."
    return [("Text that was not seen", "", table), ("Speed of training", said, speed), ("Training", every, curve)]


def planned(described: dict[str, Any], precision: str) -> config.Plan:
    """The plan of a model from nothing, its training in that precision."""
    training = {**described["training"], "precision": precision}
    return config.parse({**described, "training": training}, "benchmarks.pretrain", scratch=True)


def decoder(precision: str) -> Path:
    """The pretrained model's folder, made if it is not there."""
    base = record.runs() / NAME
    base.mkdir(parents=True, exist_ok=True)
    text = base / "text"
    for split in ("train", "validation"):
        parts = [record.folder("LACONIC_DATA", name) / f"{split}.jsonl" for name in TEXTS]
        text.mkdir(exist_ok=True)
        (text / f"{split}.jsonl").write_text("".join(part.read_text(encoding="utf-8") for part in parts), "utf-8")
    return pretrain("clm", planned(PLAN, precision), text, base / "model")


def measured(model: Path, name: str, split: str) -> dict[str, Any]:
    """Bits per byte of a text under the model, windows of 512 tokens that overlap by a quarter."""
    task = LM(context=512)
    examples = data.read_split(record.folder("LACONIC_DATA", name), task, split)
    network, tokenizer = checkpoint.model(task.auto, model), checkpoint.tokenizer(model)
    found = answers.evaluate(network.eval(), tokenizer, task, examples)
    row = {"dataset": name, "split": split, "text_bytes": sum(len(e["text"].encode()) for e in examples)}
    row |= {"parameters": network.num_parameters(), "bytes": (model / "model.safetensors").stat().st_size}
    return row | {"bits_per_byte": found["bits_per_byte"], "perplexity": found["perplexity"]}


if __name__ == "__main__":
    main()
