"""Decode a file as UTF-8, naming the line where it is not.

No paper: RFC 3629.
"""

import codecs
from pathlib import Path

from laconic.errors import DataError


def text(path: Path, content: bytes | None = None) -> str:
    """The whole file, without the mark some editors put at its beginning; line ends as they are.

    `content` is what it holds, where that was read before (stdin).
    """
    content = (path.read_bytes() if content is None else content).removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"0x{content[error.start]:02X}"
        raise DataError(f"{path}, line {line}: byte {byte} is not UTF-8; save the file as UTF-8") from error


def lines(path: Path, content: bytes | None = None) -> list[str]:
    """The lines of a file, without their ends (LF or CRLF)."""
    return [line.removesuffix("\r") for line in text(path, content).split("\n")]
