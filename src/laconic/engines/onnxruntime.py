"""Run an encoder in ONNX Runtime with int8 matrices: several times faster than PyTorch on a CPU.

No paper: the graph is `lowering/write.py`'s. A batch is cut into pieces of like lengths that run at the same time, one
thread each: no thread waits for another inside an operator, a piece stays in its core's cache, and little of it is
padding. A text alone runs on one thread when it is short, for threads cost more there than they bring, and on all of
them when it is long; what is short is timed once, when the first text comes alone.

Activations take their 8-bit grid from the piece they are in, so a text's logits move a little with the company it has;
the same batch has the same answer every time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from time import perf_counter
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
TRIED = (16, 32, 64, 128)  # lengths of a text alone at which one thread is timed against all
TRIALS = 3
ERRORS_ONLY = 3


class OnnxRuntime:
    """A post-norm encoder with a head for tokens, sequences or questions; raises EngineError for any other model."""

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
            return self._run(ids.shape[1] > self._short, ids, places, lengths)
        if len(ids) < self.threads:
            return self._run(True, ids, places, lengths)
        return self._pieces(ids, places, lengths)

    def _run(self, wide: bool, ids: Integers, places: Integers, lengths: Integers) -> Floats:
        session = self._wide if wide else self._narrow
        answer: Floats = session.run(None, {IDS: ids, PLACES: places, LENGTHS: lengths})[0]
        return answer

    def _pieces(self, ids: Integers, places: Integers, lengths: Integers) -> Floats:
        def one(rows: NDArray[np.intp]) -> Floats:
            width = max(1, lengths[rows[0]])  # the longest comes first
            return self._run(False, ids[rows, :width], places[rows, :width], lengths[rows])

        pieces = cut(lengths, self.threads)
        answers = list(self._pool.map(one, pieces))
        shape = (len(ids),) if self._lowered.pooled else ids.shape
        logits = np.zeros((*shape, answers[0].shape[-1]), np.float32)  # (batch, labels) or (batch, tokens, labels)
        for rows, answer in zip(pieces, answers, strict=True):
            if self._lowered.pooled:
                logits[rows] = answer
            else:
                logits[rows, : answer.shape[1]] = answer
        return logits

    def _lengths(self, batch: dict[str, np.ndarray], shape: Sequence[int]) -> Integers:
        mask = batch.get("attention_mask")
        if mask is None:
            return np.full(shape[0], shape[1], np.int32)
        lengths: Integers = mask.sum(axis=1, dtype=np.int32)  # (batch,)
        if lengths.min() < shape[1] and (mask[:, 1:] > mask[:, :-1]).any():
            raise EngineError("the onnxruntime engine needs padding at the end; set tokenizer.padding_side='right'")
        return lengths

    def _places(self, batch: dict[str, np.ndarray], shape: Sequence[int]) -> Integers:
        most = self._lowered.tokens_at_most
        if shape[1] > most:
            raise EngineError(f"a text of {shape[1]} tokens is longer than the model's {most} positions; cut it")
        places = self._positions[: shape[1]]  # (tokens,)
        if self._lowered.types > 1 and "token_type_ids" in batch:
            places = (batch["token_type_ids"] * most + places).astype(np.int32)  # (batch, tokens)
        return np.broadcast_to(places, (shape[0], shape[1]))

    @cached_property
    def _short(self) -> int:
        """Tokens up to which a text alone runs faster on one thread than on all."""
        short = self._lowered.tokens_at_most if self.threads == 1 else 0
        for tokens in TRIED if self.threads > 1 else ():
            if tokens > self._lowered.tokens_at_most or self._seconds(True, tokens) < self._seconds(False, tokens):
                return short
            short = tokens
        return short

    def _seconds(self, wide: bool, tokens: int) -> float:
        ids = np.zeros((1, tokens), np.int32)
        lengths = np.full(1, tokens, np.int32)
        times = []
        for _ in range(1 + TRIALS):  # the first one allocates; it is never the least
            begun = perf_counter()
            self._run(wide, ids, self._positions[None, :tokens], lengths)
            times.append(perf_counter() - begun)
        return min(times)

    @cached_property
    def _positions(self) -> Integers:
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


def cut(lengths: Integers, threads: int) -> list[NDArray[np.intp]]:
    """Rows of each piece, longest first: as many tokens in each, at most about PIECE, and as many pieces a thread."""
    order = np.argsort(-lengths, kind="stable")
    tokens = np.cumsum(lengths[order])  # (batch,)
    count = threads * int(np.ceil(tokens[-1] / (PIECE * threads)))
    ends = np.searchsorted(tokens, tokens[-1] * np.arange(1, count) / count) + 1
    return [piece for piece in np.split(order, ends) if len(piece)]
