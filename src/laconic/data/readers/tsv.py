"""Read tab-separated values: the first line names the columns, every other line is a record.

No paper: IANA text/tab-separated-values. Quotes are ordinary characters, for published files hold lone ones; only a
cell that a CSV writer quoted, its inner quotes doubled, is unquoted.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from laconic.data import tables, utf8
from laconic.data.records import Raw

SUFFIXES = (".tsv",)
QUOTED = re.compile(r'"((?:[^"]|"")*)"')


def read(path: Path) -> Iterator[tuple[int, Raw]]:
    """Yield (line, record); raises DataError naming the line whose cells do not fit the columns."""
    names: list[str] | None = None
    for number, line in enumerate(utf8.stream(path), 1):
        if not line:
            continue
        cells = [_plain(cell) for cell in line.split("\t")]
        if names is None:
            names = tables.header(cells, f"{path}, line {number}")
            continue
        yield number, tables.record(names, cells, f"{path}, line {number}")


def _plain(cell: str) -> str:
    quoted = QUOTED.fullmatch(cell) if cell.startswith('"') else None
    return quoted[1].replace('""', '"') if quoted else cell
