"""Words of running text, Chinese among them, and what the checks count by them."""

import re
import unicodedata

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from laconic.data import subwords, words
from laconic.data.variants import variants


def cut(text):
    return [text[start:end] for start, end in words.spans(text)]


def test_white_space_and_chinese_characters_part_words():
    assert cut("a  b-c\td.") == ["a", "b-c", "d."]
    assert cut("我爱 NLP课") == ["我", "爱", "NLP", "课"]
    assert cut(" ") == []


@pytest.mark.parametrize(
    "text",
    [
        "नई दिल्ली भारत की राजधानी है",
        "বাংলাদেশের রাজধানী ঢাকা",
        "كَتَبَ الوَلَدُ الدَّرْسَ",
        "می\u200cروم خانه",  # a joiner that parts nothing
        unicodedata.normalize("NFD", "Él vivió en Málaga 1996"),
        "葛\U000e0100 \u2764\ufe0f x",  # a Chinese character and a sign, each with a mark of how it looks
    ],
)
def test_marks_stay_with_their_word(text):
    assert words.parted().findall(text) == text.split()


def test_every_mark_is_known():
    """All of Unicode, character by character, against the ranges."""
    known = re.compile(f"[{words.MARKS}]")
    every = "".join(map(chr, range(0x110000)))
    said = [c for c in every if unicodedata.category(c).startswith("M") or c in "\u200c\u200d"]
    assert known.findall(every) == said


def test_a_text_is_chinese_by_its_letters():
    assert words.chinese("味道不错，下次再来！")
    assert words.chinese("KFC 味道不错")
    assert not words.chinese("eat 火锅 tonight")
    assert not words.chinese("123")


def test_fertility_of_chinese_is_by_character():
    pieces = {"[UNK]": 0, "味": 1, "道": 2, "好": 3, "ok": 4}
    raw = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]")
    counts = subwords.count([{"text": " 味道好 ok 坏"}], "classify", tokenizer, 4)
    assert (counts.words, counts.pieces, counts.unknown, counts.dropped, counts.longest) == (5, 5, 1, [], 5)
    assert counts.long == [0]


def test_variants_of_chinese_swap_characters():
    texts = [{"text": "味道好，很快"}, {"text": "太慢了 不好"}] * 20
    made = variants(texts, 1, seed=0)
    assert all(len(m["text"]) >= 6 for m in made)
    changed = [(m["text"], t["text"]) for m, t in zip(made, texts, strict=True) if m["text"] != t["text"]]
    assert changed
    assert all(sum(a != b for a, b in zip(m, t, strict=True)) < 5 for m, t in changed if len(m) == len(t))
