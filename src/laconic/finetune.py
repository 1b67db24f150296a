"""Fine-tune a pretrained model on a task: from a checkpoint and data to a run folder.

No paper: the main road's first step. A run folder is an ordinary Hugging Face checkpoint with `laconic.json` beside it,
which says what the model is for and which data it saw.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast, set_seed

from laconic import answers, checkpoint, data, tasks, training, workspace
from laconic import options as checks
from laconic.anatomy import Anatomy
from laconic.contracts import Task, Teacher, Work
from laconic.errors import ArtifactError, RecipeError
from laconic.methods.distill import Distill
from laconic.pretrain import scratch
from laconic.teacher import Ensemble
from laconic.trained import RUN_FILE, read

LENGTH = 512  # tokens read where neither tokenizer nor model sets a limit


def train(
    model: str | Path,
    task: str,
    data_source: str | Path,
    out: str | Path,
    *,
    options: training.Training | None = None,
    teachers: Sequence[str | Path] = (),
    unlabelled: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
    log: Callable[[str], None] = print,
    **task_options: Any,
) -> Path:
    """Fine-tune `model` (folder or hub id) and write the run folder `out`; a killed run goes on where it was.

    A YAML file as `model` describes one that is made anew, its tokenizer trained on the task's texts.
    With `teachers`, run folders of the same data, the model learns their mean answer in place of the labels, also to
    the texts of `unlabelled`. For ner, `casing` is switched on by itself where the tokenizer lower-cases and the model
    has token types.
    """
    checks.seed(seed)
    options = options or training.Training()
    options.check()
    tasks.kind(task)
    plan = scratch.read(model) if scratch.is_plan(model) else None
    if unlabelled is not None and not teachers:
        raise RecipeError("texts without labels need someone to answer them; give a teacher as well")
    splits = data.read_splits(data_source, task, seed=seed)
    out = Path(out)
    record = {
        "model": str(model), "data": _place(data_source), "digest": splits.digest, "seed": seed,
        "training": asdict(options), "options": dict(task_options), "teachers": [_place(t) for t in teachers],
        "unlabelled": None if unlabelled is None else _place(unlabelled),
        **({} if plan is None else {"plan": asdict(plan)}),
    }  # fmt: skip
    if workspace.is_done(out, record, RUN_FILE):
        log(f"{out} is already trained with these options")
        return out
    if plan is None:
        tokenizer, config = checkpoint.tokenizer(model, words=task == "ner"), checkpoint.config(model)
    else:
        tokenizer = scratch.reader(plan, (text for e in splits.train for text in data.records.texts(e, task)))
        config = scratch.described(plan, tokenizer)
    task_options = _by_model(task, config, tokenizer) | task_options
    built = tasks.build(task, labels=data.labels(splits.train, task), **task_options)
    splits = data.read_splits(data_source, built, seed=seed, progress=False)  # the task knows how many labels fit
    if unlabelled is not None:
        splits = data.with_texts(splits, unlabelled, built)
    teacher = _teacher(teachers, built) if teachers else None
    set_seed(seed)
    if plan is None:
        network = load_model(model, built)
    else:
        network = cast(Any, built.auto).from_config(scratch.described(plan, tokenizer, **_head(built)))
    tokenizer.model_max_length = _limit(network, tokenizer, task_options.get("context") or LENGTH)
    kept = workspace.begin(out, record)  # now that nothing is left to refuse
    work = Work(network, tokenizer, built, splits, teacher, seed, kept / "checkpoints", progress, log)
    history = Distill(**asdict(options), hidden=0).learn(work) if teacher else training.fit(work, options)
    held = {**record, "task": tasks.describe(built), "history": history}
    held["validation"] = answers.evaluate(network, tokenizer, built, splits.validation)
    workspace.publish(out, kept, network, tokenizer, {RUN_FILE: json.dumps(held, indent=1).encode()})
    return out


def _place(source: str | Path) -> str:
    """A path that means the same in every folder; a hub id as it is."""
    return str(Path(source).resolve()) if Path(source).exists() else str(source)


def _teacher(folders: Sequence[str | Path], task: Task) -> Teacher:
    """Run folders as one teacher; raises RecipeError for one of another task or with another tokenizer."""
    sources = [read(folder) for folder in folders]
    for folder, source in zip(folders, sources, strict=True):
        if {**tasks.describe(source.task), "loss_name": None} != {**tasks.describe(task), "loss_name": None}:
            raise RecipeError(f"the teacher {folder} was trained for another task, other labels or other casing")
        if source.tokenizer.get_vocab() != sources[0].tokenizer.get_vocab():
            raise RecipeError(
                f"the teachers {folders[0]} and {folder} have different tokenizers; give those of one kind"
            )
    ensemble = Ensemble([source.model for source in sources], several=task.multiple)
    return Teacher(ensemble, sources[0].tokenizer)


def load_model(source: str | Path, task: Task) -> PreTrainedModel:
    """The pretrained model with the task's head; ArtifactError where weights behind the head do not fit its config."""
    head = _head(task)
    if head:
        head["ignore_mismatched_sizes"] = True  # of a head for other labels
    model, found = checkpoint.model(task.auto, source, output_loading_info=True, **head)
    anatomy = Anatomy(model)
    new = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    lost = [n for n in new if n.startswith(f"{model.base_model_prefix}.") and n.rpartition(".")[0] not in anatomy.head]
    if lost:
        raise ArtifactError(
            f"{source}: {len(lost)} of its weights are missing or of another shape than config.json says, "
            f"{min(lost)} for one; copy the model again or mend its config"
        )
    rows = task.token_types  # type: ignore[attr-defined]
    if rows > 1:
        anatomy.widen_token_types(rows)
    return model  # type: ignore[no-any-return]


def _limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, length: int) -> int:
    """Tokens of the longest text: what tokenizer and model allow, and `length` where positions are not learned."""
    promised = getattr(model.config, "max_position_embeddings", None) or length
    return min(tokenizer.model_max_length, Anatomy(model).positions or min(promised, length))


def _head(task: Task) -> dict[str, Any]:
    """What of a configuration follows from the labels, where there are any."""
    named = {label: i for i, label in enumerate(task.labels)}
    return {"num_labels": len(named), "id2label": dict(enumerate(named)), "label2id": named} if named else {}


def _by_model(task: str, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Options of the task that follow from the model, where they are not given."""
    if task == "ner":
        return {"casing": _lower_cases(tokenizer) and getattr(config, "type_vocab_size", 0) > 0}
    if "start" in [f.name for f in fields(cast(Any, tasks.kind(task)))] and config.is_encoder_decoder:
        return {"start": tokenizer.convert_ids_to_tokens(config.decoder_start_token_id)}
    return {}


def _lower_cases(tokenizer: PreTrainedTokenizerFast) -> bool:
    return bool(tokenizer("Aa")["input_ids"] == tokenizer("aa")["input_ids"])
