"""Extractive question answering: the span of a context that answers a question.

Rajpurkar et al. 2016, arXiv:1606.05250 (SQuAD, and the score); Devlin et al. 2018, arXiv:1810.04805, section 4.2 (start
and end scores of each token; windows over long contexts).
Differs from the paper: an answer begins and ends with a word, by the scores of the word's first piece, so that models
with different vocabularies choose among the same places. The first token of a window is a place too; a window is told
in training to choose it when the answer is not in it. So the scores of windows are probabilities that can be compared,
and the likeliest span of all windows is the answer; there always is one. With `characters`, all
punctuation is taken off before answers are compared, as by the scorer of CMRC 2018 (Cui et al. 2019, arXiv:1810.07366),
and white space before an exact match; F1 stays that of a bag of words, where CMRC's is by a common run of characters.
"""

import re
import string
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import AutoModelForQuestionAnswering, PreTrainedTokenizerFast

from laconic import losses, options
from laconic.contracts import Example, Feature
from laconic.data.records import ENDS
from laconic.data.words import CHARACTER, parted
from laconic.errors import DataError, RecipeError
from laconic.maths import counts

WORD = parted()
ARTICLE = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))
WIDE = {**PUNCTUATION, **dict.fromkeys(ord(mark) + 0xFEE0 for mark in string.punctuation)}  # with full-width forms
TYPED = re.compile(r"(?P<question>[^\t]*\S[^\t]*)\t(?P<context>.*\S.*)\Z", re.DOTALL)
LONGEST = 30  # places of an answer
ASKED = 64  # tokens of a question that are read
TEXTS = 256  # split into tokens at once
LEAST = 16  # tokens of a window
NOWHERE = 0  # the place that says: not in this window


@dataclass(frozen=True)
class QA:
    """A window holds `context` tokens (all the model can read, without it), of which a share `overlap` is shared.

    `segments` tells question and context apart by token types; `characters` makes each Chinese character a word of F1,
    and compares without any punctuation of Unicode's, exact matches without white space too.
    """

    labels: tuple[str, ...] = ENDS
    context: int | None = None
    overlap: float = 0.25
    segments: bool = False
    characters: bool = False

    multiple: ClassVar[bool] = False
    name: ClassVar[str] = "qa"
    main: ClassVar[str] = "f1"
    auto: ClassVar[type] = AutoModelForQuestionAnswering

    @property
    def token_types(self) -> int:
        """Rows the token-type table must have."""
        return 2 if self.segments else 1

    def __post_init__(self) -> None:
        if self.labels != ENDS:
            raise RecipeError(f"labels are {', '.join(self.labels)}; those of qa are {' and '.join(ENDS)}")
        if self.context is not None:
            options.whole("context", self.context, least=LEAST)
        if not 0 <= self.overlap <= 0.9:
            raise RecipeError(f"overlap is {self.overlap}; give a share of a window, 0 to 0.9")

    def parse(self, text: str) -> Example:
        """A line with a question, a tab, and the context."""
        match = TYPED.match(text)
        if match is None:
            raise DataError(f"{text[:40]!r} holds no question and context; give both in a line, with a tab between")
        return {"context": match["context"], "question": match["question"]}

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """Windows of each context behind its question; `places` are the first token, then pieces in which words begin.

        `words` and `lasts` are the first and last word that begins there, by their number in the context, -1 for the
        first token. `labels` are the places, by their number, at which the first answer begins and ends.
        """
        words = [[match.span() for match in WORD.finditer(e["context"])] for e in examples]
        features = []
        for i, encoding in self._windows(examples, tokenizer):
            feature = {"example": [i], "input_ids": encoding.ids, "attention_mask": encoding.attention_mask}
            if self.segments:
                feature["token_type_ids"] = [int(s == 1) for s in encoding.sequence_ids]
            feature |= _places(encoding, words[i])
            if answers:
                gold = next(_answers(examples[i], words[i]), (-1, -1))
                ends = [_place(feature, word) for word in gold]
                feature["labels"] = ends if NOWHERE not in ends else [NOWHERE, NOWHERE]
            features.append(feature)
        return features

    def _windows(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[int, Any]]:
        """(number of the example, encoding) of every window; a question is cut to ASKED tokens, or half a window."""
        size = min(self.context or tokenizer.model_max_length, tokenizer.model_max_length)
        asked = min(ASKED, size // 2)
        room = size - asked - tokenizer.num_special_tokens_to_add(pair=True)
        for start in range(0, len(examples), TEXTS):
            some = examples[start : start + TEXTS]
            encoded = tokenizer(
                _cut([e["question"] for e in some], tokenizer, asked), [e["context"] for e in some],
                truncation="only_second", max_length=size, stride=int(self.overlap * room),
                return_overflowing_tokens=True,
            )  # fmt: skip
            for i, encoding in zip(encoded["overflow_to_sample_mapping"], encoded.encodings or [], strict=True):
                yield start + i, encoding

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over the starts and ends of a batch; logits (2 * windows, places), labels (2 * windows,)."""
        return losses.loss("cross_entropy", logits, labels)

    def reduce(self, logits: np.ndarray, feature: Feature) -> np.ndarray:
        """Log probabilities over the places, in nats, of logits (places, 2)."""
        return np.asarray(torch.from_numpy(logits).double().log_softmax(0).numpy())

    def predict(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[dict[str, Any]]:
        """The likeliest span of words of each context, by its text and by where that begins and ends."""
        best = [(-np.inf, 0, 0)] * len(examples)
        for output, feature in zip(outputs, features, strict=True):
            i = feature["example"][0]
            best[i] = max(
                best[i], *((score, feature["words"][a], feature["lasts"][b]) for score, a, b in spans(output))
            )
        rows = []
        for (score, first, last), example in zip(best, examples, strict=True):
            words = [match.span() for match in WORD.finditer(example["context"])]
            start, end = (words[first][0], words[last][1]) if score > -np.inf else (0, 0)
            rows.append({"text": example["context"][start:end], "start": start, "end": end})
        return rows

    def score(self, predictions: Sequence[dict[str, Any]], examples: Sequence[Example]) -> dict[str, Any]:
        """F1 of the words of an answer, and the share of exact matches, each against the most alike of the answers."""
        pairs = zip(predictions, examples, strict=True)
        exact = [max(self._whole(p["text"]) == self._whole(gold) for gold in _golds(e)) for p, e in pairs]
        f1 = self.metric(self.counts(predictions, examples).sum(0))
        return {"f1": float(f1), "exact_match": float(np.mean(exact))}

    def counts(self, predictions: Sequence[dict[str, Any]], examples: Sequence[Example]) -> np.ndarray:
        """F1, and one, for each example: (examples, 2)."""
        pairs = zip(predictions, examples, strict=True)
        best = [max(overlap(self._words(p["text"]), self._words(gold)) for gold in _golds(e)) for p, e in pairs]
        return np.array([(f1, 1.0) for f1 in best]).reshape(-1, 2)

    def _words(self, text: str) -> list[str]:
        return CHARACTER.sub(r" \g<0> ", _bare(text)).split() if self.characters else _plain(text).split()

    def _whole(self, text: str) -> str:
        """What of an answer must be the same in an exact match."""
        return "".join(_bare(text).split()) if self.characters else _plain(text)

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """Mean F1 from summed counts (..., 2)."""
        return counts.mean(summed)

    def bits(self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]) -> float:
        """Bits of the likeliest of an example's answers where it is likeliest, and log2 of its windows to say where.

        An answer that is no span of words in a window costs what two of the context's characters cost to name; that
        there is none costs what every window takes to say so.
        """
        total = 0.0
        for i, windows in _by_example(features).items():
            golds = list(_answers(examples[i], [m.span() for m in WORD.finditer(examples[i]["context"])]))
            nats = []
            for w in windows:
                ends = [[_place(features[w], word) for word in gold] for gold in golds]
                nats += [-outputs[w][a, 0] - outputs[w][b, 1] for a, b in ends if NOWHERE not in (a, b)]
            if nats:
                total += float(min(nats)) / np.log(2) + np.log2(len(windows))
            elif examples[i]["answers"]["text"]:
                total += 2 * np.log2(len(examples[i]["context"]) + 1)
            else:
                total -= sum(float(outputs[w][NOWHERE].sum()) for w in windows) / np.log(2)
        return float(total)

    def answers(self, example: Example) -> int:
        """One answer."""
        return 1

    def unit(self, example: Example) -> str:
        """A span is one answer."""
        return "answer"

    def show(self, prediction: dict[str, Any], example: Example) -> dict[str, Any]:
        """The question and its answer, with the characters of the context between which it stands."""
        named = {"id": example["id"]} if "id" in example else {}
        place = {end: prediction[end] for end in ENDS}
        return {**named, "question": example["question"], "answer": prediction["text"], **place}


def _by_example(features: Sequence[Feature]) -> dict[int, list[int]]:
    """Numbers of the windows of each example."""
    found: dict[int, list[int]] = {}
    for w, feature in enumerate(features):
        found.setdefault(feature["example"][0], []).append(w)
    return found


def spans(output: np.ndarray) -> Iterator[tuple[float, int, int]]:
    """(log probability, first place, last place) of the likeliest spans, one of each length up to LONGEST places."""
    starts, ends = output[1:, 0], output[1:, 1]  # (places - 1,)
    yield -np.inf, NOWHERE, NOWHERE
    for length in range(min(LONGEST, len(starts))):
        scores = starts[: len(starts) - length] + ends[length:]
        first = int(scores.argmax())
        yield float(scores[first]), first + 1, first + 1 + length


def overlap(said: Sequence[str], true: Sequence[str]) -> float:
    """F1 of two bags of words; two empty ones, a question without an answer, agree."""
    if not said or not true:
        return float(list(said) == list(true))
    same = sum((Counter(said) & Counter(true)).values())
    return 2 * same / (len(said) + len(true))


def _plain(text: str) -> str:
    """As the SQuAD script compares: small letters, without punctuation, articles and needless white space."""
    return " ".join(ARTICLE.sub(" ", text.lower().translate(PUNCTUATION)).split())


def _bare(text: str) -> str:
    """The same without any mark that Unicode counts as punctuation (P*), and those of ASCII in full width."""
    return _plain("".join(c for c in text.translate(WIDE) if not unicodedata.category(c).startswith("P")))


def _golds(example: Example) -> list[str]:
    return example["answers"]["text"] or [""]


def _answers(example: Example, words: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """(first word, last word) of each answer, which may begin or end within them."""
    for text, start in zip(example["answers"]["text"], example["answers"]["answer_start"], strict=True):
        touched = [w for w, (a, b) in enumerate(words) if b > start and a < start + len(text)]
        if touched:
            yield touched[0], touched[-1]


def _places(encoding: Any, words: Sequence[tuple[int, int]]) -> Feature:
    """Places of a window: its first token, and every piece of the context in which a word begins."""
    places, firsts, lasts = [NOWHERE], [-1], [-1]
    starts = [start for start, _ in words]
    for place, (side, (begin, end)) in enumerate(zip(encoding.sequence_ids, encoding.offsets, strict=True)):
        first, stop = (max(bisect_left(starts, x), lasts[-1] + 1) for x in (begin, end))
        if side == 1 and first < stop:
            places.append(place)
            firsts.append(first)
            lasts.append(stop - 1)
    return {"places": places, "words": firsts, "lasts": lasts}


def _place(feature: Feature, word: int) -> int:
    """The number of the place at which a word begins; NOWHERE where it is in no place of the window."""
    place = bisect_right(feature["words"], word) - 1
    return place if place > 0 and word <= feature["lasts"][place] else NOWHERE


def _cut(questions: Sequence[str], tokenizer: PreTrainedTokenizerFast, tokens: int) -> list[str]:
    """Questions of at most so many tokens."""
    encoded = tokenizer(list(questions), add_special_tokens=False, truncation=False, verbose=False)
    rows = zip(questions, encoded.encodings or [], strict=True)
    return [q[: e.offsets[tokens - 1][1]] if len(e.ids) > tokens else q for q, e in rows]
