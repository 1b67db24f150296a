import pytest

from laconic.data import records, subwords
from laconic.data.checks import check
from laconic.data.findings import SHOWN, Finding
from tests.data.checkpoints import tokenizer

GOOD = [{"text": f"the cat {i}", "label": "ab"[i % 2]} for i in range(20)]
TAGGED = [{"tokens": ["the", f"cat{i}"], "tags": ["O", "B-X"]} for i in range(6)]


def found(parts, kind="classify", **given):
    return {(f.level, f.check, f.split, f.record): f for f in check(parts, kind, **given)}


def test_good_data_gets_one_figure_and_nothing_else():
    assert list(found({"train": GOOD})) == [("info", "class imbalance", "train", None)]
    assert list(found({"train": TAGGED}, "ner")) == [("info", "class imbalance", "train", None)]


@pytest.mark.parametrize(
    ("planted", "level", "name", "record"),
    [
        ({"text": " ", "label": "a"}, "warning", "empty text", 21),
        ({"text": "new", "label": ""}, "error", "empty label", 21),
        ({"text": "the cat 4", "label": "a"}, "info", "duplicates", 21),
        ({"text": "the cat 4", "label": "b"}, "warning", "contradictions", 21),
        ({"text": "new", "label": "rare"}, "warning", "rare classes", None),
    ],
)
def test_a_planted_fault_is_the_only_one_found(planted, level, name, record):
    findings = found({"train": [*GOOD, planted]})
    assert (level, name, "train", record) in findings
    serious = {f.check for f in findings.values() if f.level != "info"} - {name}
    assert serious <= {"rare classes"}


CODE = {"prompt": "def a():", "test": "assert a()", "entry": "a", "solution": " return 1"}
CHOICE = {"question": "q", "choices": ["a", "b"], "label": 1}
QUESTION = {"context": "c", "question": "q", "answers": {"text": ["c"], "answer_start": [0]}}


@pytest.mark.parametrize(
    ("kind", "record", "other", "words"),
    [
        ("choice", CHOICE, {"label": 0}, "question of an earlier record, but not its label"),
        ("code", CODE, {"test": "assert not a()"}, "prompt of an earlier record, but not its test and solution"),
        ("translate", {"source": "a", "target": "b"}, {"target": "c"}, "but not its target"),
        ("qa", QUESTION, {"answers": {"text": [], "answer_start": []}}, "but not its answers"),
    ],
)
def test_records_that_ask_the_same_are_compared_by_what_answers(kind, record, other, words):
    def repeats(rows):
        return [f for f in check({"train": rows}, kind) if f.check in ("duplicates", "contradictions")]

    (same,) = repeats([record, {**record}])
    assert (same.check, same.level, same.record) == ("duplicates", "info", 2)
    (finding,) = repeats([record, record | other])
    assert (finding.check, finding.level, finding.record) == ("contradictions", "warning", 2)
    assert words in finding.message


@pytest.mark.parametrize("kind", sorted(records.FIELDS))
def test_what_answers_is_a_field_that_does_not_ask(kind):
    answering = records.ANSWERED.get(kind, ())
    assert set(answering) <= {*records.fields(kind), records.NAMED.get(kind)} - set(records.ASKED.get(kind, ()))
    assert answering or kind in (*records.PLAIN, "dialogue")


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        ({"tokens": ["the", "mat"], "tags": ["O", "I-X"]}, "bad IOB2"),
        ({"tokens": ["the"], "tags": ["O", "O"]}, "length mismatch"),
        ({"tokens": [], "tags": []}, "empty text"),
    ],
)
def test_a_planted_tagging_fault(planted, name):
    findings = found({"validation": [TAGGED[0], planted]}, "ner")
    assert [k for k in findings if k[0] == "error"] == [("error", name, "validation", 2)]


def test_a_label_that_training_lacks_is_an_error_with_its_place():
    parts = {"train": GOOD, "test": [{"text": "new", "label": "c"}]}
    finding = found(parts, places={"train": ["?"] * 20, "test": ["t.jsonl, record 1"]})[
        "error", "unknown label", "test", 1
    ]
    assert finding.message.startswith("t.jsonl, record 1: 'c' was never seen in training")
    assert finding.field == "label"


def test_leakage_is_counted_and_its_first_records_named():
    parts = {
        "train": GOOD,
        "validation": [{"text": "other", "label": "a"}],
        "test": [{"text": "o", "label": "a"}, *GOOD[:7]],
    }
    finding = found(parts)["warning", "leakage", "test", 2]
    assert finding.value == 7 / 8
    assert "7 of 8 records (87.5%) are also in train: records 2, 3, 4, 5, 6, ...;" in finding.message
    assert not [key for key in found(parts) if key[1:3] == ("leakage", "validation")]


def test_imbalance_is_a_warning_from_twenty_to_one():
    many = [{"text": str(i), "label": "a"} for i in range(20 * 6)]
    few = [{"text": f"b{i}", "label": "b"} for i in range(6)]
    finding = found({"train": many + few})["warning", "class imbalance", "train", None]
    assert finding.value == 20
    assert "'a', occurs 20.0 times as often as 'b' (120 and 6)" in finding.message
    assert ("info", "class imbalance", "train", None) in found({"train": many[1:] + few})


def test_one_label_is_not_compared_with_itself():
    alone = found({"train": [{"text": str(i), "label": "a"} for i in range(7)]})
    assert alone["info", "class imbalance", "train", None].message == "one class, 'a', 7 times"


def test_entities_are_counted_once_however_long():
    long = [{"tokens": list("abcdef"), "tags": ["B-X", "I-X", "I-X", "I-X", "O", "B-Y"]}]
    assert found({"train": long}, "ner")["info", "class imbalance", "train", None].value == 1
    none = [{"tokens": ["a"], "tags": ["O"]}]
    assert ("warning", "class imbalance", "train", None) in found({"train": none}, "ner")


def test_many_findings_alike_are_counted():
    parts = {"train": [{"text": "", "label": "a"}] * (SHOWN + 5)}
    empty = [f for f in check(parts, "classify") if f.check == "empty text"]
    assert [f.record for f in empty] == [*range(1, SHOWN + 1), None]
    assert empty[-1] == Finding("warning", "empty text", "train", None, "", "5 more records like these", SHOWN + 5)


def test_errors_come_first():
    levels = [f.level for f in check({"train": [*GOOD, {"text": "", "label": ""}]}, "classify")]
    assert levels == sorted(levels, key=["error", "warning", "info"].index)
    assert levels[0] == "error"


def test_subword_counts_are_those_counted_by_hand():
    texts = [{"text": "the cab  abcd", "label": "a"}, {"text": "zebra , \u200b sat", "label": "a"}]
    counts = subwords.count(texts, "classify", tokenizer(), 7)
    assert counts.words == 3 + 4
    assert counts.pieces == (1 + 3 + 4) + (1 + 1 + 0 + 1)  # the c##a##b a##b##c##d | [UNK] [UNK] - sat
    assert counts.unknown == 2
    assert counts.over_split == 1
    assert counts.dropped == [1]
    assert counts.long == [0]
    assert counts.longest == 10


def test_a_text_of_just_the_limit_is_not_too_long():
    texts = [{"text": "the cat sat", "label": "a"}]  # and [CLS] and [SEP]
    assert subwords.count(texts, "classify", tokenizer(), 5).long == []
    assert subwords.count(texts, "classify", tokenizer(), 4).long == [0]


def test_words_of_records_are_counted_as_they_stand():
    counts = subwords.count([{"tokens": ["a-b", "the"], "tags": ["O", "O"]}], "ner", tokenizer(), None)
    assert (counts.words, counts.pieces, counts.unknown) == (2, 4, 1)


def test_findings_on_subwords():
    good = [{"text": "the cat sat on the mat", "label": "a"}] * 3
    levels = {f.check: f.level for f in subwords.check("train", good, "classify", tokenizer(), 16)}
    assert levels == {"unknown tokens": "info", "fertility": "info", "over-split words": "info"}
    bad = [*good, {"text": "zebra \u200b " + "abcd " * 9, "label": "a"}]
    findings = {f.check: f for f in subwords.check("train", bad, "classify", tokenizer(), 16)}
    assert {name for name, f in findings.items() if f.level == "warning"} == {
        "too long",
        "dropped words",
        "unknown tokens",
        "over-split words",
    }
    said = "1 text (record 4) longer than 16 tokens (the longest 39); the rest is cut off"
    assert said in findings["too long"].message
    asked = [{"prompt": e["text"], "solution": "x", "test": "y", "entry": "z"} for e in bad]
    (long,) = (f for f in subwords.check("train", asked, "code", tokenizer(), 16) if f.check == "too long")
    assert "(the longest 39); the beginning is cut off" in long.message
    tagged = [{"tokens": e["text"].split()} for e in bad]
    assert "too long" not in {f.check for f in subwords.check("train", tagged, "ner", tokenizer(), 16)}  # in windows
    assert findings["over-split words"].value == 9 / 29
    assert findings["fertility"].value == (18 + 1 + 36) / 29
    assert findings["unknown tokens"].value == 1 / 55


def test_the_tokenizer_alone_is_enough_to_check_subwords():
    names = {f.check for f in check({"train": GOOD, "test": TAGGED and GOOD[:1]}, "classify", tokenizer=tokenizer())}
    assert "fertility" in names
    assert "distance from pretraining" not in names


def test_a_tokenizer_without_a_limit_has_none():
    assert subwords.limit(tokenizer(10**30), None) is None
    assert subwords.limit(tokenizer(16), None) == 16
