"""Question answering: windows, places, the likeliest span, the official figures, distillation, and the whole road."""

import copy
import itertools
import json
import re
import string
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import laconic
from laconic import answers, artifact, engines, predict, prove, tasks, teacher, trained
from laconic.answers import NEVER, by_label, slot_labels, slot_logits
from laconic.contracts import Teacher
from laconic.data import records
from laconic.data.batching import pad
from laconic.errors import DataError, RecipeError
from laconic.measures.memory import Memory
from laconic.methods.distill import soft_loss
from laconic.report import page, terminal
from laconic.tasks.qa import LONGEST, QA, spans
from tests import road
from tests.workshop import USED, tokenizer

CONTEXT = " ".join(USED[i] for i in range(40))
QUESTION = f"{USED[1]} {USED[2]}"


def example(first=5, last=6, context=CONTEXT, question=QUESTION):
    words = context.split(" ")
    start = sum(len(word) + 1 for word in words[:first])
    return {
        "context": context, "question": question,
        "answers": {"text": [" ".join(words[first : last + 1])], "answer_start": [start]},
    }  # fmt: skip


def encoded(given, **options):
    return QA(**options).encode([given], tokenizer(), answers=True)


def test_windows_overlap_and_hold_every_word():
    features = encoded(example(), context=24, overlap=0.25)
    assert all(len(f["input_ids"]) <= 24 for f in features)
    assert len(features) > 1
    assert {word for f in features for word in f["words"][1:]} == set(range(40))
    for one, other in itertools.pairwise(features):
        assert set(one["words"][1:]) & set(other["words"][1:])
    rows = [[f["input_ids"][place] for place in f["places"][1:]] for f in features]
    ids = tokenizer()(CONTEXT, add_special_tokens=False)["input_ids"]
    assert rows == [[ids[word] for word in f["words"][1:]] for f in features]


def test_labels_stand_on_the_words_of_the_answer_or_say_that_it_is_elsewhere():
    features = encoded(example(20, 22), context=24)
    said = [[f["words"][place] for place in f["labels"]] for f in features]
    assert [20, 22] in said
    assert all(row in ([20, 22], [-1, -1]) for row in said)
    assert said.count([-1, -1]) == sum(not {20, 22} <= set(f["words"]) for f in features)


def test_an_answer_within_words_is_widened_to_them():
    given = {"context": "abcd efgh", "question": "ab", "answers": {"text": ["cd ef"], "answer_start": [2]}}
    (feature,) = encoded(given)
    assert [feature["words"][place] for place in feature["labels"]] == [0, 1]


def test_words_that_share_a_piece_share_a_place():
    given = {"context": "ab 9!! cd", "question": "ab", "answers": {"text": ["!!"], "answer_start": [4]}}
    (feature,) = encoded(given)  # the tokenizer splits at white space only: 9 ! ! are one piece
    assert feature["words"] == [-1, 0, 1, 4]
    assert feature["lasts"] == [-1, 0, 3, 4]
    assert feature["labels"] == [2, 2]
    output = np.full((4, 2), -9.0)
    output[2] = 0
    assert QA().predict([output], [feature], [given]) == [{"text": "9!!", "start": 3, "end": 6}]


def test_an_answer_begins_and_ends_with_whole_words_of_hindi():
    context = "नई दिल्ली भारत की राजधानी है"
    feature = {"example": [0], "words": [-1, 0, 1, 2], "lasts": [-1, 0, 1, 2]}
    output = np.full((4, 2), -9.0)
    output[1, 0] = output[2, 1] = 0
    (said,) = QA().predict([output], [feature], [{"context": context}])
    assert said == {"text": "नई दिल्ली", "start": 0, "end": len("नई दिल्ली")}


def test_a_typed_context_has_lines():
    assert QA().parse("who?\tone\ntwo\n") == {"question": "who?", "context": "one\ntwo\n"}
    with pytest.raises(DataError, match="holds no question and context"):
        QA().parse("who?\t\n")


def test_chinese_characters_are_words():
    given = {"context": "我爱北京。", "question": "ab", "answers": {"text": ["北京"], "answer_start": [2]}}
    words = [m.group() for m in tasks.qa.WORD.finditer("我爱北京。 in 1996")]
    assert words == ["我", "爱", "北", "京", "。", "in", "1996"]
    said = [{"text": "北", "start": 2, "end": 3}]
    assert QA().score(said, [given])["f1"] == 0.0
    assert QA(characters=True).score(said, [given])["f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("gold", "said", "exact", "f1"),
    [
        ("《红楼梦》", "红楼梦", 1, 1),
        ("北京。", "北京", 1, 1),
        ("1098 年", "1098年", 1, 1),
        ("“李春”、张三……", "李春张三", 1, 1),
        ("五～十米", "五十米", 1, 1),  # a full-width tilde, which Unicode counts as a sign of mathematics
        ("U.S. 美国", "US美国", 1, 1),
        ("红楼梦", "红楼", 0, 4 / 5),
    ],
)
def test_chinese_punctuation_and_spaces_do_not_count_where_characters_are_words(gold, said, exact, f1):
    example, prediction = {"answers": {"text": [gold]}}, {"text": said}
    score = QA(characters=True).score([prediction], [example])
    assert score == pytest.approx({"exact_match": exact, "f1": f1})
    script = squad(said, [gold])
    assert QA().score([prediction], [example]) == pytest.approx({"exact_match": script[0], "f1": script[1]})


def test_token_types_tell_question_and_context_apart():
    (feature,) = encoded(example(0, 0, context=USED[0]), segments=True)
    kinds = feature["token_type_ids"]
    assert [kinds[place] for place in feature["places"]] == [0, 1]
    assert kinds[:2] == [0, 0]
    assert "token_type_ids" not in encoded(example())[0]
    assert (QA().token_types, QA(segments=True).token_types) == (1, 2)


def test_long_questions_are_cut():
    given = example(question=" ".join(USED[:30]))
    assert all(len(f["input_ids"]) <= 16 for f in encoded(given, context=16))
    assert {word for f in encoded(given, context=16) for word in f["words"]} >= set(range(40))


@given(st.integers(2, 45), st.integers(0, 10**6))
def test_the_likeliest_span_is_that_of_all_pairs(places, seed):
    output = np.random.default_rng(seed).normal(size=(places, 2))
    pairs = [(a, b) for a in range(1, places) for b in range(a, min(places, a + LONGEST))]
    best = max(output[a, 0] + output[b, 1] for a, b in pairs)
    score, a, b = max(spans(output))
    assert score == pytest.approx(best)
    assert (a, b) in pairs
    assert output[a, 0] + output[b, 1] == pytest.approx(best)


def test_the_surest_window_answers():
    features = encoded(example(), context=24)
    outputs = []
    for number, feature in enumerate(features):
        logits = np.zeros((len(feature["places"]), 2), np.float32)
        logits[2] = (9, 9)  # alike in every window, but all except the second one say that it is not there
        logits[0] = 0 if number == 1 else 12
        outputs.append(QA().reduce(logits, feature))
    (said,) = QA().predict(outputs, features, [example()])
    assert said["text"] == CONTEXT.split(" ")[features[1]["words"][2]]
    assert CONTEXT[said["start"] : said["end"]] == said["text"]


def squad(prediction, golds):
    """Exact match and F1 in the steps of the script for SQuAD 1.1."""

    def normal(text):
        text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    def f1(gold):
        one, two = normal(prediction).split(), normal(gold).split()
        same = sum((Counter(one) & Counter(two)).values())
        if same == 0:
            return 0.0
        p, r = same / len(one), same / len(two)
        return 2 * p * r / (p + r)

    return max(float(normal(prediction) == normal(g)) for g in golds), max(map(f1, golds))


TEXTS = st.lists(st.sampled_from(["The", "an", "cat", "Cat,", "dog", "1,000", "U.S.", "it's"]), min_size=1, max_size=5)


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
def test_figures_are_those_of_the_script(said, golds):
    said, golds = " ".join(said), [" ".join(gold) for gold in golds]
    if not squad(said, [said])[1] or any(not squad(g, [g])[1] for g in golds):
        return  # nothing is left of an answer of articles: to the script no answer agrees with it, not even itself
    score = QA().score([{"text": said}], [{"answers": {"text": golds}}])
    exact, f1 = squad(said, golds)
    assert score == pytest.approx({"f1": f1, "exact_match": exact})


def test_figures_by_hand():
    examples = [
        {"answers": {"text": ["the red fox", "fox"]}},
        {"answers": {"text": ["in 1996"]}},
        {"answers": {"text": []}},
    ]
    said = [{"text": "A fox!"}, {"text": "1996 or so"}, {"text": "x"}]
    score = QA().score(said, examples)
    assert score["exact_match"] == pytest.approx(1 / 3)
    assert score["f1"] == pytest.approx((1 + 2 / 5 + 0) / 3)


def test_bits_by_hand():
    given = {**example(1, 1, context=" ".join(USED[:3])), "question": USED[0]}
    (feature,) = encoded(given)
    output = np.log(np.array([[0.25, 0.25], [0.25, 0.125], [0.25, 0.5], [0.25, 0.125]]))
    assert QA().bits([output], [feature], [given]) == pytest.approx(2 + 1)
    two = {**given, "answers": {"text": [USED[0], USED[1]], "answer_start": [0, 3]}}
    assert QA().bits([output], [feature], [two]) == pytest.approx(3)
    none = {**given, "answers": {"text": [], "answer_start": []}}
    assert QA().bits([output], [feature], [none]) == pytest.approx(4)
    (unanswered,) = encoded(none)
    assert unanswered["labels"] == [0, 0]


def test_each_label_chooses_among_the_places_of_its_own_window():
    features = [f for g in (example(), example(1, 1, context=" ".join(USED[:4]))) for f in encoded(g)]
    batch = pad(features, 1)
    logits = torch.randn(len(features), batch["input_ids"].shape[1], 2)
    rows = slot_logits(logits, batch)  # (2 * windows, places)
    labels = slot_labels(batch)
    total = 0.0
    for i, feature in enumerate(features):
        for end in range(2):
            values = logits[i, feature["places"], end].double()
            total -= float(values.log_softmax(0)[feature["labels"][end]])
    assert float(QA().loss(rows, labels)) == pytest.approx(total / len(labels), rel=1e-5)
    padded = by_label(torch.zeros(3, 2), [1, 2])
    assert padded.tolist() == [[0, NEVER], [0, NEVER], [0, 0], [0, 0]]
    assert float(soft_loss(rows, rows, 2.0)) == pytest.approx(0.0, abs=1e-5)


def rows(number, seed):
    """A question names a word of its context; the two words behind it are the answer."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(number):
        words = [USED[w] for w in rng.choice(len(USED), 7 + 40 * (i % 8 == 0), replace=True)]
        place = int(rng.integers(0, len(words) - 2))
        start = sum(len(word) + 1 for word in words[: place + 1])
        text = " ".join(words[place + 1 : place + 3])
        given = {"text": [text], "answer_start": [start]}
        made.append({"id": f"{seed}-{i}", "context": " ".join(words), "question": words[place], "answers": given})
    return made


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("road")
    (folder / "data").mkdir()
    for seed, (split, number) in enumerate({"train": 48, "validation": 12, "test": 16}.items()):
        lines = "".join(json.dumps(row) + "\n" for row in rows(number, seed))
        (folder / "data" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    road.checkpoint(folder / "model")
    options = laconic.Training(epochs=2, learning_rate=1e-3, batch=8)
    laconic.train(folder / "model", "qa", folder / "data", folder / "run", options=options, progress=False, log=str)
    steps = ["vocabulary", {"neurons": {"keep": 0.5, "samples": 8}}, {"rtn": {"bits": 4, "where": "all"}}]
    steps += [{"distill": {"epochs": 1, "batch": 8, "variants": 1}}, "half"]
    recipe = laconic.Recipe.parse({"steps": steps})
    laconic.compress(folder / "run", recipe, folder / "out", progress=False, log=str)
    return folder


def test_options_follow_from_model_and_data(folders):
    assert trained.read(folders / "run").task == QA(segments=True)
    assert artifact.load(folders / "out").manifest.task["segments"] is True


def test_both_are_measured(folders, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    report = prove.compare(folders / "out", folders / "run", timed=False)
    assert report.main == "f1"
    assert report.after.engine == "onnxruntime"
    assert report.after.agreement >= 0.8
    assert report.before.bits.answers == 16
    assert report.after.differences["f1"].low <= report.after.differences["f1"].high
    page.render(report)
    terminal.draw(report)


def test_the_engine_gives_what_torch_gives(folders):
    source = trained.read(folders / "run")
    features = source.task.encode(rows(8, 3), source.tokenizer, answers=False)
    pairs = zip(*(predict.start(source, name).outputs(features) for name in ("torch", "onnxruntime")), strict=True)
    for (one, other), feature in zip(pairs, features, strict=True):
        assert one.shape == (len(feature["places"]), 2)
        assert np.abs(np.exp(one) - np.exp(other)).max() < 0.05


def test_a_record_and_an_ensemble_say_what_the_teacher_says(folders, tmp_path):
    source = trained.read(folders / "run")
    features = source.task.encode(rows(9, 4), source.tokenizer, answers=False)
    told = Teacher(source.model, source.tokenizer)
    recorded = teacher.Recorded(told, features, [], False, tmp_path)
    live = teacher.Live(told, features, [], False, False)
    chosen = [4, 0, 7]
    assert torch.allclose(recorded(chosen).logits, live(chosen).logits, atol=1e-5)
    other = copy.deepcopy(source.model)
    other.qa_outputs.weight.data.mul_(-9)
    both = Teacher(teacher.Ensemble([source.model, other], several=False), source.tokenizer)
    said = teacher.Live(both, features, [], False, False)([4]).logits.softmax(-1)  # (2, places)
    with torch.no_grad():
        inputs = {k: torch.tensor([features[4][k]]) for k in ("input_ids", "attention_mask", "token_type_ids")}
        members = [answers.logits_of(model(**inputs))[0].softmax(0) for model in (source.model, other)]
    mean = sum(members)[features[4]["places"]].T  # (2, places)
    assert torch.allclose(said, mean / mean.sum(1, keepdim=True), atol=1e-5)


def test_answers_are_asked_for(folders):
    model = laconic.load(folders / "out")
    (said,) = model.predict(f"{USED[3]}\t{CONTEXT}")
    assert said["answer"] == CONTEXT[said["start"] : said["end"]] != ""
    assert said["question"] == USED[3]
    assert engines.choose("onnxruntime").name == model.engine.name
    with pytest.raises(DataError, match="with a tab between"):
        model.predict("no context")


FAULTS = [
    ({"answers": {"text": ["x"], "answer_start": [0]}}, ("bad offsets", "answers")),
    ({"answers": {"text": [CONTEXT[-3:]], "answer_start": [-3]}}, ("bad offsets", "answers")),
    ({"answers": {"text": [], "answer_start": []}}, ("no answer", "answers")),
    ({"context": " "}, ("empty text", "context")),
    ({"question": ""}, ("empty text", "question")),
    ({}, None),
]


@pytest.mark.parametrize(("change", "found"), FAULTS)
def test_faults_of_records(change, found):
    faults = {(f.check, f.field) for f in records.faults({**example(), **change}, "qa")}
    assert (found is None and not faults) or found in faults


@pytest.mark.parametrize(
    "value", ["x", {"text": ["a"]}, {"text": ["a"], "answer_start": []}, {"text": "a", "answer_start": [0]}]
)
def test_what_are_no_answers_is_refused(value):
    with pytest.raises(DataError, match="field 'answers'"):
        records.example({**example(), "answers": value}, "qa", "here")


def test_contexts_are_not_shared_by_drawn_splits():
    made = [dict(row, question=q) for row in rows(40, 0) for q in ("aa", "ab")]
    parts = laconic.data.splits.deal([("", row) for row in made], "qa", 0, test=True)
    seen = [{row["context"] for _, row in part} for part in parts.values()]
    assert all(not one & other for one, other in itertools.combinations(seen, 2))
    assert all(seen)


def test_refusals_and_description():
    with pytest.raises(RecipeError, match="those of qa are start and end"):
        QA(labels=("a", "b"))
    with pytest.raises(RecipeError, match="context is 3"):
        QA(context=3)
    with pytest.raises(RecipeError, match=r"overlap is 1\.5"):
        QA(overlap=1.5)
    task = QA(context=64, segments=True)
    assert tasks.build(**tasks.describe(task)) == task
    assert answers.spots({"input_ids": []}) is None
