"""Summaries: ROUGE against the formula written out, the nearest of several references, Chinese by character."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from laconic import answers, tasks, training
from laconic.data import records
from laconic.tasks.summarize import Summarize, _Words
from tests.workshop import USED, tokenizer, work


def overlap(said, true, n):
    """F1 of n-grams, one after another."""
    grams = [[tuple(t[i : i + n]) for i in range(len(t) - n + 1)] for t in (said, true)]
    left, right = list(grams[1]), 0
    for gram in grams[0]:
        if gram in left:
            left.remove(gram)
            right += 1
    return 2 * right / (len(grams[0]) + len(grams[1]))


def longest(said, true):
    """F1 of the longest common subsequence, by recursion."""

    def common(a, b):
        if not a or not b:
            return 0
        if a[0] == b[0]:
            return 1 + common(a[1:], b[1:])
        return max(common(a[1:], b), common(a, b[1:]))

    return 2 * common(said, true) / (len(said) + len(true))


@pytest.mark.parametrize(
    ("said", "true", "words"),
    [
        ("we show a new way", "a new way we find", str.split),
        ("我们 提出 新方法", "我们提出了方法", lambda text: [c for c in text if c != " "]),
        ("用BERT做摘要", "用 bert 摘要", lambda text: {"用BERT做摘要": ["用", "bert", "做", "摘", "要"]}.get(
            text, ["用", "bert", "摘", "要"])),
    ],
)  # fmt: skip
def test_figures_by_hand(said, true, words):
    score = Summarize().score([said], [{"document": "x", "summary": true}])
    a, b = words(said), words(true)
    assert score == {
        "rouge1": pytest.approx(overlap(a, b, 1)), "rouge2": pytest.approx(overlap(a, b, 2)),
        "rouge_l": pytest.approx(longest(a, b)),
    }  # fmt: skip


def test_latin_text_is_cut_and_stemmed_as_the_package_does():
    said, true = "The models were trained, re-trained & tested: 3.5x faster!", "A model trains and tests 3.5x faster"
    score = Summarize().score([said], [{"document": "x", "summary": true}])
    whole = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True).score(true, said)
    assert list(score.values()) == pytest.approx([whole[k].fmeasure for k in ("rouge1", "rouge2", "rougeL")])


@pytest.mark.parametrize(
    ("said", "true", "words"),
    [
        ("Новый мост закрыт!", "мост «закрыт»", [["новый", "мост", "закрыт"], ["мост", "закрыт"]]),
        ("Zweiundzwanzig Brücken", "die brücken", [["zweiundzwanzig", "brücken"], ["die", "brücken"]]),
        ("a\u0300 l'e\u0301te\u0301", "À l'été", [["à", "l", "été"], ["à", "l", "été"]]),
        ("हिन्दी में लिखा", "हिन्दी", [["हिन्दी", "में", "लिखा"], ["हिन्दी"]]),
        ("models_trained – naïve", "model trains", [["model", "train", "naïve"], ["model", "train"]]),
        ("a \u2764\ufe0fb", "b", [["a", "b"], ["b"]]),  # a mark of what is no letter
        ("क्\u200dष में", "क्ष", [["क्ष", "में"], ["क्ष"]]),  # a joiner, which only changes how letters look
        ("می\u200cروم", "می\u200cروم به", [["میروم"], ["میروم", "به"]]),
        ("co\u00adoperate now", "cooperate now", [["cooper", "now"]] * 2),
        ("สวัสดี ok", "สวัส", [["ส", "วั", "ส", "ดี", "ok"], ["ส", "วั", "ส"]]),
        ("ປີ\u200bတို ២០", "ကို", [["ປີ", "တို", "២០"], ["ကို"]]),
        ("ジョン・スミスのﾃｽﾄ", "ジョン", [[*"ジョンスミスのﾃｽﾄ"], [*"ジョン"]]),
        ("葛\U000e0100飾", "葛飾", [["葛", "飾"], ["葛", "飾"]]),
        ("用Ünïcode做摘要", "摘要", [["用", "ünïcode", "做", "摘", "要"], ["摘", "要"]]),
    ],
)
def test_other_scripts_and_accents_are_letters_too(said, true, words):
    assert [_Words().tokenize(text) for text in (said, true)] == words
    score = Summarize().score([said], [{"document": "x", "summary": true}])
    assert score == {
        "rouge1": pytest.approx(overlap(*words, 1)), "rouge2": pytest.approx(overlap(*words, 2)),
        "rouge_l": pytest.approx(longest(*words)),
    }  # fmt: skip


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_the_packages(text):
    assert _Words().tokenize(text) == DefaultTokenizer(use_stemmer=True).tokenize(text)


def test_the_nearest_reference_counts_for_each_figure():
    rows = [
        {"document": "x", "summary": "one two three", "references": ["one two three", "alpha beta gamma delta"]},
        {"document": "y", "summary": "red"},
    ]
    task = Summarize()
    said = ["alpha beta gamma", "blue"]
    assert task.score(said, rows)["rouge_l"] == pytest.approx((2 * 3 / 7 + 0) / 2)
    counts = task.counts(said, rows)
    assert counts == pytest.approx(np.array([[6 / 7, 1], [0, 1]]))
    assert task.metric(counts.sum(0)) == pytest.approx(task.score(said, rows)[task.main])
    assert task.metric(np.stack([counts[:1].sum(0), counts.sum(0)])) == pytest.approx([6 / 7, 3 / 7])


def test_records_keep_their_references():
    raw = {"id": 1, "document": "d", "summary": "s", "references": ["s", "t"]}
    assert records.example(raw, "summarize", "here") == {"document": "d", "summary": "s", "references": ["s", "t"]}
    raw = {"article": "d", "highlights": "s"}
    assert records.example(raw, "summarize", "here") == {"document": "d", "summary": "s"}
    assert [f.field for f in records.faults({"document": " ", "summary": ""}, "summarize")] == ["document", "summary"]


def test_a_summary_is_learned(tmp_path):
    """The first word of a text, which a decoder can learn."""
    rows = [{"document": " ".join(USED[i : i + 5]), "summary": USED[i]} for i in range(24)]
    given = work("llama", tmp_path, head="lm")
    given.task, given.data.train[:], given.data.validation[:] = Summarize(prompt="{} ad", length=4), rows, rows[:8]
    before = answers.evaluate(given.model, given.tokenizer, given.task, rows[:8])
    training.fit(given, training.Training(epochs=15, learning_rate=5e-3, batch=8))
    after = answers.evaluate(given.model, given.tokenizer, given.task, rows[:8])
    assert after["rouge1"] > before["rouge1"] + 0.5
    (feature,) = given.task.encode(rows[:1], tokenizer(), answers=False)
    assert feature["said"] == [*tokenizer()(USED[0])["input_ids"]]
    assert given.task.show("s", rows[0]) == {"document": rows[0]["document"], "summary": "s"}
    assert tasks.build(**tasks.describe(given.task)) == given.task
