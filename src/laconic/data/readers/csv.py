"""Read comma-separated values: the first line names the columns; quoted cells may hold commas and line ends.

No paper: RFC 4180.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from laconic.data import tables, utf8
from laconic.data.records import Raw
from laconic.errors import DataError

SUFFIXES = (".csv",)
LONGEST = 2**31 - 1  # characters of a cell: the most that csv can be told everywhere


def read(path: Path) -> Iterator[tuple[int, Raw]]:
    """Yield (line, record); raises DataError naming the line whose cells do not fit the columns.

    The csv module has one bound on cells for the whole process, 131,072 characters; it is raised and stays so, since a
    reader that put it back would cut off another that is not done yet.
    """
    csv.field_size_limit(LONGEST)
    rows = csv.reader(_lines(path), strict=True)
    names: list[str] | None = None
    before = 0
    try:
        for cells in rows:
            line, before = before + 1, rows.line_num
            if not cells:
                continue
            if names is None:
                names = tables.header(cells, f"{path}, line {line}")
                continue
            yield line, tables.record(names, cells, f"{path}, line {line}")
    except csv.Error as error:
        cause = f"{path}, line {before + 1}: not CSV ({error})"
        raise DataError(f'{cause}; a quote inside a quoted cell is written twice ("")') from error


def _lines(path: Path) -> Iterator[str]:
    """Lines with their ends, which may be carriage returns alone."""
    for line in utf8.ended(path):
        yield from io.StringIO(line, newline="")
