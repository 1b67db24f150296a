"""Several processes pretrain as one does, to the same curve and weights, also after a kill."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from laconic import cli, ranks
from laconic.errors import DataError, LaconicError, RecipeError
from laconic.pretrain import RECORD, Stretches, config, objectives, pretrain
from tests.pretrain.test_pretrain import BERT, LLAMA, SHORT, plan

DRIVER = Path(__file__).parent / "pretrain" / "together.py"
SAID = [
    f"The {a} saw a {b}.\nThe {a} was {c}."
    for a in ("cat", "dog", "猫")
    for b in ("ball", "bird")
    for c in ("sad", "big")
]
SURE = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # processes drop out different channels
PLANS = {
    "mlm": {"model": {**BERT, **SURE}, "tokenizer": {"kind": "wordpiece", "vocabulary": 60}, "training": SHORT},
    "clm": {"model": LLAMA, "tokenizer": {"kind": "bpe", "vocabulary": 300}, "training": {**SHORT, "accumulate": 2}},
}


@pytest.fixture(scope="module")
def stories(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "stories.txt"
    path.write_text("\n\n".join(SAID * 12), encoding="utf-8")
    return path


def together(objective, folder, text, *how):
    """What two processes that torchrun starts say, and how they end."""
    about, held = folder / "plan.yaml", PLANS[objective]
    taught = {**held["training"], "fsdp": "fsdp" in how}
    about.write_text(yaml.safe_dump({**held, "training": taught}), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         DRIVER, objective, about, text, folder / "out", *how],
        capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def losses(out):
    history = json.loads((out / RECORD).read_text(encoding="utf-8"))["history"]
    return [row["eval_loss"] for row in history if "eval_loss" in row]


@pytest.mark.parametrize(("objective", "how"), [("mlm", ()), pytest.param("clm", ("fsdp",), marks=pytest.mark.slow)])
def test_two_processes_learn_what_one_learns_though_they_were_killed(stories, tmp_path, objective, how):
    chosen = config.parse(PLANS[objective], "here", scratch=True)
    alone = pretrain(objective, chosen, stories, tmp_path / "alone", progress=False, log=str)
    broken = together(objective, tmp_path, stories, *how, "broken")
    assert broken.returncode
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.training" / "checkpoints" / "checkpoint-4" / "complete").exists()
    ended = together(objective, tmp_path, stories, *how)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("step 12 of 12") == 1  # one speaks
    assert "step 4 of 12" not in ended.stdout  # and goes on
    assert ("\ndealt out" in ended.stdout) == ("fsdp" in how)  # the first of them has a copy
    assert losses(tmp_path / "out") == pytest.approx(losses(alone), abs=1e-5)
    found, sought = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", alone))
    assert found.keys() == sought.keys()
    for name, tensor in sought.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=0)
    assert not list(tmp_path.glob(".*"))


def test_the_end_of_another_process_is_said_in_a_sentence(monkeypatch):
    class Broken:
        def __init__(self, **_):
            pass

        def wait_for_everyone(self):
            raise RuntimeError("Connection closed by peer")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("accelerate.PartialState", Broken)
    with pytest.raises(LaconicError, match=r"cannot go on together \(Connection closed by peer\); if another has said"):
        ranks.wait()


@pytest.mark.parametrize(("objective", "model", "kind"), [("clm", LLAMA, "bpe"), ("mlm", BERT, "wordpiece")])
def test_shares_together_are_the_batches_of_one(objective, model, kind):
    taught = plan(model, kind, batch=6, steps=5).training
    pretext = (
        objectives.CLM(16) if objective == "clm" else objectives.MLM(16, 0.5, 1, 2, 3, torch.arange(9, 40).numpy())
    )
    ids = torch.arange(16 * 20).numpy() % 30 + 9
    whole, *shares = (Stretches(ids, pretext, taught, 7, share) for share in ((0, 1), (0, 3), (1, 3), (2, 3)))
    assert len(whole) == len(shares[0]) == 5
    for i in range(5):
        (batch, chosen), parts = whole[i], [share[i] for share in shares]
        assert sorted(chosen) == sorted(place for _, some in parts for place in some)
        assert sum(float(part["asked"]) for part, _ in parts) == pytest.approx(float(batch.pop("asked")))
        for name, rows in batch.items():
            assert torch.equal(torch.stack([part[name] for part, _ in parts], 1).flatten(0, 1), rows)


def test_too_little_text_for_all_processes_is_refused():
    with pytest.raises(DataError, match="do not fill 3 blocks, one for each process, of 16"):
        Stretches(torch.arange(20).numpy(), objectives.CLM(16), plan().training, 0, (0, 3))


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(RecipeError, match="batch is 4 and 3 processes share it"):
        plan()


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs here")
def test_dealing_out_without_gpus_is_refused(monkeypatch, processes):
    monkeypatch.setenv("WORLD_SIZE", processes)
    with pytest.raises(RecipeError, match="fsdp deals a model out to several processes, each with a GPU"):
        plan(fsdp=True)


def test_commands_that_work_alone_refuse_company(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    ended = CliRunner().invoke(cli.app, ["methods"])
    assert ended.exit_code == 1
    assert "2 processes were started, and laconic methods works in one" in ended.stderr


def test_one_process_is_the_first_of_one_and_waits_for_nobody():
    assert (ranks.count(), ranks.rank()) == (1, 0)
    ranks.wait()
    with ranks.first():
        pass
    model = torch.nn.Linear(2, 2)
    assert ranks.whole(model) is model
