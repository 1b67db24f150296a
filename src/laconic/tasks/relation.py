"""Relation extraction: which relation two marked entities of a sentence have, and in which direction.

Hendrickx et al. 2010, S10-1006 (task and score); Baldini Soares et al. 2019, arXiv:1906.03158, for the markers: each
entity stands between two tokens of its own. Differs from the paper: the head reads the first token, as stock ones do,
so that every engine can run it, and the two entities stand before the sentence as well, where that token finds them.

The score is the official one: a label is `Relation(e1,e2)` or `Relation(e2,e1)`, and the wrong direction is wrong; F1
is that of a relation in both directions together; the mean is over the relations that occur, without `other`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from laconic import losses
from laconic.contracts import Example, Feature
from laconic.data.cuts import cut
from laconic.errors import DataError, RecipeError

DIRECTION = re.compile(r"\(e[12],e[12]\)$")
MARKED = re.compile(r"<(e[12])>(.+?)</\1>", re.DOTALL)
ENTITIES = ("e1", "e2")
OTHER = "Other"  # which data need not have: in some, all entities have a relation


@dataclass(frozen=True)
class Relation:
    """Sequence classification of a sentence with two entities; `other` is the label of those that have no relation."""

    labels: tuple[str, ...]
    other: str = OTHER
    loss_name: str = "cross_entropy"

    multiple: ClassVar[bool] = False
    name: ClassVar[str] = "relation"
    main: ClassVar[str] = "macro_f1"
    auto: ClassVar[type] = AutoModelForSequenceClassification
    token_types: ClassVar[int] = 1
    tokens: ClassVar[tuple[str, ...]] = ("[E1]", "[/E1]", "[E2]", "[/E2]")  # what it adds to a tokenizer

    def __post_init__(self) -> None:
        losses.check(self.loss_name, several=self.multiple)
        if self.other not in (OTHER, *self.labels):
            raise RecipeError(
                f"other is {self.other!r}, but no record of training has it; leave it out or give one of the labels"
            )

    def parse(self, text: str) -> Example:
        """A line with its entities between <e1></e1> and <e2></e2>."""
        plain, entities, last = "", {}, 0
        for match in MARKED.finditer(text):
            plain += text[last : match.start()]
            entities[match[1]] = {"text": match[2], "start": len(plain), "end": len(plain) + len(match[2])}
            plain, last = plain + match[2], match.end()
        lacking = [name for name in ENTITIES if name not in entities]
        if lacking:
            raise DataError(f"{text[:40]!r} has no <{lacking[0]}>; mark both entities, as in <e1>fire</e1> ... <e2>..")
        return {"text": plain + text[last:], **entities}

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """Pieces of the two entities, then of each text with its entities marked; labels are one class index.

        A text that is too long is read from its beginning, or around the entities where they stand further on.
        """
        first = [" ".join(f"[{e.upper()}] {x[e]['text']} [/{e.upper()}]" for e in ENTITIES) for x in examples]
        how: dict[str, Any] = {"truncation": True, "return_token_type_ids": False}
        encoded = tokenizer(first, [marked(x) for x in examples], **how)
        features = []
        for i, example in enumerate(examples):
            ids = encoded["input_ids"][i]
            if cut(encoded, i) == [1]:
                ids = tokenizer(first[i], around(example, first[i], tokenizer), **how)["input_ids"]
            feature = {"input_ids": ids, "attention_mask": [1] * len(ids), "cut": cut(encoded, i)}
            if answers:
                feature["labels"] = [self.labels.index(example["label"])]
            features.append(feature)
        return features

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over the examples of a batch; logits (batch, labels), labels (batch, 1)."""
        return losses.loss(self.loss_name, logits, labels.reshape(-1))

    def reduce(self, logits: np.ndarray, feature: Feature) -> np.ndarray:
        """All of them."""
        return logits

    def predict(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[str]:
        """The likeliest label."""
        return [self.labels[int(o.argmax())] for o in outputs]

    @property
    def relations(self) -> list[str]:
        """The relations without their directions."""
        return sorted({_plain(label) for label in self.labels} - {self.other})

    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, Any]:
        """The official macro F1, micro F1 and accuracy of labels with their direction, and a table of relations."""
        summed = self.counts(predictions, examples).sum(0)
        right, said, true = summed.reshape(3, -1)  # (relations,)
        rows = [_figures(*row) for row in zip(right, said, true, strict=True)]
        table = dict(zip(self.relations, rows, strict=True))
        table["micro"] = _figures(right.sum(), said.sum(), true.sum())
        there = [row for row in rows if row["support"]]
        table["macro"] = {key: float(np.mean([row[key] for row in there] or [0.0])) for key in rows[0]} if rows else {}
        if rows:
            table["macro"]["support"] = float(true.sum())
        exact = [p == e["label"] for p, e in zip(predictions, examples, strict=True)]
        figures = {"macro_f1": float(self.metric(summed)), "micro_f1": table["micro"]["f1"]}
        return {**figures, "accuracy": float(np.mean(exact)), "table": table}

    def counts(self, predictions: Sequence[str], examples: Sequence[Example]) -> np.ndarray:
        """Labels right, said and true of each relation, for each example: (examples, 3 * relations)."""
        place = {name: i for i, name in enumerate(self.relations)}
        counts = np.zeros((len(examples), 3, len(place)), np.int64)
        for row, said, example in zip(counts, predictions, examples, strict=True):
            for kind, label in ((1, said), (2, example["label"])):
                if label != self.other:
                    row[kind, place[_plain(label)]] = 1
            if said == example["label"] != self.other:
                row[0, place[_plain(said)]] = 1
        return counts.reshape(len(examples), -1)

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """Mean over the relations that occur of 2 right / (said + true), from summed counts (..., 3 * relations)."""
        right, said, true = np.moveaxis(summed.reshape(*summed.shape[:-1], 3, -1), -2, 0)  # (..., relations)
        each = 2 * right / np.maximum(said + true, 1)
        return np.asarray((each * (true > 0)).sum(-1) / np.maximum((true > 0).sum(-1), 1))

    def bits(self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]) -> float:
        """Bits of the labels under the softmax."""
        scores = torch.from_numpy(np.stack(list(outputs))).double()  # (examples, labels)
        true = torch.tensor([self.labels.index(e["label"]) for e in examples])
        return float(torch.nn.functional.cross_entropy(scores, true, reduction="sum")) / float(np.log(2))

    def answers(self, example: Example) -> int:
        """One label."""
        return 1

    def unit(self, example: Example) -> str:
        """A label is one answer."""
        return "answer"

    def show(self, prediction: str, example: Example) -> dict[str, Any]:
        """The text, its entities and their relation."""
        return {"text": example["text"], "e1": example["e1"], "e2": example["e2"], "label": prediction}


def marked(example: Example) -> str:
    """The text with each entity between its two tokens; of entities that begin together, the longer one is outside."""
    spans = [(example[e]["start"], example[e]["end"], e.upper()) for e in ENTITIES]
    opened = [(start, 1, -end, f"[{name}] ") for start, end, name in spans]
    closed = [(end, 0, -start, f" [/{name}]") for start, end, name in spans]
    text, last = "", 0
    for place, _, _, mark in sorted(opened + closed):
        text, last = text + example["text"][last:place] + mark, place
    return text + str(example["text"][last:])


def around(example: Example, first: str, tokenizer: PreTrainedTokenizerFast) -> str:
    """The marked text, without its beginning where what is read behind `first` would not hold both entities then.

    As much is read before them as behind, or less where a text that begins within a word has more pieces than it had
    there. Where they are too far apart to be read together it is the whole text.
    """
    text, starts, ends = marked(example), *([example[e][side] for e in ENTITIES] for side in ("start", "end"))
    last = len(text) - len(example["text"]) + max(ends)  # where the later one's mark ends
    before, whole = _offsets(first, tokenizer), _offsets(text, tokenizer)
    room = tokenizer.model_max_length - len(before) - tokenizer.num_special_tokens_to_add(pair=True)
    places = [i for i, (start, end) in enumerate(whole) if end > min(starts) and start < last]
    if places[-1] < room or len(places) > room:
        return text
    begin = min(places[0] - (room - len(places)) // 2, len(whole) - room)
    for left in (start for start, _ in whole[begin : places[0]]):
        if sum(start < last - left for start, _ in _offsets(text[left:], tokenizer)) <= room:
            return text[left:]
    return text[whole[places[0]][0] :]


def _offsets(text: str, tokenizer: PreTrainedTokenizerFast) -> list[tuple[int, int]]:
    """Where each piece of a text begins and ends, in characters."""
    (encoding,) = tokenizer(text, add_special_tokens=False, verbose=False).encodings or []
    return list(encoding.offsets)


def _plain(label: str) -> str:
    return DIRECTION.sub("", label)


def _figures(right: int, said: int, true: int) -> dict[str, float]:
    shares = {"precision": right / max(said, 1), "recall": right / max(true, 1), "f1": 2 * right / max(said + true, 1)}
    return {key: float(value) for key, value in {**shares, "support": true}.items()}
