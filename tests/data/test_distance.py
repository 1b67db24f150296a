import math
from logging import WARNING, Handler

import pytest
import torch
from transformers import (
    BartConfig,
    BertForMaskedLM,
    BertForTokenClassification,
    BertModel,
    CLIPConfig,
    GPT2LMHeadModel,
    GPT2Model,
)
from transformers.utils import logging

from laconic.data import distance, subwords
from laconic.data.checks import check
from laconic.errors import ArtifactError
from tests.data.checkpoints import bert_config, gpt2_config, saved, tokenizer

TEXTS = ["the cat sat on the mat", "a cab", "on the mat the cat sat on a b c"]
RECORDS = [{"text": text, "label": "a"} for text in TEXTS]


def test_pseudo_likelihood_is_the_slow_sum_over_single_masks(tmp_path):
    model = saved(tmp_path, BertForMaskedLM, bert_config())
    head = distance.load(tmp_path, tokenizer())
    assert head.masked
    nats, tokens = distance.likelihood(head, tokenizer(), TEXTS)
    slow, count = 0.0, 0
    for text in TEXTS:
        ids = tokenizer()(text)["input_ids"]
        for place in range(1, len(ids) - 1):
            hidden = torch.tensor([ids])
            hidden[0, place] = tokenizer().mask_token_id
            logits = model(input_ids=hidden).logits[0, place]
            slow -= logits.log_softmax(-1)[ids[place]].item()
            count += 1
    assert tokens == count
    assert nats == pytest.approx(slow, rel=1e-5)


def test_likelihood_of_a_causal_model_is_its_own_loss(tmp_path):
    model = saved(tmp_path, GPT2LMHeadModel, gpt2_config())
    words = tokenizer()
    head = distance.load(tmp_path, words)
    assert not head.masked
    nats, tokens = distance.likelihood(head, words, TEXTS)
    slow = 0.0
    for text in TEXTS:
        ids = torch.tensor([words(text)["input_ids"]])
        slow += model(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
    assert tokens == sum(len(words(text)["input_ids"]) - 1 for text in TEXTS)
    assert nats == pytest.approx(slow, rel=1e-5)


def test_a_beginning_of_text_token_leads_to_the_first_token():
    words = tokenizer()
    words.bos_token = "x"
    (row,) = distance.causal_rows(words, ["a"])
    assert row["input_ids"] == [words.bos_token_id, *words("a")["input_ids"]]
    assert row["labels"] == [*words("a")["input_ids"], distance.IGNORED]


def test_a_tied_head_is_there_even_when_only_the_body_was_saved(tmp_path):
    saved(tmp_path, GPT2Model, gpt2_config())
    assert not distance.load(tmp_path, tokenizer()).masked


@pytest.mark.parametrize("kind", [BertModel, BertForTokenClassification])
def test_a_head_that_is_not_in_the_weights_is_not_run(tmp_path, kind, monkeypatch):
    saved(tmp_path, kind, bert_config())
    logging.set_verbosity_warning()
    said = []
    handler = Handler()
    monkeypatch.setattr(handler, "emit", lambda record: said.append(record.getMessage()))
    logging.add_handler(handler)
    (finding,) = distance.check("train", RECORDS, "classify", tokenizer(), tmp_path)
    assert finding.value is None
    assert "has no pretraining head (its weights lack cls.predictions" in finding.message
    logging.remove_handler(handler)
    assert not said
    assert logging.get_verbosity() == WARNING
    assert logging.is_progress_bar_enabled()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (BartConfig(), "is an encoder-decoder"),
        (CLIPConfig(), "transformers has no pretraining head for 'clip'"),
    ],
)
def test_why_there_is_no_head(tmp_path, config, words):
    saved(tmp_path, BertModel, bert_config())
    config.save_pretrained(tmp_path)
    assert words in distance.load(tmp_path, tokenizer())


def test_damaged_weights_are_refused(tmp_path):
    saved(tmp_path, BertForMaskedLM, bert_config())
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ArtifactError, match=r"its model\.safetensors cannot be read"):
        distance.load(tmp_path, tokenizer())


def test_check_reads_the_checkpoint(tmp_path):
    saved(tmp_path, BertForMaskedLM, bert_config())
    findings = {f.check: f for f in check({"train": RECORDS}, "classify", model=tmp_path)}
    head = distance.load(tmp_path, tokenizer())
    nats, tokens = distance.likelihood(head, tokenizer(), TEXTS)
    assert findings["distance from pretraining"].value == pytest.approx(math.exp(nats / tokens))
    assert findings["distance from pretraining"].message.startswith("pseudo-perplexity ")
    assert "fertility" in findings


def test_texts_without_tokens_are_not_measured(tmp_path):
    saved(tmp_path, BertForMaskedLM, bert_config())
    (finding,) = distance.check("train", [{"text": " ", "label": "a"}], "classify", tokenizer(), tmp_path)
    assert finding.message == "not measured: the texts have no tokens to predict"


def test_the_limit_is_the_lesser_of_model_and_tokenizer(tmp_path):
    saved(tmp_path, BertModel, bert_config())
    assert subwords.limit(tokenizer(16), tmp_path) == 16
    assert subwords.limit(tokenizer(512), tmp_path) == 20
