"""What a model says where its task answers, batch by batch, and the task's figures on it.

No paper: bookkeeping. Logits over a vocabulary are large, so each batch is reduced to what the task keeps before the
next one runs, and a batch holds no more examples than there is room for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from laconic import writing
from laconic.anatomy.cut import size
from laconic.contracts import Example, Feature, Task, Written
from laconic.data import cuts
from laconic.data.batching import PADDING, batches, lengths, model_inputs

Batch = dict[str, torch.Tensor]
Objective = Callable[[PreTrainedModel, Batch, Sequence[int]], torch.Tensor]

NEVER = -1e4  # a logit that is never chosen; of two such ones a divergence can still be taken
ROOM = 256_000_000  # bytes of logits that one batch may hold


def width(model: PreTrainedModel) -> int:
    """Logits at one place: labels, or the vocabulary of a language model."""
    head = cast(Any, model).get_output_embeddings()
    return int(model.config.num_labels or 0) if head is None else size(head)[0]


def room(model: PreTrainedModel, features: Sequence[Feature], batch: int) -> int:
    """How many of these features, at most `batch`, can run together with their logits within ROOM."""
    longest = max(lengths(features), default=1)
    return max(1, min(batch, ROOM // (4 * longest * max(width(model), 1))))


def logits_of(said: Any) -> torch.Tensor:
    """Logits of a model's output: (batch, tokens, labels) or (batch, labels); a span's start and end are two labels."""
    if "start_logits" in said:
        return torch.stack([said.start_logits, said.end_logits], -1)
    return cast(torch.Tensor, said.logits)


def spots(feature: Feature) -> list[int] | None:
    """Token positions that answer: `slots`, which each choose a label, or `places`, among which each label chooses."""
    return feature.get("slots", feature.get("places"))


def spot_logits(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Logits where the task answers: (spots of all examples, labels) for (batch, tokens, labels); else as they are."""
    where = batch.get("slots", batch.get("places"))
    if where is not None:
        where = where.to(logits.device)  # (batch, spots), -1 where there is none
        rows, places = (where >= 0).nonzero(as_tuple=True)  # (spots of all examples,)
        logits = logits[rows, where[rows, places]]
    return logits.float()  # losses are taken in full precision


def by_label(logits: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """What each label chooses among: (examples * labels, places), of (places of all examples, labels)."""
    rows = torch.nn.utils.rnn.pad_sequence(
        list(torch.split(logits, list(counts))), True, NEVER
    )  # (examples, places, labels)
    return rows.transpose(1, 2).flatten(0, 1)


def slot_logits(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Logits in rows of which each chooses one: (slots of all examples, labels), or as `by_label` for `places`."""
    found = spot_logits(logits, batch)
    return by_label(found, (batch["places"] >= 0).sum(1).tolist()) if "places" in batch else found


def slot_labels(batch: Batch) -> torch.Tensor:
    """Labels beside `slot_logits`: (slots of all examples,), or (batch, ...)."""
    if "places" in batch:
        return batch["labels"].flatten()
    return batch["labels"][batch["slots"] >= 0] if "slots" in batch else batch["labels"]


def answered_in(batch: Batch) -> float:
    """Answers that a batch's loss is the mean over: labels that are given, or slots that answer, or texts."""
    if "asked" in batch:  # a share of a batch, whose loss is the mean over what a share holds on average
        return float(batch["asked"])
    if "labels" in batch:
        return float((slot_labels(batch) != PADDING["labels"]).sum())
    return float((batch["slots"] >= 0).sum() if "slots" in batch else len(batch["input_ids"]))


def task_objective(task: Task) -> Objective:
    """The task's own loss on its labels."""

    def objective(model: PreTrainedModel, batch: Batch, _: Sequence[int]) -> torch.Tensor:
        logits = logits_of(model(**model_inputs(batch, model.device)))
        return task.loss(slot_logits(logits, batch), slot_labels(batch).to(logits.device))

    return objective


def kept(logits: np.ndarray, row: int, feature: Feature, task: Task) -> np.ndarray:
    """What the task keeps of one row of a batch's logits, (batch, tokens, labels) or (batch, labels)."""
    where = spots(feature)
    return task.reduce(logits[row] if where is None else logits[row, where], feature)


def answered(features: Sequence[Feature], task: Task) -> list[Feature]:
    """The features whose logits say something: of a task that writes, those with a right answer."""
    unsaid = writing.of(task) is not None and bool(features) and "said" not in features[0]
    return [] if unsaid else list(features)


@torch.no_grad()
def outputs(
    model: PreTrainedModel, task: Task, features: Sequence[Feature], pad_id: int, batch: int = 32
) -> list[np.ndarray]:
    """Outputs of every feature as the task keeps them, of float32 logits: (slots, labels) or (labels,) as a rule."""
    was_training = model.training
    model.eval()  # type: ignore[no-untyped-call]
    rows: list[np.ndarray] = [np.empty(0)] * len(features)
    for chosen, padded in batches(answered(features, task), room(model, features, batch), pad_id):
        logits = logits_of(model(**model_inputs(padded, model.device))).float().cpu().numpy()
        for row, i in enumerate(chosen):
            rows[i] = kept(logits, row, features[i], task)
    model.train(was_training)
    return rows


def complete(
    rows: Sequence[np.ndarray], hand: writing.Hand, task: Task, features: Sequence[Feature],
    tokenizer: PreTrainedTokenizerFast, progress: bool = False,
) -> list[Any]:  # fmt: skip
    """The outputs that a task predicts from: of a task that writes, with what `hand` writes."""
    how = writing.of(task)
    if how is None:
        return list(rows)
    written = writing.texts(hand, features, tokenizer, how, progress)
    return [Written(tuple(texts), bits) for texts, bits in zip(written, rows, strict=True)]


def evaluate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, task: Task, examples: Sequence[Example]
) -> dict[str, Any]:
    """The task's figures on examples, `bits`, the mean bits of an answer, and, where texts are `cut`, how many."""
    features = task.encode(examples, tokenizer, answers=False)
    rows = outputs(model, task, features, tokenizer.pad_token_id or 0)
    raw = complete(rows, writing.Pen(model), task, features, tokenizer) if writing.of(task) else rows
    figures = task.score(task.predict(raw, features, examples), examples)
    shortened = cuts.said(features, tokenizer)
    figures |= {"bits": task.bits(raw, features, examples) / max(len(examples), 1)}
    return {**figures, "cut": shortened} if shortened else figures
