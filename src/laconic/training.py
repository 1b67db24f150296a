"""The one way to train: fine-tune, distil, recover, hold masks, on Hugging Face's Trainer.

No paper: an optimizer of `optimizers`, linear decay after a warm-up. The batches of all epochs
are laid out beforehand from the seed, as one long list, so that a killed run goes on with exactly the batch that was
next.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from laconic import machine, optimizers, options, ranks
from laconic.answers import Batch, Objective, answered_in, evaluate, task_objective
from laconic.callbacks import Bar, Watch, last_checkpoint, writing
from laconic.contracts import Feature, Work
from laconic.data.batching import PADDING, lengths, order, pad
from laconic.errors import RecipeError

PRECISIONS = ("auto", "float32", "bfloat16")
CHECK_STEPS = 2000  # an epoch longer than this is checked and saved within
SPEEDS = ("train_runtime", "train_samples_per_second", "train_steps_per_second")  # of the last part of a run alone
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}  # our name -> Trainer's


@dataclass(frozen=True)
class Training:
    """Options of a training run; learning rate decays linearly to 0 after `warmup`, a share of all steps."""

    epochs: float = 3
    learning_rate: float = 1e-4
    batch: int = 16
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    warmup: float = 0.06
    clip: float = 1.0
    patience: int | None = None  # checks without a better validation score before stopping early
    accumulate: int = 1  # batches per step of the optimizer
    precision: str = "auto"  # of matrix products; auto: bfloat16 on a GPU that has it, else float32

    def check(self) -> None:
        """Raise RecipeError for a value that cannot work."""
        options.choice("optimizer", self.optimizer, tuple(optimizers.OPTIMIZERS))
        options.choice("precision", self.precision, PRECISIONS)
        for name in ("epochs", "learning_rate", "clip"):
            options.positive(name, getattr(self, name))
        options.whole("batch", self.batch)
        if not 0 <= self.weight_decay <= sys.float_info.max:
            raise RecipeError(f"weight_decay is {self.weight_decay}; give a finite number of at least 0")
        options.whole("accumulate", self.accumulate)
        if not 0 <= self.warmup < 1:
            raise RecipeError(f"warmup is {self.warmup}; give a share of all steps, 0 <= warmup < 1")
        if self.patience is not None:
            options.whole("patience", self.patience)


class Laid(Protocol):
    """Every batch of a run, in order: what is given for an index never depends on what was asked before."""

    per_epoch: int

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> tuple[Batch, list[int]]:
        """Padded tensors, and the indices of the examples."""
        ...


@dataclass(frozen=True)
class Lesson:
    """What is learned, how it is judged, and where it is kept; `every` counts steps of the optimizer."""

    model: PreTrainedModel
    data: Laid
    objective: Objective
    judge: Callable[[], dict[str, Any]]  # figures on validation
    main: str  # the figure that decides; higher is better
    folder: Path
    every: int  # steps between two checks, each with a checkpoint
    seed: int = 0
    best: bool = True  # keep the weights that are best on validation, not the last
    schedule: str = "linear"  # of SCHEDULES
    fsdp: bool = False  # weights, gradients and the optimizer's state are dealt out to the processes
    progress: bool = True
    log: Callable[[str], None] = print


class _Batches(Dataset[tuple[Batch, list[int]]]):
    """The batches of every epoch over features, shuffled by the seed."""

    def __init__(self, features: Sequence[Feature], options: Training, pad_id: int, seed: int) -> None:
        sizes = lengths(features)
        self.features, self.pad_id = features, pad_id
        self.per_epoch = len(order(sizes, options.batch))
        epochs = int(np.ceil(options.epochs))
        laid = [b for e in range(epochs) for b in order(sizes, options.batch, seed=seed * 1000 + e)]
        self.chosen = laid[: max(1, round(self.per_epoch * options.epochs))]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, i: int) -> tuple[Batch, list[int]]:
        return pad([self.features[j] for j in self.chosen[i]], self.pad_id), self.chosen[i]


class _Learner(Trainer):
    """Trainer with our batches, our objective and the task's own scores."""

    lesson: Lesson
    options: Training

    def get_train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(cast(Any, self.lesson.data), batch_size=1, shuffle=False, collate_fn=lambda items: items[0])

    def get_batch_samples(self, *given: Any) -> tuple[list[Any], None]:
        """Batches of one step, each with its weight: all answers of a step count alike, whatever batch they are in."""
        batches, _ = super().get_batch_samples(*given)
        answers = [answered_in(batch) for batch, _ in batches]
        mean = sum(answers) / max(len(answers), 1)
        return [(*one, n / mean if mean else 1.0) for one, n in zip(batches, answers, strict=True)], None

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
        batch, chosen, weight = inputs
        device = self.args.device.type
        with torch.autocast(device, torch.bfloat16, enabled=in_bfloat16(self.options.precision, device)):
            return weight * self.lesson.objective(model, batch, chosen)

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        lesson = self.lesson
        figures = lesson.judge()
        metrics = {f"{metric_key_prefix}_{k}": v for k, v in figures.items() if isinstance(v, float)}
        self.log(metrics)
        step, steps = self.state.global_step, self.state.max_steps
        epoch = step * self.options.accumulate / lesson.data.per_epoch
        lesson.log(f"  step {step} of {steps}, epoch {epoch:.1f}: validation {lesson.main} {figures[lesson.main]:.4f}")
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _run_epoch(self, *given: Any, **named: Any) -> None:
        """Nothing for a run that was killed when its patience had ended: it would learn one step more before it stops.

        Trainer takes up how long patience has lasted and forgets that it asked for an end.
        """
        patient = [c for c in self.callback_handler.callbacks if isinstance(c, EarlyStoppingCallback)]
        if all(c.early_stopping_patience_counter < c.early_stopping_patience for c in patient):
            super()._run_epoch(*given, **named)  # type: ignore[no-untyped-call]

    def _save_checkpoint(self, *given: Any, **named: Any) -> None:
        with writing(Path(str(self.args.output_dir))):
            super()._save_checkpoint(*given, **named)
        ranks.wait()  # each process writes the state of its own random numbers

    def _issue_warnings_after_load(self, *_: Any) -> None:
        """Nothing: what a checkpoint lacks is tied or constant, and Trainer would tie layers that are no longer its."""

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        one = self.options
        self.optimizer = optimizers.build(self.lesson.model, one.optimizer, one.learning_rate, one.weight_decay)
        return self.optimizer


def in_bfloat16(precision: str, device: str) -> bool:
    """Whether matrix products run in bfloat16; weights, gradients and what is measured stay float32."""
    if precision == "auto":
        return device == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def fit(
    work: Work,
    options: Training,
    *,
    objective: Objective | None = None,
    on_step: Callable[[int, int], None] | None = None,
    features: Sequence[Feature] | None = None,
    best: bool = True,
) -> list[dict[str, Any]]:
    """Train `work.model` in place, keep the weights best on validation (or the last ones), and return the log.

    It trains on a GPU where there is one, and comes back to where it was. Checkpoints go below `work.folder`; a run
    killed there goes on from the last whole one, bit for bit.
    """
    options.check()
    if features is None:
        features = [f for f in work.task.encode(work.data.train, work.tokenizer, answers=True) if _teaches(f)]
    if not features:
        raise RecipeError("there is no training text to learn from: none is left once read; give texts that fit")
    data = _Batches(features, options, work.tokenizer.pad_token_id or 0, work.seed)
    pieces = int(np.ceil(data.per_epoch / CHECK_STEPS))
    lesson = Lesson(
        work.model, data, objective or task_objective(work.task),
        judge=lambda: evaluate(work.model, work.tokenizer, work.task, work.data.validation),
        main=work.task.main, folder=work.folder, seed=work.seed,
        every=max(1, min(len(data), data.per_epoch // pieces) // options.accumulate),
        best=best, progress=work.progress, log=work.log,
    )  # fmt: skip
    home = work.model.device
    try:
        return learn(lesson, options, on_step)
    finally:
        work.model.to(home)  # type: ignore[arg-type]  # beside its teacher again, and where a step taken up would be


def _teaches(feature: Feature) -> bool:
    """Whether any of its labels is learned; of wrong choices none is."""
    labels = feature["labels"]
    return not isinstance(labels, list) or any(label != PADDING["labels"] for label in labels)


def learn(
    lesson: Lesson,
    options: Training,
    on_step: Callable[[int, int], None] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> list[dict[str, Any]]:
    """Train `lesson.model` in place and return the log; `fit` for any batches, as pretraining has them."""
    total = len(lesson.data)
    learner = _Learner(model=lesson.model, eval_dataset=[], args=_arguments(lesson, options, total))
    for usual in (PrinterCallback, ProgressCallback):  # the bar and `log` say what there is to say
        learner.remove_callback(usual)
    if lesson.progress:
        learner.add_callback(Bar())
    learner.lesson, learner.options = lesson, options
    for callback in (Watch(-(-total // options.accumulate), on_step), *callbacks):
        learner.add_callback(callback)
    if options.patience is not None:
        learner.add_callback(EarlyStoppingCallback(options.patience))
    set_seed(lesson.seed + ranks.rank())  # each drops out others
    with ranks.first():
        checkpoint = last_checkpoint(lesson.folder)
    learner.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    lesson.model.eval()  # type: ignore[no-untyped-call]
    with ranks.first():
        for path in lesson.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            shutil.rmtree(path)
    batches = options.accumulate / lesson.data.per_epoch  # of an epoch, that a step takes
    return [_true(row, batches) for row in learner.state.log_history]


def _true(row: dict[str, Any], batches: float) -> dict[str, Any]:
    """A row of the log, its `epoch` passes over the data, and no speed: to Trainer the whole run is one of batches."""
    kept = {key: value for key, value in row.items() if key not in SPEEDS}
    return {**kept, "epoch": row["step"] * batches} if "epoch" in row else kept


def _arguments(lesson: Lesson, options: Training, batches_in_all: int) -> TrainingArguments:
    made = TrainingArguments(
        output_dir=str(lesson.folder),
        num_train_epochs=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=options.accumulate,
        learning_rate=options.learning_rate,
        lr_scheduler_type=SCHEDULES[lesson.schedule],
        warmup_steps=int(options.warmup * batches_in_all / options.accumulate),
        max_grad_norm=options.clip,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=lesson.every,
        save_steps=lesson.every,
        logging_steps=max(1, lesson.every // 10),
        save_total_limit=2,
        restore_callback_states_from_checkpoint=True,  # how long patience has lasted
        load_best_model_at_end=lesson.best,
        metric_for_best_model=f"eval_{lesson.main}",
        greater_is_better=True,
        report_to="none",
        disable_tqdm=not lesson.progress,
        seed=lesson.seed,
        use_cpu=machine.device().type == "cpu",
        fsdp=lesson.fsdp,  # type: ignore[arg-type]
        fsdp_config={"version": 2} if lesson.fsdp else None,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        use_cache=getattr(lesson.model.config, "use_cache", False),
    )
    made._n_gpu = min(made.n_gpu, 1)  # of several, Trainer would split each batch, which an objective does not know
    return made
