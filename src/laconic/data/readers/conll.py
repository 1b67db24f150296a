"""Read CoNLL columns: a token a line, the token first and its tag last, an empty line between sentences.

Tjong Kim Sang & De Meulder 2003, arXiv:cs/0306050. Columns are parted by tabs where a line has one, else by spaces;
lines that begin with -DOCSTART- are skipped. A file in IOB1 is turned into IOB2.
"""

from collections.abc import Iterator
from pathlib import Path

from laconic.data import iob, utf8
from laconic.data.records import Raw
from laconic.errors import DataError

SUFFIXES = (".conll", ".bio", ".iob", ".iob2")
ONLY = {"ner": (".txt",)}


def read(path: Path) -> Iterator[tuple[int, Raw]]:
    """Yield (line of the first token, {"tokens", "tags"}); raises DataError naming a line without two columns."""
    sentences = list(_sentences(path))
    convert = iob.from_iob1 if iob.is_iob1([record["tags"] for _, record in sentences]) else list
    for line, record in sentences:
        yield line, {"tokens": record["tokens"], "tags": convert(record["tags"])}


def _sentences(path: Path) -> Iterator[tuple[int, Raw]]:
    tokens: list[str] = []
    tags: list[str] = []
    start = 0
    for number, line in enumerate(utf8.lines(path), 1):
        columns = [c for c in line.split("\t" if "\t" in line else " ") if c]
        if columns and columns[0] != "-DOCSTART-":
            if len(columns) == 1:
                cause = f"{path}, line {number}: one column ({columns[0]!r})"
                raise DataError(f"{cause}; give a token and its tag, with a tab or a space between")
            start = start or number
            tokens.append(columns[0])
            tags.append(columns[-1])
        elif tokens:
            yield start, {"tokens": tokens, "tags": tags}
            tokens, tags, start = [], [], 0
    if tokens:
        yield start, {"tokens": tokens, "tags": tags}
