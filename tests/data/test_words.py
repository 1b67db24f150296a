"""Words of running text, Chinese among them, and what the checks count by them."""

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
