"""Texts that a decoder writes itself, to compress it by where no others are at hand.

Liu et al. 2023, arXiv:2305.17888 (LLM-QAT), section 3.1: a first token at random, three more as the model thinks
likeliest, and the rest drawn from its distribution, so that texts are many and yet its own. They are kept in a file, so
that a run that goes on has the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from laconic import machine
from laconic.artifact import place
from laconic.contracts import Example, Splits
from laconic.data import digest
from laconic.data.progress import follow
from laconic.errors import ArtifactError

TRAIN, VALIDATION = 256, 32  # texts
LENGTH = 256  # tokens of a text at most
LIKELIEST = 3  # tokens after the first that are not drawn
BATCH = 32


def splits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, seed: int, file: Path, *, progress: bool = False
) -> Splits:
    """Own texts to learn from and to choose by, as `file` holds them, or else written and put there."""
    if file.is_file():
        rows = _read(file)
    else:
        rows = [{"text": text} for text in texts(model, tokenizer, TRAIN + VALIDATION, seed, progress=progress)]
        file.parent.mkdir(parents=True, exist_ok=True)
        place.write_file(file, "".join(json.dumps(row) + "\n" for row in rows).encode())
    train, validation = rows[VALIDATION:], rows[:VALIDATION]
    return Splits(train, validation, digest(rows))


def texts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, number: int, seed: int, *, progress: bool = False
) -> list[str]:
    """So many texts, the same for a seed; ArtifactError for a model that ends nearly every text at once."""
    found: list[str] = []
    with machine.seeded(seed):
        rounds = 4 * (number // BATCH + 1)
        for batch in follow(_batches(model, tokenizer, rounds), "writing", progress, total=rounds // 4):
            found += [text for text in tokenizer.batch_decode(batch, skip_special_tokens=True) if text.strip()]
            if len(found) >= number:
                return found[:number]
    raise ArtifactError(f"the model writes next to nothing of itself ({len(found)} texts); give it texts with --data")


@torch.no_grad()
def _batches(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rounds: int) -> Iterator[list[list[int]]]:
    """Ids of BATCH texts a round, (texts, tokens), without what begins them; behind an end stands the end again."""
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    special = set(tokenizer.all_special_ids)
    firsts = torch.tensor([i for i in range(len(tokenizer)) if i not in special], device=model.device)
    pad = 0 if end is None else end
    longest = min(LENGTH, tokenizer.model_max_length) - (begin is not None)
    for _ in range(rounds):
        ids = firsts[torch.randint(len(firsts), (BATCH, 1))]
        if begin is not None:
            ids = torch.cat([torch.full_like(ids, begin), ids], 1)
        for tokens, drawn in ((min(LIKELIEST, longest - 1), False), (longest - 1 - LIKELIEST, True)):
            if tokens > 0:
                how = GenerationConfig(  # type: ignore[no-untyped-call]
                    max_new_tokens=tokens, do_sample=drawn, top_k=0, top_p=1.0, eos_token_id=end, pad_token_id=pad
                )
                ids = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=how)  # type: ignore[operator]
        yield [row[begin is not None :] for row in ids.tolist()]


def _read(file: Path) -> list[Example]:
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        if len(rows) != TRAIN + VALIDATION or not all(isinstance(row["text"], str) for row in rows):
            raise ValueError("these are not the texts that were written")
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{file} is damaged ({error}); remove it, and the model writes again") from None
    return rows
