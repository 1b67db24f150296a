"""Find the splits of a source: a folder of files, one file, a saved `datasets` folder, or an id on the hub.

No paper: names of files. A folder holds train, validation (or valid, dev, val) and test, each in one of the formats of
`readers`, whole or in numbered parts (train-00000-of-00002.parquet). One file is a training split, unless it is called
like another split.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from laconic.data import readers
from laconic.data.records import Raw
from laconic.errors import DataError

SPLITS = {"train": ("train",), "validation": ("validation", "valid", "dev", "val"), "test": ("test",)}
PART = re.compile(r"-\d+-of-\d+$")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")
SAVED = ("dataset_dict.json", "dataset_info.json")
SHOWN = 8  # names of what a folder holds instead

Rows = Callable[[], Iterator[tuple[str, Raw]]]  # yields (where: file and record, record)
DatasetReader = Callable[[Any, str], Iterator[tuple[None, Raw]]]  # of (dataset, origin)


def find(source: str | Path, kind: str = "") -> dict[str, Rows]:
    """What reads each split that the source has, for the task called `kind`.

    Nothing is read yet (but a hub id is fetched).
    """
    path = Path(source)
    if path.is_dir():
        found = _saved(path) if is_saved(path) else _folder(path, kind)
    elif path.is_file():
        found = _file(path, kind)
    elif path.suffix.lower() not in readers.known(kind) and HUB_ID.fullmatch(str(source)):
        found = _hub(str(source))
    else:
        raise DataError(f"there is no file or folder {str(source)!r}; give a folder, a file, or an id on the hub")
    if not found:
        wanted = f"a folder holds {', '.join(SPLITS)} as any of: {', '.join(sorted(readers.known(kind)))}"
        there = sorted(path.name for path in Path(source).iterdir())[:SHOWN] if path.is_dir() else []
        raise DataError(f"{source}: no split is in it, only {', '.join(there) or 'nothing'}; {wanted}")
    return found


def split_of(path: Path) -> str | None:
    """Which split a file's name says it is, or is a part of."""
    return _split(PART.sub("", path.stem))


def is_saved(folder: Path) -> bool:
    """Whether `datasets.save_to_disk` wrote the folder."""
    return any((folder / name).is_file() for name in SAVED)


def _split(name: str) -> str | None:
    return next((split for split, names in SPLITS.items() if name.lower() in names), None)


def _folder(folder: Path, kind: str) -> dict[str, Rows]:
    files: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(folder.iterdir()):
        name = PART.sub("", path.stem)
        split = _split(name)
        if split is not None and path.suffix.lower() in readers.known(kind) and path.is_file():
            files.setdefault(split, {}).setdefault(name + path.suffix, []).append(path)
    for split, named in files.items():
        if len(named) > 1:
            raise DataError(f"{folder}: {' and '.join(named)} are both its {split} split; keep one of them")
    return {split: partial(_read, paths, kind) for split, named in files.items() for paths in named.values()}


def _file(path: Path, kind: str) -> dict[str, Rows]:
    if path.suffix.lower() not in readers.known(kind):
        raise DataError(f"{path}: no reader for {path.suffix!r}; known: {', '.join(sorted(readers.known(kind)))}")
    return {_split(path.stem) or "train": partial(_read, [path], kind)}


def _read(paths: Sequence[Path], kind: str) -> Iterator[tuple[str, Raw]]:
    for path in paths:
        for number, (line, raw) in enumerate(readers.read(path, kind), 1):
            yield f"{path}, record {number}" + (f" (line {line})" if line else ""), raw


def _saved(folder: Path) -> dict[str, Rows]:
    from laconic.data import hub  # imported here: it takes a second, and most sources are files

    return _parts(hub.saved(folder), str(folder), hub.rows)


def _hub(name: str) -> dict[str, Rows]:
    from laconic.data import hub  # imported here: as above

    return _parts(hub.download(name), name, hub.rows)


def _parts(found: dict[str, Any], origin: str, rows: DatasetReader) -> dict[str, Rows]:
    return {
        split: partial(_numbered, rows, dataset, f"{origin}, {name}")
        for name, dataset in found.items()
        if (split := _split(name)) is not None
    }


def _numbered(rows: DatasetReader, dataset: Any, origin: str) -> Iterator[tuple[str, Raw]]:
    for number, (_, raw) in enumerate(rows(dataset, origin), 1):
        yield f"{origin}, record {number}", raw
