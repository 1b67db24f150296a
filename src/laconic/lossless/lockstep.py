"""Predict several texts side by side, token by token, with the same operations on the same shapes every time.

No paper: floating-point sums depend on shapes, kernels and threads, so whoever reads a text must compute what its
writer computed. All lanes take one step together, on one thread, with keys and values kept; windows are those of the
task `lm`. A lane that has ended goes on with a token that nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from laconic.data.progress import follow
from laconic.errors import ArtifactError
from laconic.lossless.causal import Causal
from laconic.tasks.lm import beginning, windows

Lanes = NDArray[np.int64]
Tokens = NDArray[np.int64]
Exchange = Callable[[NDArray[np.float64], Lanes, int], Tokens]
"""(probabilities (live, vocabulary), the lanes that live, which token) -> the tokens of those lanes, (live,)."""


def walk(causal: Causal, counts: Sequence[int], exchange: Exchange, title: str, progress: bool) -> list[list[int]]:
    """Token ids of each lane, `counts` of them, each as `exchange` says it on being told its probabilities."""
    first = beginning(causal.tokenizer)
    lead = int(first is not None)
    lengths = np.array(counts, np.int64) + lead
    longest = int(lengths.max(initial=0))
    ids: list[Tokens] = []  # of each place, (lanes,): it grows, for `counts` may promise more than there is
    if first is not None and longest:
        ids.append(np.full(len(counts), first, np.int64))
    elif longest:
        live = np.flatnonzero(lengths)
        ids.append(_put(exchange(np.ones((len(live), len(causal.tokenizer))), live, 0), live, len(counts)))
    with _steady():
        steps = _steps(causal, ids, longest)
        for place, logits in follow(steps, title, progress, total=max(longest - 1, 0)):
            live = np.flatnonzero(lengths > place)
            shares = logits.double().softmax(-1).numpy()[live]  # (live, vocabulary)
            if not np.isfinite(shares).all():
                raise ArtifactError(f"{causal.name}: its probabilities are not numbers; train the model anew")
            ids.append(_put(exchange(shares, live, place - lead), live, len(counts)))
    return [[int(said[lane]) for said in ids[lead:length]] for lane, length in enumerate(lengths)]


def _put(said: Tokens, live: Lanes, lanes: int) -> Tokens:
    """The tokens of all lanes, 0 of those that have ended: (lanes,)."""
    every = np.zeros(lanes, np.int64)
    every[live] = said
    return every


def _steps(causal: Causal, ids: Sequence[Tokens], longest: int) -> Iterator[tuple[int, torch.Tensor]]:
    """(place of a token, its logits (lanes, vocabulary)); `ids` must hold all places before by then."""
    size = causal.context
    for begin, slots in windows(longest, size, int(causal.task.overlap * size)):
        cache, fed = DynamicCache(config=causal.model.config), begin
        for slot in slots:
            end = begin + slot + 1
            told = torch.from_numpy(np.stack(ids[fed:end], 1))  # (lanes, 1), or those the window begins with
            said = causal.model(input_ids=told, past_key_values=cache, use_cache=True, logits_to_keep=1)
            yield end, said.logits[:, -1]
            fed = end


@contextmanager
def _steady() -> Iterator[None]:
    """One thread, as sums over several may differ."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
