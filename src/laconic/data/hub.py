"""Read data sets of the `datasets` library: folders written by `save_to_disk`, and ids on the Hugging Face hub.

No paper: Lhoest et al. 2021, arXiv:2109.02846 (the library). An id may name a configuration: `glue:sst2`.
"""

from collections.abc import Iterator
from pathlib import Path

import datasets
from datasets.exceptions import DatasetsError

from laconic.data import classes
from laconic.data.records import Raw
from laconic.errors import DataError


def saved(folder: Path) -> dict[str, datasets.Dataset]:
    """Splits by name of a folder written by `save_to_disk`; one without splits is called `train`."""
    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, DatasetsError) as error:
        raise DataError(f"{folder}: not a readable saved dataset ({_line(error)}); save it again") from error
    return dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}


def download(name: str) -> dict[str, datasets.Dataset]:
    """Splits by name of a data set on the hub (or in its local cache); raises DataError where it cannot be had."""
    path, _, configuration = name.partition(":")
    try:
        return dict(datasets.load_dataset(path, configuration or None))
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise DataError(
            f"{name!r} is no file or folder here, and as a data set on the hub it cannot be had ({_line(error)}); "
            "check the spelling or the connection"
        ) from error


def rows(dataset: datasets.Dataset, origin: str) -> Iterator[tuple[None, Raw]]:
    """Yield (None, record), class ids as names."""
    names = classes.names(dataset.features.to_dict())
    for table in dataset.with_format("arrow").iter(batch_size=1000):
        for record in table.to_pylist():
            yield None, classes.named(record, names, origin)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
