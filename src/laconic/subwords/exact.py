"""Texts as tokens and what the tokens leave out, from which the very bytes come back, whatever the tokenizer.

No paper: a tokenizer may lower-case, drop spaces, or have no piece for a character, and bytes may be no text. So the
tokens are turned into text again, and what differs from what was meant is written down as edits, which LZMA shortens.
A part that is mostly no text has no tokens: its bytes are one edit.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerFast

from laconic.errors import ArtifactError

TEXT = 0.9  # share of a part's bytes that must be text for it to be split into tokens
STEP = 4096  # bytes compared at once
NEAR, AGREE = 24, 6  # an edit ends where so many bytes agree, looked for so far ahead in every way
FAR = 8  # else at the next run of so many bytes that both sides have
STORED, SHORTENED = b"\0", b"\1"
RATIO = 256  # edits are at most so many times as long as they are written, so that a small file opens to no large one
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]

Edit = tuple[int, int, bytes]  # bytes that stay, bytes that go, bytes that come in their place


def spell(tokenizer: PreTrainedTokenizerFast, parts: Sequence[bytes]) -> tuple[list[list[int]], bytes]:
    """Token ids of each part, and what `unspell` needs besides: nothing where tokens say it all."""
    texts = [part.decode(errors="ignore") for part in parts]
    texts = [text if len(text.encode()) >= TEXT * len(part) else "" for text, part in zip(texts, parts, strict=True)]
    ids = tokenizer(texts, add_special_tokens=False, truncation=False, verbose=False)["input_ids"] if texts else []
    edits = [list(_edits(_say(tokenizer, one), part)) for one, part in zip(ids, parts, strict=True)]
    return ids, _written(edits) if any(edits) else b""


def unspell(tokenizer: PreTrainedTokenizerFast, ids: Sequence[list[int]], rest: bytes) -> bytes:
    """The parts in a row; ArtifactError for a `rest` that is not of these ids."""
    edits = _read(rest) if rest else [[]] * len(ids)
    if len(edits) != len(ids):
        raise ArtifactError(f"there are edits for {len(edits)} parts and tokens of {len(ids)}; write the file again")
    return b"".join(_edited(_say(tokenizer, one), made) for one, made in zip(ids, edits, strict=True))


def _say(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> bytes:
    return tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False).encode() if ids else b""


def _edits(said: bytes, meant: bytes) -> Iterator[Edit]:
    """What makes `meant` of `said`; few and short ones, not the fewest."""
    a = b = 0
    while True:
        same = _same(said, meant, a, b)
        if a + same == len(said) and b + same == len(meant):
            return
        a, b = a + same, b + same
        drop, put = _near(said, meant, a, b) or _far(said, meant, a, b)
        yield same, drop, meant[b : b + put]
        a, b = a + drop, b + put


def _same(said: bytes, meant: bytes, a: int, b: int) -> int:
    """How many bytes agree from here on."""
    length = min(len(said) - a, len(meant) - b)
    done = 0
    while done < length and said[a + done : a + done + STEP] == meant[b + done : b + done + STEP]:
        done += STEP
    while done < length and said[a + done] == meant[b + done]:
        done += 1
    return min(done, length)


def _near(said: bytes, meant: bytes, a: int, b: int) -> tuple[int, int] | None:
    """The fewest bytes to drop and to put after which both sides agree, or end."""
    for total in range(1, NEAR + 1):
        for drop in range(total + 1):
            x, y = a + drop, b + total - drop
            if x <= len(said) and y <= len(meant) and said[x : x + AGREE] == meant[y : y + AGREE]:
                return drop, total - drop
    return None


def _far(said: bytes, meant: bytes, a: int, b: int) -> tuple[int, int]:
    """Up to the first run of `meant` that stands within reach in `said`; both to their ends where there is none."""
    reach = min(a + STEP, len(said) - FAR + 1)
    places = {said[x : x + FAR]: x for x in range(reach - 1, a - 1, -1)}  # the first of equal ones
    for y in range(b, len(meant) - FAR + 1) if places else ():
        if meant[y : y + FAR] in places:
            return places[meant[y : y + FAR]] - a, y - b
    return len(said) - a, len(meant) - b


def _edited(said: bytes, edits: Sequence[Edit]) -> bytes:
    made, a = [], 0
    for same, drop, put in edits:
        made += [said[a : a + same], put]
        a += same + drop
    if a > len(said):
        raise ArtifactError("an edit reaches beyond what the tokens say; write the file again")
    return b"".join([*made, said[a:]])


def _written(edits: Sequence[Sequence[Edit]]) -> bytes:
    """All numbers, then all bytes that come in, as they are or shorter."""
    numbers = [len(edits)]
    for made in edits:
        numbers += [len(made), *(n for same, drop, put in made for n in (same, drop, len(put)))]
    plain = b"".join(map(_number, [len(numbers), *numbers])) + b"".join(put for made in edits for _, _, put in made)
    shorter = lzma.compress(plain, lzma.FORMAT_RAW, filters=FILTERS)
    return SHORTENED + shorter if len(shorter) < len(plain) <= RATIO * len(shorter) else STORED + plain


def _read(rest: bytes) -> list[list[Edit]]:
    try:
        plain = _opened(rest[1:]) if rest[:1] == SHORTENED else rest[1:]
        count, at = _take(plain, 0)
        numbers = []
        for _ in range(count):
            number, at = _take(plain, at)
            numbers.append(number)
        stream = iter(numbers)
        found: list[list[Edit]] = []
        for _ in range(next(stream)):
            found.append([])
            for _ in range(next(stream)):
                same, drop, put = next(stream), next(stream), next(stream)
                found[-1].append((same, drop, plain[at : at + put]))
                at += put
    except (lzma.LZMAError, IndexError, StopIteration) as error:
        raise ArtifactError("the edits are damaged; write the file again") from error
    return found


def _opened(shorter: bytes) -> bytes:
    opener = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
    plain = opener.decompress(shorter, RATIO * len(shorter) + 1)
    if not opener.eof or len(plain) > RATIO * len(shorter):
        raise lzma.LZMAError("edits that are longer than they may be, or have no end")
    return plain


def _number(value: int) -> bytes:
    """Seven bits a byte, lowest first."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def _take(plain: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while plain[at] & 0x80:
        if shift > 63:
            raise IndexError(f"the number at {at} has no end")
        value |= (plain[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return value | plain[at] << shift, at + 1
