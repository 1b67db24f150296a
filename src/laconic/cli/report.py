"""`laconic report`: the report again, in the terminal and as a page.

No paper: a command.
"""

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.console import present


def command(
    folder: Annotated[Path, typer.Argument(help="An artifact that was compressed or evaluated with --against.")],
    split: Annotated[str, typer.Option(help="What it was measured on: test or validation.")] = "test",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Where the page goes; by default into FOLDER, as report.html, or report-validation.html.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Show the report of FOLDER and write it as one self-contained HTML page."""
    from laconic import options
    from laconic.prove import FILES
    from laconic.report import page
    from laconic.report.record import Report

    options.choice("split", split, tuple(FILES))
    record, drawn = FILES[split]
    report, target = Report.read(folder / record), out or folder / drawn
    page.write(report, target)
    present(report, target, as_json)
