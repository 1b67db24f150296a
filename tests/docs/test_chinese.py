"""The Chinese README keeps step with the English one: headings, commands, code, names and figures."""

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from laconic.tasks.ner import NER
from laconic.tasks.qa import QA
from laconic.tasks.summarize import Summarize

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
FENCE = re.compile(r"^```\w*\n.*?^```", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"[ \t]+#[^\n]*")
RESULTS = {ENGLISH: "Results", CHINESE: "结果"}
CHINESE_DATA = "examples/zh/"  # what a block of code is about that the Chinese page has on its own
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


def typed(part):
    """Those of the spans that are typed: commands and their options."""
    return {span for span in spans(part) if re.match(r"(laconic|make|pip|python) |.*--", span)}


def numbers(text):
    """The numbers of a text but for those in code; 1/13 is the 13 of `a 13th`."""
    return re.findall(r"\d(?:[\d,.]*\d)?", re.sub(r"`[^`]*`|1/(?=\d)", "", text))


def rows(page):
    """The numbers of every row of a table."""
    return [numbers(line) for line in page.splitlines() if line.startswith("|")]


def results(page):
    """What is said under the heading of the results."""
    return sections(page)[re.findall(r"^#+ ([^\n]*)", outside(page), re.MULTILINE).index(RESULTS[page])]


def test_headings_are_as_many_and_as_deep():
    levels = [re.findall(r"^(#+) ", outside(page), re.MULTILINE) for page in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]
    assert len(levels[0]) >= 9


def test_commands_and_code_are_the_same_but_for_their_comments():
    theirs, ours = ([COMMENT.sub("", block) for block in FENCE.findall(page)] for page in (ENGLISH, CHINESE))
    own = [block for block in ours if CHINESE_DATA in block]
    assert [block for block in ours if block not in own] == theirs
    assert [bool(HAN.search(block)) for block in own] == [True]


def test_every_name_and_option_of_a_section_is_in_the_other_one_too():
    for theirs, ours in zip(sections(ENGLISH), sections(CHINESE), strict=True):
        assert spans(theirs) <= spans(ours)
        assert typed(theirs) == typed(ours)
        assert all(link in ours for link in re.findall(r"\]\((docs/[^)]+|[A-Z]+|[A-Z]+\.md)\)", theirs))


def test_figures_are_the_same():
    assert rows(ENGLISH) == rows(CHINESE)


def test_numbers_in_the_prose_of_the_results_are_the_same():
    theirs, ours = (Counter(numbers(results(page))) for page in (ENGLISH, CHINESE))
    assert len(theirs) > 60
    assert theirs == ours


def example(name):
    """The Chinese record that a task's page shows, and what else the page says."""
    page = (ROOT / "docs" / "tasks" / f"{name}.md").read_text(encoding="utf-8")
    (row,) = [json.loads(line) for line in page.splitlines() if line.startswith("{") and HAN.search(line)]
    return row, page


def test_what_the_pages_of_tasks_say_of_chinese_answers_is_so():
    row, page = example("ner")
    tagged = NER(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"), casing=False, characters=True)
    parsed = tagged.parse("王小明昨天到了北京。")
    assert parsed["tokens"] == row["tokens"]
    for found in tagged.show(row["tags"], parsed)["entities"]:
        assert f"`{found['text']}` (`{found['type']}`, {found['start']} to {found['end']})" in page
    row, page = example("qa")
    figures = QA(characters=True).score([{"text": "工匠李春"}], [row])
    assert f"工匠李春 has an F1 of {figures['f1']:.3f}" in page
    row, page = example("summarize")
    figures = Summarize().score(["老桥维修到五月"], [row])
    assert f"老桥维修到五月 has a ROUGE-L of {figures['rouge_l']:.3f}" in page


def test_it_is_chinese_and_each_names_the_other():
    assert all(HAN.search(part) for part in sections(CHINESE))
    assert "(README.zh-CN.md)" in ENGLISH
    assert "(README.md)" in CHINESE


def test_no_line_ends_within_chinese_text():
    """Renderers show the end of a line as a space, which Chinese has not."""
    lines = outside(CHINESE).split("\n")
    broken = [f"{a[-8:]} / {b[:8]}" for a, b in pairwise(lines) if HAN.match(a[-1:]) and HAN.match(b.lstrip()[:1])]
    assert not broken
