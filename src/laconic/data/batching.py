"""Turn encoded examples into padded batches, of like lengths together so that little is padding.

No paper: bucketing by length.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from laconic.contracts import Feature

READ = ("input_ids", "attention_mask", "token_type_ids")  # what a model reads, as against what it writes
MODEL_INPUTS = (*READ, "decoder_input_ids")
SIDES = ("input_ids", "decoder_input_ids")  # tokens that are read, and those that an encoder-decoder writes
PADDING = {"labels": -100, "slots": -1, "places": -1}  # everything else pads with 0, ids with the tokenizer's own
POOL = 50  # batches sorted by length together: long enough to pad little, short enough to stay random


def batches(
    features: Sequence[Feature], size: int, pad_id: int, *, seed: int | None = None, sort: bool = True
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Yield (indices of the examples, padded tensors (batch, longest)); in random order when `seed` is given."""
    for chosen in order([len(f["input_ids"]) for f in features], size, seed=seed, sort=sort):
        yield chosen, pad([features[i] for i in chosen], pad_id)


def filled(ids: list[int], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The ids of a text, or of one without any a token that says least: padding, or what ends texts, or else 0.

    A tokenizer that adds nothing to a text makes none of an empty one, and a model reads at least one token.
    """
    blank = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return ids or [next(token for token in blank if token is not None)]


def firsts(features: Sequence[Feature]) -> list[Feature]:
    """The first feature of every example, where a task reads a long text in several."""
    return [windows[0] for windows in by_example(features).values()]


def by_example(features: Sequence[Feature]) -> dict[int, list[Feature]]:
    """The features of each example by its index, in order."""
    found: dict[int, list[Feature]] = {}
    for i, feature in enumerate(features):
        found.setdefault(feature["example"][0] if "example" in feature else i, []).append(feature)
    return found


def order(lengths: Sequence[int], size: int, *, seed: int | None = None, sort: bool = True) -> list[list[int]]:
    """Indices of each batch: longest first, or, with a seed, shuffled in pools of like lengths."""
    indices = np.arange(len(lengths))
    if seed is None:
        if sort:
            indices = np.argsort(-np.asarray(lengths), kind="stable")
        return [indices[i : i + size].tolist() for i in range(0, len(indices), size)]
    rng = np.random.default_rng(seed)
    rng.shuffle(indices)
    chosen: list[list[int]] = []
    for start in range(0, len(indices), size * POOL):
        pool = sorted(indices[start : start + size * POOL].tolist(), key=lambda i: -lengths[i])
        chosen += [pool[i : i + size] for i in range(0, len(pool), size)]
    rng.shuffle(chosen)
    return chosen


def pad(features: Sequence[Feature], pad_id: int) -> dict[str, torch.Tensor]:
    """Stack features, each key to its longest: (batch, longest) of int64; scalar labels give (batch,).

    What an encoder-decoder reads and what it writes are never of one width, so that a tensor's shape says its side.
    """
    padded = {}
    longest = {key: max(len(f[key]) for f in features) for key in features[0]}
    more = int(longest["input_ids"] == longest.get("decoder_input_ids"))
    for key in features[0]:
        rows = [f[key] for f in features]
        fill = pad_id if key in SIDES else PADDING.get(key, 0)
        width = longest[key] + (0 if key in READ else more)
        padded[key] = torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=torch.int64)
    return padded


def model_inputs(batch: dict[str, torch.Tensor], device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """What of a batch the model itself reads."""
    return {key: batch[key].to(device) for key in MODEL_INPUTS if key in batch}


def masks(batch: dict[str, torch.Tensor], device: torch.device | str = "cpu") -> tuple[torch.Tensor, ...]:
    """Where there are tokens, not padding: (batch, longest) of what is read, and of what an encoder-decoder writes."""
    read = batch["attention_mask"].bool().to(device)
    return (read, (batch["slots"] >= 0).to(device)) if "decoder_input_ids" in batch else (read,)


def mask_of(x: torch.Tensor, masks: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """The mask of the side that a tensor (batch, longest, ...) belongs to; None for one of neither.

    Of a tensor (batch x longest, channels), as OPT makes for its feed-forward, the mask in one row.
    """
    if x.dim() == 2:
        return next((mask.flatten() for mask in masks if len(x) == mask.numel()), None)
    return next((mask for mask in masks if x.dim() > 2 and x.shape[:2] == mask.shape), None)


def lengths(features: Sequence[Feature]) -> list[int]:
    """Tokens of each feature on its longer side."""
    return [max(sizes) for sizes in zip(*(counts(features, side) for side in SIDES), strict=True)]


def counts(features: Sequence[Feature], side: str) -> list[int]:
    """Tokens of each feature on one of SIDES."""
    return [len(feature.get(side, ())) for feature in features]
