"""Texts of which a model reads a part only are counted, for every task that cuts them."""

import pytest

from laconic.data import cuts
from laconic.tasks.choice import Choice
from laconic.tasks.classify import Classify
from laconic.tasks.code import Code
from laconic.tasks.dialogue import Dialogue
from laconic.tasks.ner import NER
from laconic.tasks.relation import Relation
from laconic.tasks.translate import Translate
from tests.workshop import tokenizer

ENDS = {name: {"text": "ab", "start": 0, "end": 2} for name in ("e1", "e2")}
LENGTHS = (3, 31, 32, 40)  # words, and one token that ends them, where 32 tokens are read
ASKED = [{"speaker": "b", "text": "ba"}, {"speaker": "a", "text": "ab"}, {"speaker": "b", "text": None}]
TASKS = {
    "ner": (NER(("O",)), lambda n: {"tokens": ["ab"] * 50 + ["j" * n]}, 2),  # a word of so many pieces
    "classify": (Classify(("a",)), lambda n: {"text": "ab " * n}, 2),
    "relation": (Relation(("a",)), lambda n: {"text": ("ab " * n).strip(), **ENDS}, 3),
    "translate": (Translate(start="[pad]"), lambda n: {"source": "ab " * n}, 3),  # of 28 tokens
    "code": (Code(length=8), lambda n: {"prompt": "ab " * n}, 3),  # of 20
    "choice": (Choice(start="[pad]"), lambda n: {"question": "ab " * n, "choices": ["ba", "ab"]}, 3),  # of 28
    "dialogue": (
        Dialogue(start="[pad]"), lambda n: {"turns": [{"speaker": "a", "text": "ab " * n}, *ASKED]}, 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_texts_that_do_not_fit_are_counted_and_others_are_not(task):
    built, example, wanted = TASKS[task]
    reader = tokenizer()
    features = built.encode([example(n) for n in LENGTHS], reader, answers=False)
    assert cuts.said(features, reader) == (
        f"{wanted} of 4 texts do not fit in the 32 tokens that the model reads; what did not fit was cut off"
    )
    assert cuts.said(features[:1], reader) == ""
    assert cuts.said([{"input_ids": [1]}], reader) == ""  # of a task that reads in windows


def test_turns_that_are_not_to_be_read_are_not_cut():
    _, example, _ = TASKS["dialogue"]
    reader, rows = tokenizer(), [example(n) for n in LENGTHS]
    assert cuts.said(Dialogue(start="[pad]", turns=1).encode(rows, reader, answers=False), reader) == ""
    long = [{"turns": [{"speaker": "a", "text": "ab " * 40}, *ASKED[-1:]]}]  # one turn, of which the end is read
    features = Dialogue(start="[pad]", turns=1).encode(long, reader, answers=False)
    assert cuts.said(features, reader).startswith("1 of 1 texts")
