"""Fine-tune a pretrained model on a task: from a checkpoint and data to a run folder.

No paper: the main road's first step. A run folder is an ordinary Hugging Face checkpoint with `laconic.json` beside it,
which says what the model is for and which data it saw.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast, set_seed

from laconic import artifact, data, tasks, training
from laconic.anatomy import Anatomy
from laconic.contracts import Task, Work
from laconic.errors import ArtifactError, DataError

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
    out = Path(out)
    options = options or training.Training()
    options.check()
    tasks.kind(task)
    splits = data.read_splits(data_source, task, seed=seed)
    labels = data.labels(splits.train, task)
    source = str(Path(data_source).resolve()) if Path(data_source).exists() else str(data_source)
    record = {
        "model": str(model), "data": source,
        "digest": splits.digest, "seed": seed, "training": asdict(options), "options": dict(task_options),
    }  # fmt: skip
    work_folder = _workspace(out, record)
    if work_folder is None:
        log(f"{out} is already trained with these options")
        return out
    tokenizer = load_tokenizer(model, words=task == "ner")
    if task == "ner" and "casing" not in task_options:
        task_options["casing"] = _lower_cases(tokenizer) and _has_token_types(model)
    built = tasks.build(task, labels=labels, **task_options)
    splits = data.read_splits(data_source, built, seed=seed, progress=False)  # now every record is checked
    set_seed(seed)
    network = load_model(model, built)
    tokenizer.model_max_length = min(tokenizer.model_max_length, Anatomy(network).positions or LENGTH)
    work = Work(network, tokenizer, built, splits, None, seed, work_folder / "checkpoints", progress, log)
    history = training.fit(work, options)
    score = training.evaluate(network, tokenizer, built, splits.validation)
    _write(out, work_folder, network, tokenizer, {**record, "task": tasks.describe(built)}, score, history)
    return out


def load_tokenizer(source: str | Path, *, words: bool = False) -> PreTrainedTokenizerFast:
    """The fast tokenizer of a folder or hub id; `words` makes one that can read texts split into words."""
    if Path(source).is_dir():
        artifact.check_model_folder(Path(source))
    elif os.sep in str(source) and str(source).count("/") != 1:
        raise ArtifactError(f"there is no model folder {str(source)!r}; give a folder or a hub id such as org/name")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"no tokenizer could be read from {str(source)!r}: {str(error).splitlines()[0]}") from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ArtifactError(f"the tokenizer of {str(source)!r} is not a fast one; save it with its tokenizer.json")
    if words and getattr(tokenizer, "add_prefix_space", None) is False:  # byte-level ones read words with their space
        return cast(PreTrainedTokenizerFast, AutoTokenizer.from_pretrained(source, add_prefix_space=True))
    return tokenizer


def load_model(source: str | Path, task: Task) -> PreTrainedModel:
    """The pretrained model with the task's head, float32, never running code from the folder."""
    model = task.auto.from_pretrained(  # type: ignore[attr-defined]
        source,
        num_labels=len(task.labels),
        id2label=dict(enumerate(task.labels)),
        label2id={label: i for i, label in enumerate(task.labels)},
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,
    )
    rows = task.token_types  # type: ignore[attr-defined]
    if rows > 1:
        Anatomy(model).widen_token_types(rows)
    return model  # type: ignore[no-any-return]


def _has_token_types(source: str | Path) -> bool:
    return getattr(AutoConfig.from_pretrained(source, trust_remote_code=False), "type_vocab_size", 0) > 0


def _lower_cases(tokenizer: PreTrainedTokenizerFast) -> bool:
    return bool(tokenizer("Aa")["input_ids"] == tokenizer("aa")["input_ids"])


def _workspace(out: Path, record: dict[str, Any]) -> Path | None:
    """Where a run's checkpoints go; None when `out` already holds this very run."""
    if (out / RUN_FILE).exists():
        held = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
        if all(held.get(key) == value for key, value in record.items()):
            return None
        raise DataError(f"{out} holds another run; choose another folder or remove it")
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty and not a run folder; choose another folder")
    work = out.with_name(f".{out.name}.training")
    ticket = work / "run.json"
    text = json.dumps(record, sort_keys=True)
    if ticket.exists() and ticket.read_text(encoding="utf-8") != text:
        shutil.rmtree(work)  # checkpoints of other options are of no use to this run
    (work / "checkpoints").mkdir(parents=True, exist_ok=True)
    ticket.write_text(text, encoding="utf-8")
    return work


def _write(
    out: Path, work: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast,
    record: dict[str, Any], score: dict[str, Any], history: list[dict[str, Any]],
) -> None:  # fmt: skip
    """Write the run folder beside `out`, then put it in place at once."""
    fresh = work / "result"
    shutil.rmtree(fresh, ignore_errors=True)
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    text = json.dumps({**record, "validation": score, "history": history}, indent=1)
    (fresh / RUN_FILE).write_text(text, encoding="utf-8")
    if out.exists():
        out.rmdir()
    os.replace(fresh, out)
    shutil.rmtree(work)
