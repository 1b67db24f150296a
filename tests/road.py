"""A pretrained folder and labelled data on disk, tiny, for tests that walk the whole road."""

import json
from pathlib import Path

from transformers import BertConfig, BertModel, set_seed

from tests.workshop import examples, tokenizer

CONFIG = BertConfig(
    vocab_size=100, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
    max_position_embeddings=64, pad_token_id=1,
)  # fmt: skip
RECIPE = """name: road
steps:
  - vocabulary: {}
  - blocks: {keep: 0.67, choose: even}
  - neurons: {keep: 0.5, samples: 8}
  - rtn: {bits: 4, where: all}
  - distill: {epochs: 2, batch: 4}
  - half: {}
"""


def checkpoint(folder: Path) -> Path:
    """A BERT encoder without a head, as a hub folder looks."""
    set_seed(0)
    BertModel(CONFIG).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def dataset(folder: Path, head: str = "tokens") -> Path:
    """Train, validation and test as JSON Lines."""
    folder.mkdir(parents=True)
    for seed, (split, number) in enumerate({"train": 24, "validation": 12, "test": 12}.items()):
        rows = examples(head, number, seed)
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def recipe(path: Path) -> Path:
    """A recipe that prunes, quantizes and heals."""
    path.write_text(RECIPE, encoding="utf-8")
    return path
