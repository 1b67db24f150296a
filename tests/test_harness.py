"""lm-evaluation-harness over our artifacts: what the model says, asked by hand, and a task of its own."""

import json
import subprocess
import sys

import pytest
import torch
import yaml
from lm_eval.api.instance import Instance

from laconic import artifact, harness, layers, tasks, trained
from laconic.errors import EngineError
from laconic.methods.rtn import RTN
from tests.workshop import USED, work


def saved(folder, family="llama", head="lm"):
    """A rounded model as an artifact, as it is opened again."""
    made = work(family, head=head)
    RTN(4, where="all").apply(made)
    layers.freeze(made.model)
    artifact.save(
        folder, made.model, made.tokenizer, task=tasks.describe(made.task), recipe=None, provenance={}, measures={},
        base_config=made.model.config.to_dict(),
    )  # fmt: skip
    return artifact.load(folder)


def asked(kind, *arguments):
    return [Instance(kind, {}, pair, i) for i, pair in enumerate(arguments)]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_likelihoods_are_those_of_the_model(tmp_path, family):
    opened = saved(tmp_path / "a", family)
    words = [(USED[1], f" {USED[5]} {USED[2]}"), (f"{USED[3]} {USED[4]}", f" {USED[6]}")]
    given = harness.Harness(str(tmp_path / "a"), batch_size=2, add_bos_token=False)
    found = given.loglikelihood(asked("loglikelihood", *words))
    assert given.model.config.tie_word_embeddings == opened.model.config.tie_word_embeddings
    for (context, more), (likelihood, greedy) in zip(words, found, strict=True):
        before, ids = (opened.tokenizer(t, add_special_tokens=False)["input_ids"] for t in (context, context + more))
        with torch.no_grad():
            logits = opened.model(input_ids=torch.tensor([ids[:-1]])).logits[0].double().log_softmax(-1)
        steps = range(len(before) - 1, len(ids) - 1)
        assert likelihood == pytest.approx(sum(float(logits[i, ids[i + 1]]) for i in steps), rel=1e-4)
        assert greedy == all(int(logits[i].argmax()) == ids[i + 1] for i in steps)


@pytest.mark.parametrize(("family", "head"), [("llama", "lm"), ("t5", "translate"), ("bart", "translate")])
def test_texts_are_those_of_the_model(tmp_path, family, head):
    opened = saved(tmp_path / "a", family, head)
    settings = {"until": ["no such word"], "max_gen_toks": 6, "do_sample": False}
    given = harness.Harness(str(tmp_path / "a"), add_bos_token=False)
    (found,) = given.generate_until(asked("generate_until", (USED[1], settings)))
    ids = opened.tokenizer(USED[1], add_special_tokens=head != "lm", return_tensors="pt")["input_ids"]
    longest = ids.shape[1] + 6  # as the harness counts it, also where the answer does not follow its text
    written = opened.model.generate(input_ids=ids, do_sample=False, pad_token_id=1, max_length=longest)
    begins = ids.shape[1] if head == "lm" else 0
    assert found == opened.tokenizer.decode(written[0, begins:], skip_special_tokens=True)
    assert len(found) > 4


def test_its_command_starts():
    """As users start it: in a process that has not imported the module before."""
    done = subprocess.run(
        [sys.executable, "-m", "laconic.harness", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_its_command_scores_a_task_of_ones_own(tmp_path, monkeypatch, capsys):
    """The right choice is the likelier one to the model asked by hand, so that all answers are right."""
    opened = saved(tmp_path / "a")
    rows = []
    for i in range(4):
        ids = opened.tokenizer(USED[i], add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = opened.model(input_ids=ids).logits[0, -1]
        words = [opened.tokenizer.convert_tokens_to_ids(word) for word in (USED[7], USED[8])]
        rows.append({"given": USED[i], "choices": [USED[7], USED[8]], "right": int(logits[words].argmax())})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    about = {
        "task": "own", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{given}}",
        "doc_to_choice": "{{choices}}", "doc_to_target": "{{right}}", "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.yaml").write_text(yaml.safe_dump(about))
    monkeypatch.setattr("sys.argv", [
        "harness", "run", "--model", "laconic", "--model_args", f"path={tmp_path / 'a'},add_bos_token=False",
        "--tasks", "own", "--include_path", str(tmp_path / "own"), "--output_path", str(tmp_path / "out"),
    ])  # fmt: skip
    harness.main()
    (result,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(result.read_text())["results"]["own"]["acc,none"] == 1.0
    assert "|own" in capsys.readouterr().out


def test_a_model_that_the_harness_refuses_is_tied_as_before(tmp_path, monkeypatch):
    saved(tmp_path / "a")
    opened = trained.read(tmp_path / "a")
    opened.model.config.tie_word_embeddings = True
    monkeypatch.setattr(trained, "read", lambda _: opened)
    with pytest.raises(ValueError, match="invalid literal"):
        harness.Harness(str(tmp_path / "a"), batch_size="many")
    assert opened.model.config.tie_word_embeddings


def test_a_model_that_writes_nothing_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    saved(tmp_path / "a", "bert", "sequence")
    with pytest.raises(EngineError, match="a model of classify, which writes no text"):
        harness.Harness(str(tmp_path / "a"))
    command = ["harness", "--model", "laconic", "--model_args", f"path={tmp_path / 'a'}", "--tasks", "lambada_openai"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match="1"):
        harness.main()
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
