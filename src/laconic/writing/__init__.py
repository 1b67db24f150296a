"""Let a model write: texts of prompts, greedily, by beam search, or drawn.

No paper: transformers' generation, from settings that are all given here, so that a model writes alike whatever its
folder says of generation. Prompts are padded at the end as everywhere; a decoder's padding is moved to the front.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from laconic import machine
from laconic.anatomy import Anatomy
from laconic.contracts import Feature, Task, Writing
from laconic.data.batching import batches
from laconic.data.progress import follow
from laconic.writing import cache

BATCH = 32  # prompts that are answered side by side, over the number of beams or samples

Batch = dict[str, torch.Tensor]
Hand = Callable[[Batch, GenerationConfig], list[list[int]]]  # ids written for each prompt, `samples` in a row


def of(task: Task) -> Writing | None:
    """How a task's answers are written; None where they are read off the logits."""
    return getattr(task, "writing", None)


def prompts(features: Sequence[Feature]) -> list[tuple[int, Feature]]:
    """(feature, what is read before it is answered), a decoder's up to each place where an answer `begins`."""
    found: list[tuple[int, Feature]] = []
    for i, feature in enumerate(features):
        ids = feature["input_ids"]
        ends = feature.get("begins", [len(ids)])
        found += [(i, {"input_ids": ids[:end], "attention_mask": [1] * end}) for end in ends]
    return found


def settings(how: Writing, tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    """`how` in transformers' words."""
    drawn = {"do_sample": True, "temperature": how.temperature, "top_k": 0, "top_p": 1.0} if how.temperature else {}
    start = None if how.start is None else tokenizer.convert_tokens_to_ids(how.start)
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=how.tokens, num_beams=how.beams, num_return_sequences=how.samples, use_cache=True,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=pad, decoder_start_token_id=start, **drawn,
    )  # fmt: skip


def texts(
    hand: Hand, features: Sequence[Feature], tokenizer: PreTrainedTokenizerFast, how: Writing, progress: bool = False
) -> list[list[str]]:
    """What is written for each feature: `samples` texts for each of its prompts, in order."""
    asked = prompts(features)
    made: list[list[str]] = [[] for _ in asked]
    chosen = settings(how, tokenizer)
    size = max(1, BATCH // max(how.beams, how.samples))
    with machine.seeded(how.seed):  # once, so that no batch draws as another did
        taken = batches([prompt for _, prompt in asked], size, tokenizer.pad_token_id or 0)
        for rows, batch in follow(taken, "writing", progress, total=math.ceil(len(asked) / size)):
            said = hand(batch, chosen)
            for k, row in enumerate(rows):
                before = [] if how.start is not None else asked[row][1]["input_ids"]
                mine = said[k * how.samples : (k + 1) * how.samples]
                made[row] = [_cut(_read(before, ids, tokenizer), how.stops) for ids in mine]
    found: list[list[str]] = [[] for _ in features]
    for (i, _), some in zip(asked, made, strict=True):
        found[i] += some
    return found


class Pen:
    """Writes with a model; what it has read is kept as floats, or with `cache_bits` rounded to so many bits."""

    def __init__(self, model: PreTrainedModel, cache_bits: int | None = None) -> None:
        self.model, self.longest, self.cache_bits = model, Anatomy(model).positions, cache_bits

    @torch.no_grad()
    def __call__(self, batch: Batch, chosen: GenerationConfig) -> list[list[int]]:
        """The ids that the model adds to each prompt of a batch padded at the end."""
        model, decoder = self.model, chosen.decoder_start_token_id is None
        ids, mask = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device)  # (batch, longest)
        if decoder:
            ids, mask = _led(ids, mask)
        before = ids.shape[1] if decoder else 1
        if self.longest is not None:  # a place without a row in the table cannot be written at
            chosen = copy.deepcopy(chosen)
            chosen.max_new_tokens = max(1, min(chosen.max_new_tokens, self.longest - before))
        with _by(model, chosen):
            held = {"past_key_values": cache.empty(model, self.cache_bits)} if self.cache_bits else {}
            said = model.generate(input_ids=ids, attention_mask=mask, **held)  # type: ignore[operator]
        rows: list[list[int]] = said[:, before:].tolist()  # (batch * samples, written)
        return rows


def _led(ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same rows with their padding in front."""
    places = torch.argsort(mask, dim=1, stable=True)  # (batch, longest): padding first, then the tokens in order
    return ids.gather(1, places), mask.gather(1, places)


@contextmanager
def _by(model: PreTrainedModel, chosen: GenerationConfig) -> Iterator[None]:
    """The model in eval mode with these settings; after it, as it was."""
    held, was_training = model.generation_config, model.training
    try:
        model.generation_config = chosen
        model.train(False)
        yield
    finally:
        model.generation_config = held
        model.train(was_training)


def _read(before: list[int], ids: list[int], tokenizer: PreTrainedTokenizerFast) -> str:
    """The text of ids behind others, up to the end of the text: what both say beyond what the first say."""
    end = tokenizer.eos_token_id
    ids = ids[: ids.index(end)] if end in ids else ids
    whole, led = (tokenizer.decode(some, skip_special_tokens=True) for some in ([*before, *ids], before))
    return str(whole)[len(str(led)) :]


def _cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of `stops` in it."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]
