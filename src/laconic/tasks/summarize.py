"""Summarization: what a document says in short, by an encoder-decoder or a decoder.

Lin 2004 (W04-1013), ROUGE-1, ROUGE-2 and ROUGE-L as F1 with stemming, by the rouge-score package. Of several references
the one counts that is nearest, for each figure by itself (Cachola et al. 2020, arXiv:2004.15011). Chinese, Japanese and
Korean are counted by character (Hu et al. 2015, arXiv:1506.05865). Differs from the package, which takes
all but a to z and digits for white space: letters of any script spell words, unstemmed where one is not of a to z.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer

from laconic.contracts import Example
from laconic.data.words import HAN
from laconic.writing.task import Asks

FIGURES = {"rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rouge_l"}  # the package's name -> ours
CHARACTER = re.compile(f"([{HAN}\u3040-\u30ff\uac00-\ud7af])")


class _Words(Tokenizer):  # type: ignore[misc]
    """The package's own words, stemmed; and words and characters of scripts that it does not know."""

    def __init__(self) -> None:
        self.plain = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        parts = CHARACTER.split(unicodedata.normalize("NFC", text))  # every other one is a character
        return [word for i, part in enumerate(parts) for word in ([part] if i % 2 else self._words(part))]

    def _words(self, text: str) -> Iterator[str]:
        for word in "".join(_spelt(text)).split():
            yield from self.plain.tokenize(word) if word.isascii() else [word.lower()]


def _spelt(text: str) -> Iterator[str]:
    """Letters and digits, with the marks that belong to them (the vowels of Hindi); else a space."""
    before = " "
    for character in text:
        marks = before != " " and unicodedata.category(character).startswith("M")
        before = character if marks or character.isalnum() else " "
        yield before


@dataclass(frozen=True)
class Summarize(Asks):
    """A `summary` for each `document`; `references`, where an example has them, are all that count as right."""

    name: ClassVar[str] = "summarize"
    main: ClassVar[str] = "rouge_l"
    question: ClassVar[str] = "document"
    answer: ClassVar[str] = "summary"

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, Any]:
        """Mean F1 of each ROUGE over the documents."""
        means = self._figures(predictions, examples).mean(0)  # (figures,)
        return dict(zip(FIGURES.values(), means.tolist(), strict=True))

    def counts(self, predictions: Sequence[str], examples: Sequence[Example]) -> np.ndarray:
        """ROUGE-L and 1 for each document: (examples, 2)."""
        figures = self._figures(predictions, examples)[:, list(FIGURES.values()).index(self.main)]
        return np.stack([figures, np.ones(len(figures))], axis=1)

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """Mean ROUGE-L from summed counts (..., 2)."""
        return np.asarray(summed[..., 0] / np.maximum(summed[..., 1], 1))

    def _figures(self, predictions: Sequence[str], examples: Sequence[Example]) -> np.ndarray:
        """F1 of each document by each figure, against the nearest of its references: (examples, figures)."""
        scorer = RougeScorer(list(FIGURES), tokenizer=_Words())
        rows = []
        for said, example in zip(predictions, examples, strict=True):
            found = scorer.score_multi(example.get("references") or [example["summary"]], said)
            rows.append([found[name].fmeasure for name in FIGURES])
        return np.array(rows).reshape(-1, len(FIGURES))

    def show(self, prediction: str, example: Example) -> dict[str, Any]:
        """The document and its summary."""
        return {"document": example["document"], "summary": prediction}
