"""What rides along in Hugging Face's Trainer: the progress bar, and a watch over steps and checkpoints.

No paper: bookkeeping.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import ProgressCallback, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

DONE = "complete"  # a checkpoint folder holds this file once it is whole


class Bar(ProgressCallback):
    """The bar, with the last loss behind it; Trainer's own writes each record to stdout, which is for results."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix_str(f"loss {float(logs['loss']):.4g}", refresh=False)


class Watch(TrainerCallback):
    """Marks whole checkpoints and tells a method which step is next."""

    def __init__(self, total: int, on_step: Callable[[int, int], None] | None) -> None:
        self.total, self.on_step = total, on_step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.on_step is not None:
            self.on_step(state.global_step, self.total)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" / DONE).touch()
