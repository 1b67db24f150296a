"""What counts as a word of a running text: what stands between white space, and every Chinese character by itself.

Devlin et al. 2018, arXiv:1810.04805, whose tokenizer sets Chinese characters apart as well; the ranges are its own.
"""

import re

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"  # of a regular expression's class
WORD = re.compile(f"[{HAN}]|[^\\s{HAN}]+")
CHARACTER = re.compile(f"[{HAN}]")


def spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of every word, in characters."""
    return [match.span() for match in WORD.finditer(text)]


def chinese(text: str) -> bool:
    """Whether more than half of a text's letters and digits are Chinese characters."""
    return 2 * len(CHARACTER.findall(text)) > sum(character.isalnum() for character in text)
