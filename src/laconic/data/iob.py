"""The tag schemes IOB2 and IOB1: find what breaks the first, and turn the second into it.

Ramshaw & Marcus 1995, arXiv:cmp-lg/9505040 (IOB1); Tjong Kim Sang & Veenstra 1999, arXiv:cs/9907006 (IOB2).
In IOB2 every entity begins with B-X. In IOB1 it begins with I-X, and B-X only parts two touching entities of one type.
"""

from collections.abc import Sequence


def fault(tags: Sequence[str]) -> tuple[int, str] | None:
    """Position of the first tag that breaks IOB2 and what is wrong with it; None where all is well."""
    before = "O"
    for i, tag in enumerate(tags):
        if tag != "O" and (tag[:2] not in ("B-", "I-") or len(tag) == 2):
            return i, f"tag {i + 1} is {tag!r}; IOB2 has O, B-TYPE and I-TYPE"
        if tag[:2] == "I-" and before[2:] != tag[2:]:
            return i, f"tag {i + 1} is {tag!r} after {before!r}; in IOB2 an entity begins with {'B-' + tag[2:]!r}"
        before = tag
    return None


def is_iob1(sentences: Sequence[Sequence[str]]) -> bool:
    """Whether a file is IOB1 and not IOB2: some entity begins with I-X, and B-X only follows a tag of type X."""
    starts = 0
    for tags in sentences:
        before = "O"
        for tag in tags:
            if tag[:2] == "B-" and before[2:] != tag[2:]:
                return False
            starts += tag[:2] == "I-" and before[2:] != tag[2:]
            before = tag
    return starts > 0


def from_iob1(tags: Sequence[str]) -> list[str]:
    """The same entities in IOB2; an I-X that begins an entity becomes B-X."""
    return [
        "B-" + tag[2:] if tag[:2] == "I-" and (i == 0 or tags[i - 1][2:] != tag[2:]) else tag
        for i, tag in enumerate(tags)
    ]
