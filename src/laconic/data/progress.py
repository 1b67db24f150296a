"""Show on the terminal how far reading or measuring is.

No paper: a bar, on standard error so that results can be piped, gone when it is done.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def follow(items: Iterable[T], title: str, shown: bool, total: int | None = None) -> Iterator[T]:
    """The items, with a bar while they are taken, when `shown` and where standard error is a terminal."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield from items
        return
    yield from track(items, title, total=total, console=console, transient=True)
