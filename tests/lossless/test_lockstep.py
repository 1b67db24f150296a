"""Steps side by side: the probabilities of each token are those of the model asked alone, whatever stands beside it."""

import numpy as np
import pytest
import torch

from laconic.errors import ArtifactError
from laconic.lossless.lockstep import walk
from tests.lossless.small import causal
from tests.subwords.built import TEXT


@pytest.mark.parametrize(("kind", "family"), [("gpt", "llama"), ("gpt", "gpt2"), ("clip", "llama")])
def test_probabilities_are_those_of_the_model_asked_alone(kind, family):
    given = causal(kind, family)
    parts = [TEXT[0].encode(), b"", TEXT[1].encode() * 2, b"the"]
    ids, _ = given.spell(parts)
    told = {}

    def exchange(shares, lanes, place):
        said = [ids[lane][place] for lane in lanes]
        told.update({(lane, place): row for lane, row in zip(lanes.tolist(), shares, strict=True)})
        return np.array(said)

    assert walk(given, [len(one) for one in ids], exchange, "x", False) == ids
    first = given.tokenizer.bos_token_id
    for lane, one in enumerate(ids):
        whole = one if first is None else [first, *one]
        for place in range(min(len(one), given.context - 1)):  # of the first window
            before = whole[: place + (first is not None)]
            if before:
                with torch.no_grad():
                    logits = given.model(input_ids=torch.tensor([before])).logits[0, -1].double()
                want = logits.softmax(-1).numpy()
            else:
                want = np.ones(len(given.tokenizer))
            assert told[lane, place] == pytest.approx(want, rel=1e-4, abs=1e-9)
    assert len(told) == sum(map(len, ids))


def test_a_model_that_says_no_numbers_is_refused():
    given = causal("gpt", seed=9)
    with torch.no_grad():
        given.model.lm_head.weight[3, 0] = float("nan")
    with pytest.raises(ArtifactError, match="its probabilities are not numbers"):
        walk(given, [3], lambda shares, _lanes, _place: np.zeros(len(shares), np.int64), "x", False)
