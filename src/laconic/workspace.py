"""Where a training run keeps its unfinished work, and how its folder comes to be: beside the target, then at once.

No paper: a folder that is whole or not there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from laconic import artifact, lock, notation, ranks
from laconic.callbacks import writing
from laconic.errors import DataError, RecipeError

TICKET, LOCK = "run.json", "lock"
UNNAMED = "not named"  # in place of a value that a record does not hold
SHORT = 60  # characters of a value in an error message
LATER = frozenset({"content", "taught_as"})  # what the records of older runs do not say, and which then can't differ


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
    """Make the folder beside `out` where a run's work goes; this very run goes on.

    Other processes are kept out until it is published or removed, or this process ends. Raises DataError where another
    process has it, or where the work in it is that of another run, or of one that is not known.
    """
    out = out.absolute()
    work = out.with_name(f".{out.name}.training")
    ticket = work / TICKET
    if ranks.rank() > 0:
        if not ticket.exists():
            raise DataError(f"{work}: what the first process began is not here; give a folder that all processes see")
        return work
    fresh = lock.keep(work / LOCK, partial(_taken, out))
    if out.exists() and any(out.iterdir()):
        _remove(work)
        raise DataError(f"{out}: another process has put a run there meanwhile; give the same command again")
    text = json.dumps(record, sort_keys=True)
    wrong = _difference(ticket, json.loads(text)) if _is_worked(work) else ""
    if wrong:
        if fresh:
            lock.release(work / LOCK)
        raise DataError(
            f"{work} holds the work of a run that did not end, {wrong}, or remove that folder to begin anew"
        )
    (work / "checkpoints").mkdir(parents=True, exist_ok=True)
    artifact.write_file(ticket, text.encode())
    return work


def _taken(out: Path) -> None:
    raise DataError(f"{out}: another process is training it; wait until that is done, or choose another folder")


def _is_worked(work: Path) -> bool:
    """Whether anything would be lost with the folder of a run."""
    files = (path for path in work.rglob("*") if path.is_file() and path.suffix != artifact.PARTIAL)
    return any(path.name not in (TICKET, LOCK) for path in files)


def _difference(ticket: Path, record: dict[str, Any]) -> str:
    """What is another in a run's record, with both of its values, and what to do; nothing where all is the same."""
    mend = "which says what it was made with; put that file back as it was"
    if not ticket.exists():
        return f"but not its {ticket.name}, {mend}"
    try:
        held = notation.read(ticket.read_bytes())
    except ValueError as error:
        return f"but a {ticket.name} that is damaged ({error}), {mend}"
    if not isinstance(held, dict):
        return f"but a {ticket.name} that is a JSON {type(held).__name__}, not an object, {mend}"
    key = next((key for key in sorted({*held, *record}) if not _same(held, key, record.get(key))), None)
    if key is None:
        return ""
    old, new = (one.get(key, UNNAMED) for one in (held, record))
    if isinstance(old, dict) and isinstance(new, dict):
        inner = next(k for k in sorted({*old, *new}) if k not in old or k not in new or old[k] != new[k])
        key, old, new = f"{key} {inner}", old.get(inner, UNNAMED), new.get(inner, UNNAMED)
    values = f"{str(old)[:SHORT]}, where this one has {str(new)[:SHORT]}"
    return f"with another {key} ({values}); give what it had, and it goes on"


def missing(out: Path) -> list[Path]:
    """The folders that a run will make for `out` to lie in, the innermost first."""
    return [parent for parent in out.absolute().parents if not parent.exists()]


@contextmanager
def refusing(work: Path, new: Sequence[Path] = ()) -> Iterator[None]:
    """What is wrong with data or options is so again at the next call: a run that did not begin leaves no work.

    Nor `new`, folders above it that were made for it, unless something else lies there by now.
    """
    try:
        yield
    except (DataError, RecipeError):
        if not any((work / "checkpoints").iterdir()):
            _remove(work)
            for folder in new:
                if not any(folder.iterdir()):
                    folder.rmdir()
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
    _remove(work)


def _remove(work: Path) -> None:
    """The folder of a run, and then the lock on it."""
    shutil.rmtree(work)
    lock.release(work / LOCK)
