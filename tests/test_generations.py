"""Texts that a decoder writes itself: how they begin, that they are drawn as it thinks, and the road without data."""

import json
import sys

import pytest
import torch

import laconic
from laconic import cli, generations, run, trained
from laconic.errors import ArtifactError
from tests.lossless.small import causal
from tests.tiny import tiny

RECIPE = {"steps": [{"gptq": {"bits": 4, "samples": 8}}, "half"]}


@pytest.fixture
def few(monkeypatch):
    for name, number in {"TRAIN": 6, "VALIDATION": 2, "LENGTH": 12, "BATCH": 8}.items():
        monkeypatch.setattr(generations, name, number)


@pytest.fixture
def decoder(tmp_path):
    given = causal("gpt", "gpt2")
    given.model.save_pretrained(tmp_path / "m")
    given.tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def test_the_seed_says_the_texts(few):
    given = causal("gpt")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = generations.texts(given.model, given.tokenizer, 10, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert one == generations.texts(given.model, given.tokenizer, 10, 0)
    assert one != generations.texts(given.model, given.tokenizer, 10, 1)
    assert len(one) == 10


@pytest.mark.parametrize("kind", ["gpt", "t5"])
def test_a_random_token_then_the_likeliest(kind, few):
    """Of a tokenizer that has a token to begin with, and of one that has none."""
    given = causal(kind)
    (rows,) = list(generations._batches(given.model, given.tokenizer, 1))
    first = given.tokenizer.bos_token_id
    assert len({row[0] for row in rows if row}) > 4
    for row in rows:
        whole = row if first is None else [first, *row]
        lead = len(whole) - len(row)
        for place in range(lead + 1, min(lead + 1 + generations.LIKELIEST, len(whole))):
            if given.tokenizer.eos_token_id in whole[lead:place]:
                break
            with torch.no_grad():
                logits = given.model(input_ids=torch.tensor([whole[:place]])).logits[0, -1]
            assert int(logits.argmax()) == whole[place]


def test_the_rest_is_drawn_as_the_model_thinks(monkeypatch):
    """The token after a given beginning, drawn 4,000 times, against its softmax: total variation."""
    given = causal("gpt")
    monkeypatch.setattr(generations, "LENGTH", 3)
    monkeypatch.setattr(generations, "LIKELIEST", 0)
    monkeypatch.setattr(generations, "BATCH", 4000)
    monkeypatch.setattr(generations.torch, "randint", lambda high, size: torch.full(size, 7))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        (rows,) = list(generations._batches(given.model, given.tokenizer, 1))
    lead = [given.tokenizer.bos_token_id, *rows[0][:1]]
    with torch.no_grad():
        want = given.model(input_ids=torch.tensor([lead])).logits[0, -1].softmax(-1)
    ends = given.tokenizer.eos_token_id
    drawn = torch.tensor([row[1] if len(row) > 1 else ends for row in rows])
    seen = torch.bincount(drawn, minlength=len(want)) / len(rows)
    assert float((seen - want).abs().sum()) / 2 < 0.12
    assert float((want - 1 / len(want)).abs().sum()) / 2 > 0.5


def test_a_model_that_writes_nothing_is_an_error(few):
    tokenizer = causal("gpt").tokenizer
    silent = type("Silent", (), {"device": torch.device("cpu")})()
    silent.generate = lambda input_ids, **_: torch.full((len(input_ids), 3), tokenizer.eos_token_id)
    with pytest.raises(ArtifactError, match=r"writes next to nothing of itself .0 texts.; give it texts with --data"):
        generations.texts(silent, tokenizer, 4, 0)


def test_a_decoder_is_compressed_without_data_and_goes_on_with_its_texts(few, decoder, tmp_path, monkeypatch):
    said = []
    recipe = laconic.Recipe.parse(RECIPE)
    result = laconic.compress(decoder, recipe, tmp_path / "out", progress=False, log=said.append)
    assert result.own
    assert said[0].startswith("no data: the model is calibrated on texts that it writes itself")
    (file,) = (tmp_path / "out.steps").glob("own-*.jsonl")
    assert len(file.read_text().splitlines()) == 8
    monkeypatch.setattr(generations, "texts", None)
    again = laconic.compress(decoder, recipe, tmp_path / "again", steps=tmp_path / "out.steps", progress=False, log=str)
    for name in ("manifest.json", "weights.safetensors"):
        assert (again.folder / name).read_bytes() == (result.folder / name).read_bytes()
    file.write_text("{}\n")
    with pytest.raises(ArtifactError, match=r"is damaged .*; remove it, and the model writes again"):
        laconic.compress(decoder, recipe, tmp_path / "x", steps=tmp_path / "out.steps", progress=False, log=str)


def test_a_decoder_as_it_stands_learns_from_texts_that_are_given(few, decoder, tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "validation", "test"):
        rows = [json.dumps({"text": f"the sea shells {i}"}) + "\n" for i in range(8)]
        (tmp_path / "data" / f"{split}.jsonl").write_text("".join(rows))
    said = []
    result = laconic.compress(
        decoder, laconic.Recipe.parse(RECIPE), tmp_path / "out", data_source=tmp_path / "data", progress=False,
        log=said.append,
    )  # fmt: skip
    assert not result.own
    assert not list((tmp_path / "out.steps").glob("own-*"))
    report = laconic.compare(result.folder, decoder, tmp_path / "data", timed=False)
    assert report.after.size.bytes < report.before.size.bytes


def test_a_plan_writes_nothing(decoder, tmp_path):
    rows = run.plan(decoder, laconic.Recipe.parse(RECIPE))
    assert [row["step"] for row in rows] == ["original", "gptq", "half"]
    assert rows[2]["bytes"] < rows[0]["bytes"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_command_says_that_nothing_was_measured(few, decoder, tmp_path, monkeypatch, capsys):
    (tmp_path / "r.yaml").write_text("steps: [{rtn: {bits: 4}}]\n")
    given = ["compress", decoder, "--recipe", tmp_path / "r.yaml", "-o", tmp_path / "out", "-q"]
    monkeypatch.setattr(sys, "argv", ["laconic", *map(str, given)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert "nothing was measured; next: laconic evaluate" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.mark.parametrize(("family", "said"), [("bert", "is an encoder .bert., "), ("t5", "is an encoder-decoder")])
def test_another_checkpoint_is_refused_with_what_to_do(family, said, tmp_path):
    tiny(family, 2, "tokens" if family == "bert" else "lm").save_pretrained(tmp_path / "m")
    causal("gpt").tokenizer.save_pretrained(tmp_path / "m")
    with pytest.raises(ArtifactError, match=f"{said}.*give a run folder of laconic train, or a decoder"):
        trained.read(tmp_path / "m")


def test_no_text_begins_with_a_special_token(monkeypatch):
    given = causal("gpt")
    monkeypatch.setattr(generations, "LENGTH", 3)
    monkeypatch.setattr(generations, "BATCH", 4000)
    (rows,) = list(generations._batches(given.model, given.tokenizer, 1))
    firsts = {row[0] for row in rows}
    assert not firsts & set(given.tokenizer.all_special_ids)
    assert len(firsts) > len(given.tokenizer) / 2
