"""Texts read token by token with a cache of floats, 8 and 4 bits: what the rounding costs, and what the cache holds.

No paper: measurement. `python -m benchmarks.cache`
"""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import torch
from transformers import DynamicCache

from benchmarks import record
from laconic import trained
from laconic.writing import cache

MODELS = ("stories260k", "tinystories-656k")
TEXTS, TOKENS = 48, 384


def main() -> None:
    """Every model with every cache; write the page."""
    rows: list[dict[str, Any]] = []
    for name in MODELS:
        source = trained.decoder(record.folder("LACONIC_MODELS", name), TOKENS)
        ids = read(source)
        found = {bits: measured(source, ids, bits) for bits in (None, *cache.BITS)}
        score, floats = found[None]
        for bits, (bits_a_token, size) in found.items():
            row = {"model": name, "name": f"{bits} bits" if bits else "original", "dataset": "tinystories"}
            row |= {"score": bits_a_token, "loss_increase": (bits_a_token - score) * math.log(2)}
            rows.append(row | {"bytes": size, "times_smaller": floats / size})
            print(rows[-1], flush=True)
    table = [["model", "cache", "bits a token", "+ nats a token", "bytes", "times smaller"]]
    for row in rows:
        cells = [row["model"], row["name"], f"{row['score']:.4f}", f"{row['loss_increase']:+.5f}", f"{row['bytes']:,}"]
        table.append([*cells, f"{row['times_smaller']:.1f}"])
    remark = (
        f"The first {TOKENS} tokens of {TEXTS} stories that are as long, read token by token; the original keeps keys "
        "and values in float32. Bytes are of the whole cache at the end, grids included."
    )
    record.write("cache", rows, [("Rounded caches", remark, table)])


def read(source: trained.Source) -> torch.Tensor:
    """Ids of the first texts that are long enough, (texts, tokens)."""
    found = []
    with (record.folder("LACONIC_DATA", "tinystories") / "train.jsonl").open(encoding="utf-8") as file:
        for line in file:
            ids = source.tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"]
            if len(ids) >= TOKENS - 1:
                found.append([source.tokenizer.bos_token_id, *ids[: TOKENS - 1]])
    return torch.tensor(list(itertools.islice(found, TEXTS)))


@torch.inference_mode()
def measured(source: trained.Source, ids: torch.Tensor, bits: int | None) -> tuple[float, int]:
    """Mean bits of a token, and the bytes of the cache in the end."""
    held = cache.empty(source.model, bits) if bits else DynamicCache(config=source.model.config)
    total = 0.0
    for place in range(ids.shape[1] - 1):
        logits = source.model(input_ids=ids[:, place : place + 1], past_key_values=held, use_cache=True).logits[:, -1]
        said = logits.log_softmax(-1).gather(1, ids[:, place + 1 : place + 2])
        total -= float(said.sum())
    return total / math.log(2) / (ids.shape[0] * (ids.shape[1] - 1)), cache.size(held)


if __name__ == "__main__":
    main()
