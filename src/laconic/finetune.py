"""Fine-tune a pretrained model on a task: from a checkpoint and data to a run folder.

No paper: the main road's first step. A run folder is an ordinary Hugging Face checkpoint with `laconic.json` beside it,
which says what the model is for and which data it saw.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast, set_seed

from laconic import checkpoint, data, tasks, training, workspace
from laconic import options as checks
from laconic.anatomy import Anatomy
from laconic.contracts import Task, Work

RUN_FILE = "laconic.json"
LENGTH = 512  # tokens read where neither tokenizer nor model sets a limit


def train(
    model: str | Path,
    task: str,
    data_source: str | Path,
    out: str | Path,
    *,
    options: training.Training | None = None,
    seed: int = 0,
    progress: bool = True,
    log: Callable[[str], None] = print,
    **task_options: Any,
) -> Path:
    """Fine-tune `model` (folder or hub id) and write the run folder `out`; a killed run goes on where it was.

    For ner, `casing` is switched on by itself where the tokenizer lower-cases and the model has token types.
    """
    checks.seed(seed)
    options = options or training.Training()
    options.check()
    tasks.kind(task)
    splits = data.read_splits(data_source, task, seed=seed)
    out = Path(out)
    source = str(Path(data_source).resolve()) if Path(data_source).exists() else str(data_source)
    record = {"model": str(model), "data": source, "digest": splits.digest, "seed": seed}
    record |= {"training": asdict(options), "options": dict(task_options)}
    if workspace.is_done(out, record, RUN_FILE):
        log(f"{out} is already trained with these options")
        return out
    tokenizer = checkpoint.tokenizer(model, words=task == "ner")
    if task == "ner" and "casing" not in task_options:
        task_options["casing"] = _lower_cases(tokenizer) and _has_token_types(model)
    built = tasks.build(task, labels=data.labels(splits.train, task), **task_options)
    splits = data.read_splits(data_source, built, seed=seed, progress=False)  # the task knows how many labels fit
    set_seed(seed)
    network = load_model(model, built)
    tokenizer.model_max_length = _limit(network, tokenizer, task_options.get("context") or LENGTH)
    kept = workspace.begin(out, record)  # now that nothing is left to refuse
    work = Work(network, tokenizer, built, splits, None, seed, kept / "checkpoints", progress, log)
    history = training.fit(work, options)
    held = {**record, "task": tasks.describe(built), "history": history}
    held["validation"] = training.evaluate(network, tokenizer, built, splits.validation)
    workspace.publish(out, kept, network, tokenizer, {RUN_FILE: json.dumps(held, indent=1).encode()})
    return out


def load_model(source: str | Path, task: Task) -> PreTrainedModel:
    """The pretrained model with the task's head."""
    labels = {
        "num_labels": len(task.labels),
        "id2label": dict(enumerate(task.labels)),
        "label2id": {label: i for i, label in enumerate(task.labels)},
    }
    options = {"ignore_mismatched_sizes": True, **labels} if task.labels else {}
    model = checkpoint.model(task.auto, source, **options)
    rows = task.token_types  # type: ignore[attr-defined]
    if rows > 1:
        Anatomy(model).widen_token_types(rows)
    return model  # type: ignore[no-any-return]


def _limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, length: int) -> int:
    """Tokens of the longest text: what tokenizer and model allow, and `length` where positions are not learned."""
    promised = getattr(model.config, "max_position_embeddings", None) or length
    return min(tokenizer.model_max_length, Anatomy(model).positions or min(promised, length))


def _has_token_types(source: str | Path) -> bool:
    return getattr(checkpoint.config(source), "type_vocab_size", 0) > 0


def _lower_cases(tokenizer: PreTrainedTokenizerFast) -> bool:
    return bool(tokenizer("Aa")["input_ids"] == tokenizer("aa")["input_ids"])
