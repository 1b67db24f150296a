"""`laconic predict`: answer texts with a model, one JSON record a line.

No paper: a command.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.console import Quiet, give, say


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
    quiet: Quiet = False,
) -> None:
    """Answer with FOLDER's model. Prints JSON Lines; says on stderr which engine answers."""
    from laconic import data, predict
    from laconic.data import readers
    from laconic.data.readers import plain
    from laconic.errors import DataError

    given = None if text == "-" else text
    suffix = Path(given or "").suffix.lower()
    records = given is not None and os.path.isfile(given) and suffix in readers.known() and suffix not in plain.SUFFIXES
    lines = [] if records else _lines(given)
    nothing = DataError("there is no text to answer; give one, a file with one a line or of records, or pipe some in")
    if not records and not any(line.strip() for line in lines):
        raise nothing
    loaded = predict.load(folder, engine, threads, cache_bits)
    asked: Sequence[Any] = list(data.asked(str(given), loaded.task)) if records else [x for x in lines if x.strip()]
    if not asked:
        raise nothing
    say(f"engine: {loaded.engine.name}" + (f" ({loaded.note})" if loaded.note else ""))
    answers = iter(loaded.predict(asked, say, progress=not quiet))
    for line in lines or asked:
        give(None if isinstance(line, str) and not line.strip() else next(answers))


def _lines(text: str | None) -> list[str]:
    """Texts of a file, one a line, of stdin, or the text itself; DataError for a folder or a file that is not there."""
    from laconic.data import readers, utf8
    from laconic.errors import DataError

    if text is None:
        return _ended(utf8.lines(Path("stdin"), sys.stdin.buffer.read()))
    if os.path.isfile(text):  # a text can be too long to be a path, which Path.is_file does not take
        return _ended(utf8.lines(Path(text)))
    if os.path.isdir(text) or (not text.split()[1:] and text.lower().endswith(tuple(readers.known()))):
        raise DataError(f"there is no file {text}; to have these very words answered, pipe them in")
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of the command line that Python could not decode
        raise DataError("the text is not UTF-8; pipe it in as UTF-8, or from a file") from None
    return [text]


def _ended(lines: list[str]) -> list[str]:
    """The lines without the empty one behind the last line's end."""
    return lines if lines[-1] else lines[:-1]
