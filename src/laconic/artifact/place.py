"""Put a whole folder in its place at once, or leave everything as it was.

No paper: a temporary sibling, flushed to disk, then renamed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from laconic.artifact.manifest import CONFIG, MANIFEST, REPORTS, TOKENIZER, WEIGHTS, is_artifact
from laconic.errors import MENDS, ArtifactError

PARTIAL = ".partial"  # ends the name of what is not whole yet
LEFT = re.compile(rf"\.({'|'.join(map(re.escape, REPORTS))})\.\d+\{PARTIAL}$")  # what a kill leaves of `write_file`


def write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Make `folder` hold exactly these files; ArtifactError where it holds more than an artifact and its report."""
    folder = folder.absolute()
    partial, old = folder.with_name(f".{folder.name}{PARTIAL}"), folder.with_name(f".{folder.name}.old")
    if not folder.exists() and is_artifact(old):
        os.rename(old, folder)  # a process died between the two renames below
    check_target(folder)
    try:
        for left in (partial, old):
            if left.exists():
                shutil.rmtree(left)
        partial.mkdir(parents=True)
        for name, held in contents.items():
            _write(partial / name, held)
        flush(partial)
        if folder.exists() and any(folder.iterdir()):
            os.rename(folder, old)
        os.replace(partial, folder)
        flush(folder.parent)
    except OSError as error:
        mend = MENDS.get(error.errno or 0, "choose another place")
        raise ArtifactError(f"{folder}: can't be written ({error.strerror or error}); {mend}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        elif old.exists():
            os.rename(old, folder)


def write_file(path: Path, held: bytes) -> None:
    """Make one file hold these bytes at once, or leave what was there."""
    path = path.absolute()
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")  # runs that share their steps write the same file
    try:
        _write(partial, held)
        os.replace(partial, path)
        flush(path.parent)
    except OSError as error:
        mend = MENDS.get(error.errno or 0, "choose another place")
        raise ArtifactError(f"{path}: can't be written ({error.strerror or error}); {mend}") from error
    finally:
        partial.unlink(missing_ok=True)


def settle(folder: Path) -> None:
    """Flush every file below a folder to disk, and the folders themselves, as another program has written them."""
    for path in (*folder.rglob("*"), folder):
        flush(path)


def check_target(folder: Path | str) -> None:
    """Raise ArtifactError for a place that holds anything that is not ours, before work is done for it."""
    folder = Path(folder)
    if is_underfoot(folder):
        raise ArtifactError(f"{folder}: the folder you are in, or one above it; name a new one for the artifact")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ArtifactError(f"{folder}: not a folder; choose another place for the artifact")
    if folder.is_dir() and any(folder.iterdir()) and not is_artifact(folder):
        raise ArtifactError(f"{folder}: holds files that are not an artifact; choose another place or empty it")
    ours = {MANIFEST, CONFIG, WEIGHTS, TOKENIZER, *REPORTS}
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in there if name not in ours and not (LEFT.match(name) and (folder / name).is_file())]
    if others:
        raise ArtifactError(
            f"{folder / others[0]}: not part of the artifact that stands here ({len(others)} such), and replacing that "
            "would delete it; move it away or choose another place"
        )


def is_underfoot(folder: Path) -> bool:
    """Whether the program stands in that folder, which thus can't be put in its place whole."""
    here = Path.cwd()
    return folder.resolve() in (here, *here.parents)


def _write(path: Path, held: bytes) -> None:
    with path.open("wb") as file:
        file.write(held)
        file.flush()
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    """Make what a file holds last, or renames and new names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
