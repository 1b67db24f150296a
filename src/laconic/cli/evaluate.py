"""`laconic evaluate`: measure a model on a split, alone or against the one it came from.

No paper: a command.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.console import give, people, say


def command(
    folder: Annotated[Path, typer.Argument(help="An artifact or a run folder.")],
    data: Annotated[str | None, typer.Option(help="The data; by default what the model was trained on.")] = None,
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    against: Annotated[Path | None, typer.Option(help="The run folder to compare with.")] = None,
    engine: Annotated[
        str, typer.Option(help="torch, onnxruntime, or auto: the fastest that can run the model.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Score FOLDER on a split; with --against, measure size, speed, memory and bits of both and write the report."""
    if against is not None:
        prove(
            folder, against, data, split, engine=engine, command=" ".join(["laconic", *sys.argv[1:]]), as_json=as_json
        )
        return
    from laconic import data as readers
    from laconic import predict
    from laconic.errors import DataError

    loaded = predict.load(folder, engine)
    source = data or _trained_on(folder)
    if source is None:
        raise DataError(f"{folder} does not say what it was trained on; give --data")
    examples = readers.read_split(source, loaded.task, split)
    figures = loaded.task.score(loaded.answer(examples), examples)
    if as_json:
        give(figures)
    from laconic.report.terminal import tag_table

    say(f"{folder} on {split}, {loaded.engine.name}: " + ", ".join(_figures(figures)))
    if "table" in figures:
        people.print(tag_table(figures["table"]))


def _figures(figures: dict[str, Any]) -> list[str]:
    return [f"{k} {v:.4f}" for k, v in figures.items() if isinstance(v, float)]


def _trained_on(folder: Path) -> str | None:
    from laconic.finetune import RUN_FILE

    if not (folder / RUN_FILE).is_file():
        return None
    return str(json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["data"])


def prove(
    folder: Path,
    against: Path,
    data: str | None,
    split: str,
    *,
    engine: str = "auto",
    command: str = "",
    steps: Sequence[dict[str, Any]] = (),
    as_json: bool = False,
) -> None:
    """Measure both, print the table, and write report.json and report.html into the artifact."""
    from laconic import predict
    from laconic.prove import REPORT_FILE, compare
    from laconic.report import page, terminal

    record = predict.read(against).record
    source = data or record["data"]
    history = record.get("history", [])
    report = compare(folder, against, source, split=split, engine=engine, steps=steps, history=history, command=command)
    report.write(folder / REPORT_FILE)
    page.write(report, folder / "report.html")
    if as_json:
        give(json.loads(report.to_json()))
    terminal.show(report, people)
    say(f"the page: {folder / 'report.html'}")
