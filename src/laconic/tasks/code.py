"""Code: the rest of a program, judged by whether tests pass, by a decoder or an encoder-decoder.

Chen et al. 2021, arXiv:2107.03374: pass@k without bias, where a text ends, and programs that run shut in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, ClassVar

import numpy as np

from laconic import options
from laconic.contracts import Example, Feature, Written
from laconic.maths import counts
from laconic.writing.locked import passes
from laconic.writing.task import Draws

STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # what a text is cut before: it is not of the function
TRIES = (1, 10, 100)  # k of pass@k, where there are as many samples

Texts = tuple[str, ...]


@dataclass(frozen=True)
class Code(Draws):
    """A `solution` behind each `prompt`, which together pass the `test` of the function `entry` in `seconds`."""

    length: int = 256
    seconds: int = 5

    name: ClassVar[str] = "code"
    main: ClassVar[str] = "pass_at_1"
    question: ClassVar[str] = "prompt"
    answer: ClassVar[str] = "solution"
    end: ClassVar[bool] = True  # which the text goes on behind
    stops: ClassVar[tuple[str, ...]] = STOPS

    def __post_init__(self) -> None:
        super().__post_init__()
        options.whole("seconds", self.seconds)

    def predict(
        self, outputs: Sequence[Written], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[Texts]:
        """The texts that were written, with their white space."""
        return [output.texts for output in outputs]

    def score(self, predictions: Sequence[Texts], examples: Sequence[Example]) -> dict[str, Any]:
        """pass@k: the chance that one of k samples passes, for 1, 10 and 100 as far as there are samples."""
        right = [self._passed(p, e) for p, e in zip(predictions, examples, strict=True)]
        return {
            f"pass_at_{k}": float(np.mean([pass_at(k, len(p), c) for p, c in zip(predictions, right, strict=True)]))
            for k in TRIES
            if k <= self.samples
        }

    def counts(self, predictions: Sequence[Texts], examples: Sequence[Example]) -> np.ndarray:
        """Share of samples that pass, and 1, of each problem: (examples, 2)."""
        shares = [self._passed(p, e) / len(p) for p, e in zip(predictions, examples, strict=True)]
        return np.stack([np.array(shares), np.ones(len(shares))], axis=1)

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """pass@1 from summed counts (..., 2)."""
        return counts.mean(summed)

    def _passed(self, texts: Texts, example: Example) -> int:
        end = f"\n{example['test']}\ncheck({example['entry']})\n"
        return sum(passes(example["prompt"] + text + end, self.seconds) for text in texts)

    def show(self, prediction: Texts, example: Example) -> dict[str, Any]:
        """The prompt and what was written behind it."""
        return {"prompt": example["prompt"], "completions": list(prediction)}


def pass_at(k: int, samples: int, right: int) -> float:
    """The chance that of k out of so many samples, of which some are right, one is right."""
    return 1 - comb(samples - right, k) / comb(samples, k)
