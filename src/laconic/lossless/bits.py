"""Bits per byte of texts under a causal model, every byte paid for.

Shannon 1951, Prediction and entropy of printed English; arXiv:2309.10668. The bits of a document are those of the task
`lm`; what a tokenizer cannot give back is paid as `subwords.exact` writes it down. A file is weighed as `archive` codes
it; of records, each text is a document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from laconic import answers, data
from laconic.contracts import Example, Task
from laconic.data import readers, records, sources
from laconic.data.progress import follow
from laconic.data.readers import conll, plain
from laconic.errors import DataError
from laconic.lossless.archive import cut
from laconic.lossless.causal import Causal

RECORDS = frozenset(readers.known("lm")) - frozenset((*plain.SUFFIXES, *conll.SUFFIXES))  # files that hold texts
TOGETHER = 256  # windows that run before the bar moves


@dataclass(frozen=True)
class Document:
    """One text under the model."""

    bytes: int
    tokens: int
    bits: float  # of its tokens


@dataclass(frozen=True)
class Weighed:
    """All of a source under the model."""

    documents: list[Document]
    rest_bits: int  # of what tokens leave out, of all documents together

    @property
    def bytes(self) -> int:
        """Bytes of all documents."""
        return sum(one.bytes for one in self.documents)

    @property
    def tokens(self) -> int:
        """Tokens of all documents."""
        return sum(one.tokens for one in self.documents)

    @property
    def token_bits(self) -> float:
        """Bits of all tokens."""
        return sum(one.bits for one in self.documents)

    @property
    def bits(self) -> float:
        """Bits from which every byte comes back."""
        return self.token_bits + self.rest_bits

    @property
    def per_byte(self) -> float:
        """Bits of a byte."""
        return self.bits / max(self.bytes, 1)

    def record(self, causal: Causal) -> dict[str, Any]:
        """All figures as JSON, with the model's own bits where it lies in a folder."""
        model_bits = None if causal.folder_bytes is None else 8 * causal.folder_bytes
        return {
            "bits_per_byte": self.per_byte, "bytes": self.bytes, "tokens": self.tokens, "bits": self.bits,
            "token_bits": self.token_bits, "rest_bits": self.rest_bits, "model_bits": model_bits,
            "description_length_bits": None if model_bits is None else model_bits + self.bits,
            "context": causal.context, "documents": [asdict(one) for one in self.documents],
        }  # fmt: skip


def documents(source: str | Path, split: str | None = None) -> list[bytes]:
    """The texts of a source: the parts of a file, or each record of one, or of a split; DataError where there is none.

    A file is of records by its suffix, one of RECORDS; any other is read as the bytes it is, plain text too. `split` is
    of a folder, by default test.
    """
    path = Path(source)
    if path.is_file() and split is not None:
        raise DataError(f"split is {split!r}, and {source} is a file, which is read whole; leave split out")
    split = split or "test"
    if not path.is_file():
        found = [example["text"].encode() for example in data.read_split(source, "lm", split)]
    elif path.suffix.lower() in RECORDS:
        found = _records(path)
    else:
        found = cut(path.read_bytes())
    if not any(found):
        raise DataError(f"{source}: there is no text in it; give a file, or a folder with a {split} split")
    return found


def _records(path: Path) -> list[bytes]:
    """The text of each record of a file."""
    (rows,) = sources.find(path, "lm").values()
    try:
        return [records.example(raw, "lm", where)["text"].encode() for where, raw in rows()]
    except DataError as error:
        raise DataError(f"{error}; or copy the file under a name that ends in .bin, to weigh it as bytes") from error


def weigh(causal: Causal, texts: Sequence[bytes], *, progress: bool = False) -> Weighed:
    """Bits of every text."""
    ids, rest = causal.spell(texts)
    task, pad = causal.task, causal.tokenizer.pad_token_id or 0
    features = [f for i, one in enumerate(ids) for f in task.windowed(i, one, causal.tokenizer)]
    outputs: list[np.ndarray] = []
    starts = range(0, len(features), TOGETHER)
    for start in follow(starts, "weighing", progress, total=len(starts)):
        outputs += answers.outputs(causal.model, cast(Task, task), features[start : start + TOGETHER], pad)
    examples: list[Example] = [{}] * len(texts)
    said = task.predict(outputs, features, examples)
    rows = [Document(len(t), len(one), row["bits"]) for t, one, row in zip(texts, ids, said, strict=True)]
    return Weighed(rows, 8 * len(rest))
