import json
import re
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic import data
from laconic.contracts import Splits
from laconic.data import records, splits
from laconic.errors import DataError
from laconic.tasks.classify import Classify
from laconic.tasks.ner import NER
from laconic.tasks.qa import QA
from laconic.tasks.relation import Relation


def write(folder, name, examples):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(e) + "\n" for e in examples))
    return folder


def texts(count, start=0, classes="ab"):
    return [{"text": f"text {i}", "label": classes[i % len(classes)]} for i in range(start, start + count)]


def rows(examples):
    return [(f"record {i}", e) for i, e in enumerate(examples)]


LABELLED = st.lists(st.sampled_from("aaaabbc"), min_size=20, max_size=300)


@given(LABELLED, st.floats(0.05, 0.5), st.integers(0, 5))
def test_a_draw_keeps_proportions_and_every_record_once(chosen, share, seed):
    all_rows = rows([{"text": str(i), "label": label} for i, label in enumerate(chosen)])
    kept, held = splits.draw(all_rows, "classify", share, seed)
    assert sorted(where for where, _ in kept + held) == sorted(where for where, _ in all_rows)
    total, out = Counter(chosen), Counter(e["label"] for _, e in held)
    for label, count in total.items():
        assert count == 1 or abs(out[label] - share * count) <= 2
    assert set(out) <= {e["label"] for _, e in kept}
    assert (kept, held) == splits.draw(all_rows, "classify", share, seed)


def test_small_strata_share_what_is_held():
    all_rows = rows([{"text": str(i), "label": f"l{i % 30}"} for i in range(90)])
    assert len(splits.draw(all_rows, "classify", 0.1, 0)[1]) == 9


def test_another_seed_draws_others():
    all_rows = rows(texts(100))
    assert splits.draw(all_rows, "classify", 0.1, 0) != splits.draw(all_rows, "classify", 0.1, 1)
    kept, held = splits.draw(all_rows, "classify", 0.1, 0)
    assert [int(where.split()[1]) for where, _ in held] == sorted(int(where.split()[1]) for where, _ in held)
    assert (len(kept), len(held)) == (90, 10)


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab")), min_size=10, max_size=120), st.integers(0, 3))
def test_the_same_text_is_never_on_both_sides(pairs, seed):
    all_rows = rows([{"text": str(n), "label": label} for n, label in pairs])
    kept, held = splits.draw(all_rows, "classify", 0.3, seed)
    assert not {e["text"] for _, e in kept} & {e["text"] for _, e in held}


@given(st.lists(st.lists(st.sampled_from(["O", "B-X", "B-Y", "B-Z"]), min_size=1, max_size=4), min_size=5, max_size=80))
def test_no_tag_is_only_in_the_held_part(tags):
    all_rows = rows([{"tokens": [f"{i}"] * len(t), "tags": t} for i, t in enumerate(tags)])
    kept, held = splits.draw(all_rows, "ner", 0.4, 0)
    seen = {tag for _, e in kept for tag in e["tags"]}
    assert {tag for _, e in held for tag in e["tags"]} <= seen


@given(st.lists(st.sets(st.sampled_from("abcdef")), min_size=30, max_size=80))
def test_records_with_several_labels_are_drawn_too(sets):
    all_rows = rows([{"text": str(i), "label": sorted(s)} for i, s in enumerate(sets)])
    kept, held = splits.draw(all_rows, "classify", 0.3, 0)
    assert {label for _, e in held for label in e["label"]} <= {label for _, e in kept for label in e["label"]}


def test_one_file_is_dealt_out_and_the_test_part_is_kept_back_for_every_seed(tmp_path):
    write(tmp_path, "all.jsonl", texts(200))
    source = tmp_path / "all.jsonl"
    test = {e["text"] for e in data.read_split(source, "classify", "test")}
    assert len(test) == 20
    for seed in range(4):
        found = data.read_splits(source, "classify", seed=seed)
        train, validation = ({e["text"] for e in part} for part in (found.train, found.validation))
        assert (len(train), len(validation)) == (160, 20)
        assert len(train | validation | test) == 200
        assert data.read_split(source, "classify", "test", seed=seed) == data.read_split(source, "classify", "test")
        assert data.read_split(source, "classify", "validation", seed=seed) == found.validation
    assert data.read_splits(source, "classify", 0) == data.read_splits(source, "classify", 0)
    assert data.read_splits(source, "classify", 0).digest != data.read_splits(source, "classify", 1).digest


@pytest.mark.parametrize("classes", ["abc", "aaaaaabbbc"])
def test_the_data_of_a_classifier_are_dealt_out_alike_where_texts_of_labels_are_written(tmp_path, classes):
    """Or what is made of one's training records would be learnt by the other, and be tested on."""
    write(tmp_path, "all.jsonl", [*texts(200, classes=classes), *texts(30, classes="ba")])  # some have two labels
    source = tmp_path / "all.jsonl"
    assert data.read_split(source, "control", "test") == data.read_split(source, "classify", "test")
    for seed in range(2):
        control, classify = (data.read_splits(source, kind, seed=seed) for kind in ("control", "classify"))
        assert (control.train, control.validation) == (classify.train, classify.validation)


@pytest.mark.parametrize("name", ["validation", "valid", "dev", "val"])
def test_a_folder_says_its_splits_by_name(tmp_path, name):
    write(tmp_path, "train.jsonl", texts(10))
    write(tmp_path, f"{name}.jsonl", texts(4, 10))
    write(tmp_path, "test.jsonl", texts(6, 14))
    (tmp_path / "labels.json").write_text("[]")
    found = data.read_splits(tmp_path, "classify")
    assert found.train == texts(10)
    assert found.validation == texts(4, 10)
    assert data.read_split(tmp_path, "classify", "test") == texts(6, 14)


def test_validation_is_drawn_from_training_where_a_folder_has_none(tmp_path):
    write(tmp_path, "train.jsonl", texts(100))
    write(tmp_path, "test.jsonl", texts(5, 100))
    found = data.read_splits(tmp_path, "classify", seed=3)
    assert (len(found.train), len(found.validation)) == (90, 10)
    assert sorted(e["text"] for e in found.train + found.validation) == sorted(e["text"] for e in texts(100))
    assert data.read_split(tmp_path, "classify", "test") == texts(5, 100)


def test_the_test_file_is_not_opened_for_training(tmp_path):
    write(tmp_path, "train.jsonl", texts(100))
    (tmp_path / "test.jsonl").write_text("this is no JSON")
    assert len(data.read_splits(tmp_path, "classify").train) == 90
    with pytest.raises(DataError, match=r"test\.jsonl, line 1: not JSON"):
        data.read_split(tmp_path, "classify", "test")


def test_numbered_parts_are_one_split(tmp_path):
    write(tmp_path, "train-00000-of-00002.jsonl", texts(10))
    write(tmp_path, "train-00001-of-00002.jsonl", texts(10, 10))
    write(tmp_path, "dev.jsonl", texts(4, 20))
    assert data.read_splits(tmp_path, "classify").train == texts(20)


def test_a_file_called_test_is_a_test_split(tmp_path):
    write(tmp_path, "test.jsonl", texts(5))
    assert data.read_split(tmp_path / "test.jsonl", "classify", "test") == texts(5)
    with pytest.raises(DataError, match="no train split; there is: test"):
        data.read_splits(tmp_path / "test.jsonl", "classify")


@dataclass(frozen=True)
class Stub:
    labels: tuple[str, ...]
    name: str = "classify"
    multiple: bool = False


def test_a_task_names_its_labels_and_how_many_an_example_has(tmp_path):
    write(tmp_path, "train.jsonl", texts(3))
    write(tmp_path, "validation.jsonl", texts(1))
    write(tmp_path, "test.jsonl", texts(4))
    assert data.read_splits(tmp_path, Stub(("a", "b"))).train == texts(3)
    with pytest.raises(DataError, match=r"train\.jsonl, record 2 \(line 2\): label 'b' was never seen"):
        data.read_splits(tmp_path, Stub(("a",)))
    assert len(data.read_split(tmp_path, Stub(()), "test")) == 4
    write(tmp_path, "test.jsonl", [{"text": "x", "label": ["a", "b"]}])
    with pytest.raises(DataError, match=r"test\.jsonl, record 1 \(line 1\): the label \['a', 'b'\] is a list"):
        data.read_split(tmp_path, Stub(("a", "b")), "test")
    assert data.read_split(tmp_path, Stub(("a", "b"), multiple=True), "test")[0]["label"] == ["a", "b"]


def test_a_label_that_training_never_saw_is_refused(tmp_path):
    write(tmp_path, "train.jsonl", texts(3))
    write(tmp_path, "validation.jsonl", [*texts(2), {"text": "new", "label": "c"}])
    message = r"validation\.jsonl, record 3 \(line 3\): label 'c' was never seen in training; known: a, b"
    with pytest.raises(DataError, match=message):
        data.read_splits(tmp_path, "classify")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O", "I-X"]}, "'I-X' after 'O'"),
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens but 1 tags"),
        ({"tokens": [], "tags": []}, "there are no tokens"),
    ],
)
def test_a_record_that_cannot_be_used_is_refused(tmp_path, record, message):
    good = {"tokens": ["a"], "tags": ["O"]}
    write(tmp_path, "train.jsonl", [good])
    write(tmp_path, "validation.jsonl", [good, record])
    with pytest.raises(DataError, match=rf"validation\.jsonl, record 2 \(line 2\): field .*{message}"):
        data.read_splits(tmp_path, "ner")


def test_one_label_and_lists_of_labels_do_not_mix(tmp_path):
    write(tmp_path, "train.jsonl", [{"text": "a", "label": ["x"]}, {"text": "b", "label": "x"}])
    with pytest.raises(DataError, match=r"record 2 \(line 2\): one label, but record 1 has a list of labels"):
        data.read_splits(tmp_path, "classify")


def test_splits_must_agree_on_lists_of_labels(tmp_path):
    write(tmp_path, "train.jsonl", [{"text": "a", "label": ["x"]}])
    write(tmp_path, "validation.jsonl", [{"text": "b", "label": "x"}])
    with pytest.raises(DataError, match=r"validation\.jsonl, record 1 \(line 1\): one label, but train has lists"):
        data.read_splits(tmp_path, "classify")


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no file or folder './nowhere'"):
        data.read_splits("./nowhere", "classify")
    with pytest.raises(DataError, match=r"no file or folder 'nowhere.jsonl'"):
        data.read_splits("nowhere.jsonl", "classify")
    words = "no split is in it, only {}; a folder holds train, validation, test as any of: .bio"
    with pytest.raises(DataError, match=re.escape(words.format("nothing"))):
        data.read_splits(tmp_path, "classify")
    for name in ("training.jsonl", "labels.json"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=re.escape(words.format("labels.json, training.jsonl"))):
        data.read_splits(tmp_path, "classify")
    (tmp_path / "train.xlsx").write_text("")
    with pytest.raises(DataError, match=r"no reader for '.xlsx'; known: .bio"):
        data.read_splits(tmp_path / "train.xlsx", "classify")
    write(tmp_path, "train.jsonl", [])
    with pytest.raises(DataError, match="the train split holds no records"):
        data.read_splits(tmp_path, "classify")
    write(tmp_path, "train.csv", texts(1))
    with pytest.raises(DataError, match=r"train.csv and train.jsonl are both its train split"):
        data.read_splits(tmp_path, "classify")
    with pytest.raises(DataError, match="there is no split 'exam'; there are: train, validation, test"):
        data.read_split(tmp_path, "classify", "exam")


def test_too_few_records_to_draw_from(tmp_path):
    write(tmp_path, "train.jsonl", texts(2))
    with pytest.raises(DataError, match="2 records are too few to draw test and validation from"):
        data.read_splits(tmp_path, "classify")


def test_many_known_labels_are_cut_short():
    known = [f"l{i:02}" for i in range(30)]
    with pytest.raises(DataError, match="l19 and 10 more"):
        splits.refuse_unknown([("here", {"text": "", "label": "x"})], known, "classify")
    assert records.answers({"text": "", "label": "x"}, "classify") == ["x"]


def test_texts_without_answers_stand_beside_the_splits(tmp_path):
    """Words for a task of words, whatever the file holds; validation texts and empty ones are left out."""
    folder = write(tmp_path / "d", "train.jsonl", [{"tokens": ["a", "b"], "tags": ["O", "B-X"]}] * 3)
    write(folder, "validation.jsonl", [{"tokens": ["Held", "out"], "tags": ["O", "O"]}])
    more = [
        {"text": "One, two"},
        {"text": "Held out"},
        {"text": " Heldout"},
        {"text": " "},
        {"words": ["c"], "tags": ["B-Q"]},
    ]
    write(tmp_path, "texts.jsonl", more)
    task = NER(("O", "B-X"))
    plain = data.read_splits(folder, task)
    both = data.with_texts(plain, tmp_path / "texts.jsonl", task)
    assert both.unlabelled == [{"tokens": ["One", ",", "two"]}, {"tokens": ["c"]}]
    assert (both.train, both.validation) == (plain.train, plain.validation)
    assert both.digest != plain.digest
    write(folder, "test.jsonl", [{"tokens": ["One", ",", "two"], "tags": ["O", "B-Z", "O"]}])
    assert data.with_texts(plain, tmp_path / "texts.jsonl", task, data.unseen(folder, task)).unlabelled == [
        {"tokens": ["c"]}
    ]
    classify = Classify(("a", "b"))
    flat = data.with_texts(Splits([], [], "0"), tmp_path / "texts.jsonl", classify)
    assert [e["text"] for e in flat.unlabelled] == ["One, two", "Held out", " Heldout", "c"]


def test_a_file_of_plain_text_holds_a_text_a_line(tmp_path):
    (tmp_path / "texts.txt").write_text("Peter Blackburn flew.\n\nEU rejects German call\n")
    words = data.with_texts(Splits([], [], "0"), tmp_path / "texts.txt", NER(("O",))).unlabelled
    assert words == [{"tokens": ["Peter", "Blackburn", "flew", "."]}, {"tokens": ["EU", "rejects", "German", "call"]}]
    lines = data.with_texts(Splits([], [], "0"), tmp_path / "texts.txt", Classify(("a", "b"))).unlabelled
    assert [e["text"] for e in lines] == ["Peter Blackburn flew.", "EU rejects German call"]


def test_questions_and_entities_without_answers_stand_beside_the_splits(tmp_path):
    asked = [
        {"context": "a b", "question": "c"},
        {"context": "d", "question": "e"},
        {"context": "a b", "question": "f"},
    ]
    write(tmp_path, "asked.jsonl", [{**row, "answers": {"text": [], "answer_start": []}} for row in asked])
    held = Splits([], [{**asked[0], "answers": {"text": ["a"], "answer_start": [0]}}], "0")
    assert data.with_texts(held, tmp_path / "asked.jsonl", QA()).unlabelled == asked[1:]
    spans = {name: {"text": word, "start": i, "end": i + 1} for name, word, i in (("e1", "a", 0), ("e2", "b", 2))}
    write(tmp_path, "pairs.jsonl", [{"text": "a b", **spans, "label": "unheard"}])
    found = data.with_texts(Splits([], [], "0"), tmp_path / "pairs.jsonl", Relation(("Other",)))
    assert found.unlabelled == [{"text": "a b", **spans}]
    with pytest.raises(DataError, match="no field 'context'; a text for qa has: context, question"):
        data.with_texts(held, tmp_path / "pairs.jsonl", QA())


@pytest.mark.parametrize(
    ("name", "held", "words"),
    [
        ("texts.jsonl", [{"txt": "a"}], "record 1 .line 1.: no field 'text' or 'tokens'; it has: 'txt'"),
        ("texts.jsonl", [{"text": ""}], "every text is empty"),
        ("test.jsonl", [{"text": "a"}], "by its name it is the test split, of which nothing"),
    ],
)
def test_texts_that_are_none_are_refused(tmp_path, name, held, words):
    folder = write(tmp_path / "d", "train.jsonl", [{"tokens": ["a"], "tags": ["O"]}] * 3)
    write(folder, "validation.jsonl", [{"tokens": ["b"], "tags": ["O"]}])
    write(tmp_path, name, held)
    task = NER(("O",))
    with pytest.raises(DataError, match=words):
        data.with_texts(data.read_splits(folder, task), tmp_path / name, task)


@dataclass(frozen=True)
class Named:
    """As much of a task as its name says."""

    name: str


@pytest.mark.parametrize(
    ("kind", "raw", "read"),
    [
        ("choice", {"prefix": "q", "target": ["a", "b"]}, {"question": "q", "choices": ["a", "b"]}),
        ("summarize", {"article": "d", "highlights": "s"}, {"document": "d"}),
        ("control", {"intent": "a"}, {"label": "a"}),
    ],
)
def test_what_is_asked_is_read_under_every_name_of_the_field(tmp_path, kind, raw, read):
    write(tmp_path, "x.jsonl", [raw])
    assert list(splits.asked(tmp_path / "x.jsonl", Named(kind))) == [read]


HI = {"speaker": "A", "text": "hi"}
CAT = {"text": "cat", "start": 0, "end": 3}


@pytest.mark.parametrize(
    ("kind", "raw", "words"),
    [
        ("dialogue", {"turns": [HI | {"speaker": "assistant"}]}, "field 'turns': only one speaks"),
        ("dialogue", {"turns": [HI, HI | {"text": " "}]}, "field 'turns': turn 2 is empty"),
        ("dialogue", {"turns": []}, "field 'turns': only one speaks"),
        ("choice", {"question": "q", "choices": []}, "field 'choices': there is no choice"),
        ("choice", {"question": "q"}, "no field 'choices' or 'target'; a text for choice has: question, choices"),
        (
            "relation",
            {"text": "cat", "e1": CAT, "e2": CAT | {"start": 500, "end": 503}},
            "ends at 503, but the text has 3",
        ),
        ("relation", {"text": "cat", "e1": CAT | {"start": -3}, "e2": CAT}, "'cat' is not at -3 to 3"),
        ("qa", {"context": "c", "question": " "}, "field 'question': the question is empty"),
        ("translate", {"source": ""}, "field 'source': the source is empty"),
        ("code", {"prompt": " "}, "the prompt is empty"),
        ("control", {"label": ""}, "the label is empty"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, kind, raw, words):
    write(tmp_path, "x.jsonl", [raw])
    with pytest.raises(DataError, match=rf"record 1 \(line 1\): .*{words}"):
        list(splits.asked(tmp_path / "x.jsonl", Named(kind)))
