"""NER: where labels stand, which paths are allowed, how entities and tags are counted."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from sklearn.metrics import f1_score as sklearn_f1
from tokenizers import Tokenizer, models, pre_tokenizers, processors
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


LONG = {
    "tokens": ["in", "new", "yorker", "EU", "york", "new", "yorker", "in", "new", "york", "in"],
    "tags": ["O", "B-LOC", "I-LOC", "O", "B-LOC", "B-LOC", "I-LOC", "O", "B-LOC", "I-LOC", "O"],
}


def test_a_text_that_fits_is_read_as_the_tokenizer_reads_it():
    rows = [{key: row[:n] for key, row in LONG.items()} for n in (1, 4, 5)]  # 5, 6 pieces; 6 are read
    for row, feature in zip(rows, NER(TAGS).encode(rows, tokenizer(limit=6), answers=True), strict=True):
        whole = tokenizer()(row["tokens"], is_split_into_words=True)
        assert feature["input_ids"] == whole["input_ids"]
        assert feature["words"] == list(range(len(row["tokens"])))
        assert feature["labels"] == [TAGS.index(tag) for tag in row["tags"]]
        assert feature["cut"] == [0]


@pytest.mark.parametrize("limit", [2, 3, 4, 5, 6, 9, 12])
def test_of_a_longer_text_every_word_has_one_slot_on_its_first_piece(limit):
    """The pieces, kinds and labels of all windows are those of the words that they hold."""
    reader, alone = tokenizer(limit), tokenizer()
    rows = [{"tokens": ["eu"], "tags": ["O"]}, LONG]
    few, *features = NER(TAGS, casing=True).encode(rows, reader, answers=True)
    assert few["words"] == [0]
    assert len(features) > 1
    assert sorted(word for feature in features for word in feature["words"]) == list(range(11))
    for feature in features:
        assert (feature["example"], feature["cut"]) == ([1], [0])
        assert 0 < len(feature["input_ids"]) <= limit
        for slot, word, label in zip(feature["slots"], feature["words"], feature["labels"], strict=True):
            pieces = alone([LONG["tokens"][word]], is_split_into_words=True)["input_ids"]
            assert feature["input_ids"][slot : slot + len(pieces)] == pieces
            assert set(feature["token_type_ids"][slot : slot + len(pieces)]) == {shape(LONG["tokens"][word])}
            assert label == TAGS.index(LONG["tags"][word])


def test_tags_follow_one_another_across_windows():
    """The tags of all windows' scores together are those of one window that holds the same scores."""
    scores = np.random.default_rng(3).normal(size=(11, len(TAGS))).astype(np.float32)
    task = NER(TAGS)
    features = task.encode([LONG], tokenizer(limit=4), answers=False)
    first = features[1]["words"][0]
    assert first - 1 in features[0]["words"]
    scores[first, 2] += 9  # I-LOC, whatever stands before it
    rows = [scores[feature["words"]] for feature in features]
    whole = {"example": [0], "words": list(range(11))}
    (said,) = task.predict(rows, features, [LONG])
    assert [said] == task.predict([scores], [whole], [LONG])
    assert said[first] == "I-LOC"
    assert said[first - 1] in ("B-LOC", "I-LOC")
    assert task.bits(rows, features, [LONG]) == pytest.approx(task.bits([scores], [whole], [LONG]))


def test_a_word_that_no_window_has_room_for_is_o_and_its_text_is_cut():
    example = {"tokens": ["in", "york" + "er" * 5, "new", "york", "in"], "tags": ["O", "O", "B-LOC", "I-LOC", "O"]}
    features = NER(TAGS).encode([example], tokenizer(limit=3), answers=True)
    assert sorted(word for feature in features for word in feature["words"]) == [0, 2, 3, 4]
    assert all(feature["cut"] == [1] for feature in features)
    output = [np.eye(5, dtype=np.float32)[feature["labels"]] for feature in features]
    assert NER(TAGS).predict(output, features, [example]) == [["O", "O", "B-LOC", "I-LOC", "O"]]
    even = [np.zeros_like(row) for row in output]
    assert NER(TAGS).bits(even, features, [example]) == pytest.approx(5 * np.log2(5))
    (alone,) = NER(TAGS).encode([{"tokens": example["tokens"][1:2]}], tokenizer(limit=3), answers=False)
    assert (alone["slots"], alone["cut"], len(alone["input_ids"])) == ([], [1], 3)


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
    assert NER(TAGS).bits([even], [{"example": [0], "words": [0, 1]}], [example]) == pytest.approx(2 * np.log2(5))
    assert NER(TAGS).bits([even[:1]], [{"example": [0], "words": [1]}], [example]) == pytest.approx(2 * np.log2(5))


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
    feature = {"example": [0], "words": [i for i in range(number) if there >> i & 1]}
    output = np.random.default_rng(seed).normal(size=(len(feature["words"]), len(TAGS))).astype(np.float32)
    (said,) = NER(TAGS).predict([output], [feature], [example])
    best, total = [], -np.inf
    for tags in itertools.product(TAGS, repeat=number):
        bare = all(tags[i] == "O" for i in range(number) if i not in feature["words"])
        if bare and all(follows(b, a) for b, a in itertools.pairwise(("O", *tags))):
            score = sum(output[k, TAGS.index(tags[i])] for k, i in enumerate(feature["words"]))
            best, total = (list(tags), score) if score > total else (best, total)
    assert said == best


def test_without_o_among_the_labels_a_word_without_pieces_leaves_the_others_their_tags():
    """Of parts of speech the others have theirs; of entities the likeliest whole sequence goes on through it."""
    example = {"tokens": ["in", " ", "york", "new"]}
    kinds = NER(("ADJ", "NOUN", "VERB"))
    (feature,) = kinds.encode([example], tokenizer(), answers=False)
    output = np.eye(3, dtype=np.float32)[[2, 1, 1]]
    (said,) = kinds.predict([output], [feature], [example])
    assert (said[0], *said[2:]) == ("VERB", "NOUN", "NOUN")
    assert said[1] in kinds.labels
    entities = NER(("B-LOC", "I-LOC", "B-PER", "I-PER"))
    output = np.log(np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7], [0.1, 0.1, 0.1, 0.7]], dtype=np.float32))
    assert entities.predict([output], [feature], [example]) == [["B-LOC", "B-PER", "I-PER", "I-PER"]]


def test_a_loss_that_is_not_known_is_refused():
    with pytest.raises(RecipeError, match="there is no loss ''; choose one of cross_entropy"):
        NER(TAGS, loss_name="")


def test_show_spells_entities():
    example = NER(TAGS).parse("Flew to New York.")
    assert example["tokens"] == ["Flew", "to", "New", "York", "."]
    shown = NER(TAGS).show(["O", "O", "B-LOC", "I-LOC", "O"], example)
    assert shown["entities"] == [{"type": "LOC", "text": "New York", "start": 2, "end": 4}]


def test_marks_and_what_joins_words_part_none():
    typed = "नई दिल्ली-वाला, Zoe\u0308’s"
    assert NER(TAGS).parse(typed)["tokens"] == ["नई", "दिल्ली-वाला", ",", "Zoe\u0308’s"]


def test_words_of_which_a_tokenizer_makes_nothing_are_read_all_the_same():
    """By a decoder, whose tokenizer adds no token: one token is read, and no word has a slot."""
    reader = tokenizer()
    reader.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    task = NER(TAGS, casing=True)
    (feature,) = task.encode([task.parse("")], reader, answers=False)
    read = {"input_ids": [reader.pad_token_id], "attention_mask": [1], "token_type_ids": [0]}
    assert feature == {"example": [0], "cut": [0], "slots": [], "words": [], **read}
    assert task.predict([np.zeros((0, len(TAGS)))], [feature], [{"tokens": [""]}]) == [["O"]]


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
