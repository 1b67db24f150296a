"""Read parquet, with class ids as names where the `datasets` library left the names in the file.

No paper: Apache Parquet, by pyarrow.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
            names = classes.names(_features(file.schema_arrow.metadata))
            for batch in file.iter_batches():
                for record in batch.to_pylist():
                    yield None, classes.named(record, names, str(path))
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a readable parquet file ({error}); write it again") from error


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    saved = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    features: dict[str, Any] = saved.get("info", {}).get("features", {})
    return features
