"""Run a model in PyTorch, as it is: the reference that every other engine is held against.

No paper: the model's own forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel

from laconic import writing
from laconic.answers import logits_of
from laconic.writing import cache


class Torch:
    """The model itself, in evaluation mode. `threads` bounds PyTorch's own while a batch runs.

    What it has read while it writes is kept in `cache_bits` of 8 or 4, or in floats.
    """

    name: ClassVar[str] = "torch"

    def __init__(self, model: PreTrainedModel, *, threads: int | None = None, cache_bits: int | None = None) -> None:
        if cache_bits is not None:
            cache.check(cache_bits)
        self.model, self.threads, self.cache_bits = model.train(False), threads, cache_bits

    def run(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Logits of one padded batch as float32: (batch, tokens, labels) or (batch, labels)."""
        inputs = self._inputs(batch)
        with self._threads(), torch.inference_mode():
            logits = logits_of(self.model(**inputs))
        answer: np.ndarray = logits.float().cpu().numpy()
        return answer

    def write(self, batch: dict[str, np.ndarray], chosen: GenerationConfig) -> list[list[int]]:
        """The ids that the model adds to each prompt of a batch padded at the end."""
        with self._threads():
            return self._pen(self._inputs(batch), chosen)

    @cached_property
    def _pen(self) -> writing.Pen:
        return writing.Pen(self.model, self.cache_bits)

    def _inputs(self, batch: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {key: torch.from_numpy(array).to(self.model.device) for key, array in batch.items()}

    @contextmanager
    def _threads(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)
