"""Read JSON Lines: one JSON object a line; empty lines are skipped.

No paper: jsonlines.org, RFC 8259.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from laconic.data import utf8
from laconic.data.records import Raw
from laconic.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json")


def read(path: Path) -> Iterator[tuple[int, Raw]]:
    """Yield (line, record); raises DataError naming the line that is no JSON object."""
    for number, line in enumerate(utf8.stream(path), 1):
        if not line or line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            cause = f"{path}, line {number}: not JSON ({error})"
            raise DataError(f"{cause}; write one JSON object on each line") from error
        if not isinstance(record, dict):
            found = type(record).__name__
            raise DataError(f"{path}, line {number}: a JSON {found}, not an object; write one object on each line")
        yield number, record
