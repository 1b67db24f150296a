"""What can be opened as a causal model, and what is refused with a reason."""

from dataclasses import replace

import pytest
from transformers import BertConfig, BertLMHeadModel

from laconic import artifact, tasks
from laconic.errors import ArtifactError, RecipeError
from laconic.lossless import causal as models
from tests.lossless.small import causal
from tests.subwords.built import build
from tests.tiny import tiny
from tests.workshop import work


@pytest.fixture
def folder(tmp_path):
    given = causal("gpt")
    given.model.save_pretrained(tmp_path / "m")
    given.tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def test_a_checkpoint_and_an_artifact_are_opened_alike(folder, tmp_path):
    first = models.read(folder)
    about = {"task": tasks.describe(first.task), "recipe": None, "provenance": {}, "measures": {}}
    artifact.save(tmp_path / "a", first.model, first.tokenizer, **about, base_config=first.model.config.to_dict())
    second = models.read(tmp_path / "a")
    assert first.digest() == second.digest()
    assert first.folder_bytes > second.folder_bytes
    assert (models.read(folder, context=16).context, first.context) == (16, 64)


def test_digests_differ_with_weights_and_tokenizer():
    one = causal("gpt")
    assert one.digest() != causal("gpt", seed=1).digest()
    assert one.digest() != replace(one, tokenizer=build("roberta")).digest()


def test_a_context_beyond_the_model_is_refused(folder):
    with pytest.raises(RecipeError, match=r"context is 65; .* reads at most 64 tokens"):
        models.read(folder, context=65)


@pytest.mark.parametrize(("context", "overlap"), [(-3, None), (1, None), (None, 1.0), (None, -0.1)])
def test_windows_that_cannot_be_are_refused_before_a_weight_is_read(folder, monkeypatch, context, overlap):
    monkeypatch.setattr(models, "opened", lambda *_: pytest.fail("the model was opened"))
    with pytest.raises(RecipeError, match=r"^(context|overlap) is "):
        models.read(folder, context, overlap)


def saved(model, folder):
    model.save_pretrained(folder)
    build("gpt").save_pretrained(folder)
    return folder


def test_an_encoder_decoder_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="is an encoder-decoder"):
        models.read(saved(tiny("t5", 2, "lm"), tmp_path / "m"))


@pytest.mark.parametrize("made", ["bare", "whole"])
def test_an_encoder_is_refused_with_or_without_a_head_for_words(tmp_path, made):
    model = tiny("bert", 2, "tokens")
    if made == "whole":
        model = BertLMHeadModel(BertConfig(**{**model.config.to_dict(), "is_decoder": False}))
    with pytest.raises(ArtifactError, match=r"is an encoder .bert., which reads what comes after a token too; give"):
        models.read(saved(model, tmp_path / "m"))


def test_an_artifact_of_another_task_is_refused(tmp_path):
    given = work("gpt2", head="sequence")
    about = {"task": tasks.describe(given.task), "recipe": None, "provenance": {}, "measures": {}}
    artifact.save(tmp_path / "a", given.model, given.tokenizer, **about, base_config=given.model.config.to_dict())
    with pytest.raises(ArtifactError, match="is for the task classify; give a causal language model, of the task lm"):
        models.read(tmp_path / "a")


def test_tokens_that_the_model_does_not_know_are_refused():
    given = replace(causal("gpt"), tokenizer=build("clip"))
    if len(build("clip")) <= given.model.config.vocab_size:
        given = replace(causal("clip"), tokenizer=build("gpt"))
    with pytest.raises(ArtifactError, match="its tokenizer gives token"):
        given.spell(["".join(build("gpt").get_vocab()).encode() * 3])
