"""Controllable generation: a new text of a given label, by a decoder or an encoder-decoder.

Keskar et al. 2019, arXiv:1909.05858: the label as a control code before the text. Kumar et al. 2020, arXiv:2003.02245:
texts made so as more data for a classifier (`laconic augment`). Scored by the bits of the right texts, given their
labels, and by distinct-1 and distinct-2 of what is written (Li et al. 2016, arXiv:1510.03055).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from laconic import options
from laconic.contracts import Example, Feature, Written
from laconic.writing import said
from laconic.writing.said import Said
from laconic.writing.task import Draws


@dataclass(frozen=True)
class Control(Draws):
    """`samples` texts for each `label`; the lower the `temperature`, the likelier and the less varied they are."""

    prompt: str = "{}:"
    length: int = 64
    beams: int = field(default=1, metadata={"fixed": True})  # texts that are drawn are not searched for
    temperature: float = 1.0

    name: ClassVar[str] = "control"
    main: ClassVar[str] = "saved"
    question: ClassVar[str] = "label"
    answer: ClassVar[str] = "text"

    def __post_init__(self) -> None:
        super().__post_init__()
        options.temperature(self.temperature)  # never the likeliest text, which a label has but one of

    def predict(
        self, outputs: Sequence[Written], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[Said]:
        """The texts that were written for each label, and what the right one costs."""
        return [said.gather([pair]) for pair in zip(outputs, features, strict=True)]

    def score(self, predictions: Sequence[Said], examples: Sequence[Example]) -> dict[str, Any]:
        """The share of the right texts' bits that is saved; bits per byte, perplexity of a token; distinct-n."""
        texts = [text for p in predictions for text in p.texts]
        found = said.cost(predictions, [self.answers(e) for e in examples])
        return found | {f"distinct_{size}": said.distinct(texts, size) for size in (1, 2)}

    def counts(self, predictions: Sequence[Said], examples: Sequence[Example]) -> np.ndarray:
        """Bits of each right text, and its UTF-8 bytes: (examples, 2)."""
        return np.array([(p.bits, self.answers(e)) for p, e in zip(predictions, examples, strict=True)])

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """1 - bits per byte / 8, from summed counts (..., 2)."""
        return said.saved(summed)

    def show(self, prediction: Said, example: Example) -> dict[str, Any]:
        """The label and the texts that were written for it."""
        return {"label": example["label"], "texts": list(prediction.texts)}
