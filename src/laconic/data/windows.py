"""Windows over a text that is longer than a model reads, and which of them says what of each word.

Devlin et al. 2018, arXiv:1810.04805, in the code they published for SQuAD: windows overlap, and a word counts in the
one of "max context", where the lesser of the tokens before and behind it is most; of equal ones, in the first.
Differs from that code: windows begin and end with whole words, so that each word is read as in a text of its own.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

OVERLAP = 0.5  # of a window's tokens, the most that the next one reads again


@dataclass(frozen=True)
class Window:
    """The words `start` to `stop` of a text, and those of them that are answered here and in no other window."""

    start: int
    stop: int
    words: tuple[int, ...]


def windows(sizes: Sequence[int], room: int) -> list[Window]:
    """Windows of at most `room` tokens over words of these `sizes`, in tokens; those that answer no word are left out.

    A word of no token, or of more than there is room for, is answered nowhere. There always is a window.
    """
    edges = list(accumulate((min(size, room) for size in sizes), initial=0))  # tokens before each word, (words + 1,)
    runs = list(_runs(edges, room))
    best: dict[int, tuple[int, int]] = {}  # word -> (context, number of the run)
    for number, (start, stop) in enumerate(runs):
        for word in (w for w in range(start, stop) if 0 < sizes[w] <= room):
            context = min(edges[word] - edges[start], edges[stop] - edges[word + 1])
            if word not in best or context > best[word][0]:
                best[word] = context, number
    owned: dict[int, list[int]] = {}
    for word, (_, number) in best.items():
        owned.setdefault(number, []).append(word)
    made = [Window(*runs[number], tuple(sorted(owned[number]))) for number in sorted(owned)]
    return made or [Window(*runs[0], ())]


def _runs(edges: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """(first word, first word behind) of windows, each as full as it can be, that overlap by at most OVERLAP."""
    start, words = 0, len(edges) - 1
    while True:
        stop = bisect_right(edges, edges[start] + room) - 1
        yield start, stop
        if stop == words:
            return
        start = bisect_left(edges, max(edges[stop] - OVERLAP * room, edges[stop + 1] - room))  # goes on by a word
