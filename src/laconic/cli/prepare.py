"""`laconic prepare`: read, split and check labelled data.

No paper: a command.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.console import give, say, table


def command(
    data: Annotated[str, typer.Argument(help="A folder of splits, one file, a saved datasets folder, or a hub id.")],
    task: Annotated[str, typer.Option(help="What the data are for, such as ner; see the reference.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the checked splits here as JSON Lines.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Also check how the model's tokenizer and its pretraining fit.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Deals splits where there are none.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Read DATA (jsonl, csv, tsv, conll, parquet, text), split it where it is not, and say what is wrong with it."""
    from laconic.data.prepare import prepare

    findings = prepare(data, task, out, model=model, seed=seed, progress=not as_json)
    if as_json:
        give([asdict(f) for f in findings])
    rows = [[f.level, f.check, f.split or "", "" if f.record is None else str(f.record), f.message] for f in findings]
    table(f"{data}: {len(findings)} findings", ["level", "check", "split", "record", "what"], rows)
    if any(f.level == "error" for f in findings):
        say("nothing was written: mend the errors first")
        raise typer.Exit(1)
    if out is not None:
        say(f"{out}: written; next: laconic train MODEL --task {task} --data {out} -o RUN")
