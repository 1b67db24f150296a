"""The Chinese README keeps step with the English one: headings, commands, code, names and figures."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
FENCE = re.compile(r"^```\w*\n.*?^```", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"[ \t]+#[^\n]*")
HAN = re.compile(r"[\u4e00-\u9fff]")


def outside(page):
    """The page without its blocks of code."""
    return FENCE.sub("", page)


def sections(page):
    """What stands below each heading, in order."""
    return re.split(r"^#+ [^\n]*\n", outside(page), flags=re.MULTILINE)[1:]


def spans(part):
    """Names and commands that stand in the text, whatever lines they are broken over."""
    return {" ".join(span.split()) for span in re.findall(r"`([^`]+)`", part)}


def rows(page):
    """The numbers of every row of a table."""
    found = [line for line in page.splitlines() if line.startswith("|")]
    return [re.findall(r"\d(?:[\d,.]*\d)?", re.sub(r"`[^`]*`", "", line)) for line in found]


def test_headings_are_as_many_and_as_deep():
    levels = [re.findall(r"^(#+) ", outside(page), re.MULTILINE) for page in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]
    assert len(levels[0]) >= 9


def test_commands_and_code_are_the_same_but_for_their_comments():
    code = [[COMMENT.sub("", block) for block in FENCE.findall(page)] for page in (ENGLISH, CHINESE)]
    assert code[0] == code[1]


def test_every_name_and_option_of_a_section_is_in_the_other_one_too():
    for theirs, ours in zip(sections(ENGLISH), sections(CHINESE), strict=True):
        assert spans(theirs) <= spans(ours)
        assert all(link in ours for link in re.findall(r"\]\((docs/[^)]+|[A-Z]+|[A-Z]+\.md)\)", theirs))


def test_figures_are_the_same():
    assert rows(ENGLISH) == rows(CHINESE)


def test_it_is_chinese_and_each_names_the_other():
    assert all(HAN.search(part) for part in sections(CHINESE))
    assert "(README.zh-CN.md)" in ENGLISH
    assert "(README.md)" in CHINESE
