"""Machine translation: one text in another language, by an encoder-decoder or a decoder.

Papineni et al. 2002 (P02-1040), BLEU; Popović 2015 (W15-3049), chrF; both as sacrebleu counts them (Post 2018,
arXiv:1804.08771), against one reference. Figures are shares of 1: a BLEU of 30 is 0.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sacrebleu.metrics.chrf import CHRF

from laconic.contracts import Example
from laconic.writing import bleu
from laconic.writing.task import Asks


@dataclass(frozen=True)
class Translate(Asks):
    """A `target` for each `source`. BLEU counts words as sacrebleu's `tokenize` cuts them: 13a; zh for Chinese."""

    tokenize: str = "13a"

    name: ClassVar[str] = "translate"
    main: ClassVar[str] = "bleu"
    question: ClassVar[str] = "source"
    answer: ClassVar[str] = "target"

    def __post_init__(self) -> None:
        super().__post_init__()
        bleu.check(self.tokenize)

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, Any]:
        """BLEU and chrF of all texts together, as shares of 1."""
        references = [[e["target"] for e in examples]]
        return {
            "bleu": float(self.metric(self.counts(predictions, examples).sum(0))),
            "chrf": CHRF().corpus_score(list(predictions), references).score / 100,
        }

    def counts(self, predictions: Sequence[str], examples: Sequence[Example]) -> np.ndarray:
        """What BLEU adds up over texts: (examples, 10)."""
        return bleu.statistics(predictions, [e["target"] for e in examples], self.tokenize)

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """BLEU from summed counts (..., 10)."""
        return bleu.share(summed)

    def show(self, prediction: str, example: Example) -> dict[str, Any]:
        """The text and its translation."""
        return {"source": example["source"], "translation": prediction}
