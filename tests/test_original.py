"""Block by block as by whole models: the same results, sums of one block at a time, and passes that grow with depth."""

import copy
import weakref
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from laconic import calibration, flow, layers, scoring
from laconic.calibration import examples, original
from laconic.data.batching import batches, model_inputs
from laconic.errors import AnatomyError
from laconic.methods import autoround, layerwise, tie
from laconic.methods.autoround import AutoRound
from laconic.methods.awq import AWQ
from laconic.methods.basis import Basis
from laconic.methods.blocks import Blocks
from laconic.methods.convolve import Convolve
from laconic.methods.heads import Heads
from laconic.methods.layerwise import Layerwise
from laconic.methods.neurons import Neurons
from laconic.methods.rtn import RTN
from laconic.methods.svd import SVD
from laconic.methods.tie import Tie
from tests import slow, tiny, workshop
from tests.methods import small

FAMILIES = [("bert", "tokens"), ("gpt2", "lm"), ("llama", "lm"), ("t5", "translate"), ("albert", "sequence")]
STEPS = {  # what is done before, and what is done in both ways
    "awq": (None, AWQ(4, 8)),
    "awq of shared weights": (Tie(share=3), AWQ(4, 8)),
    "svd": (None, SVD()),
    "svd with update": (None, SVD(update=True)),
    "tie": (None, Tie(delta_rank=2)),
    "tie in a cycle": (None, Tie(pattern="cycle")),
    "basis": (None, Basis()),
    "convolve": (None, Convolve(2)),
    "heads": (None, Heads()),
    "heads by activation": (None, Heads(importance="activation", scope="global")),
    "neurons": (None, Neurons()),
    "neurons by activation": (None, Neurons(importance="activation", scope="global")),
    "layerwise": (RTN(3, where="linears"), Layerwise(epochs=2, samples=12)),
    "layerwise of fewer blocks": (Blocks(keep=0.6), Layerwise(epochs=2, samples=12)),
    "autoround": (None, AutoRound(3, 8, steps=12, samples=12, batch=4)),
    "autoround of shared weights": (Tie(), AutoRound(3, 8, steps=12, samples=12, batch=4)),
}
SEVERAL = [name for name in STEPS if name.startswith(("tie", "basis", "layerwise of fewer")) or "shared" in name]
"""Steps of several blocks; ALBERT has one."""

SHORT = {
    "awq": AWQ(4, 8),
    "svd": SVD(),
    "svd with update": SVD(update=True),
    "fisher": SVD(importance="fisher"),
    "tie": Tie(delta_rank=2),
    "tie in a cycle": Tie(pattern="cycle"),
    "basis": Basis(),
    "convolve": Convolve(2),
    "heads": Heads(),
    "heads by activation": Heads(importance="activation"),
    "neurons": Neurons(),
    "neurons by activation": Neurons(importance="activation"),
}
TAUGHT = {
    "layerwise": [RTN(3, where="linears"), Layerwise(epochs=1, samples=8)],
    "autoround": [AutoRound(3, 8, steps=1, samples=8)],
}


def through_whole_models(monkeypatch):
    monkeypatch.setattr(original, "grams", lambda *given, **more: iter([slow.grams(*given, **more)]))
    monkeypatch.setattr(original, "crossed", slow.crossed_by_block)
    for module in (layerwise, autoround):
        monkeypatch.setattr(module, "lessons", slow.lessons)


def said(w):
    """What every layer of the blocks gives for some examples, and the logits.

    Weights may differ where no input goes: behind a norm, inputs fill one dimension less than there are.
    """
    features = calibration.draw(w, 8)
    ((_, batch),) = batches(features, 8, w.tokenizer.pad_token_id)
    paths = [path for path, _ in w.anatomy.whole("linears")]
    with torch.no_grad(), flow.watch(w.model, paths) as seen:
        logits = w.model(**model_inputs(batch)).logits
        return {**{f"{path} {i}": call.gave for path in paths for i, call in enumerate(seen[path])}, "logits": logits}


@pytest.mark.parametrize(
    ("family", "head", "name"),
    [(*one, name) for one in FAMILIES for name in STEPS if one[0] != "albert" or name not in SEVERAL],
)
def test_results_are_those_of_passes_over_whole_models(family, head, name, monkeypatch):
    monkeypatch.setattr(examples, "TOKENS", 30)  # several batches
    monkeypatch.setattr(calibration, "ROOM", 0)
    before, step = STEPS[name]
    w = workshop.work(family, head=head, number=60)
    if before is not None:
        before.apply(w)
    is_the_same_both_ways(step, w, monkeypatch)


@pytest.mark.parametrize("name", ["awq", "svd with update", "autoround", "layerwise"])
@pytest.mark.parametrize("more", [{"num_hidden_groups": 2, "num_hidden_layers": 4}, {"inner_group_num": 2}])
def test_blocks_that_repeat_in_turn_or_alternate_give_the_same(more, name, monkeypatch):
    kind, options = tiny._CONFIGS["albert"]
    monkeypatch.setitem(tiny._CONFIGS, "albert", (kind, {**options, **more}))
    w = workshop.work("albert", head="sequence", number=60)
    assert len(w.anatomy.stacks[0].blocks) == 2
    if name == "layerwise":
        RTN(3, where="linears").apply(w)
    is_the_same_both_ways(STEPS[name][1], w, monkeypatch)


def is_the_same_both_ways(step, w, monkeypatch):
    other, start = replace(w, model=copy.deepcopy(w.model)), said(w)
    step.apply(w)
    through_whole_models(monkeypatch)
    step.apply(other)
    found, wanted = said(w), said(other)
    assert any(value.shape != start[key].shape or not value.equal(start[key]) for key, value in found.items())
    for key, value in found.items():
        size = float(wanted[key].abs().max())
        assert float((value - wanted[key]).abs().max()) <= 2e-3 * size, key


@pytest.mark.parametrize("name", STEPS)
def test_layers_that_no_example_can_reach_are_refused_in_words(name):
    w = workshop.work("bart", head="lm")
    w.model = AutoModelForCausalLM.from_config(w.model.config)  # the decoder alone, with its attention to an encoder
    with pytest.raises(AnatomyError, match=r"encoder_attn\) and has none, so no text reaches that part"):
        STEPS[name][1].apply(w)


@pytest.mark.parametrize(("family", "head"), [*FAMILIES, ("marian", "translate")])
def test_sums_are_those_of_the_original_whatever_the_caller_does(family, head, monkeypatch):
    monkeypatch.setattr(examples, "TOKENS", 30)
    w = workshop.work(family, head=head)
    paths = [path for path, _ in w.anatomy.linears("linears")]
    wanted, seen = slow.grams(w, paths, 8), []
    for path, gram in original.singly(original.grams(w, paths, 8)):
        torch.testing.assert_close(gram, wanted[path], rtol=1e-4, atol=1e-3)
        w.model.get_submodule(path).weight.data.normal_()
        seen.append(path)
    assert sorted(seen) == sorted(paths)


@pytest.mark.parametrize("taps", [2, 3])
def test_sums_over_taps_are_of_a_token_and_those_before_it(taps):
    w = workshop.work("bert")
    first, *_, last = w.anatomy.stacks[0].blocks
    paths = [first.attention.k, last.ffn.output]
    wanted = slow.grams(w, paths, 8, None, taps)
    found = dict(original.singly(original.grams(w, paths, 8, taps=taps)))
    assert list(found) == paths
    for path in paths:
        torch.testing.assert_close(found[path], wanted[path], rtol=1e-4, atol=1e-3)


def test_sums_of_a_shared_weight_come_when_its_last_reader_has_been_run():
    w = workshop.work("bert")
    Tie(share=3, where="attention").apply(w)
    first, *_, last = w.anatomy.stacks[0].blocks
    paths = [first.attention.q, first.ffn.output, last.ffn.output]
    wanted = slow.grams(w, paths, 8)
    seen = []
    for found in original.grams(w, paths, 8):
        seen.append(list(found))
        for path, gram in original.each(found):
            torch.testing.assert_close(gram, wanted[path], rtol=1e-4, atol=1e-3)
    assert seen == [[first.ffn.output], [], [first.attention.q, last.ffn.output]]


def test_sets_come_when_their_last_layer_has_and_layers_that_read_one_tensor_have_one_matrix():
    w = workshop.work("bert")
    blocks = [block.attention for block in w.anatomy.stacks[0].blocks]
    sets = [[blocks[0].q, blocks[2].q], [blocks[0].k, blocks[1].k], [blocks[1].q]]
    found = list(scoring.gathered(w, sets, 8))
    assert [paths for paths, _ in found] == [sets[1], sets[2], sets[0]]
    assert found[0][1][1].data_ptr() == found[1][1][0].data_ptr()
    wanted = slow.grams(w, [blocks[2].q], 8)
    torch.testing.assert_close(found[2][1][1], wanted[blocks[2].q], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("family", "head"), FAMILIES)
def test_a_lesson_is_what_a_block_reads_now_and_what_the_original_gave(family, head, monkeypatch):
    w, before = (workshop.work(family, head=head) for _ in range(2))
    seen, real = [], autoround.lessons

    def compared(mine, theirs, wanted):
        for path, told in real(mine, theirs, wanted):
            now, then = (slow.calls(one, path, 12, None, 4) for one in (w, before))
            for (call, _), (reads, _), (gave, _) in zip(told, now, then, strict=True):
                torch.testing.assert_close(call.given, reads.given, rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(call.gave, gave.gave, rtol=1e-4, atol=1e-4)
            seen.append(float((told[0][0].given - then[0][0].given).abs().max()))
            yield path, told

    monkeypatch.setattr(autoround, "lessons", compared)
    AutoRound(3, 8, steps=1, samples=12, batch=4).apply(w)
    assert len(seen) == sum(len(stack.blocks) for stack in w.anatomy.stacks)
    assert seen[-1] > 0.01 or family == "albert"  # whose only block reads what stands before it


class Alive(TorchDispatchMode):
    """The most matrices of some sizes that there are at a time, whoever holds them; views of one count once."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.shapes, self.held, self.most = [(n, n) for n in sizes], [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and tuple(x.shape) in self.shapes:
                self.held = [(ref, of) for ref, of in self.held if ref() is not None]
                self.held.append((weakref.ref(x), x.untyped_storage()._cdata))
                self.most = max(self.most, len({of for _, of in self.held}))
        return out


def most_alive(method, blocks, tmp_path):
    work = small.work(tmp_path, small.model(blocks))
    with Alive(33, 48, 49) as alive:  # inputs with a 1 behind, and the widest ones: no weight is of that size
        method.apply(work)
    return alive.most


@pytest.mark.parametrize("name", SHORT)
def test_sums_of_more_blocks_take_no_more_room(name, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "ROOM", 0)
    monkeypatch.setattr(tie, "_rounds", lambda _, alike: [[paths] for paths in alike])
    few, many = (most_alive(SHORT[name], blocks, tmp_path) for blocks in (4, 8))
    assert 0 < many <= few < 30


def test_the_count_of_what_is_alive_sees_what_is_kept(tmp_path, monkeypatch):
    through_whole_models(monkeypatch)
    few, many = (most_alive(SHORT["svd"], blocks, tmp_path) for blocks in (4, 8))
    assert many > 1.5 * few


def test_rounds_hold_no_more_than_the_model_weighs(monkeypatch):
    model = small.model(4)
    paths = [[f"bert.encoder.layer.{i}.output.dense" for i in (a, a + 2)] for a in (0, 1)]  # 48 inputs
    assert list(tie._rounds(model, paths)) == [paths]
    monkeypatch.setattr(calibration, "ROOM", 4 * 48**2 * 3)
    assert list(tie._rounds(model, paths)) == [paths]
    for parameter in model.parameters():
        parameter.data = parameter.data[:0]
    monkeypatch.setattr(tie, "size", lambda _: (32, 48))
    assert list(tie._rounds(model, paths)) == [[paths[0]], [paths[1]]]


def most_calls(steps, blocks, tmp_path):
    """How often the last norm of a block is computed, of the block where that is most often, in all models together."""
    work, calls = small.work(tmp_path, small.model(blocks)), Counter()
    for model in (work.model, work.teacher.model):
        for i in range(blocks):
            norm = model.get_submodule(f"bert.encoder.layer.{i}.output.LayerNorm")
            norm.register_forward_hook(lambda *_, i=i: calls.update([i]))
    for step in steps:
        step.apply(work)
    return max(calls.values())


@pytest.mark.parametrize("name", [*TAUGHT, *SHORT])
def test_deeper_models_run_each_block_no_more_often(name, tmp_path):
    steps = TAUGHT.get(name) or [SHORT[name]]
    few, many = (most_calls(steps, blocks, tmp_path) for blocks in (3, 8))
    assert 0 < many <= few


@pytest.mark.parametrize(
    "name", [name for name, (before, _) in STEPS.items() if before is None and "round" not in name]
)
def test_layers_that_no_example_reaches_are_named_and_left(name, monkeypatch):
    w, heard = workshop.work("bert", number=12), []
    w.log = heard.append
    missed = f"{w.anatomy.stacks[0].blocks[0].path}.attention.output.dense"
    if name.startswith("neurons"):
        missed = w.anatomy.stacks[0].blocks[0].ffn.output
    groups = calibration.Stage.groups
    monkeypatch.setattr(
        calibration.Stage, "groups", lambda stage: [found for found in groups(stage) if missed not in found.paths]
    )
    bias = layers.take(w.model.get_submodule(missed)).bias.clone()
    STEPS[name][1].apply(w)
    assert f"no training example reaches {missed}: left as it is" in heard
    assert type(w.model.get_submodule(missed)) is torch.nn.Linear
    assert layers.take(w.model.get_submodule(missed)).bias.equal(bias)
    for values in w.model.state_dict().values():
        assert not values.is_floating_point() or torch.isfinite(values).all()
