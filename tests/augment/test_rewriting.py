"""Rewriting: the masked model's own choice in the places it was given, and every other letter as it was."""

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast, set_seed

from laconic.augment.rewriting import FRONT, Rewriting
from laconic.errors import ArtifactError
from tests.tiny import tiny
from tests.workshop import LETTERS, USED, WORDS, tokenizer

TEXTS = [" ".join(USED[i : i + 3 + i % 5]) for i in range(12)]
ROWS = [{"text": text, "label": "ab" if i % 2 else "ac"} for i, text in enumerate(TEXTS)]


def checkpoint(folder):
    """A masked language model that has not learnt anything."""
    set_seed(0)
    config = BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=1, initializer_range=0.5,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    plain = tokenizer()
    plain.mask_token = "##m"
    plain.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # so that a label is read without its colon
    plain.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("masked"))


def test_cold_tokens_are_those_the_model_thinks_likeliest(masked, monkeypatch):
    made = Rewriting(masked, ROWS, 1e-4, 0.4, 0)
    spots = {}
    chosen = Rewriting._chosen

    def noted(self, own):
        found = chosen(self, own)
        spots[len(spots)] = found
        return found

    monkeypatch.setattr(Rewriting, "_chosen", noted)
    said = made.rewritten("ab", TEXTS)
    special = made.tokenizer.all_special_ids
    for i, (text, found) in enumerate(zip(TEXTS, said, strict=True)):
        ids = made.tokenizer(FRONT.format("ab") + text)["input_ids"]
        ids = [made.tokenizer.mask_token_id if k in spots[i] else id_ for k, id_ in enumerate(ids)]
        with torch.no_grad():
            logits = made.model(input_ids=torch.tensor([ids])).logits[0]
        logits[:, special] = -torch.inf
        pieces = made.tokenizer.convert_ids_to_tokens(range(100))
        logits[:, [piece.startswith("##") for piece in pieces]] = -torch.inf  # a word's first piece stays one
        words = text.split()
        own = 2  # where the text begins: behind the label and its colon
        for place in spots[i]:
            words[place - own] = made.tokenizer.decode([int(logits[place].argmax())]).removeprefix("##")
        assert found.split() == words


@pytest.mark.parametrize("mask", [0.01, 0.4, 0.9])
def test_the_share_is_rewritten_and_the_rest_stays(masked, mask):
    made = Rewriting(masked, ROWS, 1.0, mask, 0)
    found = made.rewritten("ac", TEXTS)
    for text, said in zip(TEXTS, found, strict=True):
        pairs = list(zip(text.split(), said.split(), strict=True))
        assert sum(a != b for a, b in pairs) <= max(1, round(mask * len(pairs)))
    assert found != TEXTS


def test_no_special_token_is_said_even_where_the_model_wants_to(masked):
    made = Rewriting(masked, ROWS, 1e-2, 0.9, 0)
    with torch.no_grad():
        made.model.cls.predictions.bias[:4] += 1000
    assert all(word in (*WORDS, *LETTERS) for text in made.rewritten("ab", TEXTS) for word in text.split())


@pytest.mark.parametrize("kind", ["wordpiece", "bytes", "unigram"])
def test_tokens_that_stay_the_same_spell_the_same_text(masked, kind, monkeypatch):
    texts = ["the cat sat on the mat today", "cat", "one two three four five six", "naïve 你好 world"]
    made = Rewriting(masked, ROWS, 1.0, 0.5, 0)
    spelled_by(made, {"wordpiece": made.tokenizer, "bytes": small("bpe"), "unigram": small("unigram")}[kind])
    monkeypatch.setattr(Rewriting, "_draw", lambda *_: None)
    monkeypatch.setattr("laconic.answers.room", lambda *_: 4)
    texts = TEXTS if kind == "wordpiece" else texts
    assert made.rewritten("ab", texts) == texts


def spelled_by(made, other):
    """Let another tokenizer spell for a rewriting, whose model then knows none of its pieces."""
    made.tokenizer = other
    made.mark, made.kinds = made._kinds(400)


def put(ids):
    """In place of the model's draw: these ids, in their order, into the places that were chosen."""

    def draw(_self, _batch, rows, places):
        for row, some in zip(rows, places, strict=True):
            for place, drawn in zip(some, ids, strict=False):
                row[place] = drawn

    return draw


def test_what_the_tokenizer_does_not_know_stays(masked):
    made = Rewriting(masked, ROWS, 1.0, 0.9, 0)
    texts = ["ab \U0001f642 ac ad ae", "\U0001f642", "ab ac\U0001f642 zz"]
    for _ in range(5):
        found = made.rewritten("ab", texts)
        assert [text.count("\U0001f642") for text in found] == [1, 1, 1]
        assert found[1] == texts[1]
        assert found[2].endswith("\U0001f642 zz")
        assert not any("[" in text or "##" in text for text in found)


def test_reserved_rows_are_not_said(masked):
    made = Rewriting(masked, ROWS, 1e-2, 0.9, 0)
    names = {"ab": "[unused7]", "ac": "<unused_12>", "ad": "madeupword0003"}
    vocabulary = {names.get(piece, piece): i for piece, i in made.tokenizer.get_vocab().items()}
    made.tokenizer.get_vocab = lambda: vocabulary
    _, kinds = made._kinds(100)
    assert [kinds[vocabulary[name]].item() for name in names.values()] == [-1] * 3
    assert (kinds >= 0).sum() == (made.kinds >= 0).sum() - 3


def test_a_text_that_names_a_mark_of_the_tokenizer_is_none(masked):
    made = Rewriting(masked, ROWS, 1.0, 0.5, 0)
    assert made.rewritten("ab", ["ab [eos] ac", "ab ac"])[0] == ""


def test_what_stays_keeps_its_case_and_spaces(masked, monkeypatch):
    made = Rewriting(masked, ROWS, 1.0, 0.01, 0)
    made.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    monkeypatch.setattr(Rewriting, "_chosen", lambda _self, own: own[1:2])
    monkeypatch.setattr(Rewriting, "_draw", put(made.tokenizer.convert_tokens_to_ids(["ba"])))
    assert made.rewritten("ab", ["AB,\t  ac  Ad"]) == ["AB,\t  ba  Ad"]


def test_a_word_in_place_of_a_sign_stands_apart_but_not_where_words_met_before(masked, monkeypatch):
    made = Rewriting(masked, ROWS, 1.0, 0.01, 0)
    made.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("..|,"), "isolated")
    for piece, text, said in (("ba", "abacad", "abbaad"), ("##a", "abacad", "abaad")):
        monkeypatch.setattr(Rewriting, "_chosen", lambda _self, own: own[1:2])
        monkeypatch.setattr(Rewriting, "_draw", put(made.tokenizer.convert_tokens_to_ids([piece])))
        assert made.rewritten("ab", [text]) == [said]
    made.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    made.kinds[:] = 0
    monkeypatch.setattr(Rewriting, "_draw", put(made.tokenizer.convert_tokens_to_ids(["ba"])))
    assert made.rewritten("ab", ["ab,ac"]) == ["ab ba ac"]
    spelled_by(made, small("bpe"))
    monkeypatch.setattr("laconic.answers.room", lambda *_: 4)
    monkeypatch.setattr(Rewriting, "_draw", put(made.tokenizer.convert_tokens_to_ids(["at"])))
    (found,) = made.rewritten("ab", ["the,cat"])
    assert found == "theatcat"


def small(kind):
    """A tokenizer of two hundred pieces, some of which are parts of letters."""
    model, trainer = {
        "bpe": (models.BPE(), trainers.BpeTrainer(vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                  special_tokens=["[mask]"], show_progress=False)),
        "unigram": (models.Unigram(), trainers.UnigramTrainer(vocab_size=60, special_tokens=["[mask]", "[unk]"],
                                                              unk_token="[unk]", show_progress=False)),
    }[kind]  # fmt: skip
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(False) if kind == "bpe" else pre_tokenizers.Metaspace()
    made.decoder = decoders.ByteLevel() if kind == "bpe" else decoders.Metaspace()
    made.post_processor = processors.ByteLevel(trim_offsets=False) if kind == "bpe" else None
    texts = ["the cat sat on the mat today", "one two three four five six naïve 你好 world ab:"]
    made.train_from_iterator(texts * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, mask_token="[mask]", unk_token="[unk]")


def test_broken_letters_and_empty_texts_are_none(masked, monkeypatch):
    made = Rewriting(masked, ROWS, 1.0, 0.5, 0)
    assert made.rewritten("ab", ["", " "]) == ["", ""]
    spelled_by(made, small("bpe"))
    monkeypatch.setattr("laconic.answers.room", lambda *_: 4)
    monkeypatch.setattr(Rewriting, "_draw", lambda *_: None)
    assert made.rewritten("ab", ["\ufffd龙"]) == [""]
    ids = made.tokenizer("龙虎")["input_ids"]
    for drawn, said in ((ids[3:], "虎"), (ids[1:2], ""), (ids[:3], "龙")):
        monkeypatch.setattr(Rewriting, "_draw", put(drawn))
        monkeypatch.setattr(Rewriting, "_chosen", lambda _self, own: own)
        assert made.rewritten("ab", ["龙"]) == [said]


def test_of_a_long_text_the_beginning_is_rewritten(masked):
    made = Rewriting(masked, ROWS, 1.0, 0.1, 0)
    long = " ".join(USED[:10] * 20)
    (found,) = made.rewritten("ab", [long])
    assert 25 < len(found.split()) < 32
    assert sum(a == b for a, b in zip(found.split(), long.split(), strict=False)) > 20


def test_only_texts_of_the_label_are_rewritten_each_in_its_turn(masked):
    made = Rewriting(masked, ROWS, 1.0, 0.01, 3)
    own = [row["text"] for row in ROWS if row["label"] == "ab"]
    found = made("ab", 2 * len(own))
    near = [sum(sum(a != b for a, b in zip(t.split(), f.split(), strict=True)) <= 1 for f in found
                if len(f.split()) == len(t.split())) for t in own]  # fmt: skip
    assert min(near) >= 2
    again = Rewriting(masked, ROWS, 1.0, 0.01, 3)("ab", 2 * len(own))
    assert again == found
    assert Rewriting(masked, ROWS, 1.0, 0.01, 4)("ab", 2 * len(own)) != found


def test_the_label_in_front_is_read(masked):
    cold = [Rewriting(masked, ROWS, 1e-4, 0.9, 0).rewritten(label, TEXTS) for label in ("ab", "ed")]
    assert cold[0] != cold[1]


def test_a_model_without_such_a_head_or_a_mask_is_refused(tmp_path):
    tiny("bert", head="tokens").save_pretrained(tmp_path / "m")
    tokenizer().save_pretrained(tmp_path / "m")
    with pytest.raises(ArtifactError, match=r"weights of \w+ are missing"):
        Rewriting(tmp_path / "m", ROWS, 1.0, 0.3, 0)
    tiny("llama", head="lm").save_pretrained(tmp_path / "l")
    tokenizer().save_pretrained(tmp_path / "l")
    with pytest.raises(ArtifactError, match="is no masked language model; give a masked language model, or one of"):
        Rewriting(tmp_path / "l", ROWS, 1.0, 0.3, 0)
    checkpoint(tmp_path / "n")
    tokenizer().save_pretrained(tmp_path / "n")
    with pytest.raises(ArtifactError, match="has no mask"):
        Rewriting(tmp_path / "n", ROWS, 1.0, 0.3, 0)
