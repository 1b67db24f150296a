"""Code a tall plane of small integers by what the rows before tell of its columns, with tables that learn.

Wiedemann et al. 2019, arXiv:1907.11900 (tables that adapt, chosen by neighbours); Pourahmadi 1999, Biometrika 86 (a
covariance's factor as regressions on earlier columns): with covariance L D L^T, what earlier columns do not tell of
column j is r_j = x_j - sum L_jk r_k. The columns of an embedding go together, which tables by row and column miss.

Both sides learn covariance and tables from the rows before, so nothing is sent but the symbols. A table is chosen by
the prediction, in parts of a step, and by how large the row's residuals were so far. A plane of more than five bits
sends its lowest bits raw, and the upper ones are coded with these known, which loses nothing while they are uniform.
Products are of whole numbers with sums below 2^24, all else is element by element, so every machine decodes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laconic.artifact.damage import DamageError
from laconic.artifact.integers import Plane, packed, unpacked
from laconic.artifact.lanes import Reader, Tables, Whole, Words, Writer

Floats = NDArray[np.float32]
Code = Callable[[Tables, Whole, int, int], NDArray[np.uint8]]  # (tables, contexts, first row, column) -> symbols

SPAN_BITS = 5  # of a coded symbol; what a plane has beyond is raw
WIDEST = 33  # symbols: one more where they do not begin on a multiple of the raw part
SMALLEST = 1 << 18  # symbols; below it learning costs more than it brings
FINE_BITS = 6  # of a symbol's range in parts of a step
SCALES = 24  # sizes of residuals told apart, a quarter of an octave each
SMALLEST_SCALE = 500  # exponent and first two mantissa bits of 0.25
FIRST, LANES = 64, 2048  # rows coded at once: as many as there were before, between these
OFTEN = 2 * LANES  # rows after which all is learned anew
MEMORY = 0.9  # of earlier rows when a full block comes: words that are rare go together otherwise than common ones
BAND = 384  # columns that predict one another
GROUP = 16  # columns predicted by one product
SLAB = 128  # rows of the covariance that are factored in one go
FACTOR = 128  # steps of a coefficient
STEEPEST = 340  # largest coefficient in these steps, so that sums stay below 2^24
RIDGE = 0.2  # of the variance, times columns by rows
CALM = 8.0  # residuals' worth of trust in the common size at the start of a row
PRIOR = 1024  # weight of a table's first guess; a symbol seen has SEEN
SEEN = 64
PART = 1 << 24  # symbols that are coded, and decode, alone


@dataclass(frozen=True)
class Form:
    """How symbols of a plane are split and measured."""

    raw_bits: int  # lowest bits of a symbol, sent raw
    low: int  # smallest upper part
    span: int  # upper parts
    middle: int  # the upper part that counts as 0, above `low`

    @property
    def fine(self) -> int:
        """Parts of a step in which positions are measured."""
        return 1 << (FINE_BITS - max(self.span - 1, 1).bit_length())

    @property
    def places(self) -> int:
        """Predictions told apart."""
        return self.fine * (self.span - 1) + 1


def encode(plane: Plane) -> tuple[list[Any], bytes]:
    """Header and payload of a plane (rows, width) of at least one symbol.

    Header: [raw bits, low, span, middle, [words of each part]]; payload: raw bits, then 16-bit little-endian words.
    """
    span = int(plane.max()) - int(plane.min()) + 1
    raw_bits = max(0, (span - 1).bit_length() - SPAN_BITS)
    upper = plane >> raw_bits
    low, high = int(upper.min()), int(upper.max())
    middle = int(np.bincount((upper - low).reshape(-1)).argmax())
    form = Form(raw_bits, low, high - low + 1, middle)
    words = [_written(plane[part], form) for part in _parts(plane.shape)]
    raw = packed((plane & np.uint8((1 << raw_bits) - 1)).reshape(-1), raw_bits)
    head = [raw_bits, low, form.span, middle, [len(w) for w in words]]
    return head, raw + b"".join(w.astype("<u2").tobytes() for w in words)


def decode(head: list[Any], payload: bytes, shape: tuple[int, int]) -> Plane:
    """The plane of `shape` (rows, width) that `encode` was given; DamageError where header and payload disagree."""
    form, lengths = _parsed(head)
    parts = list(_parts(shape)) if len(lengths) * PART >= shape[0] else []
    raw = (shape[0] * shape[1] * form.raw_bits + 7) // 8
    if len(lengths) != len(parts) or raw + 2 * sum(lengths) != len(payload):
        raise DamageError(f"{len(payload)} bytes in {len(lengths)} parts are not what the header adds up to")
    if any(n < 2 * _lanes(part.stop - part.start) for n, part in zip(lengths, parts, strict=True)):
        raise DamageError("there are fewer words than lanes")
    plane = unpacked(payload[:raw], form.raw_bits, shape[0] * shape[1]).reshape(shape)
    words = np.frombuffer(payload, "<u2", sum(lengths), raw)
    ends = np.cumsum(lengths)
    for part, start, end in zip(parts, [0, *ends[:-1]], ends, strict=True):
        upper = _read(words[start:end], plane[part], form)  # (rows, width)
        np.add(plane[part], (upper + np.uint8(form.low)) * np.uint8(1 << form.raw_bits), out=plane[part])
    return plane


def suits(shape: tuple[int, int]) -> bool:
    """Whether a plane has enough rows to learn from: four for every column that predicts."""
    return shape[0] >= 4 * min(shape[1], BAND) and shape[1] >= 8 and shape[0] * shape[1] >= SMALLEST


def _written(part: Plane, form: Form) -> Words:
    """Words of some rows, coded alone."""
    writer = Writer()
    symbols: NDArray[np.uint8] = ((part >> form.raw_bits) - np.uint8(form.low)).astype(np.uint8).T  # (width, rows)

    def code(tables: Tables, contexts: Whole, row: int, column: int) -> NDArray[np.uint8]:
        found = symbols[column, row : row + len(contexts)]
        writer.put(tables, contexts, found)
        return found

    _run(form, _fractions(part, form), code)
    return writer.words()


def _read(words: Words, below: Plane, form: Form) -> Plane:
    """Upper parts of some rows, above the smallest; `below` holds their raw bits."""
    reader = Reader(words, _lanes(len(below)))
    symbols = _run(form, _fractions(below, form), lambda tables, contexts, _row, _column: reader.take(tables, contexts))
    reader.close()
    return symbols.T


def _parsed(head: list[Any]) -> tuple[Form, list[int]]:
    """The header, every number of it in bounds."""
    match head:
        case [int(raw_bits), int(low), int(span), int(middle), list(lengths)]:
            counted = all(isinstance(n, int) and n >= 0 for n in lengths)
            inside = 0 <= raw_bits < 8 and low >= 0 and 1 <= span <= WIDEST and 0 <= middle < span
            if counted and inside and (low + span) << raw_bits <= 256:
                return Form(raw_bits, low, span, middle), lengths
    raise DamageError(f"header {str(head)[:40]} is out of bounds")


def _parts(shape: tuple[int, int]) -> Iterator[slice]:
    step = max(1, PART // shape[1])
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def _lanes(rows: int) -> int:
    """The most rows that are coded at once."""
    return max(end - start for start, end in _blocks(rows))


def _blocks(rows: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start < rows:
        end = min(rows, start + min(max(start, FIRST), LANES))
        yield start, end
        start = end


def _fractions(plane: Plane, form: Form) -> NDArray[np.uint8]:
    """Where in its step each symbol lies by its raw bits, in parts: (width, rows)."""
    below = plane & np.uint8((1 << form.raw_bits) - 1)
    return np.ascontiguousarray(((below * np.uint16(form.fine)) >> form.raw_bits).astype(np.uint8).T)


def _run(form: Form, fractions: NDArray[np.uint8], code: Code) -> NDArray[np.uint8]:
    """All symbols (width, rows), block after block of rows; learns where the rows seen have doubled, then steadily."""
    width, rows = fractions.shape
    symbols = np.empty((width, rows), np.uint8)
    bands = [_Band(form, start, min(start + BAND, width)) for start in range(0, width, BAND)]
    counts = np.zeros(SCALES * form.places * form.span, np.int64)
    first = _guess(form)
    tables = Tables(first)
    for start, end in _blocks(rows):
        if start and (start & (start - 1) == 0 or start % OFTEN == 0):
            tables = Tables(counts.reshape(first.shape) * SEEN + first)
            for band in bands:
                band.fit()
        size = np.full(end - start, CALM, np.float32)  # of residuals, over what is common in their columns
        for band in bands:
            seen = band.run(size, fractions[:, start:end], symbols[:, start:end], tables, start, code)
            counts += np.bincount(seen, minlength=len(counts))
    return symbols


def _guess(form: Form) -> Whole:
    """Tables before anything is seen, (contexts, span): bell curves by rational functions, exact everywhere."""
    places = np.arange(form.places)[:, None, None] / form.fine  # (places, 1, 1)
    steps = np.arange(form.span)[None, :, None] + np.array([-3, -1, 1, 3]) / 8  # (1, span, 4)
    weights = np.empty((SCALES, form.places, form.span), np.int64)
    for scale in range(SCALES):
        spread = 0.35 * 2.0 ** (scale // 4) * (1 + scale % 4 / 4)
        curve = 1 / (1 + ((steps - places) / spread) ** 2 / 16)  # (places, span, 4)
        for _ in range(3):
            curve = curve * curve
        found = np.rint(curve * (1 << 20)).astype(np.int64).sum(axis=2)  # (places, span)
        weights[scale] = found * PRIOR // np.maximum(found.sum(axis=1, keepdims=True), 1)
    return weights.reshape(-1, form.span)


def _within(x: NDArray[Any], low: int, high: int) -> NDArray[Any]:
    """`np.clip`, in place and without its checks, which cost as much as a step."""
    np.maximum(x, low, out=x)
    np.minimum(x, high, out=x)
    return x


class _Band:
    """Columns that predict one another, and what is known of them."""

    def __init__(self, form: Form, start: int, end: int) -> None:
        self.form, self.start, self.width = form, start, end - start
        self.sums = np.zeros((self.width + 1, self.width + 1))  # of products; the first column is constant
        self.rows = 0.0
        self.factor: Floats = np.zeros((self.width + 1, self.width + 1), np.float32)  # (column, earlier column)
        self.spread: Floats = np.full(self.width, form.span / 6, np.float32)  # of residuals, in steps

    def run(
        self,
        size: Floats,
        fractions: NDArray[np.uint8],
        symbols: NDArray[np.uint8],
        tables: Tables,
        row: int,
        code: Code,
    ) -> Whole:
        """Code a block of rows, filling `symbols` (width, rows); the cells of the tables that were met."""
        form, count = self.form, len(size)
        lowest, highest = -form.fine * form.middle, form.fine * (form.span - form.middle)
        values = np.empty((self.width + 1, count), np.float32)
        values[0] = form.fine * 4
        left = values.copy()  # residuals
        cells = np.empty((self.width, count), np.int64)
        for j in range(1, self.width + 1):
            group = (j - 1) // GROUP * GROUP + 1
            if j == group:
                told = self.factor[j : j + GROUP, :j] @ left[:j]  # (group, rows)
            near = told[j - group] + self.factor[j, group:j] @ left[group:j] if j > group else told[0]
            near = _within(np.rint(near / np.float32(FACTOR)), lowest, highest)  # (rows,)
            column = self.start + j - 1
            fraction = fractions[column]
            place = _within(near - (fraction + np.float32(lowest)), 0, form.places - 1).astype(np.int64)
            expected = size * np.float32(self.spread[j - 1] / (CALM + column))
            scale = _within((expected.view(np.int32) >> 21) - SMALLEST_SCALE, 0, SCALES - 1)
            contexts = scale * np.int64(form.places) + place
            found = code(tables, contexts, row, column)
            symbols[column] = found
            cells[j - 1] = contexts * form.span + found
            values[j] = found * np.float32(form.fine) + (fraction + np.float32(lowest))
            left[j] = values[j] - near
            size += np.abs(left[j]) * np.float32(1 / (form.fine * self.spread[j - 1]))
        kept = MEMORY if count == LANES else 1.0
        self.sums = kept * self.sums + values @ values.T
        self.rows = kept * self.rows + count
        return cells.reshape(-1)

    def fit(self) -> None:
        """Factor the covariance, ridge added, column by column."""
        matrix = self.sums.copy()
        ridge = max(0.02, self.width / self.rows) * RIDGE
        matrix[np.diag_indices(len(matrix))] = np.diag(matrix) * (1 + ridge) + 1
        for j in range(len(matrix) - 1):
            column = matrix[j + 1 :, j].copy()
            matrix[j + 1 :, j] /= matrix[j, j]
            for top in range(j + 1, len(matrix), SLAB):
                rows = slice(top, min(top + SLAB, len(matrix)))  # up to their diagonal
                matrix[rows, j + 1 : rows.stop] -= np.multiply.outer(matrix[rows, j], column[: rows.stop - j - 1])
        self.factor = np.tril(np.rint(matrix * FACTOR), -1).clip(-STEEPEST, STEEPEST).astype(np.float32)
        spread = np.sqrt(np.diag(matrix)[1:] / self.rows) * (0.8 / self.form.fine)
        self.spread = np.maximum(spread, 0.05).astype(np.float32)
