"""Read plain text to pretrain on: as `plain` reads it, but of a long document the pieces, cut at ends of lines.

No paper: so that a file with a sentence a line and no blank line is never in memory as a whole.
"""

from collections.abc import Iterator
from pathlib import Path

from laconic.data.readers import plain
from laconic.data.records import Raw

SUFFIXES = ()
ONLY = {"pretrain": plain.SUFFIXES}
LONG = 1 << 20  # characters after which a document goes on as another


def read(path: Path) -> Iterator[tuple[int, Raw]]:
    """Yield (line of its beginning, {"text": document or piece of one})."""
    return plain.read(path, LONG)
