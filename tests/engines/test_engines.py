"""Engines answer as torch does, whatever the batch; what they can't do they say."""

import importlib.util

import numpy as np
import pytest
import torch

from laconic import engines
from laconic.engines.onnxruntime import PIECE, OnnxRuntime, cut
from laconic.engines.torch import Torch
from laconic.errors import EngineError
from tests.tiny import PAD, POSITIONS, VOCABULARY, tiny


def texts(lengths, seed=0):
    """A batch of random texts padded at the end, as an engine takes it."""
    rng = np.random.default_rng(seed)
    width = max(lengths)
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)  # (batch, width)
    ids = np.where(mask == 1, rng.integers(4, VOCABULARY, mask.shape), PAD)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": mask * rng.integers(0, 2, mask.shape)}


def near(found, expected):
    return np.linalg.norm(found - expected) < 0.08 * np.linalg.norm(expected)


def test_the_fastest_comes_first():
    assert engines.available() == ["onnxruntime", "torch"]
    assert engines.choose() is OnnxRuntime
    assert engines.choose("torch") is Torch


def test_a_missing_package_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    assert engines.available() == ["torch"]
    assert engines.choose() is Torch
    with pytest.raises(EngineError, match=r"needs onnxruntime; install .*laconic\[onnx\]"):
        engines.choose("onnxruntime")


def test_an_unknown_engine_gets_the_nearest():
    with pytest.raises(EngineError, match="did you mean 'onnxruntime'"):
        engines.choose("onnxruntim")


@pytest.mark.parametrize("head", ["tokens", "sequence"])
@pytest.mark.parametrize("lengths", [[12], [5, 9, 30, 2, 2], [20] * 40])
def test_every_batch_is_answered_as_by_torch(lengths, head):
    model, batch = tiny("bert", head=head), texts(lengths)
    found, expected = OnnxRuntime(model, threads=2).run(batch), Torch(model).run(batch)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.float32
    if head == "tokens":
        assert near(found[batch["attention_mask"] == 1], expected[batch["attention_mask"] == 1])
    else:
        assert near(found, expected)


def test_padding_changes_nothing():
    engine, batch = OnnxRuntime(tiny("roberta"), threads=1), texts([7])
    del batch["token_type_ids"]
    alone = engine.run(batch)
    wide = {k: np.pad(v, ((0, 0), (0, 5)), constant_values=PAD if k == "input_ids" else 0) for k, v in batch.items()}
    company = {k: np.concatenate([wide[k], wide[k]]) for k in wide}
    assert np.abs(engine.run(company)[:, :7] - alone).max() < 1e-4


def test_the_same_batch_gets_the_same_answer():
    engine, batch = OnnxRuntime(tiny("bert"), threads=2), texts([9, 8, 30, 3])
    first = engine.run(batch)
    assert all((engine.run(batch) == first).all() for _ in range(3))


def test_a_mask_may_be_left_out():
    engine, batch = OnnxRuntime(tiny("bert"), threads=1), texts([6])
    bare = {key: batch[key] for key in ("input_ids", "token_type_ids")}
    assert (engine.run(bare) == engine.run(batch)).all()


def test_padding_in_front_is_refused():
    batch = texts([4, 6])
    batch["attention_mask"] = batch["attention_mask"][:, ::-1].copy()
    with pytest.raises(EngineError, match="padding_side='right'"):
        OnnxRuntime(tiny("bert"), threads=1).run(batch)


def test_a_text_too_long_is_refused():
    with pytest.raises(EngineError, match=f"{POSITIONS + 1} tokens is longer than the model's {POSITIONS} positions"):
        OnnxRuntime(tiny("bert"), threads=1).run(texts([POSITIONS + 1]))


def test_torch_leaves_threads_and_mode_alone():
    model, before = tiny("bert"), torch.get_num_threads()
    Torch(model, threads=before + 1).run(texts([3]))
    assert torch.get_num_threads() == before
    assert not model.training


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_pieces_hold_every_row_once_and_alike(threads):
    lengths = np.random.default_rng(0).integers(1, 60, 70).astype(np.int32)
    pieces = cut(lengths, threads)
    assert sorted(np.concatenate(pieces)) == list(range(70))
    sums = [int(lengths[p].sum()) for p in pieces]
    assert max(sums) <= PIECE + 60
    assert len(pieces) % threads == 0
    ordered = lengths[np.concatenate(pieces)]
    assert (np.diff(ordered) <= 0).all()
