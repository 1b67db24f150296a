"""Texts of a label, written by a model of the task `control`.

Kumar et al. 2020, arXiv:2003.02245, section 3.2: a generator that has learnt "label: text" goes on after a label.
"""

from __future__ import annotations

from dataclasses import replace

from laconic import options
from laconic.errors import ArtifactError
from laconic.predict import Loaded
from laconic.tasks.control import Control

PORTION = 32  # texts that are written side by side


class LabelWriting:
    """So many texts of a label, drawn at a temperature; each portion by a seed of its own."""

    def __init__(self, loaded: Loaded, temperature: float, seed: int) -> None:
        if not isinstance(loaded.task, Control):
            raise ArtifactError(f"the model is for the task {loaded.task.name}; give one of control, or a masked model")
        self.loaded, self.task, self.temperature, self.seed = loaded, loaded.task, temperature, seed

    def __call__(self, label: str, count: int) -> list[str]:
        """Texts without white space around them."""
        found: list[str] = []
        for start in range(0, count, PORTION):
            samples, self.seed = min(PORTION, count - start), (self.seed + 1) % options.SEEDS
            task = replace(self.task, samples=samples, temperature=self.temperature, seed=self.seed)
            (said,) = replace(self.loaded, task=task).answer([{"label": label}])
            found += said.texts
        return found
