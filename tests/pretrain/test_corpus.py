"""Text on disk: what is read, what is held back, and that packing loses nothing."""

import json

import numpy as np
import pytest

from laconic.data import readers
from laconic.errors import DataError
from laconic.pretrain import config, corpus, tokenizer

TEXTS = ["One cat sat.", "两只猫坐着。", "Three\ncats  sat."] * 50


def write(path, texts):
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path


def test_every_hundredth_document_is_held_back(tmp_path):
    found = corpus.splits(write(tmp_path / "a.txt", [f"text {i}" for i in range(250)]))
    held = list(found["validation"]())
    assert held == ["text 1", "text 101", "text 201"]
    assert sorted([*held, *found["train"]()]) == sorted(f"text {i}" for i in range(250))


def test_lines_without_blank_ones_between_are_documents_of_some_length(tmp_path, monkeypatch):
    monkeypatch.setattr("laconic.data.readers.pieces.LONG", 20)
    lines = [f"sentence {i}" for i in range(30)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n\nshort\n")
    for source in (tmp_path / "a.txt", tmp_path):
        found = corpus.splits(source)
        assert list(found["validation"]()) == ["sentence 2\nsentence 3"]
        train = list(found["train"]())
        assert train[-1] == "short"
        assert "\n".join(train[:-1]).split("\n") == lines[:2] + lines[4:]
    (whole, _) = readers.read(tmp_path / "a.txt", "lm")
    assert whole == (1, {"text": "\n".join(lines)})


def test_few_long_texts_are_split_at_once(monkeypatch):
    monkeypatch.setattr(corpus, "AT_ONCE", 10)
    monkeypatch.setattr(corpus, "TOGETHER", 3)
    texts = ["a" * 12, "b", "c" * 9, "d", "e", "f", "g"]
    assert list(corpus._together(iter(texts))) == [texts[:1], texts[1:3], texts[3:6], texts[6:]]


def test_a_validation_file_is_used_and_nothing_is_held_back(tmp_path):
    write(tmp_path / "train.txt", ["a", "b"])
    (tmp_path / "valid.jsonl").write_text(json.dumps({"text": "c"}) + "\n" + json.dumps({"text": ""}) + "\n")
    found = corpus.splits(tmp_path)
    assert {name: list(texts()) for name, texts in found.items()} == {"train": ["a", "b"], "validation": ["c"]}


def test_a_folder_without_splits_is_read_whole_with_what_is_below(tmp_path):
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "b.md", ["three"])
    write(tmp_path / "a.txt", ["one", "two"])
    (tmp_path / "c.png").write_bytes(b"\x89PNG")
    found = corpus.splits(tmp_path)
    assert [*found["train"](), *found["validation"]()] == ["one", "three", "two"]


def test_only_files_make_splits_of_a_folder(tmp_path):
    """Folders named as splits are do not; and nobody learns from a lone file that is called test."""
    for name in ("train", "dev"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.txt", [name])
    found = corpus.splits(tmp_path)
    assert sorted([*found["train"](), *found["validation"]()]) == ["dev", "train"]
    write(tmp_path / "test.txt", ["judged by"])
    with pytest.raises(DataError, match="test"):
        corpus.splits(tmp_path)
    write(tmp_path / "train.txt", ["alone"])
    assert list(corpus.splits(tmp_path)["train"]()) == ["alone"]


def test_a_config_beside_it_does_not_hide_what_a_text_holds(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    write(tmp_path / "a.txt", ["one"])
    before = corpus.digest(tmp_path)
    write(tmp_path / "a.txt", ["two"])
    assert corpus.digest(tmp_path) != before


@pytest.mark.parametrize(("kind", "vocabulary"), [("bpe", 300), ("unigram", 60)])
def test_packed_tokens_are_the_texts(tmp_path, kind, vocabulary):
    """Two cats sit in Chinese too; ends part the documents, and a second writing reads what the first left."""
    reader = tokenizer.train(config.Tokens(kind, vocabulary), lambda: iter(TEXTS), "causal", 64)
    bos, eos = reader.bos_token_id, reader.eos_token_id
    counts = corpus.write(lambda: iter(TEXTS), reader, tmp_path / "x.tokens", [bos], [eos])
    assert (counts.documents, counts.bytes) == (150, sum(len(t.encode()) for t in TEXTS))
    ids = corpus.ids(tmp_path / "x.tokens", reader)
    assert (ids.dtype, len(ids)) == (np.uint16, counts.tokens)
    parts = np.split(ids, np.flatnonzero(ids == eos) + 1)[:-1]
    assert all(part[0] == bos for part in parts)
    assert [reader.decode(part[1:-1]) for part in parts] == TEXTS

    def never():
        raise AssertionError("read again")

    assert corpus.write(never, reader, tmp_path / "x.tokens", [bos], [eos]) == counts


def test_wordpiece_sets_chinese_characters_apart(tmp_path):
    reader = tokenizer.train(config.Tokens("wordpiece", 60, lowercase=True), lambda: iter(TEXTS), "masked", 64)
    assert reader.tokenize("两只猫 CAT") == ["两", "只", "猫", "cat"]
    ids = reader("cat")["input_ids"]
    assert ids == [reader.cls_token_id, reader.convert_tokens_to_ids("cat"), reader.sep_token_id]


def test_a_document_has_line_feeds_whatever_ends_its_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\n\r\nthree\r\n")
    assert [raw["text"] for _, raw in readers.read(tmp_path / "a.txt")] == ["one\ntwo", "three"]


def test_plain_text_is_read_document_by_document(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf\n\none\r\ntwo\r\n \r\n\r\nthree\n")
    assert list(readers.read(path, "lm")) == [(3, {"text": "one\ntwo"}), (7, {"text": "three"})]
    path.write_text("EU B-ORG\nis O\n")
    assert list(readers.read(path, "ner")) == [(1, {"tokens": ["EU", "is"], "tags": ["B-ORG", "O"]})]
