"""`laconic report`: the report again, in the terminal and as a page.

No paper: a command.
"""

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.console import present


def command(
    folder: Annotated[Path, typer.Argument(help="An artifact that was compressed or evaluated with --against.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the page goes; by default FOLDER/report.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Show the report of FOLDER and write it as one self-contained HTML page."""
    from laconic.prove import PAGE_FILE, REPORT_FILE
    from laconic.report import page
    from laconic.report.record import Report

    report = Report.read(folder / REPORT_FILE)
    target = out or folder / PAGE_FILE
    page.write(report, target)
    present(report, target, as_json)
