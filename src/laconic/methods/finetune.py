"""Train on the task's labels again: the plainest healing.

No paper: gradient descent on the task's loss, through masks and fake quantization.
"""

from dataclasses import dataclass
from typing import ClassVar

from laconic import layers, training
from laconic.contracts import PROPERTIES, Sketch, Work


@dataclass(frozen=True)
class Finetune(training.Training):
    """Options are those of training."""

    epochs: float = 2
    learning_rate: float = 5e-5

    needs: ClassVar[frozenset[str]] = frozenset({"training"})
    makes: ClassVar[frozenset[str]] = frozenset()
    keeps: ClassVar[frozenset[str]] = PROPERTIES - {"half"}

    def forecast(self, sketch: Sketch) -> Sketch:
        """Sizes stay."""
        return sketch

    def apply(self, work: Work) -> None:
        """Train `work.model` in place."""
        layers.thaw(work.model)
        training.fit(work, self)
