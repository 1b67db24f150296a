"""What compression did to the answers: scores, an interval of their difference, and how many predictions changed.

Koehn 2004 (W04-3250) for the paired interval; Hooker et al. 2019 (arXiv:1911.05248) for looking at the predictions that
changed, which two equal scores can hide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from laconic.contracts import Example
from laconic.errors import DataError
from laconic.maths.bootstrap import Interval, paired


class Scored(Protocol):
    """What of a task this measure asks."""

    @property
    def main(self) -> str:
        """Key of score(); higher is better."""
        ...

    def score(self, predictions: Sequence[Any], examples: Sequence[Example]) -> dict[str, Any]:
        """Figures by plain name."""
        ...

    def counts(self, predictions: Sequence[Any], examples: Sequence[Example]) -> np.ndarray:
        """What `metric` needs of each example, (examples, k); their sum is that of all examples."""
        ...

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """The main figure from summed counts (..., k)."""
        ...


@dataclass(frozen=True)
class Quality:
    """Scores of two models on the same examples; `difference` is after - before of the figure called `main`."""

    main: str
    examples: int
    before: dict[str, Any]
    after: dict[str, Any]
    difference: Interval
    flips: float | None  # share of examples whose prediction changed; None where predictions are figures
    token_flips: float | None  # share of words whose tag changed, where a prediction has one for each word


def take(
    task: Scored,
    examples: Sequence[Example],
    before: Sequence[Any],
    after: Sequence[Any],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Quality:
    """Compare two models' predictions; raises DataError when there is not one of each for every example."""
    if not examples or not len(before) == len(after) == len(examples):
        raise DataError(
            f"{len(examples)} examples, {len(before)} predictions before and {len(after)} after cannot be compared; "
            "predict the same examples, at least one, with both models"
        )
    difference = paired(
        task.counts(before, examples),
        task.counts(after, examples),
        task.metric,
        resamples=resamples,
        level=level,
        seed=seed,
    )
    return Quality(
        main=task.main,
        examples=len(examples),
        before=task.score(before, examples),
        after=task.score(after, examples),
        difference=difference,
        flips=flips(before, after),
        token_flips=token_flips(examples, before, after),
    )


def flips(before: Sequence[Any], after: Sequence[Any]) -> float | None:
    """Share of predictions that changed; None where they are figures, which every change of a weight moves."""
    if isinstance(before[0], dict) and all(isinstance(value, int | float) for value in before[0].values()):
        return None
    changed: int = sum(b != a for b, a in zip(before, after, strict=True))
    return changed / len(before)


def agreement(examples: Sequence[Example], one: Sequence[Any], other: Sequence[Any]) -> float | None:
    """Share of answers that are the same: of words' tags, or of predictions where examples have no words.

    None where predictions are figures.
    """
    changed = token_flips(examples, one, other)
    changed = flips(one, other) if changed is None else changed
    return None if changed is None else 1 - changed


def token_flips(examples: Sequence[Example], before: Sequence[Any], after: Sequence[Any]) -> float | None:
    """Share of all words whose tag changed; None where examples have no words."""
    if "tokens" not in examples[0]:
        return None
    changed = words = 0
    for b, a in zip(before, after, strict=True):
        changed += sum(x != y for x, y in zip(b, a, strict=True))
        words += len(b)
    return changed / words if words else 0.0
