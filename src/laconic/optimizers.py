"""Optimizers a run can train with, by name.

SGD with momentum; Adam (Kingma & Ba 2015, arXiv:1412.6980); AdamW, whose weight decay is decoupled (Loshchilov & Hutter
2019, arXiv:1711.05101).
"""

from typing import Any

import torch
from torch import nn

OPTIMIZERS: dict[str, type[Any]] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
KEPT = {"adamw": 2, "adam": 2, "sgd": 1}  # numbers that each holds of a weight from step to step
NO_DECAY = 1  # tensors of at most this many dimensions (biases, norms) are not decayed
MOMENTUM = 0.9


def build(model: nn.Module, name: str, learning_rate: float, weight_decay: float = 0.0) -> torch.optim.Optimizer:
    """The optimizer called `name` for what trains of `model`; weights decay in matrices only."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > NO_DECAY], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= NO_DECAY], "weight_decay": 0.0},
    ]
    extra = {"momentum": MOMENTUM} if name == "sgd" else {}
    made: torch.optim.Optimizer = OPTIMIZERS[name](
        groups, lr=learning_rate, fused=True, **extra
    )  # fused: one pass over memory
    return made
