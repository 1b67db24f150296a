"""`laconic predict`: answer texts with a model, one JSON record a line.

No paper: a command.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.console import give, say


def command(
    folder: Annotated[Path, typer.Argument(help="An artifact or a run folder.")],
    text: Annotated[
        str | None, typer.Argument(help="A text, or a file of texts, one a line; else stdin is read.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="torch, onnxruntime, or auto: the fastest that can run the model.")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(help="Processor threads; by default all.")] = None,
) -> None:
    """Answer with FOLDER's model. Prints JSON Lines; says on stderr which engine answers."""
    from laconic import predict
    from laconic.errors import DataError

    if text is not None and Path(text).is_file():
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    elif text is not None:
        lines = [text]
    else:
        lines = sys.stdin.read().splitlines()
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise DataError("there is no text to answer; give one, a file with one a line, or pipe some in")
    loaded = predict.load(folder, engine, threads)
    say(f"engine: {loaded.engine.name}" + (f" ({loaded.note})" if loaded.note else ""))
    for record in loaded.predict(lines):
        give(record)
