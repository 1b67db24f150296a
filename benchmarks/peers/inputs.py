"""What every tool is given: the model in float32 as an ordinary folder, and calibration samples.

No paper: preparation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks import conll2003, pretrain, record, tasks
from benchmarks.peers.settings import MADE, PRETRAINED, Setting
from laconic import checkpoint, data, trained
from laconic.contracts import Example, Splits

SHAPE = {
    "vocab_size": 26000, "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 12, "num_key_value_heads": 12, "max_position_embeddings": 2048,
}  # fmt: skip
"""Of a Llama with 125 million parameters, embeddings and head included, for timings: its weights are random."""
RANDOM = "llama-125m"


def texts(split: str) -> list[Example]:
    """Stories: those that calibrate are of training, those that are scored of validation."""
    path = record.folder("LACONIC_DATA", "tinystories") / f"{split}.jsonl"
    with path.open(encoding="utf-8") as file:
        return [{"text": json.loads(line)["text"]} for line in file]


def model(name: str, folder: Path) -> Path:
    """The model in float32 with its tokenizer, so that no tool rounds what it does not compress."""
    if name in MADE:
        return place_of(name)
    place = folder / name
    if not (place / "config.json").is_file():
        if name == RANDOM:
            source = record.folder("LACONIC_MODELS", "tinystories-656k")
            torch.manual_seed(0)
            made = LlamaForCausalLM(LlamaConfig(**SHAPE))
        else:
            source = record.folder("LACONIC_MODELS", name)
            made = checkpoint.model(AutoModelForCausalLM, source)
        checkpoint.tokenizer(source).save_pretrained(place)
        made.save_pretrained(place)
    return place


def place_of(name: str) -> Path:
    """The folder of a model that another benchmark makes."""
    return record.runs() / MADE[name]


def is_there(name: str) -> bool:
    """Whether it has been made."""
    place = place_of(name)
    return (place / pretrain.RECORD).is_file() if name == PRETRAINED else trained.is_trained(place)


def train(name: str, precision: str | None) -> None:
    """Make a model as its own benchmark does, if it is not there; in that precision, if any."""
    place = place_of(name)
    if is_there(name):
        return
    if name == PRETRAINED:
        pretrain.decoder(precision or pretrain.PRECISION)
    elif place.parent.name == conll2003.DATASET:
        conll2003.teacher(0, precision or conll2003.PRECISION)
    else:
        tasks.original(place.parent.name, precision)


def calibration(setting: Setting, name: str, folder: Path, out: Path) -> Path:
    """The file of samples and of their answers: windows of text for a decoder, training texts for an encoder.

    It is made anew each time and is the same for the same model and data.
    """
    found = labelled(setting, folder) if setting.inputs == "labelled" else windows(setting, folder)
    path = out / f"{name}-{setting.inputs}-{'x'.join(map(str, setting.samples.values()))}.json"
    record.put(path, json.dumps(found))
    return path


@cache
def splits(folder: Path) -> tuple[trained.Source, Splits]:
    """An encoder's run folder, and the records that it was trained and validated on."""
    origin = trained.read(folder)
    return origin, data.read_splits(origin.data(), origin.task, origin.seed, progress=False)


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """So many of them, or all where there are fewer, evenly spread: files are often sorted by label."""
    return [examples[i * len(examples) // count] for i in range(count)] if len(examples) > count else list(examples)


def labelled(setting: Setting, folder: Path) -> dict[str, list[Any]]:
    """Texts of training, as they are and as the task has the model read them, and their labels."""
    origin, held = splits(folder)
    texts = spread(held.train, setting.samples["count"])
    features = origin.task.encode(texts, origin.tokenizer, answers=True)
    read, answered = ("input_ids", "attention_mask", "token_type_ids"), ("labels", "slots")
    return {
        "examples": texts,
        "samples": [{name: f[name] for name in read if name in f} for f in features],
        "answers": [{name: f[name] for name in answered if name in f} for f in features],
    }


def windows(setting: Setting, folder: Path) -> dict[str, list[Any]]:
    """So many samples of so many tokens: stories one after another, each after the token that begins texts."""
    count, length = setting.samples["count"], setting.samples["length"]
    if setting.inputs == "random":
        generator = torch.Generator().manual_seed(0)
        rows = torch.randint(3, SHAPE["vocab_size"], (count, length), generator=generator).tolist()
    else:
        tokenizer = checkpoint.tokenizer(folder)
        flat: list[int] = []
        for example in texts("train"):
            flat += [tokenizer.bos_token_id, *tokenizer(example["text"], add_special_tokens=False)["input_ids"]]
        rows = [flat[i * length : (i + 1) * length] for i in range(count)]
    if len(rows[-1]) != length:
        raise SystemExit(f"the training texts have fewer than {count} samples of {length} tokens")
    slots = list(range(length - 1))
    return {
        "examples": [{"ids": ids} for ids in rows],
        "samples": [{"input_ids": ids} for ids in rows],
        "answers": [{"labels": ids[1:], "slots": slots} for ids in rows],
    }
