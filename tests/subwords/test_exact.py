"""Tokens and edits give back every byte, whatever the tokenizer; damaged edits are refused."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.errors import ArtifactError
from laconic.subwords import exact
from tests.subwords.built import KINDS, TEXT, build

BYTES = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=60).map(str.encode),
    st.sampled_from(TEXT).map(str.encode),
    st.tuples(st.sampled_from(TEXT), st.binary(max_size=5), st.sampled_from(TEXT)).map(
        lambda parts: parts[0].encode() + parts[1] + parts[2].encode()
    ),
)


@given(st.sampled_from(KINDS), st.lists(BYTES, max_size=4))
@settings(max_examples=200, deadline=None)
def test_every_byte_comes_back(kind, parts):
    ids, rest = exact.spell(build(kind), parts)
    assert exact.unspell(build(kind), ids, rest) == b"".join(parts)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_edits_make_one_of_the_other(said, meant):
    assert exact._edited(said, list(exact._edits(said, meant))) == meant


@given(st.lists(st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 99), st.binary(max_size=9)), max_size=4)))
def test_edits_are_written_and_read(edits):
    assert exact._read(exact._written(edits)) == edits


def test_a_tokenizer_that_keeps_all_needs_no_edits():
    ids, rest = exact.spell(build("gpt"), [line.encode() for line in TEXT])
    assert rest == b""
    assert all(ids)


def test_what_differs_little_costs_little():
    """A capital for each sentence, that BERT's tokenizer drops, in a text of many."""
    text = (TEXT[0] + "\n") * 50
    _, rest = exact.spell(build("bert"), [text.encode()])
    assert 0 < len(rest) < len(text) / 20


def test_an_edit_ends_where_both_sides_agree_again():
    """A letter that is another, one too many and one that is missing, each with its place."""
    said, meant = b"the sea shells are by the sea shore", b"The sea shells arre by the sea shoe"
    edits = list(exact._edits(said, meant))
    assert len(edits) == 3
    assert edits[0] == (0, 1, b"T")
    assert all(drop + len(put) <= 2 for _, drop, put in edits)


def test_bytes_that_are_no_text_have_no_tokens():
    ids, rest = exact.spell(build("gpt"), [bytes(range(128, 256)), b"the sea"])
    assert ids[0] == []
    assert ids[1]
    assert len(rest) > 100


@pytest.mark.parametrize(
    "rest", [b"\x01no lzma", b"\x00\x80", b"\x00\x05\x01", b"\x00\x02\x01\x01", exact.STORED + b"\x01\x05"]
)
def test_damaged_edits_are_refused(rest):
    ids = [build("gpt")("the")["input_ids"]]
    with pytest.raises(ArtifactError):
        exact.unspell(build("gpt"), ids, rest)


def test_edits_for_other_tokens_are_refused():
    tokenizer = build("bert")
    ids, rest = exact.spell(tokenizer, [b"the sea shells are by the SEA"])
    with pytest.raises(ArtifactError, match="there are edits for 1 parts and tokens of 2"):
        exact.unspell(tokenizer, [*ids, []], rest)
    with pytest.raises(ArtifactError, match="reaches beyond what the tokens say"):
        exact.unspell(tokenizer, [ids[0][:2]], rest)


def test_few_bytes_do_not_open_to_many():
    bomb = exact.lzma.compress(bytes(50_000_000), exact.lzma.FORMAT_RAW, filters=exact.FILTERS)
    tracemalloc.start()
    with pytest.raises(ArtifactError, match="the edits are damaged"):
        exact.unspell(build("gpt"), [[1]], exact.SHORTENED + bomb)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < (64 << 20) + 10_000_000  # the dictionary, and little more
    with pytest.raises(ArtifactError, match="the edits are damaged"):
        exact.unspell(build("gpt"), [[1]], exact.STORED + b"\xff" * 1_000_000)
    with pytest.raises(ArtifactError, match="the edits are damaged"):
        exact.unspell(build("gpt"), [[1]], exact.SHORTENED + bomb[:-1])


def test_what_would_open_to_so_much_more_is_written_as_it_is():
    edits = [[(0, 0, bytes(1_000_000))]]
    rest = exact._written(edits)
    assert rest[:1] == exact.STORED
    assert exact._read(rest) == edits
