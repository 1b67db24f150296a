"""The loss curve as a picture.

No paper: matplotlib. The numbers stand beside it, as JSON.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure


def draw(history: Sequence[dict[str, Any]], title: str) -> bytes:
    """Training and validation loss over steps, as PNG."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key, name, style in (("loss", "training", "-"), ("eval_loss", "validation", "o-")):
        points = [(row["step"], row[key]) for row in history if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=name, markersize=3, linewidth=1)
    axes.set(title=title, xlabel="step", ylabel="loss (nats a token)")
    axes.grid(alpha=0.3)
    axes.legend()
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=120)
    return held.getvalue()
