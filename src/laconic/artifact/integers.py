"""Code a plane of small integers with ANS under frequency tables that follow its rows and columns.

Duda 2009, arXiv:0902.0271 (asymmetric numeral systems), by the `constriction` library (Bamler 2022, arXiv:2201.01741).

Rows with like histograms share a class, and so do columns; each pair of classes has its own table. A weight matrix with
one scale per row still differs by column (inputs with large activations carry large weights), which is where this pays.
Classes are found by k-means under the code length itself. Their prices are whole numbers, so that every sum is exact
and the same plane gives the same bytes whatever the number of threads. A chunk is a run of rows with its own coder
state, so that chunks decode alone and every length is known beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from laconic.artifact.damage import DamageError

Plane = NDArray[np.uint8]  # (rows, width)
Ids = NDArray[np.uint8]  # class of each row or column
Ends = NDArray[np.intp]  # where each class ends once sorted

CHUNK_SYMBOLS = 1 << 20  # small beside a model, large beside the 8 bytes a coder state costs
LARGEST_HISTOGRAM = 1 << 24  # cells; rows beyond it get no classes of their own, to bound memory
CLASS_BITS = (1, 2, 3)  # 2, 4 or 8 classes
ROUNDS = 6  # of k-means; later rounds move less than a byte in a thousand
PRICE_UNITS = 256  # per bit: prices are whole, so sums of them are exact in float64

WEIGHTS = np.array([0] + [(16 + (b & 15)) << (b >> 4) for b in range(1, 256)], dtype=np.float64)  # (256,)
"""What a byte of a stored frequency table stands for: a float of 4 bits mantissa, 4 bits exponent; 0 is never."""


@dataclass(frozen=True)
class Classes:
    """Which class each row and column is in, and how many bits name a class (0: there is one)."""

    row_bits: int
    column_bits: int
    rows: Ids  # (rows,)
    columns: Ids  # (width,)

    @property
    def contexts(self) -> int:
        """Pairs of classes, each with its own table."""
        return 1 << (self.row_bits + self.column_bits)


def encode(plane: Plane) -> tuple[list[Any], bytes]:
    """Header and payload of a non-empty plane.

    Header: [row bits, column bits, rows of a chunk, smallest symbol, symbols, [words of each chunk]]; payload: tables,
    classes, then 32-bit little-endian words.
    """
    low, span = int(plane.min()), int(plane.max()) - int(plane.min()) + 1
    found = _classes(plane - np.uint8(low), span)
    if found.contexts == 1:
        plane = plane.reshape(-1, 1)  # one table: the shape says nothing
        found = _one(plane)
    tables = _stored(_histograms(plane - np.uint8(low), span, found))  # (contexts, span) uint8
    step = max(1, CHUNK_SYMBOLS // plane.shape[1])
    words = [
        _encode_chunk(plane[start : start + step] - np.uint8(low), found, tables, start)
        for start in range(0, len(plane), step)
    ]
    head = [found.row_bits, found.column_bits, step, low, span, [len(w) for w in words]]
    names = packed(found.rows, found.row_bits) + packed(found.columns, found.column_bits)
    return head, tables.tobytes() + names + b"".join(w.astype("<u4").tobytes() for w in words)


def decode(head: list[Any], payload: bytes, shape: tuple[int, int]) -> Plane:
    """The plane of `shape` (rows, width) that `encode` was given; DamageError where header and payload disagree."""
    row_bits, column_bits, step, low, span, lengths = _parsed(head)
    whole = shape if row_bits + column_bits else (shape[0] * shape[1], 1)
    sizes = (span << (row_bits + column_bits), (whole[0] * row_bits + 7) // 8, (whole[1] * column_bits + 7) // 8)
    if step > 1 and step * whole[1] > CHUNK_SYMBOLS:
        raise DamageError(f"a chunk of {step} rows is larger than any chunk is")
    if len(lengths) != -(-whole[0] // step) or sum(sizes) + 4 * sum(lengths) != len(payload):
        raise DamageError(f"{len(payload)} bytes in {len(lengths)} chunks are not what the header adds up to")
    tables = np.frombuffer(payload, np.uint8, sizes[0]).reshape(-1, span)
    rows = unpacked(payload[sizes[0] : sizes[0] + sizes[1]], row_bits, whole[0])
    columns = unpacked(payload[sizes[0] + sizes[1] : sum(sizes)], column_bits, whole[1])
    found = Classes(row_bits, column_bits, rows, columns)
    words = np.frombuffer(payload, "<u4", sum(lengths), sum(sizes))
    plane = np.empty(whole, np.uint8)
    for index, (start, end) in enumerate(zip(np.cumsum([0, *lengths[:-1]]), np.cumsum(lengths), strict=True)):
        part = plane[index * step : (index + 1) * step]
        part[:] = _decode_chunk(words[start:end], found, tables, index * step, len(part))
    plane += np.uint8(low)
    return plane.reshape(shape)


def _parsed(head: list[Any]) -> tuple[int, int, int, int, int, list[int]]:
    """The header, every number of it in bounds."""
    match head:
        case [int(row_bits), int(column_bits), int(step), int(low), int(span), list(lengths)]:
            classes = row_bits in (0, *CLASS_BITS) and column_bits in (0, *CLASS_BITS)
            counted = all(isinstance(n, int) and n >= 0 for n in lengths)
            if classes and counted and step >= 1 and low >= 0 and 1 <= span <= 256 - low:
                return row_bits, column_bits, step, low, span, lengths
    raise DamageError(f"header {str(head)[:40]} is out of bounds")


def _encode_chunk(part: Plane, found: Classes, tables: Plane, start: int) -> NDArray[np.uint32]:
    """Words of rows `start` onwards: symbols sorted by class pair, last pair first since ANS is a stack."""
    coder = constriction.stream.stack.AnsCoder()
    row_order, row_ends = _order(found.rows[start : start + len(part)], found.row_bits)
    column_order, column_ends = _order(found.columns, found.column_bits)
    part = part[row_order][:, column_order] if found.contexts > 1 else part
    for context in reversed(range(found.contexts)):
        block = part[_block(context, found, row_ends, column_ends)]
        if block.size and np.count_nonzero(tables[context]) > 1:
            coder.encode_reverse(block.reshape(-1).astype(np.int32), _model(tables[context]))
    return np.asarray(coder.get_compressed(), dtype=np.uint32)


def _decode_chunk(words: NDArray[np.uint32], found: Classes, tables: Plane, start: int, count: int) -> Plane:
    """Rows `start` to `start + count`: (count, width)."""
    coder = _coder(words)
    row_order, row_ends = _order(found.rows[start : start + count], found.row_bits)
    column_order, column_ends = _order(found.columns, found.column_bits)
    part = np.empty((count, len(found.columns)), np.uint8)
    for context in range(found.contexts):
        where = _block(context, found, row_ends, column_ends)
        block = part[where]
        if block.size and np.count_nonzero(tables[context]) > 1:
            block[:] = coder.decode(_model(tables[context]), block.size).reshape(block.shape)
        else:
            block[:] = np.argmax(tables[context])
    if not coder.is_empty():
        raise DamageError("words are left over after the last symbol")
    if found.contexts == 1:
        return part
    return part[:, np.argsort(column_order)][np.argsort(row_order)]


def _coder(words: NDArray[np.uint32]) -> constriction.stream.stack.AnsCoder:
    if len(words) and not words[-1]:
        raise DamageError("a chunk ends in an empty word")
    stack = constriction.stream.stack
    return stack.AnsCoder(words.astype(np.uint32)) if len(words) else stack.AnsCoder()


def _model(table: Plane) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(WEIGHTS[table], perfect=False, lazy=False)


def _order(ids: Ids, bits: int) -> tuple[NDArray[np.intp], Ends]:
    """Positions sorted by class, and where each class ends among them."""
    return np.argsort(ids, kind="stable"), np.cumsum(np.bincount(ids, minlength=1 << bits))


def _block(context: int, found: Classes, row_ends: Ends, column_ends: Ends) -> tuple[slice, slice]:
    """Where a context's symbols stand once rows and columns are sorted by class."""
    row, column = divmod(context, 1 << found.column_bits)
    return (
        slice(row_ends[row - 1] if row else 0, row_ends[row]),
        slice(column_ends[column - 1] if column else 0, column_ends[column]),
    )


def packed(ids: Ids, bits: int) -> bytes:
    """Small numbers, `bits` bits each, low bit first."""
    planes = (ids[:, None] >> np.arange(bits, dtype=np.uint8)) & 1  # (count, bits)
    return np.packbits(planes.astype(bool), bitorder="little").tobytes()


def unpacked(payload: bytes, bits: int, count: int) -> Ids:
    """The numbers that `packed` was given."""
    planes = np.unpackbits(np.frombuffer(payload, np.uint8), count=count * bits, bitorder="little").reshape(count, bits)
    out = np.zeros(count, np.uint8)
    for place in range(bits):
        out |= planes[:, place] << np.uint8(place)
    return out


def _one(plane: Plane) -> Classes:
    return Classes(0, 0, np.zeros(len(plane), np.uint8), np.zeros(plane.shape[1], np.uint8))


def _classes(plane: Plane, span: int) -> Classes:
    """The cheapest classes: none, of rows, of columns, or the best of both together."""
    best = _one(plane)
    cost = _cost(plane, span, best)
    row_bits, rows = _best(_by_row(plane, span))
    column_bits, columns = _best(_by_row(plane.T, span))
    choices = [(row_bits, 0), (0, column_bits), (row_bits, column_bits)]
    for choice in dict.fromkeys(c for c in choices if c != (0, 0)):
        found = Classes(
            *choice, rows if choice[0] else np.zeros_like(rows), columns if choice[1] else np.zeros_like(columns)
        )
        if (price := _cost(plane, span, found)) < cost:
            best, cost = found, price
    return best


def _cost(plane: Plane, span: int, found: Classes) -> float:
    """Bits of the plane under its own tables, with tables and class names."""
    histograms = _histograms(plane, span, found)
    names = len(found.rows) * found.row_bits + len(found.columns) * found.column_bits
    return float((histograms * _prices(histograms)).sum()) / PRICE_UNITS + 8 * histograms.size + names


def _histograms(plane: Plane, span: int, found: Classes) -> NDArray[np.float64]:
    """How often each symbol comes in each context: (contexts, span)."""
    counts = np.zeros(found.contexts * span, np.int64)
    columns = found.columns.astype(np.int32) * span
    step = max(1, CHUNK_SYMBOLS // plane.shape[1])
    for start in range(0, len(plane), step):
        cells = plane[start : start + step].astype(np.int32)
        if found.contexts > 1:
            rows = found.rows[start : start + step].astype(np.int32)
            cells += (rows[:, None] << found.column_bits) * span + columns
        counts += np.bincount(cells.reshape(-1), minlength=counts.size)
    return counts.reshape(found.contexts, span).astype(np.float64)


def _by_row(plane: Plane, span: int) -> NDArray[np.float64]:
    """One histogram per row, (rows, span); none, (rows, 0), where rows are too many or too few to class."""
    rows, width = plane.shape
    if rows < 8 or width < 8 or rows * span > LARGEST_HISTOGRAM:
        return np.zeros((rows, 0))
    counts = np.empty((rows, span))
    step = max(1, CHUNK_SYMBOLS // width)
    for start in range(0, rows, step):
        part = plane[start : start + step]
        cells = part + np.arange(len(part), dtype=np.int32)[:, None] * span
        counts[start : start + step] = np.bincount(cells.reshape(-1), minlength=len(part) * span).reshape(-1, span)
    return counts


def _best(histograms: NDArray[np.float64]) -> tuple[int, Ids]:
    """How many bits of classes pay for rows with these histograms, and the class of each."""
    best = (0, np.zeros(len(histograms), np.uint8))
    if not histograms.shape[1]:
        return best
    whole = histograms.sum(axis=0, keepdims=True)
    cost = float((whole * _prices(whole)).sum()) / PRICE_UNITS + 8 * whole.size
    for bits in CLASS_BITS:
        ids = _means(histograms, 1 << bits)
        tables = _merged(histograms, ids, 1 << bits)
        price = float((tables * _prices(tables)).sum()) / PRICE_UNITS + 8 * tables.size + bits * len(ids)
        if price < cost:
            best, cost = (bits, ids), price
    return best


def _means(histograms: NDArray[np.float64], count: int) -> Ids:
    """k-means where the distance of a row to a class is the bits the row costs under the class's table."""
    whole = histograms.sum(axis=0, keepdims=True)
    dearness = (histograms @ _prices(whole)[0]) / np.maximum(histograms.sum(axis=1), 1)  # (rows,)
    ranks = np.argsort(np.argsort(dearness, kind="stable"), kind="stable")
    ids = (ranks * count // len(ranks)).astype(np.uint8)
    for _ in range(ROUNDS):
        nearest = np.argmin(histograms @ _prices(_merged(histograms, ids, count)).T, axis=1).astype(np.uint8)
        if np.array_equal(nearest, ids):
            break
        ids = nearest
    return ids


def _merged(histograms: NDArray[np.float64], ids: Ids, count: int) -> NDArray[np.float64]:
    """Histograms of the classes: (count, span)."""
    return np.stack([histograms[ids == k].sum(axis=0) for k in range(count)])


def _prices(histograms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whole price of each symbol in 1/256 bits; unseen symbols get the price of a sixteenth of a sight."""
    seen = histograms + 1 / 16
    return np.asarray(np.rint(-np.log2(seen / seen.sum(axis=1, keepdims=True)) * PRICE_UNITS))


def _stored(histograms: NDArray[np.float64]) -> Plane:
    """The bytes whose `WEIGHTS` are nearest to each table, seen symbols never 0: (contexts, span)."""
    scaled = histograms * (WEIGHTS[-1] / np.maximum(histograms.max(axis=1, keepdims=True), 1))
    near = np.searchsorted((WEIGHTS[1:-1] + WEIGHTS[2:]) / 2, scaled) + 1
    return np.where(histograms > 0, near, 0).astype(np.uint8)
