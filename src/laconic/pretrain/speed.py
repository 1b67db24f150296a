"""How fast training is: tokens a second, and which share of the machine's own matrix products that is.

Chowdhery et al. 2022, arXiv:2204.02311, appendix B (model FLOPs utilisation): the multiplications a model must do,
forward once and backward twice, over the time they take, over the peak. The peak is measured, not read off a sheet.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from transformers import TrainerCallback

SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices whose product is timed
TRIALS = 8
ENOUGH = 2.0  # seconds after which no other product is tried, on processors that lack the type
PASSES = 3  # forward, and twice as much backward
FLOPS = 2  # a multiply-accumulate is two operations


def peak(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the fastest of a few large matrix products."""
    side = SIDE.get(device.type, SIDE["cpu"])
    a = torch.randn(side, side, generator=torch.Generator().manual_seed(0)).to(device, dtype)  # (side, side)
    best, start = float("inf"), perf_counter()
    for _ in range(TRIALS):
        begun = perf_counter()
        if begun - start > ENOUGH:
            break
        float((a @ a)[0, 0])  # reading one number waits for all
        best = min(best, perf_counter() - begun)
    return FLOPS * side**3 / best


class Clock(TrainerCallback):
    """Times the steps of the optimizer; checks and checkpoints between them are not counted."""

    def __init__(self, tokens: int) -> None:
        self.tokens, self.steps, self.seconds, self.begun = tokens, 0, 0.0, 0.0  # tokens of one step

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.begun = perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds += perf_counter() - self.begun
        self.steps += 1

    def reading(self, macs_per_token: float, peak_flops: float) -> dict[str, float]:
        """Tokens a second, and the share of the peak that the model's own multiplications are."""
        rate = self.tokens * self.steps / self.seconds if self.seconds else 0.0
        used = rate * macs_per_token * FLOPS * PASSES
        return {
            "tokens_per_second": rate, "peak_flops": peak_flops, "model_flops_utilization": used / peak_flops,
            "steps_timed": float(self.steps),
        }  # fmt: skip
