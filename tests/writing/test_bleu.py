"""BLEU: ways to cut words that cannot work here are refused before anything is trained, and nothing is fetched."""

import sys
from types import SimpleNamespace

import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.tokenizers import tokenizer_ja_mecab, tokenizer_ko_mecab, tokenizer_spm

from laconic.errors import RecipeError
from laconic.tasks.dialogue import Dialogue
from laconic.tasks.translate import Translate
from laconic.writing import bleu

BOTH = pytest.mark.parametrize("task", [Translate, Dialogue])


@BOTH
@pytest.mark.parametrize("tokenize", ["13a", "zh", "intl", "char", "none"])
def test_what_needs_nothing_more_is_taken(task, tokenize):
    assert task(tokenize=tokenize).tokenize == tokenize


@BOTH
@pytest.mark.parametrize("tokenize", ["14a", "", None, ["13a"]])
def test_what_is_not_known_is_refused(task, tokenize):
    with pytest.raises(RecipeError, match=r"tokenize is .*; choose one of none, zh, 13a"):
        task(tokenize=tokenize)


@BOTH
@pytest.mark.parametrize(("tokenize", "module"), [("ja-mecab", tokenizer_ja_mecab), ("ko-mecab", tokenizer_ko_mecab)])
def test_a_package_that_is_missing_is_named(task, tokenize, module, monkeypatch):
    monkeypatch.setattr(module, "MeCab", None)
    with pytest.raises(RecipeError, match=rf"'{tokenize}', which cannot run here .*pip install sacrebleu\[..\]"):
        task(tokenize=tokenize)


@BOTH
@pytest.mark.parametrize("tokenize", [name for name in BLEU.TOKENIZERS if name in tokenizer_spm.SPM_MODELS])
def test_pieces_that_are_missing_are_not_fetched(task, tokenize, tmp_path, monkeypatch):
    monkeypatch.setattr(bleu, "SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr(tokenizer_spm, "download_file", lambda *_: pytest.fail("it asks the network"))
    monkeypatch.setitem(sys.modules, "sentencepiece", SimpleNamespace(SentencePieceProcessor=object))
    with pytest.raises(RecipeError, match=rf"'{tokenize}', whose pieces are not at {tmp_path}.*from https://"):
        task(tokenize=tokenize)
    url = tokenizer_spm.SPM_MODELS[tokenize]["url"]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / url.rpartition("/")[2]).touch()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    monkeypatch.setattr(tokenizer_spm, "sacrelogger", SimpleNamespace(warn=lambda _: None))
    with pytest.raises(RecipeError, match=r"cannot run here .*pip install sentencepiece"):
        task(tokenize=tokenize)
