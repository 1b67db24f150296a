import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.data import digest, labels, records
from laconic.errors import DataError


@pytest.mark.parametrize(
    ("raw", "kind", "made"),
    [
        ({"sentence": "a", "label": 3}, "classify", {"text": "a", "label": "3"}),
        ({"text": "a", "intent": "pay", "id": 7}, "classify", {"text": "a", "label": "pay"}),
        ({"text": "a", "labels": ["x", 2, True]}, "classify", {"text": "a", "label": ["x", "2", "true"]}),
        ({"text": "a", "label": 1}, "control", {"label": "1", "text": "a"}),
        ({"sentence": "a", "intent": True}, "control", {"label": "true", "text": "a"}),
        ({"words": ["a"], "ner_tags": ["O"]}, "ner", {"tokens": ["a"], "tags": ["O"]}),
    ],
)
def test_fields_are_read_under_other_names(raw, kind, made):
    assert records.example(raw, kind, "here") == made


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        ({"body": "a", "label": "x"}, "classify", "no field 'text' or 'sentence'; it has: 'body', 'label'"),
        ({"tokens": ["a"]}, "ner", "no field 'tags' or 'ner_tags'; it has: 'tokens'"),
        ({"text": None, "label": "x"}, "classify", "field 'text' is None, not text"),
        ({"text": "a", "label": 0.5}, "classify", "field 'label' is 0.5, not text"),
        ({"text": "a", "label": 0.5}, "control", "field 'label' is 0.5, not text"),
        ({"text": "a", "label": ["x"]}, "control", "field 'label' is ['x'], a list; give one label"),
        ({"text": "\ud83d", "label": "x"}, "classify", "half a character"),
        ({"tokens": "a b", "tags": ["O"]}, "ner", "field 'tokens' is 'a b', not a list"),
        ({"tokens": ["a", "b"], "tags": ["O", 3]}, "ner", "field 'tags' holds 3 as item 2"),
        (
            {"text": "a"},
            "poetry",
            "'poetry'; known: choice, classify, code, control, dialogue, lm, mlm, ner, qa, relation, span_corruption,",
        ),
    ],
)
def test_a_wrong_field_is_named(raw, kind, words):
    with pytest.raises(DataError) as caught:
        records.example(raw, kind, "f.jsonl, record 4")
    assert words in str(caught.value)
    assert kind == "poetry" or str(caught.value).startswith("f.jsonl, record 4")


@pytest.mark.parametrize(
    ("record", "kind", "found"),
    [
        ({"text": "a", "label": "x"}, "classify", set()),
        ({"text": " \t", "label": "x"}, "classify", {("warning", "empty text", "text")}),
        ({"text": "a", "label": ["x", ""]}, "classify", {("error", "empty label", "label")}),
        ({"tokens": ["a"], "tags": ["B-X"]}, "ner", set()),
        ({"tokens": [], "tags": []}, "ner", {("error", "empty text", "tokens")}),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "ner", {("warning", "empty text", "tokens")}),
        ({"tokens": ["a"], "tags": ["O", "O"]}, "ner", {("error", "length mismatch", "tags")}),
        ({"tokens": ["a"], "tags": ["I-X"]}, "ner", {("error", "bad IOB2", "tags")}),
    ],
)
def test_faults(record, kind, found):
    assert {(f.level, f.check, f.field) for f in records.faults(record, kind)} == found


def test_labels_are_sorted_for_people():
    tags = ["I-PER", "B-PER", "I-LOC", "B-LOC", "B-A"]
    assert labels([{"tokens": ["a"] * 5, "tags": tags}], "ner") == ("O", "B-A", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert labels([{"text": "", "label": ["b", "a"]}, {"text": "", "label": []}], "classify") == ("a", "b")


EXAMPLES = st.lists(st.fixed_dictionaries({"text": st.text(max_size=5), "label": st.sampled_from("ab")}), max_size=4)


@given(EXAMPLES, EXAMPLES)
def test_a_digest_tells_records_apart_and_nothing_else(one, other):
    assert (digest(one) == digest(other)) == (one == other)
    assert digest(one) == digest([dict(reversed(e.items())) for e in one])
