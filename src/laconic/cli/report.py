"""`laconic report`: the report again, in the terminal and as a page.

No paper: a command.
"""

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.console import give, people, say


def command(
    folder: Annotated[Path, typer.Argument(help="An artifact that was compressed or evaluated with --against.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the page goes; by default FOLDER/report.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Show the report of FOLDER and write it as one self-contained HTML page."""
    import json

    from laconic.prove import REPORT_FILE
    from laconic.report import page, terminal
    from laconic.report.record import Report

    report = Report.read(folder / REPORT_FILE)
    target = out or folder / "report.html"
    page.write(report, target)
    if as_json:
        give(json.loads(report.to_json()))
    terminal.show(report, people)
    say(f"the page: {target}")
