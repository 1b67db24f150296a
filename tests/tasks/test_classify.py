"""Classification: labels, metrics against scikit-learn, bits, and refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer
from tokenizers import processors

from laconic import tasks
from laconic.engines.torch import Torch
from laconic.errors import RecipeError
from laconic.predict import Loaded
from laconic.tasks.classify import Classify
from tests.workshop import work

LABELS = ("ask", "buy", "cry")


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=20))
def test_single_label_figures_are_scikit_learns(rows):
    true, said = [r[0] for r in rows], [r[1] for r in rows]
    task = Classify(LABELS)
    examples = [{"text": "x", "label": label} for label in true]
    score = task.score(said, examples)
    assert score["accuracy"] == pytest.approx(accuracy_score(true, said))
    assert score["macro_f1"] == pytest.approx(f1_score(true, said, average="macro"))
    assert set(LABELS) < set(score["table"])
    assert task.metric(task.counts(said, examples).sum(0)) == pytest.approx(score["accuracy"])


def test_a_label_that_is_neither_true_nor_said_is_not_averaged():
    """It has a row of its own all the same; with nothing to average, every figure is 0."""
    score = Classify(LABELS).score(["ask", "buy"], [{"label": "ask"}, {"label": "buy"}])
    assert score["macro_f1"] == score["table"]["macro"]["precision"] == 1.0
    assert score["table"]["cry"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert Classify(LABELS, multiple=True).score([[]], [{"label": []}])["macro_f1"] == 0


def test_a_single_label_is_scored_like_any_other():
    """Of one that may be absent, by hand: right once, said twice, true twice."""
    score = Classify(("spam",)).score(["spam", "spam"], [{"label": "spam"}, {"label": "spam"}])
    assert score["accuracy"] == score["micro_f1"] == score["macro_f1"] == 1.0
    assert score["table"]["spam"] == {"precision": 1, "recall": 1, "f1": 1, "support": 2}
    said, true = [["spam"], ["spam"], [], []], [["spam"], [], ["spam"], []]
    score = Classify(("spam",), multiple=True).score(said, [{"label": labels} for labels in true])
    assert score["accuracy"] == score["micro_f1"] == score["macro_f1"] == 0.5
    assert score["table"]["spam"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}


several = st.lists(st.sampled_from(LABELS), unique=True)


@given(st.lists(st.tuples(several, several), min_size=1, max_size=20))
def test_figures_of_several_labels_are_scikit_learns(rows):
    """There a label that is neither true nor said is averaged with an F1 of 0."""
    true, said = zip(*rows, strict=True)
    score = Classify(LABELS, multiple=True).score(said, [{"text": "x", "label": labels} for labels in true])
    flags = [MultiLabelBinarizer(classes=LABELS).fit_transform(side) for side in (true, said)]
    for average in ("micro", "macro", "weighted"):
        wanted = f1_score(*flags, average=average, zero_division=0.0)
        assert score["table"][average]["f1"] == pytest.approx(wanted)
    assert score["macro_f1"] == score["table"]["macro"]["f1"]
    assert score["accuracy"] == pytest.approx(accuracy_score(*flags))


def test_one_label_of_three_is_a_third():
    score = Classify(LABELS, multiple=True).score([["ask"], ["cry"]], [{"label": ["ask"]}, {"label": []}])
    assert score["macro_f1"] == pytest.approx(1 / 3)


def test_multiple_labels_hold_at_a_half():
    task = Classify(LABELS, multiple=True)
    assert task.predict([np.array([0.1, -0.1, 3.0])], [{}], [{}]) == [["ask", "cry"]]
    examples = [{"text": "x", "label": ["ask", "buy"]}]
    score = task.score([["ask", "cry"]], examples)
    assert score["micro_f1"] == pytest.approx(0.5)
    assert score["accuracy"] == 0.0
    assert task.main == "micro_f1"


def test_bits_by_hand():
    task = Classify(LABELS)
    outputs = [np.log(np.array([0.5, 0.25, 0.25], dtype=np.float32))]
    assert task.bits(outputs, [{}], [{"text": "x", "label": "buy"}]) == pytest.approx(2.0)
    both = Classify(LABELS, multiple=True)
    assert both.bits([np.zeros(3, dtype=np.float32)], [{}], [{"text": "x", "label": ["buy"]}]) == pytest.approx(3.0)


def test_a_decoder_reads_an_empty_text_alone_and_among_others():
    """Its tokenizer adds no token to a text; in batches of 32 the empty one of 33 is alone in the last."""
    given = work("gpt2", head="sequence")
    given.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    loaded = Loaded(given.model, given.tokenizer, given.task, Torch(given.model), "")
    rows = given.data.train * 3
    texts = [*(row["text"] for row in rows[:16]), "", *(row["text"] for row in rows[16:32])]
    said = loaded.predict(texts)
    assert [one["text"] for one in said] == texts
    assert loaded.predict([""]) == loaded.predict(["", texts[0]])[:1] == [said[16]]
    features = given.task.encode([{"text": ""}, {"text": texts[0]}], given.tokenizer, answers=False)
    together, alone = loaded.outputs(features), loaded.outputs(features, batch=1)
    assert np.abs(np.stack(together) - np.stack(alone)).max() < 1e-4


def test_mcc_and_what_is_out_of_scope_by_hand():
    true = ["ask", "ask", "buy", "cry", "cry", "cry"]
    said = ["ask", "cry", "buy", "cry", "ask", "cry"]
    examples = [{"text": "x", "label": label} for label in true]
    score = Classify(LABELS, out_of_scope="cry").score(said, examples)
    assert score["in_scope_accuracy"] == pytest.approx(2 / 3)
    assert score["out_of_scope_precision"] == pytest.approx(2 / 3)
    assert score["out_of_scope_recall"] == pytest.approx(2 / 3)
    # Gorodkin's formula: (c s - sum p t) / sqrt((s2 - sum p2)(s2 - sum t2)), c = 4 right of s = 6
    pt, p2, t2 = 2 * 2 + 1 * 1 + 3 * 3, 4 + 1 + 9, 4 + 1 + 9
    assert score["mcc"] == pytest.approx((4 * 6 - pt) / ((36 - p2) * (36 - t2)) ** 0.5)
    assert "in_scope_accuracy" not in Classify(LABELS).score(said, examples)
    inside = [{"text": "x", "label": "ask"}]
    assert Classify(LABELS, out_of_scope="ask").score(["ask"], inside)["in_scope_accuracy"] == 0.0


def test_refusals():
    with pytest.raises(RecipeError, match="out_of_scope is 'oos', but no record of training has it"):
        Classify(LABELS, out_of_scope="oos")
    with pytest.raises(RecipeError, match="has several labels"):
        Classify(LABELS, multiple=True, out_of_scope="ask")
    with pytest.raises(RecipeError, match="there is no loss 'hinge'"):
        Classify(LABELS, loss_name="hinge")
    with pytest.raises(RecipeError, match="focal takes one label an example, not several"):
        Classify(LABELS, multiple=True, loss_name="focal")
    with pytest.raises(RecipeError, match="no option 'labelz'"):
        tasks.build("classify", labels=LABELS, labelz=1)


@pytest.mark.parametrize(
    "task", [Classify(LABELS, multiple=True), Classify(LABELS, loss_name="focal"), Classify(LABELS, out_of_scope="cry")]
)
def test_a_task_survives_its_description(task):
    assert tasks.build(**tasks.describe(task)) == task


def test_a_rare_option_is_described_where_it_is_used():
    assert tasks.describe(Classify(LABELS)) == {
        "name": "classify", "labels": [*LABELS], "multiple": False, "loss_name": "",
    }  # fmt: skip
    assert tasks.describe(Classify(LABELS, out_of_scope="cry"))["out_of_scope"] == "cry"
