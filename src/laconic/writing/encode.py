"""Prompts and the answers that are to be written behind them, as features of an encoder-decoder or a decoder.

Sutskever et al. 2014, arXiv:1409.3215 (an encoder-decoder); Gao et al. 2024, doi:10.5281/zenodo.12608602 (a decoder:
the answer's tokens are those that prompt and answer have beyond the prompt's, as lm-evaluation-harness cuts them).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from laconic.contracts import Feature
from laconic.data.subwords import uncoded
from laconic.errors import RecipeError

TEXTS = 512  # split into tokens at once
SPACE = " "  # between a decoder's prompt and its answer, unless the prompt ends in white space
PLACE = "{}"


def features(
    prompts: Sequence[str],
    answers: Sequence[str | None],
    tokenizer: PreTrainedTokenizerFast,
    *,
    start: str | None,
    tokens: int,
    labels: bool,
    ended: bool = True,
) -> list[Feature]:
    """One feature for each prompt; `said` are the tokens of its answer, `slots` the places whose logits say them.

    `start` begins what an encoder-decoder writes; a decoder's answer stands behind its prompt, where it `begins`. Of
    an answer longer than `tokens` the first are said; its other bytes, and those without a token, are `uncoded`.
    Where an answer is None, there is a prompt only. An answer is `ended` by the token that ends texts.
    """
    if ended and tokenizer.eos_token_id is None:
        raise RecipeError("the tokenizer has no token that ends a text, so no model could end what it writes")
    found: list[Feature] = []
    for first in range(0, len(prompts), TEXTS):
        some = slice(first, first + TEXTS)
        made = _sides(prompts[some], answers[some], tokenizer, behind=start is None)
        for (before, said, left), answer in zip(made, answers[some], strict=True):
            if answer is None:
                found.append({"input_ids": before, "attention_mask": [1] * len(before)})
                found[-1] |= {"begins": [len(before)]} if start is None else {}
                continue
            room = tokens - ended
            ids = [*said[:room], *([tokenizer.eos_token_id] if ended else [])]
            begin = None if start is None else int(tokenizer.convert_tokens_to_ids(start))  # type: ignore[arg-type]
            feature = _feature(before, ids, begin)
            feature["uncoded"] = [left[min(len(said), room)]]
            found.append(feature | ({"labels": ids} if labels else {}))
    return found


def _feature(before: list[int], said: list[int], begin: int | None) -> Feature:
    if begin is not None:
        feature = {"input_ids": before, "attention_mask": [1] * len(before), "decoder_input_ids": [begin, *said[:-1]]}
        return feature | {"slots": list(range(len(said))), "said": said}
    ids = [*before, *said][:-1]
    slots = list(range(len(before) - 1, len(ids)))
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "slots": slots, "said": said, "begins": [len(before)]}


def _sides(
    prompts: Sequence[str], answers: Sequence[str | None], tokenizer: PreTrainedTokenizerFast, *, behind: bool
) -> list[tuple[list[int], list[int], list[int]]]:
    """(tokens of the prompt, tokens of the answer, bytes that are lost if the answer is cut after each token)."""
    before = [_open(e.ids, tokenizer, keep=not behind) for e in encodings(prompts, tokenizer)]
    texts = [f"{p}{gap(p)}{a}" if behind else (a or "") for p, a in zip(prompts, answers, strict=True)]
    rows = []
    for prompt, ids, text, encoding in zip(prompts, before, texts, encodings(texts, tokenizer), strict=True):
        skip = len(ids) if behind else 0
        whole = _open(encoding.ids, tokenizer, keep=False)
        start = len(prompt) + len(gap(prompt)) if behind else 0
        rows.append((ids, whole[skip:], lost(text, encoding, skip, len(whole), start, tokenizer.unk_token_id)))
    return rows


def gap(prompt: str) -> str:
    """What stands between a prompt and the answer behind it."""
    return "" if prompt[-1:].isspace() else SPACE


def encodings(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> list[Any]:
    """What the tokenizer makes of each text, uncut, with the tokens that begin and end it."""
    return list(tokenizer(list(texts), truncation=False, padding=False, verbose=False).encodings or [])


def _open(ids: list[int], tokenizer: PreTrainedTokenizerFast, *, keep: bool) -> list[int]:
    """Ids without the end of a text, or with one where there is a token for it."""
    end = tokenizer.eos_token_id
    bare = ids[:-1] if ids[-1:] == [end] else ids
    return [*bare, end] if keep and end is not None else bare


def lost(text: str, encoding: Any, skip: int, end: int, start: int, unknown: int | None) -> list[int]:
    """UTF-8 bytes of the answer, which begins at `start`, that are not said when it is cut after 0, 1, ... tokens."""
    ends = [start, *(max(start, offset) for _, offset in encoding.offsets[skip:end])]
    known = [0] * len(ends)
    if unknown is not None and unknown in encoding.ids:
        known = [
            0,
            *(
                uncoded(text, encoding, unknown, skip) - uncoded(text, encoding, unknown, skip + k)
                for k in range(1, len(ends))
            ),
        ]
    return [len(text[at:].encode()) + without for at, without in zip(ends, known, strict=True)]


def ids(text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Tokens of a text by itself."""
    return next(tokens([text], tokenizer))


def tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> Iterator[list[int]]:
    """Tokens of each text by itself."""
    for first in range(0, len(texts), TEXTS):
        some = list(texts[first : first + TEXTS])
        yield from tokenizer(some, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]


def check(prompt: str) -> None:
    """Raise RecipeError for a prompt without a place for the question, or with several."""
    if not isinstance(prompt, str) or prompt.count(PLACE) != 1:
        raise RecipeError(f"prompt is {prompt!r}; give a text with one {PLACE} where the question goes")


def fitted(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, most: int | Sequence[int], *, end: bool = False
) -> list[str]:
    """The texts, each cut where its first `most` tokens end, or where its last ones begin, for its `end`.

    `most` is for all texts or for each.
    """
    rooms = [most] * len(texts) if isinstance(most, int) else most
    for text, room in zip(texts, rooms, strict=True):
        if room < 1:
            raise RecipeError(
                f"no token is left for {text[:40]!r}: the prompt and what is to be said fill all that the model can "
                "read; give a shorter prompt, or fewer tokens"
            )
    found = []
    for first in range(0, len(texts), TEXTS):
        some = list(texts[first : first + TEXTS])
        encoded = tokenizer(some, add_special_tokens=False, truncation=False, verbose=False)
        for i, (text, encoding) in enumerate(zip(some, encoded.encodings or [], strict=True), first):
            if len(encoding.ids) <= rooms[i]:
                found.append(text)
            else:
                offsets = encoding.offsets
                found.append(text[offsets[-rooms[i]][0] :] if end else text[: offsets[rooms[i] - 1][1]])
    return found
