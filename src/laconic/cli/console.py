"""How commands print: tables and progress for people on stderr, JSON for machines on stdout.

No paper: rich, Typer.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from laconic.report.record import Report

LONGEST = 1000  # characters of a line that goes to a file or a pipe

people = Console(  # what it prints is of the user, whose labels and paths may have brackets and colons
    stderr=True, highlight=False, markup=False, emoji=False, width=None if sys.stderr.isatty() else LONGEST
)


def _hush(context: typer.Context, quiet: bool) -> bool:
    """Without bars of ours, transformers has none either, nor a report of the weights that it reads."""
    if quiet:
        from transformers.utils import logging

        context.call_on_close(partial(logging.set_verbosity, logging.get_verbosity()))
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        if logging.is_progress_bar_enabled():
            logging.disable_progress_bar()  # type: ignore[no-untyped-call]
            context.call_on_close(logging.enable_progress_bar)
    return quiet


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.", callback=_hush)]


def say(text: str) -> None:
    """A line for people."""
    people.print(text)


def give(record: Any) -> None:
    """A JSON record on stdout."""
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table for people; columns after the first stand to the right.

    In a terminal too narrow for it the first column is folded, and those of several words.
    """
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    whole = [i > 0 and not any(" " in row[i] for row in rows) for i in range(len(columns))]
    for i, column in enumerate(columns):
        drawn.add_column(column, justify="right" if i else "left", overflow="fold", no_wrap=whole[i])
    for row in rows:
        drawn.add_row(*row)
    people.print(drawn)


def present(report: "Report", page: Path, as_json: bool) -> None:
    """A report for people, and where its page is; its record for machines."""
    from laconic.report import terminal

    if as_json:
        give(json.loads(report.to_json()))
    terminal.show(report, people)
    say(f"the page: {page}")
