"""Turn the class ids of the `datasets` library into the names its features give them.

No paper: `datasets.ClassLabel`, as `Features.to_dict()` and parquet files spell it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from laconic.data.records import Raw
from laconic.errors import DataError


def names(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """Class names of every column that holds class ids, alone or in a list."""
    found = {}
    for column, feature in features.items():
        while isinstance(feature, Mapping) and "feature" in feature:
            feature = feature["feature"]
        if isinstance(feature, list) and feature:
            feature = feature[0]  # how older versions write a list
        if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel":
            found[column] = list(feature["names"])
    return found


def named(record: Raw, known: Mapping[str, Sequence[str]], where: str) -> Raw:
    """The record with ids as names; raises DataError for an id without one (-1 is how a split hides its answers)."""
    for column, classes in known.items():
        if column not in record:
            raise DataError(f"{where}: it names the classes of a column {column!r} that is not there; write it again")
        record[column] = _name(record[column], classes, f"{where}: column {column!r}")
    return record


def _name(value: Any, classes: Sequence[str], where: str) -> Any:
    if isinstance(value, list):
        return [_name(item, classes, where) for item in value]
    if not isinstance(value, int):
        return value
    if not 0 <= value < len(classes):
        cause = f"{where} holds class {value}, but its classes are 0 to {len(classes) - 1}"
        raise DataError(f"{cause}; -1 means that the answers of this split were never published: use another split")
    return classes[value]
