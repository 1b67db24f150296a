"""Texts of a label, written by a model of the task `control`.

Kumar et al. 2020, arXiv:2003.02245, section 3.2: a generator that has learnt "label: text" goes on after a label.
"""

from __future__ import annotations

from dataclasses import replace

from laconic.errors import ArtifactError
from laconic.predict import Loaded
from laconic.tasks.control import Control


class LabelWriting:
    """So many texts of a label, drawn at a temperature; asked for as many of the same again, it says them again."""

    def __init__(self, loaded: Loaded, temperature: float) -> None:
        if not isinstance(loaded.task, Control):
            raise ArtifactError(f"the model is for the task {loaded.task.name}; give one of control, or a masked model")
        self.loaded, self.task, self.temperature = loaded, loaded.task, temperature

    def __call__(self, label: str, count: int) -> list[str]:
        """Texts without white space around them."""
        task = replace(self.task, samples=count, temperature=self.temperature)
        (said,) = replace(self.loaded, task=task).answer([{"label": label}])
        return list(said.texts)
