"""`laconic predict`: answer texts with a model, one JSON record a line.

No paper: a command.
"""

import os
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
    threads: Annotated[int | None, typer.Option(help="Processor threads; by default all.", min=1)] = None,
    cache_bits: Annotated[
        int | None, typer.Option(help="8 or 4: round what a model that writes has read; by default floats.")
    ] = None,
) -> None:
    """Answer with FOLDER's model. Prints JSON Lines; says on stderr which engine answers."""
    from laconic import predict
    from laconic.data import utf8
    from laconic.errors import DataError

    if text is None:
        lines = utf8.lines(Path("stdin"), sys.stdin.buffer.read())
    else:  # a text can be too long to be a path, which Path.is_file does not take
        lines = utf8.lines(Path(text)) if os.path.isfile(text) else [text]
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise DataError("there is no text to answer; give one, a file with one a line, or pipe some in")
    loaded = predict.load(folder, engine, threads, cache_bits)
    say(f"engine: {loaded.engine.name}" + (f" ({loaded.note})" if loaded.note else ""))
    for record in loaded.predict(lines):
        give(record)
