"""`laconic predict`: answer texts with a model, one JSON record a line.

No paper: a command.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.console import give, say

RECORDS = (".jsonl", ".json", ".csv", ".tsv", ".conll", ".parquet")  # files of data
FILES = (".txt", *RECORDS)  # no text that is one word ends so


def command(
    folder: Annotated[Path, typer.Argument(help="An artifact or a run folder.")],
    text: Annotated[
        str | None,
        typer.Argument(help="A text, a file of texts, one a line, or of records; without it, or for -, stdin is read."),
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
    from laconic import data, predict
    from laconic.data import utf8
    from laconic.errors import DataError

    asked: Sequence[Any] = []
    records = text is not None and os.path.isfile(text) and text.lower().endswith(RECORDS)
    if text in (None, "-"):
        text = None
        asked = utf8.lines(Path("stdin"), sys.stdin.buffer.read())
    elif not records:  # a text can be too long to be a path, which Path.is_file does not take
        asked = utf8.lines(Path(text)) if os.path.isfile(text) else [_words(text)]
    asked = [line for line in asked if line.strip()]
    if not asked and not records:
        raise DataError("there is no text to answer; give one, a file with one a line, or pipe some in")
    loaded = predict.load(folder, engine, threads, cache_bits)
    if text is not None and records:
        asked = list(data.asked(text, loaded.task))
    say(f"engine: {loaded.engine.name}" + (f" ({loaded.note})" if loaded.note else ""))
    for record in loaded.predict(asked):
        give(record)


def _words(text: str) -> str:
    """The text, unless it is a folder or the name of a file that is not there: DataError."""
    from laconic.errors import DataError

    if os.path.isdir(text) or (not text.split()[1:] and text.lower().endswith(FILES)):
        raise DataError(f"there is no file {text}; to have these very words answered, pipe them in")
    return text
