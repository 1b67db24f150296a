"""Decode a file as UTF-8, naming the line where it is not.

No paper: RFC 3629.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path

from laconic.errors import DataError


def stream(path: Path) -> Iterator[str]:
    """The lines of a file as `lines` gives them, one at a time, so that a file may be larger than memory."""
    return (line.removesuffix("\n").removesuffix("\r") for line in ended(path))


def ended(path: Path) -> Iterator[str]:
    """The lines of a file, one at a time, each with its end as it stands there."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            raw = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
            try:
                yield raw.decode()
            except UnicodeDecodeError as error:
                raise _broken(path, number, raw[error.start]) from error


def _broken(path: Path, line: int, byte: int) -> DataError:
    return DataError(f"{path}, line {line}: byte 0x{byte:02X} is not UTF-8; save the file as UTF-8")


def text(path: Path, content: bytes | None = None) -> str:
    """The whole file, without the mark some editors put at its beginning; line ends as they are.

    `content` is what it holds, where that was read before (stdin).
    """
    content = (path.read_bytes() if content is None else content).removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _broken(path, line, content[error.start]) from error


def lines(path: Path, content: bytes | None = None) -> list[str]:
    """The lines of a file, without their ends (LF or CRLF)."""
    return [line.removesuffix("\r") for line in text(path, content).split("\n")]
