import pytest
from hypothesis import given
from hypothesis import strategies as st

from laconic.data import iob

TYPES = ("PER", "LOC")


@st.composite
def entities(draw):
    """Entities of a sentence as (type or None, length), and nothing says where one ends but the next."""
    return draw(st.lists(st.tuples(st.sampled_from([None, *TYPES]), st.integers(1, 3)), max_size=8))


def iob2(spans):
    tags = []
    for kind, length in spans:
        tags += ["O"] * length if kind is None else [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
    return tags


def iob1(spans):
    tags, before = [], None
    for kind, length in spans:
        first = "B" if kind == before else "I"
        tags += ["O"] * length if kind is None else [f"{first}-{kind}"] + [f"I-{kind}"] * (length - 1)
        before = kind
    return tags


@given(entities())
def test_iob1_says_the_same_entities_as_iob2(spans):
    assert iob.fault(iob2(spans)) is None
    assert iob.from_iob1(iob1(spans)) == iob2(spans)


@given(st.lists(entities(), max_size=5))
def test_a_file_is_iob1_when_it_is_written_so_and_differs_from_iob2(sentences):
    written = [iob1(spans) for spans in sentences]
    assert iob.is_iob1(written) == any(kind for spans in sentences for kind, _ in spans)
    assert not iob.is_iob1([iob2(spans) for spans in sentences])


def test_a_mixture_is_not_iob1():
    assert not iob.is_iob1([["O", "B-PER", "I-PER"], ["O", "I-LOC"]])


@pytest.mark.parametrize(
    ("tags", "place", "words"),
    [
        (["O", "I-PER"], 1, "'I-PER' after 'O'; in IOB2 an entity begins with 'B-PER'"),
        (["I-PER"], 0, "'I-PER' after 'O'"),
        (["B-LOC", "I-PER"], 1, "'I-PER' after 'B-LOC'"),
        (["O", "S-PER"], 1, "'S-PER'; IOB2 has O, B-TYPE and I-TYPE"),
        (["B-"], 0, "'B-'"),
        (["o"], 0, "'o'"),
        (["O", ""], 1, "''"),
    ],
)
def test_the_first_fault_is_named(tags, place, words):
    found = iob.fault(tags)
    assert found[0] == place
    assert words in found[1]
    assert f"tag {place + 1} " in found[1]
