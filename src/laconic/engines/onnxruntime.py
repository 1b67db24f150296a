"""Run an encoder in ONNX Runtime with int8 matrices: several times faster than PyTorch on a CPU.

No paper: the graph is `lowering/write.py`'s. One text runs on all threads. A batch is cut into pieces of like lengths
that run at the same time, one thread each: no thread waits for another inside an operator, a piece stays in its core's
cache, and little of it is padding.

Activations take their 8-bit grid from the piece they are in, so a text's logits move a little with the company it has;
the same batch has the same answer every time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, OrtValue, SessionOptions
from transformers import PreTrainedModel

from laconic.errors import EngineError
from laconic.lowering import Lowered, lower, read
from laconic.lowering.write import IDS, LENGTHS, PLACES

Integers = NDArray[np.int32]
Floats = NDArray[np.float32]

PIECE = 256  # tokens that run together: their activations stay within a core's cache
ERRORS_ONLY = 3


class OnnxRuntime:
    """A post-norm encoder with a token or sequence classification head; raises EngineError for any other model."""

    name: ClassVar[str] = "onnxruntime"

    def __init__(self, model: PreTrainedModel, *, threads: int | None = None) -> None:
        self.threads = threads or os.cpu_count() or 1
        self._lowered: Lowered = lower(read(model))
        self._bytes = self._lowered.model.SerializeToString()
        self._tables = {name: OrtValue.ortvalue_from_numpy(table) for name, table in self._lowered.tables.items()}

    def run(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Logits of one batch padded at the end, as float32; at padding they mean nothing.

        Raises EngineError for padding elsewhere and for texts longer than the model's position table.
        """
        ids = batch["input_ids"]
        lengths = self._lengths(batch, ids.shape)
        places = self._places(batch, ids.shape)
        ids = ids.astype(np.int32)
        if len(ids) == 1:
            return _answer(self._wide, ids, places, lengths)
        return self._pieces(ids, places, lengths)

    def _pieces(self, ids: np.ndarray, places: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        def one(rows: Sequence[int]) -> np.ndarray:
            width = int(lengths[rows].max())
            return _answer(self._narrow, ids[rows, :width], places[rows, :width], lengths[rows])

        pieces = cut(lengths, self.threads)
        answers = list(self._pool.map(one, pieces))
        shape = (len(ids), *answers[0].shape[1:]) if self._lowered.pooled else (*ids.shape, answers[0].shape[-1])
        logits = np.zeros(shape, np.float32)
        for rows, answer in zip(pieces, answers, strict=True):
            if self._lowered.pooled:
                logits[rows] = answer
            else:
                logits[rows, : answer.shape[1]] = answer
        return logits

    def _lengths(self, batch: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        mask = batch.get("attention_mask")
        if mask is None:
            return np.full(shape[0], shape[1], np.int32)
        lengths: Integers = mask.sum(axis=1, dtype=np.int32)  # (batch,)
        if lengths.min() < shape[1] and (mask[:, 1:] > mask[:, :-1]).any():
            raise EngineError("the onnxruntime engine needs padding at the end; set tokenizer.padding_side='right'")
        return lengths

    def _places(self, batch: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        most = self._lowered.tokens_at_most
        if shape[1] > most:
            raise EngineError(f"a text of {shape[1]} tokens is longer than the model's {most} positions; cut it")
        places = self._positions[: shape[1]]  # (tokens,)
        if self._lowered.types > 1 and "token_type_ids" in batch:
            places = (batch["token_type_ids"] * most + places).astype(np.int32)  # (batch, tokens)
        return np.broadcast_to(places, shape)

    @cached_property
    def _positions(self) -> np.ndarray:
        return np.arange(self._lowered.tokens_at_most, dtype=np.int32)

    @cached_property
    def _wide(self) -> InferenceSession:
        return self._session(self.threads)

    @cached_property
    def _narrow(self) -> InferenceSession:
        return self._session(1)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads)

    def _session(self, threads: int) -> InferenceSession:
        options = SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, ERRORS_ONLY
        options.add_external_initializers(list(self._tables), list(self._tables.values()))
        return InferenceSession(self._bytes, options, providers=["CPUExecutionProvider"])


def _answer(session: InferenceSession, ids: Integers, places: Integers, lengths: Integers) -> Floats:
    answer: Floats = session.run(None, {IDS: ids, PLACES: places, LENGTHS: lengths})[0]
    return answer


def cut(lengths: np.ndarray, threads: int) -> list[np.ndarray]:
    """Rows of each piece, longest first: as many tokens in each, at most about PIECE, and as many pieces a thread."""
    order = np.argsort(-lengths, kind="stable")
    tokens = np.cumsum(lengths[order])  # (batch,)
    count = threads * int(np.ceil(tokens[-1] / (PIECE * threads)))
    ends = np.searchsorted(tokens, tokens[-1] * np.arange(1, count) / count) + 1
    return [piece for piece in np.split(order, ends) if len(piece)]
