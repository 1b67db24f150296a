"""What every tool is given: the model in float32 as an ordinary folder, and calibration samples as token ids.

No paper: preparation.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks import record
from benchmarks.peers.settings import Setting
from laconic import checkpoint
from laconic.contracts import Example

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


def tokens(setting: Setting, folder: Path, out: Path) -> Path:
    """So many samples of so many tokens: stories one after another, each after the token that begins texts."""
    count, length = setting.samples["count"], setting.samples["length"]
    path = out / f"{folder.name}-{setting.inputs}-{count}x{length}.json"
    if path.is_file():
        return path
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
    path.write_text(json.dumps(rows))
    return path
