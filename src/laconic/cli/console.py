"""How commands print: tables and progress for people on stderr, JSON for machines on stdout.

No paper: rich.
"""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

people = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """A line for people."""
    people.print(text, markup=False)


def give(record: Any) -> None:
    """A JSON record on stdout."""
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table for people; columns after the first are numbers and stand to the right."""
    drawn = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        drawn.add_column(column, justify="right" if i else "left")
    for row in rows:
        drawn.add_row(*row)
    people.print(drawn)
