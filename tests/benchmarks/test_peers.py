"""The frame that all tools share, and the page: what is compressed, which texts, what counts as met."""

import numpy as np
import pytest
import torch

import laconic
from benchmarks.peers import __main__ as peers
from benchmarks.peers import evaluate, frame, inputs, page
from benchmarks.peers.settings import ENCODERS, LEFT_OUT, SETTINGS
from tests.tiny import tiny

WIDTHS = {
    "llama": ("model.layers.0.mlp.gate_proj", "lm_head"),
    "bert": ("bert.encoder.layer.0.output.dense", "classifier"),
}


def classifier(kind):
    return tiny(kind, head="lm" if kind == "llama" else "sequence").eval()


@pytest.mark.parametrize("kind", WIDTHS)
def test_the_linears_of_the_blocks_are_compressed_and_no_others(kind):
    model = classifier(kind)
    inside, outside = WIDTHS[kind]
    chosen = [path for path, _ in frame.linears(model)]
    assert inside in chosen
    assert outside in frame.others(model)
    everything = {path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert set(chosen) | set(frame.others(model)) == everything
    assert not set(chosen) & set(frame.others(model))


@pytest.mark.parametrize("kind", WIDTHS)
@torch.no_grad()
def test_a_feed_forward_in_its_former_width_computes_what_the_narrow_one_does(kind):
    model = classifier(kind)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    kept = torch.tensor([5, 0, 17, 40])
    dense, places = dict(before), torch.zeros(64, dtype=torch.bool)
    places[kept] = True
    for first, others, last in frame.WIDE:
        for name in [name for name in before if name.endswith(first)]:
            block = name.removesuffix(first)
            for other in (name, *(block + other for other in others)):
                dense[other] = before[other][kept]
            dense[block + last] = before[block + last][:, kept] * 2  # as a tool that fits what is left changes it
    wide = frame.widened(dense, before)
    assert {name: t.shape for name, t in wide.items()} == {name: t.shape for name, t in before.items()}
    for first, others, last in frame.WIDE:
        for name in [name for name in before if name.endswith(first)]:
            block = name.removesuffix(first)
            for other in (name, *(block + other for other in others)):
                assert torch.equal(wide[other][places], before[other][places])
                assert not wide[other][~places].any()
            assert torch.equal(wide[block + last][:, places], before[block + last][:, places] * 2)
            assert not wide[block + last][:, ~places].any()


def test_samples_are_spread_over_a_file_that_is_sorted():
    assert inputs.spread(list(range(10)), 4) == [0, 2, 5, 7]
    assert inputs.spread([1, 2], 5) == [1, 2]


def test_the_divergence_is_that_of_the_formula_and_none_of_the_same_answers():
    before, after = np.array([1.0, 2.0, -1.0]), np.array([0.5, 0.0, 3.0])
    p, q = (np.exp(x) / np.exp(x).sum() for x in (before, after))
    assert evaluate.divergence(before, after) == pytest.approx((p * np.log(p / q)).sum())
    assert evaluate.divergence(before, before + 7) == pytest.approx(0)
    both = evaluate.divergence(np.stack([before, before]), np.stack([after, before]))
    assert both == pytest.approx(evaluate.divergence(before, after))


def test_encoders_have_the_settings_of_the_decoders_without_what_is_left_out():
    named = {(s.name, s.grid) for s in SETTINGS if s.inputs == "text"}
    there = [s for s in SETTINGS if s.inputs == "labelled"]
    assert {(s.name, s.grid) for s in there} == named
    assert all(s.models == tuple(ENCODERS) for s in there)
    assert not {(tool, name) for s in there for tool, names in s.tools.items() for name in names} & LEFT_OUT.keys()


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_that_is_not_there_is_trained_where_it_is_looked_for(name, tmp_path, monkeypatch):
    monkeypatch.setenv("LACONIC_RUNS", str(tmp_path))
    monkeypatch.setenv("LACONIC_DATA", str(tmp_path))
    monkeypatch.setenv("LACONIC_MODELS", str(tmp_path))
    dataset = tmp_path / ENCODERS[name].split("/")[0]
    dataset.mkdir()
    for split in ("train", "validation", "test"):
        (dataset / f"{split}.jsonl").write_text("")
    (tmp_path / "all-minilm-l6-v2").mkdir()
    asked = []
    monkeypatch.setattr(laconic, "train", lambda *given, **options: asked.append((given, options["options"])))
    inputs.train(name, "float32")
    ((model, task, data, place), options) = asked[0]
    assert (model.name, place) == ("all-minilm-l6-v2", inputs.place_of(name))
    assert dataset in (data, data.parent)
    assert (task, options.precision) == ("ner" if "conll" in name else "classify", "float32")


def row(model, tool, loss, divergence=None):
    return {"model": model, "setting": "s", "family": "bits", "grid": "", "tool": tool, "method": tool} | {
        "loss_increase": loss, "bytes": 1, "processor_seconds": 0.0, "peak_bytes": 1, "divergence": divergence,
    }  # fmt: skip


def test_the_bars_are_counted_for_decoders_and_encoders_apart():
    rows = [row("d", "laconic", 0.103), row("d", "x", 0.2), row("d", "y", 0.1)]
    encoder = next(iter(ENCODERS))
    rows += [row(encoder, "laconic", -0.02, 0.5), row(encoder, "x", -0.01, 0.25)]
    (_, remark, table), (_, said, answers), *_ = page.sections(rows, [])
    assert (
        "Of decoders, where both have rows: met at 0 of 1, and below at 0, missed. "
        "Of encoders, where both have rows: met at 1 of 1, and below at 1, met." in remark
    )
    assert [line[-3:] for line in table[1:]] == [["1.030", "1.000", "missed"], ["", "1.000", "met"]]
    assert "at 0 of 1" in said
    assert answers[1][-1] == "2.000"


def test_a_row_says_when_it_was_measured_and_kept_ones_stay_as_they_are(tmp_path, monkeypatch):
    origin = {"commit": "0" * 40, "date": "2000-01-01"}
    monkeypatch.setattr(peers, "run", lambda *_: {"seconds": 1.0})
    monkeypatch.setattr(peers.record, "origin", lambda: origin)
    setting = next(setting for setting in SETTINGS if setting.inputs == "random")
    given = tmp_path, tmp_path / "samples", tmp_path / "out", "key"
    assert peers.one("hqq", setting, {}, *given) == {"seconds": 1.0, **origin}
    monkeypatch.setattr(peers.record, "origin", dict)
    assert peers.held("key", tmp_path / "out") == {"seconds": 1.0, **origin}


def test_a_change_of_what_the_judge_reads_counts_for_every_tool(tmp_path, monkeypatch):
    for path in peers.HERE.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(peers, "HERE", tmp_path)
    before = peers.digest("hqq")
    (tmp_path / "inputs.py").write_text("")
    assert peers.digest("hqq") != before
