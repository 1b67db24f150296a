"""Where a training run keeps its unfinished work, and how its folder comes to be: beside the target, then at once.

No paper: a folder that is whole or not there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from laconic import artifact, notation, ranks
from laconic.callbacks import writing
from laconic.errors import DataError, RecipeError

TICKET = "run.json"
LATER = frozenset({"content"})  # what the records of older runs do not say, and which then can't differ


def is_done(out: Path, record: dict[str, Any], file: str) -> bool:
    """Whether `out` already holds this very run, as `file` in it says; raises DataError where it could not hold it.

    Nothing is made.
    """
    if artifact.is_underfoot(out):
        raise DataError(f"{out} is the folder you are in, or one above it; name a new one for the run")
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise DataError(f"{there} is a file; choose another folder for the run")
    if (out / file).exists():
        try:
            held = notation.read((out / file).read_bytes())
        except ValueError as error:
            raise DataError(f"{out / file} is damaged ({error}); choose another folder or remove it") from None
        if isinstance(held, dict) and all(_same(held, key, record[key]) for key in record):
            return True
        raise DataError(f"{out} holds another run; choose another folder or remove it")
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty and not a run folder; choose another folder")
    return False


def _same(held: dict[str, Any], key: str, value: Any) -> bool:
    return bool(held.get(key) == value) or (key in LATER and key not in held)


def begin(out: Path, record: dict[str, Any]) -> Path:
    """Make the folder beside `out` where a run's work goes; that of this very run is kept."""
    out = out.absolute()
    work = out.with_name(f".{out.name}.training")
    ticket = work / TICKET
    text = json.dumps(record, sort_keys=True)
    if ranks.rank() > 0 and not ticket.exists():
        raise DataError(f"{work}: what the first process has begun is not here; give a folder that all processes see")
    if ticket.exists() and ticket.read_text(encoding="utf-8") != text:
        shutil.rmtree(work)  # the work of other options is of no use to this run
    (work / "checkpoints").mkdir(parents=True, exist_ok=True)
    if not ticket.exists():
        artifact.write_file(ticket, text.encode())
    return work


@contextmanager
def refusing(work: Path) -> Iterator[None]:
    """What is wrong with data or options is so again at the next call: a run that did not begin leaves no work."""
    try:
        yield
    except (DataError, RecipeError):
        if not any((work / "checkpoints").iterdir()):
            shutil.rmtree(work)
        raise


def publish(
    out: Path, work: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, files: Mapping[str, bytes]
) -> None:
    """Write an ordinary checkpoint with `files` beside it, put it in place at once, and remove the work."""
    fresh = work / "result"
    shutil.rmtree(fresh, ignore_errors=True)
    with writing(fresh):
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        artifact.settle(fresh)
    if out.exists():
        out.rmdir()
    os.replace(fresh, out)
    artifact.flush(out.parent)
    shutil.rmtree(work)
