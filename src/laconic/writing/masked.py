"""Texts behind their prompts as features of a masked encoder, which says each token of a text by those around it.

Salazar et al. 2020, arXiv:1910.14659, section 2.2 (pseudo-log-likelihood: the sum over tokens of log p of each, hidden,
given all others); Kauf and Ivanova 2023, arXiv:2305.10588 (PLL-word-l2r: of a word in several pieces, those behind the
hidden one are hidden too, since they would give it away). Differs from the papers: the prompt is not scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from laconic.contracts import Feature
from laconic.errors import RecipeError
from laconic.writing import encode


def features(
    prompts: Sequence[str], answers: Sequence[str], tokenizer: PreTrainedTokenizerFast, *, labels: bool
) -> list[list[Feature]]:
    """Of each answer behind its prompt, one feature for each of its tokens: hidden in `slots`, and `said` there.

    An answer without tokens has one feature, without slots. What is `uncoded` of an answer stands in its first.
    """
    if tokenizer.mask_token_id is None:
        raise RecipeError("the tokenizer has no mask, by which an encoder is asked for a token; give one that has")
    found: list[list[Feature]] = []
    for first in range(0, len(prompts), encode.TEXTS):
        some = slice(first, first + encode.TEXTS)
        texts = [f"{p}{encode.gap(p)}{a}" for p, a in zip(prompts[some], answers[some], strict=True)]
        for text, answer, encoding in zip(texts, answers[some], encode.encodings(texts, tokenizer), strict=True):
            found.append(_hidden(text, len(text) - len(answer), encoding, tokenizer))
    for feature in (feature for rows in found for feature in rows if labels):
        feature["labels"] = feature["said"]
    return found


def _hidden(text: str, start: int, encoding: Any, tokenizer: PreTrainedTokenizerFast) -> list[Feature]:
    """A text whose answer begins at the letter `start`, once for each of its tokens; what all share is held once."""
    ids, words, mask = list(encoding.ids), encoding.word_ids, int(tokenizer.mask_token_id)
    pairs = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
    places = [place for place, ((_, end), special) in enumerate(pairs) if end > start and not special]
    rest = places[-1] + 1 if places else len(ids)  # the first token behind the answer
    lost = encode.lost(text, encoding, places[0] if places else rest, rest, start, tokenizer.unk_token_id)[-1]
    shared: Feature = {"attention_mask": [1] * len(ids), "uncoded": [0]}
    rows: list[Feature] = []
    for place in places:
        end = next((other for other in range(place, rest) if words[other] != words[place]), rest)
        shown = [*ids[:place], *[mask] * (end - place), *ids[end:]]
        rows.append({"input_ids": shown, **shared, "slots": [place], "said": [ids[place]]})
    rows = rows or [{"input_ids": ids, **shared, "slots": [], "said": []}]
    rows[0]["uncoded"] = [lost]
    return rows
