"""Read parquet, with class ids as names where the `datasets` library left the names in the file.

No paper: Apache Parquet, by pyarrow.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from laconic.data import classes
from laconic.data.records import Raw
from laconic.errors import DataError

SUFFIXES = (".parquet",)


def read(path: Path) -> Iterator[tuple[None, Raw]]:
    """Yield (None, record); raises DataError for a damaged file or a class id without a name."""
    try:
        with pq.ParquetFile(path) as file:
            names = _names(file.schema_arrow.metadata, path)
            for batch in file.iter_batches():
                for record in batch.to_pylist():
                    yield None, classes.named(record, names, str(path))
    except (pa.ArrowException, OSError, ValueError) as error:  # pyarrow has no one class for what is damaged
        cause = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable parquet file ({cause}); write it again") from error


def _names(metadata: dict[bytes, bytes] | None, path: Path) -> dict[str, list[str]]:
    """Class names of the columns that hold class ids, as `datasets` writes them into the file's metadata."""
    try:
        saved = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        return classes.names(saved.get("info", {}).get("features", {}))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(
            f"{path}: its class names (huggingface metadata) do not read ({cause}); write it again"
        ) from error
