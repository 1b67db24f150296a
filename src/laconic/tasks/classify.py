"""Text classification: one label of several, one of two, or any number of them.

No paper: softmax over labels; with `multiple`, an independent sigmoid for each label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.metrics import matthews_corrcoef, precision_recall_fscore_support
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from laconic import losses
from laconic.contracts import Example, Feature
from laconic.data.batching import filled
from laconic.data.cuts import cut
from laconic.errors import RecipeError
from laconic.maths import counts


@dataclass(frozen=True)
class Classify:
    """Sequence classification. With `multiple`, an example's label is a list, and a label holds when p >= 0.5.

    `out_of_scope` is the label of texts that no other label fits, which figures of their own then tell apart (Larson et
    al. 2019, arXiv:1909.02027).
    """

    labels: tuple[str, ...]
    multiple: bool = False
    loss_name: str = ""
    out_of_scope: str = field(default="", metadata={"rare": True})

    name: ClassVar[str] = "classify"
    auto: ClassVar[type] = AutoModelForSequenceClassification
    token_types: ClassVar[int] = 1

    @property
    def main(self) -> str:
        """Accuracy, or micro F1 where labels do not exclude one another."""
        return "micro_f1" if self.multiple else "accuracy"

    def __post_init__(self) -> None:
        losses.check(self._loss, several=self.multiple)
        if self.out_of_scope and (self.multiple or self.out_of_scope not in self.labels):
            why = "an example has several labels" if self.multiple else "no record of training has it"
            raise RecipeError(
                f"out_of_scope is {self.out_of_scope!r}, but {why}; leave it out or give one of the labels"
            )

    @property
    def _loss(self) -> str:
        return self.loss_name or ("binary_cross_entropy" if self.multiple else "cross_entropy")

    def parse(self, text: str) -> Example:
        """A line is a text."""
        return {"text": text}

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """Pieces of each text; labels are one class index, or a 0/1 for every label."""
        encoded = tokenizer([e["text"] for e in examples], truncation=True, return_token_type_ids=False)
        features = []
        for i, example in enumerate(examples):
            ids = filled(encoded["input_ids"][i], tokenizer)
            feature = {"input_ids": ids, "attention_mask": [1] * len(ids), "cut": cut(encoded, i)}
            if answers:
                chosen = {self.labels.index(label) for label in _of(example)}
                feature["labels"] = [int(k in chosen) for k in range(len(self.labels))] if self.multiple else [*chosen]
            features.append(feature)
        return features

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over the examples of a batch; logits (batch, labels), labels (batch, 1) or (batch, labels)."""
        return losses.loss(self._loss, logits, labels if self.multiple else labels.reshape(-1))

    def reduce(self, logits: np.ndarray, feature: Feature) -> np.ndarray:
        """All of them."""
        return logits

    def predict(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[str] | list[list[str]]:
        """The likeliest label, or every label with p >= 0.5."""
        if self.multiple:
            return [[self.labels[k] for k in np.flatnonzero(o >= 0)] for o in outputs]
        return [self.labels[int(o.argmax())] for o in outputs]

    def _flags(self, predictions: Sequence[Any]) -> np.ndarray:
        rows = [p if isinstance(p, list) else [p] for p in predictions]
        return np.array([[label in row for label in self.labels] for row in rows], dtype=int)  # (examples, labels)

    def score(self, predictions: Sequence[Any], examples: Sequence[Example]) -> dict[str, Any]:
        """Accuracy (all labels of an example right), Matthews correlation, and every label's table.

        F1 is averaged as scikit-learn does: over the labels that are true or said somewhere; with `multiple` over all.
        """
        said, true = self._flags(predictions), self._flags([e["label"] for e in examples])
        sides = [np.pad(side, ((0, 0), (0, 1))) for side in (true, said)]  # a lone column would stand for two labels
        each = np.arange(len(self.labels))
        columns = precision_recall_fscore_support(*sides, labels=each, average=None, zero_division=0.0)
        table = {
            label: dict(zip(("precision", "recall", "f1", "support"), map(float, row), strict=True))
            for label, row in zip(self.labels, zip(*columns, strict=True), strict=True)
        }
        occurring = not self.multiple and (true | said).any()
        there = np.flatnonzero((true | said).any(0)) if occurring else each  # labels that are averaged
        for average in ("micro", "macro", "weighted"):
            p, r, f, _ = precision_recall_fscore_support(*sides, labels=there, average=average, zero_division=0.0)
            table[average] = {"precision": float(p), "recall": float(r), "f1": float(f), "support": float(true.sum())}
        figures = {
            "accuracy": float((said == true).all(1).mean()),
            "micro_f1": table["micro"]["f1"],
            "macro_f1": table["macro"]["f1"],
        }
        if not self.multiple:
            both = true.argmax(1), said.argmax(1)
            one_label = len(np.unique(np.concatenate(both))) == 1  # no correlation can be told; scikit-learn says 0 too
            figures["mcc"] = 0.0 if one_label else float(matthews_corrcoef(*both))
        if self.out_of_scope:
            figures |= self._scope(said, true, table[self.out_of_scope])
        return {**figures, "table": table}

    def _scope(self, said: np.ndarray, true: np.ndarray, row: dict[str, float]) -> dict[str, float]:
        """Accuracy within the scope, and how well what is out of it is found."""
        within = true[:, self.labels.index(self.out_of_scope)] == 0  # (examples,)
        right = (said == true).all(1)[within]
        found = {f"out_of_scope_{key}": row[key] for key in ("precision", "recall")}
        return {"in_scope_accuracy": float(right.mean()) if len(right) else 0.0, **found}

    def counts(self, predictions: Sequence[Any], examples: Sequence[Example]) -> np.ndarray:
        """Labels right, said and true of each example: (examples, 3)."""
        said, true = self._flags(predictions), self._flags([e["label"] for e in examples])
        return np.stack([(said & true).sum(1), said.sum(1), true.sum(1)], axis=1)

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """Micro F1 from summed counts (..., 3); with one label each, that is the accuracy."""
        return counts.f1(summed)

    def bits(self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]) -> float:
        """Bits of the labels: softmax, or the sum of the sigmoids' bits."""
        scores = torch.from_numpy(np.stack(list(outputs))).double()  # (examples, labels)
        true = torch.from_numpy(self._flags([e["label"] for e in examples]))  # (examples, labels)
        if self.multiple:
            nats = torch.nn.functional.binary_cross_entropy_with_logits(scores, true.double(), reduction="sum")
        else:
            nats = torch.nn.functional.cross_entropy(scores, true.argmax(1), reduction="sum")
        return float(nats) / float(np.log(2))

    def answers(self, example: Example) -> int:
        """One label, or one set of them."""
        return 1

    def unit(self, example: Example) -> str:
        """A label, or a set of them, is one answer."""
        return "answer"

    def show(self, prediction: Any, example: Example) -> dict[str, Any]:
        """The text and its label or labels."""
        return {"text": example["text"], "labels" if self.multiple else "label": prediction}


def _of(example: Example) -> list[str]:
    label = example["label"]
    return list(label) if isinstance(label, list) else [label]
