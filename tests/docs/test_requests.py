"""What examples/requests/README.md says of the demo's messages is true of the files."""

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from statistics import median

import pytest

HERE = Path(__file__).parents[2] / "examples" / "requests"
SPLITS = ("train", "validation", "test")


def read(name):
    return [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def words(text):
    return frozenset(re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower()))


def shared(one, other):
    return len(one & other) / len(one | other)


@pytest.fixture(scope="module")
def labelled():
    return {name: read(name) for name in SPLITS}


@pytest.fixture(scope="module")
def unlabelled():
    return [record["text"] for record in read("unlabelled")]


def test_the_table_of_intents_counts_the_files(labelled):
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", (HERE / "README.md").read_text(), re.M)
    counts = {name: Counter(record["label"] for record in labelled[name]) for name in SPLITS}
    found = [[label, *(counts[name][label] for name in SPLITS)] for label in sorted(counts["train"])]
    assert [[label, *map(int, numbers[:3])] for label, *numbers in rows] == found
    assert len(rows) == 18
    assert all(int(row[4]) == sum(map(int, row[1:4])) for row in rows)


def test_no_two_labelled_messages_are_alike(labelled):
    texts = [words(record["text"]) for name in SPLITS for record in labelled[name]]
    assert len(texts) == 1011
    assert max(shared(a, b) for a, b in combinations(texts, 2)) <= 0.45


def test_messages_without_a_label_are_others(labelled, unlabelled):
    assert len(unlabelled) == 699
    lengths = [len(text.split()) for text in unlabelled]
    assert (min(lengths), median(lengths), max(lengths)) == (1, 15, 30)
    own = [words(text) for text in unlabelled]
    theirs = [words(record["text"]) for name in SPLITS for record in labelled[name]]
    assert max(shared(a, b) for a in own for b in theirs) <= 0.6
    assert max(shared(a, b) for a, b in combinations(own, 2)) <= 0.6
