"""Fine-tune a pretrained model on a task: from a checkpoint and data to a run folder.

No paper: the main road's first step. A run folder is an ordinary Hugging Face checkpoint with `laconic.json` beside it,
which says what the model is for and which data it saw.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from transformers import AddedToken, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast, set_seed

from laconic import answers, checkpoint, data, ranks, tasks, training, workspace
from laconic import options as checks
from laconic.anatomy import Anatomy
from laconic.anatomy.cut import size
from laconic.contracts import Splits, Task, Teacher, Work
from laconic.data import words
from laconic.errors import ArtifactError, RecipeError
from laconic.methods.distill import Distill
from laconic.pretrain import scratch
from laconic.pretrain.config import Plan
from laconic.tasks.dialogue import replies
from laconic.teacher import Ensemble
from laconic.trained import RUN_FILE, read

SHORT = 80  # characters of a value in an error message
OUT_OF_SCOPE = ("oos", "out_of_scope", "out-of-scope")  # labels that mean by their name that no other one fits


def train(
    model: str | Path,
    task: str,
    data_source: str | Path,
    out: str | Path,
    *,
    options: training.Training | None = None,
    teachers: str | Path | Sequence[str | Path] = (),
    unlabelled: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: bool = True,
    log: Callable[[str], None] = print,
    **task_options: Any,
) -> Path:
    """Fine-tune `model` (folder or hub id) and write the run folder `out`; a killed run goes on where it was.

    A YAML file as `model` describes one that is made anew, its tokenizer trained on the task's texts.
    With `teachers`, run folders of the same data (or one), the model learns their mean answer in place of the labels,
    also to the texts of `unlabelled`. Options of a task that are not given follow from model and data; `settings` takes
    them too, which some need, as the `seed` that hides words is not the one that trains.
    """
    checks.seed(seed)
    options = options or training.Training()
    options.check()
    tasks.kind(task)
    teachers = [teachers] if isinstance(teachers, str | Path) else list(teachers)
    ranks.alone("fine-tuning")
    given = _given({**task_options, **(settings or {})}, teachers, unlabelled)
    plan = scratch.read(model) if scratch.is_plan(model) else None
    splits = data.read_splits(data_source, task, seed=seed)
    tokenizer, config = _basis(model, plan, task, splits, options.optimizer)
    task_options = _own(task, {**_fitting(task, splits, tokenizer, config), **given})
    built = tasks.build(task, labels=data.labels(splits.train, task), **task_options)
    _check_start(built, tokenizer, config)
    splits = data.read_splits(data_source, built, seed=seed, progress=False)  # the task knows how many labels fit
    if unlabelled is not None:
        splits = data.with_texts(splits, unlabelled, built, data.unseen(data_source, built, seed))
    teacher = _teacher(teachers, built) if teachers else None
    out = Path(out)
    record = {
        "model": str(model), "data": _place(data_source), "digest": splits.digest, "seed": seed,
        "training": asdict(options), "options": given, "teachers": [_place(t) for t in teachers],
        "unlabelled": None if unlabelled is None else _place(unlabelled),
        **({"content": checkpoint.content(model)} if plan is None else {"plan": asdict(plan)}),
    }  # fmt: skip
    if teacher:
        record |= _taught(teacher)
    if workspace.is_done(out, record, RUN_FILE):
        log(f"{out} is already trained with these options")
        return out
    set_seed(seed)
    network = load_model(model, built, log) if plan is None else _anew(plan, built, tokenizer)
    _add_tokens(getattr(built, "tokens", ()), tokenizer, network)
    if built.labels:
        _pad(tokenizer, network)
    tokenizer.chat_template = getattr(built, "template", tokenizer.chat_template)
    tokenizer.model_max_length = _longest(network, tokenizer, task, given.get("context"))
    kept = workspace.begin(out, record)  # now that nothing is left to refuse
    work = Work(network, tokenizer, built, splits, teacher, seed, kept / "checkpoints", progress, log)
    history = Distill(**asdict(options), hidden=0).learn(work) if teacher else training.fit(work, options)
    held = {**record, "task": tasks.describe(built), "history": history}
    found = held["validation"] = answers.evaluate(network, tokenizer, built, splits.validation)
    if "cut" in found:
        log(f"validation: {found['cut']}")
    workspace.publish(out, kept, network, tokenizer, {RUN_FILE: json.dumps(held, indent=1).encode()})
    return out


def _own(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the task has itself: of `context`, which any takes, those that read in windows."""
    return {name: value for name, value in options.items() if name != "context" or tasks.has(task, name)}


def _longest(network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, task: str, context: int | None) -> int:
    """Tokens of the longest text that is read; RecipeError where the model reads fewer than a `context` given."""
    most = checkpoint.limit(network, tokenizer, context)
    if context is not None and context > most:
        raise RecipeError(f"context is {context}; the model reads at most {most} tokens")
    return most if context is None or tasks.has(task, "context") else context


def _given(given: dict[str, Any], teachers: Sequence[str | Path], unlabelled: str | Path | None) -> dict[str, Any]:
    """The options; RecipeError for one that is none, texts that nobody answers, a loss against labels not learnt."""
    for word, mend in (("labels", "they are those of the training data"), ("name", "the task is named beside them")):
        if word in given:
            raise RecipeError(
                f"{word} can't be set among the options of a task: {mend}; leave out {word}={given[word]}"
            )
    if given.get("context") is not None:
        checks.whole("context", given["context"])
    if unlabelled is not None and not teachers:
        raise RecipeError("texts without labels need someone to answer them; give a teacher as well")
    if teachers and given.get("loss_name") is not None:
        raise RecipeError(
            f"loss_name is {given['loss_name']!r}, but with teachers their answers are learnt, not the labels; "
            "leave out the loss or the teachers"
        )
    return given


def _check_start(task: Task, tokenizer: PreTrainedTokenizerFast, config: PreTrainedConfig) -> None:
    """Raise RecipeError for a token to begin with that the tokenizer lacks, that the model has no use for, or needs."""
    if not tasks.has(task.name, "start"):
        return
    start = cast(Any, task).start
    if (start is not None) != config.is_encoder_decoder:
        given, other = ("null", "an") if start is None else (repr(start), "no")
        raise RecipeError(
            f"start is {given}; with a token an encoder-decoder begins to write, and only it; this model "
            f"({config.model_type}) is {other} encoder-decoder, so leave start out"
        )
    if start is not None and start not in tokenizer.get_vocab():
        raise RecipeError(
            f"start is {start!r}, which is no token of the tokenizer; leave start out for that of the model's config, "
            "or give one that is"
        )


def _place(source: str | Path) -> str:
    """A path that means the same in every folder; a hub id as it is."""
    return str(Path(source).resolve()) if Path(source).exists() else str(source)


def _teacher(folders: Sequence[str | Path], task: Task) -> Teacher:
    """Run folders as one teacher; raises RecipeError for one of another task or with another tokenizer."""
    sources = [read(folder) for folder in folders]
    wanted = tasks.describe(task)
    for folder, source in zip(folders, sources, strict=True):
        found = tasks.describe(source.task)
        other = [key for key in sorted({*wanted, *found} - {"loss_name"}) if found.get(key) != wanted.get(key)]
        if other:
            raise RecipeError(
                f"the teacher {folder} has another {other[0]}: {_short(found.get(other[0]))}, where this run has "
                f"{_short(wanted.get(other[0]))}; train it on this data with the same options"
            )
        if source.tokenizer.get_vocab() != sources[0].tokenizer.get_vocab():
            raise RecipeError(
                f"the teachers {folders[0]} and {folder} have different tokenizers; give those of one kind"
            )
    ensemble = Ensemble([source.model for source in sources], several=task.multiple)
    return Teacher(ensemble, sources[0].tokenizer)


def _taught(teacher: Teacher) -> dict[str, Any]:
    """What a record says of a teacher: its weights, and, since these alone do not say what it answers, its members."""
    members = [checkpoint.identity(one, teacher.tokenizer) for one in teacher.model.members]
    return {"taught_by": checkpoint.digest(teacher.model, teacher.tokenizer), "taught_as": members}


def _short(value: Any) -> str:
    """A value in an error message."""
    text = str(value)
    return text if len(text) <= SHORT else f"{text[:SHORT]} ..."


def load_model(source: str | Path, task: Task, log: Callable[[str], None]) -> PreTrainedModel:
    """The pretrained model with the task's head; ArtifactError where weights behind the head do not fit its config.

    A head over labels is always new; of one over the vocabulary that is, `log` is told.
    """
    _suits(task, checkpoint.config(source), source)
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
    if new and not task.labels:
        log(f"{source} lacks {len(new)} weights of a language model's head, {min(new)} for one: new ones are trained")
    rows = task.token_types  # type: ignore[attr-defined]
    if rows > 1:
        anatomy.widen_token_types(rows)
    return model  # type: ignore[no-any-return]


def _fitting(task: str, splits: Splits, tokenizer: PreTrainedTokenizerFast, config: PreTrainedConfig) -> dict[str, Any]:
    """Options that follow from model and data: token types where the model has them, characters where words are such.

    `casing` is of use where the tokenizer lower-cases; a text's words are characters where all that were tagged are,
    or most of the answers' are Chinese, and then BLEU counts characters; a label that says by its name that no other
    fits is out of scope. An encoder-decoder begins to write with the token its config names; an encoder is masked. A
    dialogue is told by the tokenizer's own template.
    """
    types = getattr(config, "type_vocab_size", 0)
    if task == "ner":
        tagged = all(len(token) == 1 for example in splits.train for token in example["tokens"])
        return {"casing": _lower_cases(tokenizer) and types > 0, "characters": tagged}
    if task == "qa":
        answers_given = " ".join(text for example in splits.train for text in example["answers"]["text"])
        return {"segments": types > 1, "characters": words.chinese(answers_given)}
    if task == "classify" and isinstance(splits.train[0]["label"], str):
        scope = [label for label in data.labels(splits.train, task) if label.lower() in OUT_OF_SCOPE]
        return {"out_of_scope": scope[0]} if scope else {}
    targets = {"translate": lambda e: [e["target"]], "dialogue": replies}
    texts = (text for e in splits.train for text in targets[task](e)) if task in targets else ()
    written = {"tokenize": "zh"} if words.chinese(" ".join(texts)) else {}
    chat = {"template": tokenizer.chat_template} if task == "dialogue" and tokenizer.chat_template else {}
    if tasks.has(task, "masked") and checkpoint.reads_ahead(config):
        return {"masked": True}
    if tasks.has(task, "start") and config.is_encoder_decoder:
        return chat | written | {"start": tokenizer.convert_ids_to_tokens(config.decoder_start_token_id)}
    return chat | written


def _add_tokens(tokens: Sequence[str], tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel) -> None:
    """Pieces for the tokens of a task; those that are there already stay as they are."""
    made = [AddedToken(token, lstrip=True, normalized=False, special=True) for token in tokens]
    tokenizer.add_tokens(made, special_tokens=True)
    if len(tokenizer) > size(model.get_input_embeddings())[0]:
        model.resize_token_embeddings(len(tokenizer))


def _pad(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel) -> None:
    """Let tokenizer and model agree on padding; a tokenizer without (GPT-2's) pads with the token that ends texts.

    A decoder's head reads the last token that is no padding, so the model must know.
    """
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    model.config.pad_token_id = tokenizer.pad_token_id


def _basis(
    model: str | Path, plan: Plan | None, task: str, splits: Splits, optimizer: str
) -> tuple[PreTrainedTokenizerFast, PreTrainedConfig]:
    """Tokenizer and config of a checkpoint, or those of a plan, whose tokenizer is trained on the task's texts."""
    if plan is None:
        return checkpoint.tokenizer(model, words=task == "ner"), checkpoint.config(model)
    tokenizer = scratch.reader(
        plan, lambda: (text for e in splits.train for text in data.records.texts(e, task)), optimizer
    )
    return tokenizer, scratch.described(plan, tokenizer)


def _anew(plan: Plan, task: Task, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A model of the plan that has learned nothing yet, with the task's head."""
    described = scratch.described(plan, tokenizer, **_head(task))
    _suits(task, described, "the plan's model")
    made: PreTrainedModel = cast(Any, task.auto).from_config(described)
    if task.token_types > 1:  # type: ignore[attr-defined]
        Anatomy(made).widen_token_types(task.token_types)  # type: ignore[attr-defined]
    return made


def _suits(task: Task, config: PreTrainedConfig, source: str | Path) -> None:
    """Raise ArtifactError for a model that has no head for the task; one that writes can be of two kinds."""
    writers = "give an encoder-decoder such as T5 or BART, or a decoder such as GPT-2 or Llama"
    checkpoint.suits(task.auto, config, source, writers if tasks.has(task.name, "start") else "")


def _head(task: Task) -> dict[str, Any]:
    """What of a configuration follows from the labels, where there are any."""
    named = {label: i for i, label in enumerate(task.labels)}
    return {"num_labels": len(named), "id2label": dict(enumerate(named)), "label2id": named} if named else {}


def _lower_cases(tokenizer: PreTrainedTokenizerFast) -> bool:
    return bool(tokenizer("Aa")["input_ids"] == tokenizer("aa")["input_ids"])
