"""Named-entity recognition: one tag per word, in the IOB2 scheme.

Ramshaw & Marcus 1995, arXiv:cmp-lg/9505040 (tags); Tjong Kim Sang & De Meulder 2003, CoNLL-2003 (entity F1). The label
of a word stands on its first piece. Tags that cannot follow one another (I-PER after O) are ruled out when decoding,
by Viterbi over the tag scores. A text that is longer than the model reads is read in windows that overlap, and each
word's scores are those of the window in which it has the most context: see `data.windows`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import precision_recall_fscore_support
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast

from laconic import losses
from laconic.contracts import Example, Feature
from laconic.data.batching import filled
from laconic.data.windows import Window, windows
from laconic.data.words import RUN, parted
from laconic.maths import counts

WORD = parted(rf"{RUN}(?:[-'’.]{RUN})*")
SHAPES = 4  # lower, Title, UPPER, mIxed


def shape(word: str) -> int:
    """How a word is written: 0 without capitals, 1 Title, 2 UPPER, 3 mixed."""
    if word == word.lower():
        return 0
    if word[:1].isupper() and word[1:] == word[1:].lower():
        return 1
    return 2 if word == word.upper() else 3


@dataclass(frozen=True)
class NER:
    """Token classification. `casing` feeds how each word is written as token types, for tokenizers that lower-case.

    With `characters`, words are single characters, as Chinese is tagged.
    """

    labels: tuple[str, ...]
    casing: bool = False
    loss_name: str = "cross_entropy"
    characters: bool = field(default=False, metadata={"rare": True})

    multiple: ClassVar[bool] = False
    name: ClassVar[str] = "ner"
    main: ClassVar[str] = "entity_f1"
    auto: ClassVar[type] = AutoModelForTokenClassification

    @property
    def token_types(self) -> int:
        """Rows the token-type table must have."""
        return SHAPES if self.casing else 1

    def __post_init__(self) -> None:
        losses.check(self.loss_name, several=self.multiple)

    def parse(self, text: str) -> Example:
        """Words and punctuation of a line, or its characters; a Chinese character is a word either way."""
        found = list("".join(text.split())) if self.characters else WORD.findall(text)
        return {"tokens": found or [text]}

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """Windows of each example's words; `slots` are the positions of first pieces, `words` the words they begin.

        Each word has a slot in one window, where it has the most context. Words that no window has room for, which
        leave their text `cut`, and words the tokenizer has no piece for, have none.
        """
        known = {tag: i for i, tag in enumerate(self.labels)}
        features = []
        for i, window, encoding, cut in _windows([e["tokens"] for e in examples], tokenizer):
            words: list[Any] = [None if w is None else window.start + w for w in encoding.word_ids] or [None]
            here = set(window.words)
            slots = [p for p, w in enumerate(words) if w in here and (p == 0 or words[p - 1] != w)]
            feature = {"example": [i], "input_ids": filled(encoding.ids, tokenizer), "attention_mask": [1] * len(words)}
            feature["cut"] = [int(cut)]
            if self.casing:
                feature["token_type_ids"] = [0 if w is None else shape(examples[i]["tokens"][w]) for w in words]
            feature |= {"slots": slots, "words": [words[p] for p in slots]}
            if answers:
                feature["labels"] = [known[examples[i]["tags"][word]] for word in feature["words"]]
            features.append(feature)
        return features

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over the words of a batch; logits (slots, labels), labels (slots,)."""
        return losses.loss(self.loss_name, logits, labels)

    def reduce(self, logits: np.ndarray, feature: Feature) -> np.ndarray:
        """All of them."""
        return logits

    def predict(
        self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]
    ) -> list[list[str]]:
        """Tags of every word, likeliest for the text; words without a slot are O, also to those beside them.

        Where no label is O, all are as likely for such words.
        """
        silent = np.zeros(len(self.labels))  # (labels,)
        if "O" in self.labels:
            silent[np.array(self.labels) != "O"] = -np.inf
        scores = [np.tile(silent, (len(example["tokens"]), 1)) for example in examples]  # (words, labels) each
        for output, feature in zip(outputs, features, strict=True):
            scores[feature["example"][0]][feature["words"]] = output
        return [[self.labels[label] for label in best_path(rows, self.labels)] for rows in scores]

    def score(self, predictions: Sequence[list[str]], examples: Sequence[Example]) -> dict[str, Any]:
        """Entity precision, recall and F1 (seqeval's counting), and the per-token table of every tag."""
        summed = self.counts(predictions, examples).sum(0)
        right, said, true = (int(x) for x in summed)
        gold = [tag for e in examples for tag in e["tags"]]
        flat = [tag for tags in predictions for tag in tags]
        tags = list(self.labels)
        columns = precision_recall_fscore_support(gold, flat, labels=tags, zero_division=0.0)
        table = {
            tag: dict(zip(("precision", "recall", "f1", "support"), map(float, row), strict=True))
            for tag, row in zip(tags, zip(*columns, strict=True), strict=True)
        }
        there = sorted({*gold, *flat}) or tags  # those that are averaged, as scikit-learn does
        for average in ("micro", "macro", "weighted"):
            p, r, f, _ = precision_recall_fscore_support(gold, flat, labels=there, average=average, zero_division=0.0)
            table[average] = {"precision": float(p), "recall": float(r), "f1": float(f), "support": float(len(gold))}
        return {
            "entity_f1": float(self.metric(summed)),
            "entity_precision": right / said if said else 0.0,
            "entity_recall": right / true if true else 0.0,
            "micro_f1": table["micro"]["f1"],
            "macro_f1": table["macro"]["f1"],
            "table": table,
        }

    def counts(self, predictions: Sequence[list[str]], examples: Sequence[Example]) -> np.ndarray:
        """Entities right, said and true of each example: (examples, 3)."""
        rows = []
        for tags, example in zip(predictions, examples, strict=True):
            said, true = set(get_entities(tags)), set(get_entities(example["tags"]))
            rows.append((len(said & true), len(said), len(true)))
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """Entity F1 from summed counts (..., 3): 2 right / (said + true)."""
        return counts.f1(summed)

    def bits(self, outputs: Sequence[np.ndarray], features: Sequence[Feature], examples: Sequence[Example]) -> float:
        """Bits of the tags under the softmax; a word without a slot costs log2 of the number of tags."""
        known = {tag: i for i, tag in enumerate(self.labels)}
        total, silent = 0.0, {i: len(example["tags"]) for i, example in enumerate(examples)}
        for output, feature in zip(outputs, features, strict=True):
            (i,) = feature["example"]
            gold = [known[examples[i]["tags"][word]] for word in feature["words"]]
            logs = log_softmax(output)  # (slots, labels)
            total -= float(logs[np.arange(len(logs)), gold].sum() / np.log(2))
            total += (silent.pop(i, 0) - len(gold)) * float(np.log2(len(self.labels)))  # all words, then less by each
        return total

    def answers(self, example: Example) -> int:
        """One tag a word."""
        return len(example["tokens"])

    def unit(self, example: Example) -> str:
        """Tags are counted."""
        return "tag"

    def show(self, prediction: list[str], example: Example) -> dict[str, Any]:
        """Words, tags and the entities they spell."""
        tokens, joined = example["tokens"], "" if self.characters else " "
        found = [
            {"type": kind, "text": joined.join(tokens[start : end + 1]), "start": start, "end": end + 1}
            for kind, start, end in get_entities(prediction)
        ]
        return {"tokens": tokens, "tags": prediction, "entities": found}


def _windows(texts: Sequence[list[str]], tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[int, Window, Any, bool]]:
    """(number of the text, window, its encoding, whether a word of the text is cut), one window of a text that fits."""
    how: dict[str, Any] = {"is_split_into_words": True, "truncation": True, "return_token_type_ids": False}
    room = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
    encodings = tokenizer(list(texts), **how).encodings or []
    for i, words in enumerate(texts):
        if not encodings[i].overflowing:
            yield i, Window(0, len(words), tuple(range(len(words)))), encodings[i], False
            continue
        pieces = Counter(w for part in (encodings[i], *encodings[i].overflowing) for w in part.word_ids)
        some = windows([pieces[w] for w in range(len(words))], room)
        cut = any(pieces[w] > room for w in range(len(words)))
        parts = tokenizer([words[window.start : window.stop] for window in some], **how).encodings or []
        yield from ((i, window, part, cut) for window, part in zip(some, parts, strict=True))


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Log probabilities along the last axis, in nats."""
    shifted = scores.astype(np.float64) - scores.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def follows(before: str, after: str) -> bool:
    """Whether IOB2 allows `after` to follow `before` ("O" stands before the first word)."""
    return not after.startswith("I-") or before[2:] == after[2:]


def best_path(scores: np.ndarray, labels: Sequence[str]) -> list[int]:
    """The likeliest tags of which each may follow the last; scores (words, labels)."""
    if not len(scores):
        return []
    plain = scores.argmax(-1).tolist()
    before = ["O"] + [labels[i] for i in plain[:-1]]
    if all(follows(b, labels[i]) for b, i in zip(before, plain, strict=True)):
        return list(plain)
    barred = np.array([[0.0 if follows(b, a) else -np.inf for a in labels] for b in labels])  # (before, after)
    logs = log_softmax(scores)
    best = logs[0] + [0.0 if follows("O", a) else -np.inf for a in labels]
    pointers = []
    for row in logs[1:]:
        through = best[:, None] + barred  # (before, after)
        pointers.append(through.argmax(0))
        best = through.max(0) + row
    path = [int(best.argmax())]
    for pointer in reversed(pointers):
        path.append(int(pointer[path[-1]]))
    return path[::-1]
