"""Bits of a coin and of certainty, by hand."""

import numpy as np
import pytest

from laconic import tasks
from laconic.errors import DataError
from laconic.measures import bits
from laconic.tasks.choice import Choice


class Labels:
    def answers(self, example):
        return 1

    def unit(self, example):
        return "answer"

    def bits(self, outputs, features, examples):
        return float(sum(-np.log2(o[e["label"]]) for o, e in zip(outputs, examples, strict=True)))


def test_a_fair_coin_costs_one_bit_an_answer():
    examples = [{"text": "t", "label": 0}, {"text": "t", "label": 1}]
    got = bits.take(Labels(), [np.array([0.5, 0.5])] * 2, [{}] * 2, examples, model_bytes=3)
    assert (got.answers, got.bits_per_answer, got.data_bits) == (2, 1.0, 2.0)
    assert (got.model_bits, got.description_length_bits) == (24, 26.0)


def test_words_are_answers():
    class Silent:
        def answers(self, example):
            return len(example["tokens"])

        def unit(self, example):
            return "tag"

        def bits(self, outputs, features, examples):
            return 6.0

    got = bits.take(Silent(), [], [], [{"tokens": ["a", "b"]}, {"tokens": ["c"]}], model_bytes=0)
    assert (got.answers, got.bits_per_answer, got.unit) == (3, 2.0, "tag")


TURNS = [{"speaker": "a", "text": "Hi"}, {"speaker": "b", "text": "Hé!"}]
SEVERAL, ONLY = {"question": "q", "choices": ["a", "b"], "label": 0}, {"question": "q", "choices": ["Hé!"]}


@pytest.mark.parametrize(
    ("task", "example", "counted"),
    [
        ("classify", {"text": "t", "label": "a"}, (1, "answer")),
        ("relation", {"text": "t", "label": "a"}, (1, "answer")),
        ("qa", {"context": "c", "question": "q"}, (1, "answer")),
        ("ner", {"tokens": ["a", "b"]}, (2, "tag")),
        ("lm", {"text": "Hé!"}, (4, "byte")),
        ("translate", {"source": "s", "target": "Hé!"}, (4, "byte")),
        ("summarize", {"document": "d", "summary": "Hé!"}, (4, "byte")),
        ("dialogue", {"turns": TURNS}, (4, "byte")),
        ("control", {"label": "a", "text": "Hé!"}, (4, "byte")),
        ("code", {"prompt": "p", "solution": "Hé!"}, (4, "byte")),
        ("choice", SEVERAL, (1, "answer")),
        ("choice", ONLY, (4, "byte")),
    ],
)
def test_a_task_says_what_it_counts(task, example, counted):
    labels = {"qa": ("start", "end"), **dict.fromkeys(("classify", "relation", "ner"), ("a",))}.get(task, ())
    made = tasks.build(task, labels=labels)
    assert (made.answers(example), made.unit(example)) == counted


def test_where_examples_differ_in_what_is_counted_they_are_answers():
    class Fixed(Choice):
        def bits(self, outputs, features, examples):
            return 10.0

    got = [bits.take(Fixed(), [], [], examples, model_bytes=0) for examples in ([ONLY], [SEVERAL], [ONLY, SEVERAL])]
    assert [(one.answers, one.unit) for one in got] == [(4, "byte"), (1, "answer"), (5, "answer")]


def test_no_answers_are_refused():
    with pytest.raises(DataError, match="no answers"):
        bits.take(Labels(), [], [], [], model_bytes=1)
