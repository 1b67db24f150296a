import pytest
import torch

from laconic.contracts import Sketch, Splits, Work
from laconic.data.batching import model_inputs, pad
from laconic.errors import AnatomyError, RecipeError
from laconic.methods.positions import Positions
from laconic.tasks.classify import Classify
from tests.tiny import POSITIONS, tiny
from tests.workshop import tokenizer

SHORT, LONG = " ".join(["w7"] * 5), " ".join(["w8"] * 20)


def work(family, lines=(SHORT,)):
    train = [{"text": line, "label": "x"} for line in lines]
    splits = Splits(train, train, "0")
    return Work(
        tiny(family, 2, "sequence"), tokenizer(), Classify(("x", "y")), splits, None, 0, None, log=lambda _: None
    )


def said(job):
    features = job.task.encode(job.data.train, job.tokenizer, answers=False)
    with torch.no_grad():
        return job.model(**model_inputs(pad(features, job.tokenizer.pad_token_id))).logits


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "bart"])
def test_what_the_model_says_stays(family):
    job = work(family, [SHORT, LONG])
    before = said(job)
    Positions().apply(job)
    assert job.anatomy.positions == job.tokenizer.model_max_length == 32  # 21 rounded up
    torch.testing.assert_close(said(job), before, rtol=0, atol=1e-6)


def test_never_more_than_there_are():
    job = work("bert", [" ".join(["w7"] * 60)])
    job.tokenizer.model_max_length = POSITIONS
    Positions().apply(job)
    assert job.anatomy.positions == POSITIONS


def test_a_number_is_taken_and_texts_are_cut_to_it():
    job = work("bert", [LONG])
    given = job.tokenizer
    Positions(tokens=12).apply(job)
    assert job.anatomy.positions == job.model.config.max_position_embeddings == 12
    assert len(job.task.encode(job.data.train, job.tokenizer, answers=False)[0]["input_ids"]) == 12
    assert given.model_max_length == 32  # another may still hold it


def test_refusals():
    with pytest.raises(AnatomyError, match="learns no positions"):
        Positions(tokens=8).apply(work("llama"))
    with pytest.raises(AnatomyError, match="trim to 1 to 40, not 41"):
        Positions(tokens=41).apply(work("bert"))
    with pytest.raises(RecipeError, match="tokens is 1"):
        Positions(tokens=1).check()


def test_a_model_without_a_table_passes_and_says_so():
    job, log = work("llama"), []
    job.log, before = log.append, said(job)
    Positions().apply(job)
    assert said(job).equal(before)
    assert job.tokenizer.model_max_length == 32
    assert log == ["positions: the model has no table of them"]


def test_forecast():
    sketch = Sketch(100, 32, 3, 1.0, 1.0, 42, 1.0)
    assert Positions().forecast(sketch).positions == 42
    assert Positions(tokens=16).forecast(sketch).positions == 16
