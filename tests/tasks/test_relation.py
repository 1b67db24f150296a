"""Relations: markers, the official score counted by hand and by sets, typed texts, refusals, and the whole road."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import laconic
from laconic import artifact, prove, tasks, trained
from laconic.data import records
from laconic.data.variants import variants
from laconic.errors import DataError, RecipeError
from laconic.measures.memory import Memory
from laconic.report import page, terminal
from laconic.tasks.relation import Relation, marked
from tests import road
from tests.subwords import built
from tests.workshop import USED, tokenizer

LABELS = ("Cause(e1,e2)", "Cause(e2,e1)", "Other", "Part(e1,e2)", "Part(e2,e1)")
TEXT = "the fire burnt a house"


def example(label="Other", first="fire", second="house"):
    spans = {}
    for name, word in (("e1", first), ("e2", second)):
        start = TEXT.index(word)
        spans[name] = {"text": word, "start": start, "end": start + len(word)}
    return {"text": TEXT, **spans, "label": label}


def test_entities_stand_between_their_tokens():
    assert marked(example()) == "the [E1] fire [/E1] burnt a [E2] house [/E2]"
    assert marked(example(first="house", second="fire")) == "the [E2] fire [/E2] burnt a [E1] house [/E1]"
    nested = example(first="fire burnt", second="fire")
    assert marked(nested) == "the [E1] [E2] fire [/E2] burnt [/E1] a house"


def test_a_long_text_is_read_around_its_entities():
    """Wherever the two stand, both are read if any window holds them; a text that shows them from the start stays."""
    reader, task = tokenizer(), Relation(LABELS)
    reader.add_tokens(list(Relation.tokens), special_tokens=True)
    marks = reader.convert_tokens_to_ids(list(Relation.tokens))
    words = [USED[i % len(USED)] for i in range(60)]
    for one, two in ((0, 3), (10, 12), (20, 22), (40, 37), (57, 59), (0, 50)):
        spans = {}
        for name, place in (("e1", one), ("e2", two)):
            start = len(" ".join(words[:place])) + (place > 0)
            spans[name] = {"text": words[place], "start": start, "end": start + len(words[place])}
        given = {"text": " ".join(words), **spans}
        (feature,) = task.encode([given], reader, answers=False)
        ids, behind = feature["input_ids"], feature["input_ids"][6:]  # behind the two entities
        assert feature["cut"] == [1]
        assert len(ids) <= 32
        assert [behind.count(mark) for mark in marks] == ([1, 1, 0, 0] if two == 50 else [1] * 4)
        whole = reader(marked(given), add_special_tokens=False)["input_ids"]
        begin = next(i for i in range(len(whole)) if whole[i : i + len(behind) - 1] == behind[:-1])
        assert (begin == 0) == (max(one, two) < 20 or two == 50)
        if (one, two) == (40, 37):
            read, places = len(behind), [behind.index(mark) for mark in marks]
            assert abs(min(places) - (read - 1 - max(places))) <= 1  # as much before as behind


@pytest.mark.parametrize("kind", built.KINDS)
def test_no_mark_is_lost_where_the_entities_all_but_fill_what_is_read(kind):
    """A text that begins within a word may have more pieces than it had there, at the cost of its last ones."""
    reader, task, rng = copy.deepcopy(built.build(kind)), Relation(LABELS), np.random.default_rng(0)
    reader.add_tokens(list(Relation.tokens), special_tokens=True)
    marks, known = reader.convert_tokens_to_ids(list(Relation.tokens)), " ".join(built.TEXT[:4]).split()
    for _ in range(20):
        words = ["".join(rng.choice(known, 2)) for _ in range(12)]
        places, spans = (6, int(rng.integers(8, 12))), {}
        for name, place in zip(("e1", "e2"), places, strict=True):
            start = len(" ".join([*words[:place], ""]))
            spans[name] = {"text": words[place], "start": start, "end": start + len(words[place])}
        given = {"text": " ".join(words), **spans}
        first = " ".join(f"[{e.upper()}] {given[e]['text']} [/{e.upper()}]" for e in ("e1", "e2"))
        before, ids = (reader(text, add_special_tokens=False)["input_ids"] for text in (first, marked(given)))
        found = [ids.index(mark) for mark in marks]
        least = len(before) + reader.num_special_tokens_to_add(pair=True) + max(found) - min(found) + 1
        for more in range(8):
            reader.model_max_length = least + more
            (feature,) = task.encode([given], reader, answers=False)
            assert len(feature["input_ids"]) <= least + more
            assert [feature["input_ids"].count(mark) for mark in marks] == [2] * 4


def test_the_score_by_hand():
    # Cause: 2 true, 3 said (the wrong direction among them), 1 right; Part: 2 true, 1 said, 1 right; Other left out
    true = ["Cause(e1,e2)", "Cause(e1,e2)", "Part(e2,e1)", "Part(e1,e2)", "Other", "Other"]
    said = ["Cause(e1,e2)", "Cause(e2,e1)", "Part(e2,e1)", "Other", "Cause(e1,e2)", "Other"]
    score = Relation(LABELS).score(said, [example(label) for label in true])
    assert score["table"]["Cause"] == pytest.approx({"precision": 1 / 3, "recall": 1 / 2, "f1": 0.4, "support": 2})
    assert score["table"]["Part"] == pytest.approx({"precision": 1.0, "recall": 1 / 2, "f1": 2 / 3, "support": 2})
    assert score["macro_f1"] == pytest.approx((0.4 + 2 / 3) / 2)
    assert score["micro_f1"] == pytest.approx(2 * 2 / (4 + 4))
    assert score["accuracy"] == pytest.approx(0.5)


def test_a_relation_that_does_not_occur_is_not_averaged():
    score = Relation(LABELS).score(["Cause(e1,e2)", "Part(e1,e2)"], [example("Cause(e1,e2)"), example("Other")])
    assert score["macro_f1"] == 1.0
    assert score["table"]["macro"]["f1"] == 1.0


def slow(true, said):
    """The scorer's rule in its own steps: a wrong direction counts against the precision of the true relation."""

    def name(label):
        return label.split("(")[0]

    found = []
    for relation in {name(label) for label in true} - {"Other"}:
        pairs = list(zip(true, said, strict=True))
        right = sum(t == s and name(t) == relation for t, s in pairs)
        wrong_way = sum(t != s and name(t) == name(s) == relation for t, s in pairs)
        proposed = sum(name(s) == relation for t, s in pairs) - wrong_way
        answer = sum(name(t) == relation for t in true)
        p = right / (proposed + wrong_way) if proposed else 0
        r = right / answer
        found.append(2 * p * r / (p + r) if p + r else 0)
    return sum(found) / len(found) if found else 0.0


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=30))
def test_the_score_is_the_scorers(rows):
    true, said = [r[0] for r in rows], [r[1] for r in rows]
    task = Relation(LABELS)
    examples = [example(label) for label in true]
    assert task.score(said, examples)["macro_f1"] == pytest.approx(slow(true, said))
    sums = np.stack([task.counts(said, examples).sum(0)] * 2)
    assert task.metric(sums) == pytest.approx([slow(true, said)] * 2)


def test_bits_are_those_of_the_softmax():
    outputs = [np.log(np.array([0.5, 0.25, 0.125, 0.0625, 0.0625], dtype=np.float32))]
    assert Relation(LABELS).bits(outputs, [{}], [example("Cause(e2,e1)")]) == pytest.approx(2.0)


def test_a_typed_text_has_its_entities_marked():
    task = Relation(LABELS)
    made = task.parse("the <e1>fire</e1> burnt a <e2>house</e2>")
    assert {**made, "label": "Other"} == example()
    lines = task.parse("a <e1>big\nfire</e1>\nburnt <e2>it</e2>")
    assert lines == {
        "text": "a big\nfire\nburnt it",
        "e1": {"text": "big\nfire", "start": 2, "end": 10},
        "e2": {"text": "it", "start": 17, "end": 19},
    }
    with pytest.raises(DataError, match="has no <e2>"):
        task.parse("the <e1>fire</e1> burnt")
    with pytest.raises(RecipeError, match="there is no loss"):
        Relation(LABELS, loss_name="hinge")
    assert tasks.build(**tasks.describe(task)) == task


def test_a_label_of_no_relation_that_is_given_is_among_the_labels():
    with pytest.raises(RecipeError, match="other is 'other', but no record of training has it; leave it out or"):
        Relation(LABELS, other="other")
    assert Relation(LABELS, other="Part(e1,e2)").other == "Part(e1,e2)"
    assert Relation(("Cause(e1,e2)", "Cause(e2,e1)")).relations == ["Cause"]  # all have a relation


TEXT = example()["text"]
FAULTS = [
    ({"e1": {"text": "fire", "start": 5, "end": 9}}, ("bad offsets", "e1")),
    ({"e2": {"text": "", "start": 0, "end": 0}}, ("bad offsets", "e2")),
    ({"e1": {"text": "se", "start": -2, "end": 22}}, ("bad offsets", "e1")),
    ({"e1": {"text": TEXT[4:], "start": 4, "end": len(TEXT) + 1}}, ("bad offsets", "e1")),
    ({"e1": {"text": TEXT[:-2], "start": 0, "end": -2}}, ("bad offsets", "e1")),
    ({"label": ""}, ("empty label", "label")),
    ({"label": ["a", "b"]}, ("several labels", "label")),
    ({}, None),
]


@pytest.mark.parametrize(("change", "found"), FAULTS)
def test_faults_of_records(change, found):
    faults = {(f.check, f.field) for f in records.faults({**example(), **change}, "relation") if f.level == "error"}
    assert faults == ({found} if found else set())


def test_an_end_behind_the_text_is_said_with_its_length():
    (fault,) = records.faults({**example(), "e1": {"text": TEXT[4:], "start": 4, "end": 99}}, "relation")
    assert fault.message == f"{TEXT[4:]!r} ends at 99, but the text has {len(TEXT)} characters; mend the offsets"


@pytest.mark.parametrize("value", ["fire", {"text": "fire", "start": 4}, {"text": "fire", "start": 4.0, "end": 8}])
def test_what_is_no_entity_is_refused(value):
    with pytest.raises(DataError, match="field 'e1'"):
        records.example({**example(), "e1": value}, "relation", "here")


def test_entities_move_with_the_words_of_a_variant():
    changed = 0
    for made in variants([example(), example(first="house", second="fire")] * 20, 2, seed=0):
        for name in ("e1", "e2"):
            assert made["text"][made[name]["start"] : made[name]["end"]] == made[name]["text"]
            changed += made[name]["text"] not in ("fire", "house")
        assert len(made["text"].split()) == 5
    assert changed


def rows(number, seed):
    """The first entity's place in the list of words decides: a relation in one of two directions, or none."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        words = [USED[i] for i in rng.integers(0, len(USED), 6)]
        places = sorted(rng.choice(6, 2, replace=False))
        ends = [(sum(len(w) + 1 for w in words[:p]), words[p]) for p in places]
        spans = {f"e{i + 1}": {"text": w, "start": a, "end": a + len(w)} for i, (a, w) in enumerate(ends)}
        label = ("Other", "Cause(e1,e2)", "Cause(e2,e1)")[USED.index(ends[0][1]) % 3]
        made.append({"text": " ".join(words), **spans, "label": label})
    return made


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("road")
    (folder / "data").mkdir()
    for seed, (split, number) in enumerate({"train": 48, "validation": 12, "test": 12}.items()):
        lines = "".join(json.dumps(row) + "\n" for row in rows(number, seed))
        (folder / "data" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    road.checkpoint(folder / "model")
    options = laconic.Training(epochs=2, learning_rate=1e-3, batch=8)
    laconic.train(
        folder / "model", "relation", folder / "data", folder / "run", options=options, progress=False, log=str
    )
    steps = ["vocabulary", {"neurons": {"keep": 0.5, "samples": 8}}, {"rtn": {"bits": 4, "where": "all"}}]
    steps += [{"distill": {"epochs": 1, "batch": 8, "variants": 1}}, "half"]
    recipe = laconic.Recipe.parse({"steps": steps})
    laconic.compress(folder / "run", recipe, folder / "out", progress=False, log=str)
    return folder


def test_the_tokens_are_pieces_of_tokenizer_and_model(folders):
    for path in (folders / "run", folders / "out"):
        source = trained.read(path)
        held = source.tokenizer.get_vocab()
        assert set(Relation.tokens) <= set(held)
        assert len(held) == source.model.get_input_embeddings().weight.shape[0]
        (feature,) = source.task.encode([rows(1, 7)[0]], source.tokenizer, answers=False)
        assert all(feature["input_ids"].count(held[token]) == 2 for token in Relation.tokens)
    assert len(trained.read(folders / "run").tokenizer) == 104
    assert artifact.load(folders / "out").manifest.task["name"] == "relation"


def test_both_are_measured_and_the_artifact_answers(folders, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    report = prove.compare(folders / "out", folders / "run", timed=False)
    assert report.main == "macro_f1"
    assert report.after.engine == "onnxruntime"
    assert report.after.agreement >= 0.8
    assert set(report.after.score["table"]) == {"Cause", "micro", "macro"}
    page.render(report)
    terminal.draw(report)
    (said,) = laconic.load(folders / "out").predict(f"<e1>{USED[0]}</e1> and <e2>{USED[4]}</e2>")
    assert said["label"] in LABELS
    assert said["e2"]["text"] == USED[4]
