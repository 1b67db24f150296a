"""Files as archives and back: any bytes, the size that the model promises, damage, and other models and machines."""

import hashlib
import json
import math
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.errors import ArtifactError
from laconic.lossless import archive, bits
from tests.lossless.small import causal
from tests.subwords.built import TEXT

TEXTS = "\n".join(TEXT).encode()
FLOOR = 24  # bits that the coder charges at most, where a model would charge more


def unpacked(packed, given, monkeypatch, log=print):
    """As the command opens it, but for the model, which is at hand."""
    monkeypatch.setattr(archive.models, "opened", lambda *_: given)
    return archive.unpack(packed, given.name, "x.lcz", log=log)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=120).map(str.encode),
        st.lists(st.sampled_from(TEXT), max_size=4).map(lambda rows: "\n".join(rows).encode()),
        st.tuples(st.sampled_from(TEXT), st.binary(max_size=6)).map(lambda pair: pair[0].encode() + pair[1]),
    ),
    st.sampled_from(["bert", "gpt", "llama", "t5", "clip"]),
)
@settings(max_examples=60, deadline=None)
def test_any_bytes_come_back(content, kind):
    with pytest.MonkeyPatch.context() as monkeypatch:
        given = causal(kind)
        assert unpacked(archive.pack(given, content), given, monkeypatch) == content


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_side_by_side_parts_come_back(family, monkeypatch):
    monkeypatch.setattr(archive, "PART", 200)
    given, content = causal("gpt", family), TEXTS * 3
    assert len(archive.cut(content)) > 5
    packed = archive.pack(given, content)
    assert "model" in archive.opened(packed, "x")[0]
    assert unpacked(packed, given, monkeypatch) == content
    assert archive.pack(given, content) == packed


@pytest.mark.parametrize("kind", ["gpt", "bert", "t5"])
def test_the_words_are_as_many_bits_as_the_model_asks_for(kind, monkeypatch):
    """Each token costs what the model says, and never more than the coder's least probability."""
    monkeypatch.setattr(archive, "PART", 200)
    given = causal(kind)
    content = TEXTS * 4
    parts = archive.cut(content)
    ids, rest = given.spell(parts)
    features = [f for i, one in enumerate(ids) for f in given.task.windowed(i, one, given.tokenizer)]
    raw = bits.answers.outputs(given.model, given.task, features, 1)
    tokens = np.concatenate([np.ravel(one) for one in raw])
    header, body = archive.opened(archive.pack(given, content), "x")
    first = len(parts) * math.log2(len(given.tokenizer)) if kind in ("t5", "bert") else 0
    first = 0 if given.tokenizer.bos_token_id is not None or given.tokenizer.eos_token_id is not None else first
    asked = np.minimum(tokens, FLOOR).sum() + first
    assert 8 * header["words"] == pytest.approx(asked, rel=0.005, abs=64)
    assert len(body) == header["words"] + len(rest)
    assert bits.weigh(given, parts).bits == pytest.approx(tokens.sum() + first + 8 * len(rest), rel=1e-5)


def test_what_a_model_makes_longer_is_stored():
    content = np.random.default_rng(0).bytes(500)
    packed = archive.pack(causal(), content)
    assert "model" not in archive.opened(packed, "x")[0]
    assert len(packed) < len(content) + 200


@given(st.binary(max_size=3000), st.integers(1, 400))
def test_parts_in_a_row_are_the_file(content, size):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(archive, "PART", size)
        parts = archive.cut(content)
    assert b"".join(parts) == content
    assert len(parts) <= archive.LANES


@given(st.text(alphabet="aß北😀", min_size=50, max_size=400))
def test_no_character_is_cut(text):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(archive, "PART", 7)
        parts = archive.cut(text.encode())
    assert [part.decode() for part in parts]


def test_every_flipped_byte_and_every_lost_end_is_noticed(monkeypatch):
    given = causal()
    packed = archive.pack(given, TEXTS[:200])
    for place in range(len(packed)):
        broken = bytearray(packed)
        broken[place] ^= 0x41
        with pytest.raises(ArtifactError):
            unpacked(bytes(broken), given, monkeypatch)
    for length in (0, 3, len(archive.MAGIC), len(packed) // 2, len(packed) - 1):
        with pytest.raises(ArtifactError):
            unpacked(packed[:length], given, monkeypatch)


def test_another_model_is_refused(monkeypatch):
    packed = archive.pack(causal(), TEXTS)
    with pytest.raises(ArtifactError, match=r"x\.lcz was written with another model than llama of gpt; give that one"):
        unpacked(packed, causal(seed=1), monkeypatch)


def resealed(packed, **changes):
    """The archive with another header, and a checksum that is right."""
    header, body = archive.opened(packed, "x")
    said = zlib.compress(json.dumps({**header, **changes}).encode())
    whole = archive.MAGIC + len(said).to_bytes(4, "little") + said + body
    return whole + hashlib.sha256(whole).digest()


def test_another_machine_is_named_and_what_comes_out_is_checked(monkeypatch):
    said, given = [], causal()
    packed = archive.pack(given, TEXTS)
    held = archive.opened(packed, "x")[0]["with"]
    other = resealed(packed, **{"with": {**held, "torch": "1.0"}})
    assert unpacked(other, given, monkeypatch, said.append) == TEXTS
    assert "torch 1.0, here" in said[0]
    with pytest.raises(ArtifactError, match="what came out is not what went in"):
        unpacked(resealed(packed, sha256="0" * 64), given, monkeypatch)


@pytest.mark.parametrize(
    "changes",
    [
        {"x": json.loads("[" * 200 + "]" * 200)},
        {"tokens": [10**12]},
        {"tokens": [-1]},
        {"tokens": "many"},
        {"words": "x"},
        {"with": 3},
        {"tokens": [1] * 999},
    ],
)
def test_a_header_that_cannot_be_is_refused_before_memory_is_taken(changes, monkeypatch):
    given = causal()
    with pytest.raises(ArtifactError):
        unpacked(resealed(archive.pack(given, TEXTS), **changes), given, monkeypatch)


def test_no_memory_is_taken_for_tokens_that_are_only_promised(monkeypatch):
    """Of a size and a count that agree, and that the words could hold: decoding ends before either is reached."""
    given = causal()
    packed = archive.pack(given, TEXTS)
    held = archive.opened(packed, "x")[0]
    most = archive._most(held["words"] // 4, given.model.config.vocab_size)
    with pytest.raises(ArtifactError, match="its header is damaged"):
        unpacked(resealed(packed, size=10**12, tokens=[most + 1]), given, monkeypatch)
    taken = []

    def exchange(shares, live, at):
        taken.append(at)
        if len(taken) > 50:
            raise AssertionError
        return np.zeros(len(live), np.int64)

    tracemalloc.start()
    with pytest.raises(AssertionError):
        archive.walk(given, [most] * archive.LANES, exchange, "decoding", False)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_as_many_tokens_fit_as_the_coder_can_hold(monkeypatch):
    """A token that is certain costs least."""
    coder, family = archive.constriction.stream.queue.RangeEncoder(), archive.constriction.stream.model.Categorical
    shares = np.array([[1.0] + [0.0] * 9999] * 5000)
    coder.encode(np.zeros(5000, np.int32), family(perfect=False), shares)
    assert archive._most(len(coder.get_compressed()), 10_000) >= 5000
    least = 5000 * -math.log2(1 - 9999 / 2**24)
    assert 32 * len(coder.get_compressed()) >= least


def test_a_format_of_later_is_named():
    packed = archive.pack(causal(), b"abc")
    with pytest.raises(ArtifactError, match=r"format 02 is not that of this version, 01"):
        archive.opened(packed[: len(archive.MAGIC) - 1] + b"\x02" + packed[len(archive.MAGIC) :], "x.lcz")
    with pytest.raises(ArtifactError, match=r"x\.lcz was not written by laconic zip"):
        archive.opened(b"PK\x03\x04 and so on", "x.lcz")
