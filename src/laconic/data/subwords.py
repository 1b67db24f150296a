"""How a tokenizer splits the task's text: lengths, unknown pieces, and pieces per word (fertility).

Rust et al. 2021, arXiv:2012.15613: a tokenizer that splits words much is a sign of text unlike its pretraining. Words
are those of `words`, or the tokens of the records; pieces are laid to words by their places in the text.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from laconic import checkpoint
from laconic.contracts import Example
from laconic.data import records, words
from laconic.data.findings import Finding, numbers
from laconic.data.progress import follow

MANY_PIECES = 4  # a word in this many pieces or more is over-split
OVER_SPLIT = 0.10  # share of over-split words that is worth a warning
UNKNOWN = 0.01  # share of unknown pieces that is worth a warning
NO_LIMIT = 10**6  # tokenizers without a limit say a number beyond this
BATCH = 1000  # texts a call
IN_PARTS = (*records.PLAIN, "ner", "dialogue")  # tasks that read a text in windows, or up to each turn
LAST = ("choice", "code")  # tasks that read the end of a text that is too long: what is written stands behind it


def limit(tokenizer: PreTrainedTokenizerFast, model: str | Path | None) -> int | None:
    """The most tokens a text may have, special ones included: the tokenizer's or the model's, whichever is less."""
    known = [tokenizer.model_max_length]
    if model is not None:
        known.append(getattr(checkpoint.config(model), "max_position_embeddings", None) or NO_LIMIT)
    return min(known) if min(known) < NO_LIMIT else None


@dataclass
class Counts:
    """What a tokenizer makes of some texts."""

    pieces: int = 0
    unknown: int = 0
    words: int = 0
    over_split: int = 0
    dropped: list[int] = field(default_factory=list)  # texts with a word that has no piece at all
    long: list[int] = field(default_factory=list)  # texts beyond the limit
    longest: int = 0  # tokens, special ones included

    def add(self, index: int, starts: Sequence[int], encoding: Any, unknown_id: int | None, most: int | None) -> None:
        """Count one text, whose words begin at `starts`."""
        pieces = [0] * len(starts)
        for (start, end), special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True):
            if not special and end > start and starts and end > starts[0]:
                pieces[bisect_right(starts, end - 1) - 1] += 1
        ids = encoding.ids
        self.pieces += sum(pieces)
        self.unknown += ids.count(unknown_id) if unknown_id is not None else 0
        self.words += len(starts)
        self.over_split += sum(count >= MANY_PIECES for count in pieces)
        if 0 in pieces:
            self.dropped.append(index)
        if most is not None and len(ids) > most:
            self.long.append(index)
        self.longest = max(self.longest, len(ids))


def count(
    examples: Sequence[Example], kind: str, tokenizer: PreTrainedTokenizerFast, most: int | None, progress: bool = False
) -> Counts:
    """Counts over all examples; `most` is the limit in tokens."""
    counts = Counts()
    for start in follow(range(0, len(examples), BATCH), "tokenizing", progress):
        chosen = examples[start : start + BATCH]
        texts = [records.text(e, kind) for e in chosen]
        encoded = tokenizer(texts, truncation=False, padding=False, verbose=False)
        for i, encoding in enumerate(encoded.encodings or []):
            counts.add(start + i, _starts(chosen[i], texts[i], kind), encoding, tokenizer.unk_token_id, most)
    return counts


def _starts(example: Example, text: str, kind: str) -> list[int]:
    """Where the words of a record's text begin."""
    if kind == "ner":
        return list(accumulate((len(word) + 1 for word in example["tokens"][:-1]), initial=0))
    return [start for start, _ in words.spans(text)]


def check(
    split: str,
    examples: Sequence[Example],
    kind: str,
    tokenizer: PreTrainedTokenizerFast,
    most: int | None,
    progress: bool = False,
) -> Iterator[Finding]:
    """Findings on length, unknown pieces, words the tokenizer loses, and fertility."""
    column = next(iter(records.fields(kind)))
    counts = count(examples, kind, tokenizer, most, progress)

    def finding(level: str, name: str, message: str, value: float, record: int | None = None) -> Finding:
        return Finding(level, name, split, record, column, message, value)

    if counts.long and kind not in IN_PARTS:
        cut = "beginning" if kind in LAST else "rest"
        message = f"{_some(counts.long)} longer than {most} tokens (the longest {counts.longest}); the {cut} is cut off"
        yield finding("warning", "too long", message, float(len(counts.long)), counts.long[0] + 1)
    if counts.dropped:
        message = f"{_some(counts.dropped)} with a word that the tokenizer drops; replace the odd characters"
        yield finding("warning", "dropped words", message, float(len(counts.dropped)), counts.dropped[0] + 1)
    unknown = counts.unknown / max(counts.pieces, 1)
    level = "warning" if unknown > UNKNOWN else "info"
    yield finding(level, "unknown tokens", f"{unknown:.2%} of {counts.pieces:,} tokens are unknown", unknown)
    fertility = counts.pieces / max(counts.words, 1)
    yield finding("info", "fertility", f"{fertility:.2f} tokens per word", fertility)
    over = counts.over_split / max(counts.words, 1)
    level = "warning" if over > OVER_SPLIT else "info"
    message = f"{over:.2%} of {counts.words:,} words are split into {MANY_PIECES} tokens or more"
    yield finding(level, "over-split words", message, over)


def uncoded(text: str, encoding: Any, unknown: int | None, start: int = 0) -> int:
    """UTF-8 bytes of the text behind unknown tokens, from token `start` on."""
    if unknown is None or unknown not in encoding.ids:
        return 0
    pairs = list(zip(encoding.offsets, encoding.ids, strict=True))[start:]
    return sum(len(text[begin:end].encode()) for (begin, end), i in pairs if i == unknown)


def _some(found: Sequence[int]) -> str:
    return f"{len(found)} text{'s' if len(found) > 1 else ''} ({numbers(found, len(found))})"
