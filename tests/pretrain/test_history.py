"""What the record of a run says of its course."""

import json
import re

import pytest

from laconic import finetune, training
from laconic.pretrain import RECORD, pretrain
from tests.pretrain.test_pretrain import plan


@pytest.fixture
def stories(tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text("\n\n".join(f"Cat {i} sat on {i % 7} mats." for i in range(200)), encoding="utf-8")
    return path


def told(lines, history):
    """Epochs by step, as they are said in the log and in the record, which has no speeds."""
    assert not [key for row in history for key in row if "per_second" in key or "runtime" in key]
    said = {
        int(step): epoch for line in lines for step, epoch in re.findall(r"step (\d+) of .*, epoch ([\d.]+):", line)
    }
    return said, {row["step"]: f"{row['epoch']:.1f}" for row in history if "eval_loss" in row}


def test_an_epoch_is_a_pass_over_the_text(stories, tmp_path):
    lines = []
    out = pretrain(
        "clm", plan(steps=12, every=4, accumulate=2), stories, tmp_path / "m", progress=False, log=lines.append
    )
    history = json.loads((out / RECORD).read_text())["history"]
    said, held = told(lines, history)
    assert held == said
    assert list(held) == [4, 8, 12]
    assert 0 < history[-1]["epoch"] < 0.9
    ended = finetune.train(
        out, "lm", stories, tmp_path / "run", options=training.Training(epochs=2, batch=8), progress=False,
        log=lines.append,
    )  # fmt: skip
    history = json.loads((ended / finetune.RUN_FILE).read_text())["history"]
    told([], history)
    assert history[-1]["epoch"] == pytest.approx(2)
