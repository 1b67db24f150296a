"""A model that answers: what a folder says of itself is checked, and how it is asked."""

import itertools
import json
import math
from dataclasses import replace

import pytest
from transformers import pipeline

import laconic
from laconic import artifact, data, layers, tasks, trained
from laconic.errors import ArtifactError, EngineError
from laconic.methods.rtn import RTN
from laconic.tasks.mlm import MLM
from tests.artifact.signing import rewritten
from tests.workshop import TAGS, USED, tokenizer, work


@pytest.fixture
def folder(tmp_path):
    given = work("bert", tmp_path / "work")
    about = {"task": tasks.describe(given.task), "recipe": None, "provenance": {"seed": 3}, "measures": {}}
    artifact.save(tmp_path / "a", given.model, given.tokenizer, **about, base_config=given.model.config.to_dict())
    return tmp_path / "a"


def run(folder, **record):
    """The same model as a run folder."""
    opened = artifact.load(folder)
    made = folder.with_name("run")
    opened.model.save_pretrained(made)
    opened.tokenizer.save_pretrained(made)
    (made / "laconic.json").write_text(json.dumps({"task": opened.manifest.task, **record}))
    return made


def test_a_text_alone_is_one_text(folder):
    loaded = laconic.load(folder, engine="torch")
    assert loaded.predict("ab ba") == loaded.predict(["ab ba"])
    assert loaded.predict([]) == []


def test_a_file_of_records_is_read_whatever_its_name(folder, tmp_path):
    rows = [{"tokens": USED[:3]}, {"tokens": USED[3:5]}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = laconic.load(folder).task
    assert [example["tokens"] for example in data.asked(tmp_path / "test.jsonl", task)] == [USED[:3], USED[3:5]]


def rounded(folder, family, head, **changed):
    """An artifact whose layers are not stock ones, as it is opened; `changed` is of the Work that it is made from."""
    given = replace(work(family, folder / "work", head=head), **changed)
    given.model.config.id2label = dict(enumerate(given.task.labels))  # as training has it
    RTN(4).apply(given)
    layers.freeze(given.model)
    about = {"task": tasks.describe(given.task), "recipe": None, "provenance": {}, "measures": {}}
    artifact.save(folder / "a", given.model, given.tokenizer, **about, base_config=given.model.config.to_dict())
    return laconic.load(folder / "a", engine="torch")


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2"])
def test_a_pipeline_classifies_as_predict_does(tmp_path, family):
    loaded, texts = rounded(tmp_path, family, "sequence"), [f"{a} {b}" for a, b in itertools.pairwise(USED[:12])]
    asked = pipeline("text-classification", model=loaded.model, tokenizer=loaded.tokenizer)
    assert [answer["label"] for answer in asked(texts)] == [record["label"] for record in loaded.predict(texts)]


def test_a_pipeline_cuts_a_long_text_as_predict_does(tmp_path):
    loaded = rounded(tmp_path, "bert", "sequence")
    asked = pipeline("text-classification", model=loaded.model, tokenizer=loaded.tokenizer, truncation=True)
    texts = [" ".join(USED[i:] + USED[:i]) for i in range(9)]
    assert len(USED) > loaded.tokenizer.model_max_length
    assert [answer["label"] for answer in asked(texts)] == [record["label"] for record in loaded.predict(texts)]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_pipeline_fills_a_mask_with_the_probability_that_predict_weighs_by(tmp_path, family):
    loaded = rounded(tmp_path, family, "lm", task=MLM(), tokenizer=tokenizer(masks=True))
    asked = pipeline("fill-mask", model=loaded.model, tokenizer=loaded.tokenizer)
    for start in range(5):
        text = " ".join(USED[start : start + 6])
        (hidden,) = loaded.predict(text)[0]["hidden"]
        (found,) = asked(text.replace(hidden, "[mask]"), targets=[hidden])
        assert found["token_str"] == hidden
        assert -math.log2(found["score"]) == pytest.approx(loaded.predict(text)[0]["bits"], rel=1e-4)


def test_a_pipeline_tags_as_predict_does(tmp_path):
    loaded, text = rounded(tmp_path, "roberta", "tokens"), " ".join(USED[:9])
    loaded.model.classifier.bias.data[[2, 4]] -= 100  # nothing is inside a name, which predict would mend at its start
    found = pipeline("token-classification", model=loaded.model, tokenizer=loaded.tokenizer, ignore_labels=[])(text)
    tags = {piece["word"]: piece["entity"] for piece in found}
    said = loaded.predict(text)[0]
    assert [tags[word] for word in USED[:9]] == said["tags"]
    assert len(set(said["tags"])) > 1


def test_a_pipeline_writes_on_as_the_model_does(tmp_path):
    loaded = rounded(tmp_path, "llama", "lm")
    asked = pipeline("text-generation", model=loaded.model, tokenizer=loaded.tokenizer)
    settings = {"do_sample": False, "max_new_tokens": 5}
    (found,) = asked(USED[3], add_special_tokens=False, return_full_text=False, **settings)
    ids = loaded.tokenizer(USED[3], add_special_tokens=False, return_tensors="pt")["input_ids"]
    written = loaded.model.generate(input_ids=ids, pad_token_id=1, **settings)[0, ids.shape[1] :]
    assert found["generated_text"].split() == loaded.tokenizer.decode(written, skip_special_tokens=True).split()
    assert found["generated_text"]


@pytest.mark.parametrize("threads", [0, -2])
def test_threads_are_a_whole_number_from_1(folder, threads):
    with pytest.raises(EngineError, match=f"threads is {threads}; give a whole number from 1"):
        laconic.load(folder, threads=threads)


def test_seed_and_data_are_those_of_training(folder):
    assert trained.read(folder).seed == 3
    source = trained.read(run(folder, seed=5, data="there"))
    assert source.seed == 5
    assert source.data() == "there"
    assert source.data("here") == "here"
    with pytest.raises(ArtifactError, match="give the run folder, or --data"):
        trained.read(folder).data()


@pytest.mark.parametrize("seed", ["x", -1, True, None])
def test_a_seed_that_is_none_is_refused(folder, seed):
    rewritten(folder, provenance={"seed": seed})
    with pytest.raises(ArtifactError, match=f"seed {seed!r}"):
        _ = trained.read(folder).seed


TASKS = [
    ({}, "'labels'"),
    ({"name": "ner", "labels": 5}, "labels are 5"),
    ({"name": "ner", "labels": ["O", ""]}, "labels are"),
    ({"name": 5, "labels": [*TAGS]}, "its task is damaged"),
    ({"name": "ner", "labels": ["O", "B-A"]}, "tells 5 labels apart and its task has 2"),
]


@pytest.mark.parametrize(("task", "said"), TASKS)
def test_a_damaged_task_is_refused(folder, task, said):
    made = run(folder)
    (made / "laconic.json").write_text(json.dumps({"task": task}))
    rewritten(folder, task=task)
    for where in (folder, made):
        with pytest.raises(ArtifactError, match=said) as refused:
            trained.read(where)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"task": 3}', "null"])
def test_a_damaged_run_file_is_refused(folder, text):
    made = run(folder)
    (made / "laconic.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"laconic\.json.*damaged.*again"):
        trained.read(made)


def test_a_folder_that_is_neither_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="neither an artifact"):
        trained.read(tmp_path)
    with pytest.raises(ArtifactError, match=r"there is no folder .*nowhere; give an artifact, or the run folder"):
        trained.read(tmp_path / "nowhere")
