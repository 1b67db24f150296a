"""Run a model in PyTorch, as it is: the reference that every other engine is held against.

No paper: the model's own forward.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from transformers import PreTrainedModel

from laconic.answers import logits_of


class Torch:
    """The model itself, in evaluation mode. `threads` bounds PyTorch's own while a batch runs."""

    name: ClassVar[str] = "torch"

    def __init__(self, model: PreTrainedModel, *, threads: int | None = None) -> None:
        self.model, self.threads = model.train(False), threads

    def run(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Logits of one padded batch as float32: (batch, tokens, labels) or (batch, labels)."""
        device = self.model.device
        inputs = {key: torch.from_numpy(array).to(device) for key, array in batch.items()}
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            with torch.inference_mode():
                logits = logits_of(self.model(**inputs))
        finally:
            torch.set_num_threads(before)
        answer: np.ndarray = logits.float().cpu().numpy()
        return answer
