"""JSON that someone else may have written, read so that all that is wrong with it is one kind of error.

No paper: json.loads, whose own depth is Python's.
"""

import json
from typing import Any

DEEPEST = 100  # values within values; what walks through them afterwards calls itself for each


def read(text: str | bytes) -> Any:
    """Plain values; ValueError for what is no JSON, and for what is nested too deeply to be walked through."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"more than {DEEPEST} values within one another") from error
    level = [found]
    for _ in range(DEEPEST):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not level:
            return found
    raise ValueError(f"more than {DEEPEST} values within one another")
