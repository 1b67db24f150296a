"""BLEU from what it adds up over texts, so that it can be taken of any of them.

Papineni et al. 2002 (P02-1040); words, n-grams and smoothing of sacrebleu's defaults (Post 2018, arXiv:1804.08771).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
from sacrebleu.utils import SACREBLEU_DIR

from laconic.errors import RecipeError

ORDER = 4  # words of the longest n-gram


def check(tokenize: str) -> None:
    """Raise RecipeError unless words can be cut so here; nothing is fetched, which sacrebleu would do."""
    known = list(BLEU.TOKENIZERS)
    if tokenize not in known:
        raise RecipeError(f"tokenize is {tokenize!r}; choose one of {', '.join(known)}")
    if tokenize in SPM_MODELS:
        url = SPM_MODELS[tokenize]["url"]
        place = Path(SACREBLEU_DIR, "models", url.rpartition("/")[2])
        if not place.is_file():
            raise RecipeError(
                f"tokenize is {tokenize!r}, whose pieces are not at {place}; put there what comes from {url}, or "
                "choose another, such as 13a"
            )
    try:
        BLEU(tokenize=tokenize)
    except (ImportError, RuntimeError) as error:
        raise RecipeError(
            f"tokenize is {tokenize!r}, which cannot run here ({' '.join(str(error).split())}); do so, or choose "
            "another, such as 13a"
        ) from error


def statistics(predictions: Sequence[str], references: Sequence[str], tokenize: str) -> np.ndarray:
    """Words said, words of the reference, n-grams that are right, n-grams said, for n from 1: (texts, 2 + 2 ORDER)."""
    scorer = BLEU(tokenize=tokenize, effective_order=True)  # which changes the score of one text, not its counts
    rows = []
    for said, reference in zip(predictions, references, strict=True):
        found = scorer.sentence_score(said, [reference])
        rows.append([found.sys_len, found.ref_len, *found.counts, *found.totals])
    return np.array(rows, dtype=np.int64).reshape(-1, 2 + 2 * ORDER)


def share(summed: np.ndarray) -> np.ndarray:
    """BLEU / 100 of summed statistics (..., 2 + 2 ORDER); an n-gram order without a hit counts half, a quarter, ..."""
    summed = np.asarray(summed, dtype=np.float64)
    said, wanted = summed[..., 0], summed[..., 1]
    right, total = summed[..., 2 : 2 + ORDER], summed[..., 2 + ORDER :]  # (..., ORDER)
    halvings = np.cumsum((right == 0) & (total > 0), axis=-1)
    precision = np.where(right > 0, right, 0.5**halvings) / np.maximum(total, 1)
    short = np.minimum(0.0, 1 - wanted / np.maximum(said, 1))
    score = np.exp(short + np.log(precision).mean(-1))
    return np.asarray(np.where((total > 0).all(-1) & (right > 0).any(-1), score, 0.0))
