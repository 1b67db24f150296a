"""Variants swap some words, keep the writing and the length, and repeat with the seed."""

from laconic.data.variants import LOST, SHARE, variants

EXAMPLES = [{"tokens": ["Peter", "flew", "to", "EU", "today"], "tags": ["O"] * 5} for _ in range(50)] + [
    {"tokens": ["Anna", "walked", "from", "UN", "yesterday"], "tags": ["O"] * 5} for _ in range(50)
]


def test_words_keep_their_writing_and_number():
    made = variants(EXAMPLES, 2, seed=0)
    assert len(made) == 200
    swapped = 0
    for example, original in zip(made, EXAMPLES * 2, strict=True):
        for word, old in zip(example["tokens"], original["tokens"], strict=True):
            assert word.isupper() == old.isupper()
            assert word.istitle() == old.istitle()
            swapped += word != old
    assert 0.2 * SHARE * 1000 < swapped < SHARE * 1000  # a word can be drawn for itself


def test_the_seed_decides():
    assert variants(EXAMPLES, 1, seed=3) == variants(EXAMPLES, 1, seed=3)
    assert variants(EXAMPLES, 1, seed=3) != variants(EXAMPLES, 1, seed=4)


def test_texts_are_swapped_too_and_originals_stay():
    texts = [{"text": "where is my parcel", "label": "a"}, {"text": "please refund my money", "label": "b"}]
    made = variants(texts, 5, seed=0)
    assert any(m["text"] != t["text"] for m, t in zip(made, texts * 5, strict=True))
    assert texts[0]["text"] == "where is my parcel"


def test_lost_words_take_the_place_of_words_written_alike():
    made = variants(EXAMPLES, 3, seed=0, lost=["Zoe", "ZZ"])
    flat = [
        (new, old)
        for m, e in zip(made, EXAMPLES * 3, strict=True)
        for new, old in zip(m["tokens"], e["tokens"], strict=True)
    ]
    lost = [(new, old) for new, old in flat if new in ("Zoe", "ZZ")]
    assert 0.5 * LOST * SHARE * 600 < len(lost) < 2 * LOST * SHARE * 600  # two of five words have a like one
    assert all(new.isupper() == old.isupper() and old[0].isupper() for new, old in lost)
