"""What rides along in Hugging Face's Trainer: the progress bar, a watch over steps, and checkpoints that are whole.

No paper: bookkeeping.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import ProgressCallback, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from laconic.errors import ArtifactError

CAUSE = 120  # characters of a foreign error that are passed on
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


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What torch, safetensors and the system raise when they cannot write below `folder`, as an ArtifactError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        cause = " ".join(str(error).split())[:CAUSE]
        raise ArtifactError(
            f"{folder}: can't be written ({cause}); make room and give the same command again, or choose another folder"
        ) from error


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint below `folder`; half-written ones are removed."""
    whole = []
    for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if (path / DONE).exists():
            whole.append((int(path.name.rsplit("-", 1)[1]), path))
        else:
            shutil.rmtree(path)
    return max(whole)[1] if whole else None
