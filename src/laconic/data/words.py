"""What counts as a word of a running text: what stands between white space, and every Chinese character by itself.

Devlin et al. 2018, arXiv:1810.04805, whose tokenizer sets Chinese characters apart as well; the ranges are its own.
Unicode Standard Annex 29, rule WB4: marks (the vowels of Hindi, an accent by itself) and joiners stay with what they
stand on.
"""

import re
import unicodedata
from itertools import pairwise


def _marks() -> str:
    """Ranges of every mark (M*) and of the two joiners, for a regular expression's class; all are on these planes."""
    planes = (*range(0x20000), *range(0xE0000, 0xF0000))
    found = [c for c in planes if unicodedata.category(chr(c)).startswith("M") or c in (0x200C, 0x200D)]
    gaps = [(a, b) for a, b in pairwise(found) if b > a + 1]
    firsts, lasts = [found[0], *(b for _, b in gaps)], [*(a for a, _ in gaps), found[-1]]
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in zip(firsts, lasts, strict=True))


MARKS = _marks()
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"  # of a regular expression's class
WORD = re.compile(f"[{HAN}]|[^\\s{HAN}]+")
CHARACTER = re.compile(f"[{HAN}]")
RUN = rf"[^\W{HAN}]+(?:[{MARKS}]+[^\W{HAN}]*)*"  # letters and digits in a row, with their marks


def parted(run: str = RUN) -> re.Pattern[str]:
    """What finds words, each as `run` says, and every Chinese character and other sign by itself, with their marks."""
    return re.compile(rf"[{HAN}][{MARKS}]*|{run}|[^\w\s][{MARKS}]*")


def spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of every word, in characters."""
    return [match.span() for match in WORD.finditer(text)]


def chinese(text: str) -> bool:
    """Whether more than half of a text's letters and digits are Chinese characters."""
    return 2 * len(CHARACTER.findall(text)) > sum(character.isalnum() for character in text)
