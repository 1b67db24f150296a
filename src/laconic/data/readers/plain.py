"""Read plain text: a blank line parts one document from the next.

No paper: how books and dumps are laid out. Lines of a document keep their ends between them, so a document is what
stands in the file; a file without a blank line is one document.
"""

from collections.abc import Iterator
from pathlib import Path

from laconic.data import utf8
from laconic.data.records import Raw

SUFFIXES = (".txt", ".text", ".md")


def read(path: Path) -> Iterator[tuple[int, Raw]]:
    """Yield (line of its beginning, {"text": document}); the file is never in memory as a whole."""
    lines: list[str] = []
    start = 0
    for number, line in enumerate(utf8.stream(path), 1):
        if line and not line.isspace():
            start = start or number
            lines.append(line)
        elif lines:
            yield start, {"text": "\n".join(lines)}
            lines, start = [], 0
    if lines:
        yield start, {"text": "\n".join(lines)}
