"""NER: where labels stand, which paths are allowed, how entities and tags are counted."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from sklearn.metrics import f1_score as sklearn_f1
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from laconic.errors import RecipeError
from laconic.tasks.ner import NER, WORD, best_path, follows, log_softmax, shape

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
tag_lists = st.lists(st.sampled_from(TAGS), min_size=1, max_size=6)


def tokenizer(limit: int = 512) -> PreTrainedTokenizerFast:
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "new", "york", "##er", "in", "eu"])}
    raw = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]", model_max_length=limit)


def test_labels_stand_on_first_pieces():
    example = {"tokens": ["in", "new", "yorker"], "tags": ["O", "B-LOC", "I-LOC"]}
    (feature,) = NER(TAGS).encode([example], tokenizer(), answers=True)
    assert feature["input_ids"] == [5, 2, 3, 4]
    assert feature["slots"] == [0, 1, 2]
    assert feature["labels"] == [0, 1, 2]


def test_answers_stay_out_unless_asked_for():
    (feature,) = NER(TAGS).encode([{"tokens": ["in"], "tags": ["O"]}], tokenizer(), answers=False)
    assert "labels" not in feature


def test_words_past_the_limit_have_no_slot_and_are_o():
    example = {"tokens": ["in", "new", "york", "eu"], "tags": ["O", "B-LOC", "I-LOC", "O"]}
    (feature,) = NER(TAGS).encode([example], tokenizer(limit=2), answers=True)
    assert feature["slots"] == [0, 1]
    output = np.eye(5, dtype=np.float32)[[0, 1]]
    assert NER(TAGS).predict([output], [feature], [example]) == [["O", "B-LOC", "O", "O"]]


def test_casing_is_fed_as_token_types():
    example = {"tokens": ["EU", "yorker", "New", "iN"], "tags": ["O"] * 4}
    (feature,) = NER(TAGS, casing=True).encode([example], tokenizer(), answers=False)
    words = [2, 0, 0, 1, 3]  # EU; york ##er; New; iN
    assert feature["token_type_ids"] == words


@pytest.mark.parametrize(
    ("word", "code"), [("lamb", 0), ("1996", 0), ("Peter", 1), ("EU", 2), ("McDonald", 3), ("A", 1)]
)
def test_shapes(word, code):
    assert shape(word) == code


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_path_is_the_best_allowed_one(words, seed):
    scores = np.random.default_rng(seed).normal(size=(words, len(TAGS)))
    logs = log_softmax(scores)
    allowed = [
        path
        for path in itertools.product(range(len(TAGS)), repeat=words)
        if all(follows(b, TAGS[i]) for b, i in zip(["O"] + [TAGS[i] for i in path], path, strict=False))
    ]
    best = max(allowed, key=lambda path: logs[np.arange(words), path].sum())
    assert best_path(scores, TAGS) == list(best)


@given(st.lists(st.tuples(tag_lists, st.integers(0, 2**32 - 1)), min_size=1, max_size=5))
def test_entity_f1_is_seqevals(rows):
    examples, said = [], []
    for tags, seed in rows:
        examples.append({"tokens": ["x"] * len(tags), "tags": tags})
        said.append(list(np.random.default_rng(seed).choice(TAGS, len(tags))))
    score = NER(TAGS).score(said, examples)
    assert score["entity_f1"] == pytest.approx(f1_score([e["tags"] for e in examples], said, zero_division=0))
    gold, flat = [t for e in examples for t in e["tags"]], [t for s in said for t in s]
    assert score["macro_f1"] == pytest.approx(sklearn_f1(gold, flat, average="macro"))
    assert set(TAGS) < set(score["table"])
    assert score["table"]["O"]["support"] == gold.count("O")


def test_bits_of_an_even_guess_are_log2_of_the_tags():
    example = {"tokens": ["a", "b"], "tags": ["O", "B-LOC"]}
    even = np.zeros((2, 5), dtype=np.float32)
    assert NER(TAGS).bits([even], [{"words": [0, 1]}], [example]) == pytest.approx(2 * np.log2(5))
    assert NER(TAGS).bits([even[:1]], [{"words": [1]}], [example]) == pytest.approx(2 * np.log2(5))


def test_a_word_without_pieces_shifts_nothing():
    example = {"tokens": ["in", " ", "york"], "tags": ["O", "O", "B-LOC"]}
    (feature,) = NER(TAGS).encode([example], tokenizer(), answers=True)
    assert feature["words"] == [0, 2]
    assert feature["labels"] == [0, 1]
    output = np.eye(5, dtype=np.float32)[[0, 1]]
    assert NER(TAGS).predict([output], [feature], [example]) == [["O", "O", "B-LOC"]]


@given(st.integers(1, 5), st.integers(0, 2**5 - 1), st.integers(0, 2**32 - 1))
def test_tags_follow_one_another_across_words_without_pieces(number, there, seed):
    """The likeliest of all whole sequences that are allowed, in which such words are O."""
    example = {"tokens": ["John"] * number}
    feature = {"words": [i for i in range(number) if there >> i & 1]}
    output = np.random.default_rng(seed).normal(size=(len(feature["words"]), len(TAGS))).astype(np.float32)
    (said,) = NER(TAGS).predict([output], [feature], [example])
    best, total = [], -np.inf
    for tags in itertools.product(TAGS, repeat=number):
        bare = all(tags[i] == "O" for i in range(number) if i not in feature["words"])
        if bare and all(follows(b, a) for b, a in itertools.pairwise(("O", *tags))):
            score = sum(output[k, TAGS.index(tags[i])] for k, i in enumerate(feature["words"]))
            best, total = (list(tags), score) if score > total else (best, total)
    assert said == best


def test_a_loss_that_is_not_known_is_refused():
    with pytest.raises(RecipeError, match="there is no loss ''; choose one of cross_entropy"):
        NER(TAGS, loss_name="")


def test_show_spells_entities():
    example = NER(TAGS).parse("Flew to New York.")
    assert example["tokens"] == ["Flew", "to", "New", "York", "."]
    shown = NER(TAGS).show(["O", "O", "B-LOC", "I-LOC", "O"], example)
    assert shown["entities"] == [{"type": "LOC", "text": "New York", "start": 2, "end": 4}]


def test_chinese_is_cut_into_characters():
    plain, tagged = NER(TAGS), NER(TAGS, characters=True)
    assert plain.parse("我在IBM上班。")["tokens"] == ["我", "在", "IBM", "上", "班", "。"]
    assert plain.parse("U.S.-born x")["tokens"] == WORD.findall("U.S.-born x") == ["U.S", ".", "-", "born", "x"]
    assert tagged.parse("我在 IBM")["tokens"] == ["我", "在", "I", "B", "M"]
    assert tagged.parse(" ")["tokens"] == [" "]
    example = {"tokens": ["北", "京", "大"]}
    said = ["B-LOC", "I-LOC", "O"]
    assert tagged.show(said, example)["entities"][0]["text"] == "北京"
    assert plain.show(said, example)["entities"][0]["text"] == "北 京"
