"""More records for a classifier: new, of their label as the judge has it, behind the data as they were."""

import json
import sys

import numpy as np
import pytest

import laconic
from laconic import cli, data
from laconic.augment import _letters, augment
from laconic.augment.writing import LabelWriting
from laconic.errors import ArtifactError, DataError, RecipeError
from tests.augment.test_rewriting import checkpoint as masked
from tests.tiny import tiny
from tests.workshop import USED, tokenizer

WORDS = {"aa": USED[:6], "bb": USED[10:16]}
OPTIONS = laconic.Training(epochs=20, learning_rate=5e-3, batch=8)


def rows(number, seed):
    rng = np.random.default_rng(seed)
    labels = [list(WORDS)[i % 2] for i in range(number)]
    return [{"label": label, "text": " ".join(rng.choice(WORDS[label], 3 + i % 3))} for i, label in enumerate(labels)]


def model(folder, family, head):
    tiny(family, head=head).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("augment")
    (folder / "data").mkdir()
    for seed, (split, number) in enumerate({"train": 40, "validation": 12, "test": 12}.items()):
        text = "".join(json.dumps(row) + "\n" for row in rows(number, seed))
        (folder / "data" / f"{split}.jsonl").write_text(text)
    given = {"options": OPTIONS, "progress": False, "log": str}
    laconic.train(
        model(folder / "llama", "llama", "lm"),
        "control",
        folder / "data",
        folder / "control",
        **given,
        length=6,
        prompt="{}",
    )
    laconic.train(model(folder / "bert", "bert", "tokens"), "classify", folder / "data", folder / "judge", **given)
    masked(folder / "masked")
    return folder


@pytest.mark.parametrize("kind", ["control", "masked"])
def test_new_records_stand_behind_the_data_as_they_were(base, tmp_path, kind):
    made = augment(base / kind, base / "data", tmp_path / "more", number=5, judge=base / "judge", progress=False)
    parts = {name: data.read_split(tmp_path / "more", "classify", name) for name in ("train", "validation", "test")}
    old = {name: data.read_split(base / "data", "classify", name) for name in parts}
    assert parts["train"] == [*old["train"], *made.records]
    assert (parts["validation"], parts["test"]) == (old["validation"], old["test"])
    letters = [_letters(e["text"]) for part in parts.values() for e in part]
    known = {_letters(e["text"]) for part in old.values() for e in part}
    new = [_letters(e["text"]) for e in made.records]
    assert len(set(new)) == len(new) > 0
    assert not known & set(new)
    assert len(letters) == sum(map(len, old.values())) + len(new)
    said = laconic.load(base / "judge", engine="torch").predict([e["text"] for e in made.records])
    assert [record["label"] for record in said] == [e["label"] for e in made.records]
    assert max(sum(e["label"] == label for e in made.records) for label in WORDS) <= 5
    assert made.label_kept == made.kept / made.new
    assert made.written >= made.new >= made.kept >= len(made.records)
    assert (
        augment(base / kind, base / "data", tmp_path / "more", number=5, judge=base / "judge", progress=False) == made
    )
    about = json.loads((tmp_path / "more" / "data.json").read_text())
    assert about["label_kept"] == made.label_kept
    assert about["distinct"]["distinct_2_train"] == made.distinct["distinct_2_train"] > 0


def test_a_model_of_labels_keeps_them_and_one_that_learnt_nothing_does_not(base, tmp_path):
    choices = {"number": 5, "judge": base / "judge", "temperature": 0.7, "progress": False}
    kept = [
        augment(base / k, base / "data", tmp_path / k, **choices, **own).label_kept
        for k, own in (("control", {}), ("masked", {"mask": 0.9}))
    ]
    assert kept[0] > 0.7
    assert kept[0] > kept[1] + 0.15


def test_labels_that_got_fewer_are_named_and_no_round_says_the_same(base, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("laconic.augment._judge", lambda *_: lambda texts: asked.append(texts) or ["bb"] * len(texts))
    made = augment(base / "control", base / "data", tmp_path / "m", number=3, judge="any", progress=False)
    assert made.fewer == {"aa": 0} | {k: v for k, v in made.fewer.items() if k == "bb"}
    assert all(e["label"] == "bb" for e in made.records)
    rounds = [set(texts) for texts in asked if not set(texts) & {e["text"] for e in made.records}]
    assert len(rounds) > 1, "a later round brought new texts"


def test_texts_are_written_in_portions(base, monkeypatch):
    monkeypatch.setattr("laconic.augment.writing.PORTION", 4)
    write = LabelWriting(laconic.load(base / "control", engine="torch"), 1.0, 0)
    found = write("aa", 10)
    assert len(found) == 10
    assert found[:4] != found[4:8]
    assert found == LabelWriting(laconic.load(base / "control", engine="torch"), 1.0, 0)("aa", 10)
    assert found != LabelWriting(laconic.load(base / "control", engine="torch"), 1.0, 9)("aa", 10)


def test_without_a_judge_all_that_is_new_stays(base, tmp_path):
    made = augment(base / "masked", base / "data", tmp_path / "more", number=3, progress=False)
    assert made.label_kept is None
    assert made.kept == made.new
    assert len(made.records) == 6


def test_the_command_says_its_figures(base, tmp_path, capsys, monkeypatch):
    asked = ["laconic", "augment", base / "masked", "--data", base / "data", "-o", tmp_path / "more", "--number", "2"]
    monkeypatch.setattr(sys, "argv", [*map(str, asked), "--json", "--judge", str(base / "judge")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert not ended.value.code
    assert json.loads(out)["records"] <= 4
    assert "kept their label" in err
    assert f"next: laconic train MODEL --task classify --data {tmp_path / 'more'} -o RUN" in err


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"mask": 1.0}, RecipeError, "mask is 1.0"),
        ({"model": "control", "mask": 0.3}, RecipeError, "mask is 0.3, which a model of control does not read"),
        ({"number": 0}, RecipeError, "number is 0"),
        ({"temperature": 1e-30}, RecipeError, "temperature is 1e-30; give a number from 0.01 to 10"),
        ({"model": "judge"}, ArtifactError, "the model is for the task classify; give one of control"),
        (
            {"judge": "control"},
            ArtifactError,
            "for the task control; give a classifier of one label a text as the judge",
        ),
        ({"judge": "masked"}, ArtifactError, "no run folder or artifact; give a classifier as the judge"),
        ({"source": "other"}, DataError, "does not know the label 'zz'"),
        ({"source": "unnamed"}, DataError, "the label is empty"),
        ({"source": "several"}, DataError, "several labels"),
        ({"source": "nothing"}, DataError, "no file or folder"),
        ({"out": "data"}, DataError, "holds the source"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(base, tmp_path, given, error, words):
    (base / "several").mkdir(exist_ok=True)
    (base / "several" / "train.jsonl").write_text("".join(f'{{"label": ["a"], "text": "b {i}"}}\n' for i in range(60)))
    for name, label in (("other", "zz"), ("unnamed", "")):
        (base / name).mkdir(exist_ok=True)
        (base / name / "train.jsonl").write_text(f'{{"label": "{label}", "text": "ab ac"}}\n' * 20)
        (base / name / "validation.jsonl").write_text(f'{{"label": "{label}", "text": "ab ad"}}\n')
    choices = {"model": "masked", "judge": "judge", "source": "data", "out": tmp_path / "more"} | given
    places = {name: base / choices.pop(name) for name in ("model", "source", "out")}
    if "judge" in choices:
        choices["judge"] = base / choices["judge"]
    with pytest.raises(error, match=words):
        augment(places["model"], places["source"], places["out"], progress=False, **choices)
    assert not list(tmp_path.iterdir())
    assert (base / "data" / "train.jsonl").is_file()


def test_a_model_that_says_nothing_new_is_an_error(base, tmp_path):
    with pytest.raises(DataError, match=r"none of \d+ texts is new and of its label"):
        augment(base / "control", base / "data", tmp_path / "more", temperature=0.01, number=4, progress=False)
    assert not list(tmp_path.iterdir())
