"""Rotation: the function stays, outliers go, rounding afterwards loses less, and what can't be turned is refused."""

import copy

import pytest
import torch

from laconic import artifact, tasks
from laconic.errors import AnatomyError
from laconic.methods.magnitude import Magnitude
from laconic.methods.rotate import Rotate
from laconic.methods.rtn import RTN
from tests import workshop
from tests.tiny import heads, tiny, tiny_logits

ROTATED = [(family, head) for family in ("llama", "mistral", "qwen2", "qwen3") for head in heads(family)]
ROTATED += [(family, "lm") for family in ("phi3", "gemma", "smollm3", "granite")]


@pytest.mark.parametrize(("family", "head"), ROTATED)
@pytest.mark.parametrize("values", [True, False])
def test_the_function_stays(family, head, values):
    work = workshop.work(family)
    work.model = tiny(family, head=head)
    said, before = tiny_logits(work.model, family), copy.deepcopy(work.model.state_dict())
    Rotate(values).apply(work)
    assert torch.allclose(tiny_logits(work.model, family), said, atol=1e-5 * float(said.abs().max()))
    for name, tensor in work.model.state_dict().items():
        if name.endswith("layernorm.weight"):
            assert torch.equal(tensor, torch.full_like(tensor, family != "gemma"))  # its gains are 1 + weight
        elif name.endswith("proj.weight") or "embed" in name:
            assert not torch.allclose(tensor, before[name])


def test_a_tied_head_is_untied_and_stays_so_in_an_artifact(tmp_path):
    work = workshop.work("qwen2")
    work.model = tiny("qwen2", head="lm")
    assert work.model.lm_head.weight is work.model.model.embed_tokens.weight
    base = work.model.config.to_dict()
    Rotate().apply(work)
    said = tiny_logits(work.model, "qwen2")
    about = {"task": tasks.describe(work.task), "recipe": None, "provenance": {}, "measures": {}}
    artifact.save(tmp_path / "a", work.model, work.tokenizer, **about, base_config=base)
    assert torch.equal(tiny_logits(artifact.load(tmp_path / "a").model, "qwen2"), said)


def test_an_outlier_channel_is_spread_and_rounding_loses_less():
    errors = {}
    for rotated in (False, True):
        work = workshop.work("llama")
        with torch.no_grad():
            for layer in work.model.model.layers:
                for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
                    linear.weight[3] *= 20  # one channel of the stream is written loudly
                for linear in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj):
                    linear.weight[:, 3] *= 10
        said = tiny_logits(work.model, "llama")
        if rotated:
            Rotate().apply(work)
        RTN(4, where="attention").apply(work)
        errors[rotated] = float((tiny_logits(work.model, "llama") - said).square().mean())
    assert errors[True] < errors[False]


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "gemma3_text", "gpt_neox", "opt"])
def test_others_are_refused(family):
    with pytest.raises(
        AnatomyError, match=f"{family} can't be rotated: only the residual stream of a pre-norm decoder"
    ):
        Rotate().apply(workshop.work(family))


def test_what_is_held_otherwise_is_refused():
    work = workshop.work("llama")
    Magnitude(0.5).apply(work)
    with pytest.raises(AnatomyError, match="q_proj is held as sparse, which can't be rotated"):
        Rotate().apply(work)
