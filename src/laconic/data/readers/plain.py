"""Read plain text: a blank line parts one document from the next.

No paper: how books and dumps are laid out. Lines of a document stay lines, with a line feed between whatever ends
them in the file; a file without a blank line is one document.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from laconic.data import utf8
from laconic.data.records import Raw

SUFFIXES = (".txt", ".text", ".md")


def read(path: Path, long: float = math.inf) -> Iterator[tuple[int, Raw]]:
    """Yield (line of its beginning, {"text": document}); only the document is in memory.

    One of `long` characters ends with the line in which it has them.
    """
    lines: list[str] = []
    start = size = 0
    for number, line in enumerate(utf8.stream(path), 1):
        if line and not line.isspace():
            start = start or number
            lines.append(line)
            size += len(line)
        if lines and (size >= long or not line or line.isspace()):
            yield start, {"text": "\n".join(lines)}
            lines, start, size = [], 0, 0
    if lines:
        yield start, {"text": "\n".join(lines)}
