"""Calibration: what it says enters a layer is what enters it when the whole model, as it is by then, is run."""

import copy
from dataclasses import replace

import pytest
import torch

from laconic import calibration, flow, layers, methods, scoring, testing
from laconic.calibration import compare, examples, sums
from laconic.data.batching import batches, masks, model_inputs
from laconic.errors import RecipeError
from laconic.layers.quantized import Quantized
from laconic.layers.shared import Shared
from laconic.maths import hessian
from laconic.methods.heads import Heads
from laconic.methods.neurons import Neurons
from laconic.methods.tie import Tie
from laconic.methods.wanda import Wanda
from laconic.methods.width import Width
from tests import slow, tiny
from tests.workshop import work

HEADS = [(family, "sequence" if tiny.heads(family) != ["lm"] else "lm") for family in tiny.FAMILIES]
WRITERS = ("t5", "bart", "marian", "blenderbot")
MODELS = [(family, head) for family, head in HEADS if head != "lm"]  # writers have the head that writes
SIDE_BY_SIDE = ("gpt_neox", "phi")  # what attention and feed-forward give is added at once
WITH_WRITERS = [*MODELS, *((family, "translate") for family in WRITERS)]


def plain(w, path):
    """The sum x x^T by a pass over the whole model, its column for the bias left out."""
    size = layers.take(w.model.get_submodule(path)).weight.shape[1]
    return slow.grams(w, [path], 8)[path][:size, :size]


def stage(w, path):
    """The block a layer stands in, or whether it is an embedding."""
    blocks = [block.path for stack in w.anatomy.stacks for block in stack.blocks]
    return next((b for b in blocks if path.startswith(f"{b}.")), path in w.anatomy.embeddings)


def rewrite(w, pairs):
    for path, module in pairs:
        layers.swap(w.model, path, Quantized.of(module, bits=3, group="channel", symmetric=True))


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(("family", "head"), MODELS)
def test_inputs_are_those_of_the_model_as_it_is_by_then(family, head, sequential, monkeypatch):
    monkeypatch.setattr(examples, "TOKENS", 30)  # several batches
    w = work(family, head=head)
    seen, done = [], set()
    for found in calibration.inputs(w, "all", 8, sequential=sequential):
        paths = [path for path, _ in found.pairs]
        for path in paths if found.gram is not None else []:
            if sequential or stage(w, path) not in done:
                torch.testing.assert_close(found.gram, plain(w, path), rtol=1e-4, atol=1e-3)
        rewrite(w, found.pairs)
        seen += paths
        done |= {stage(w, path) for path in paths}
    wanted = [path for path, _ in layers.distinct(work(family, head=head).anatomy.linears("all"))]
    assert sorted(seen) == sorted(wanted)


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_of_a_shared_weight_the_inputs_of_all_its_readers_count(family, sequential):
    w = work(family)
    Tie(share=w.anatomy.stacks[0].depth).apply(w)
    block, *others = w.anatomy.stacks[0].blocks
    own = [path for path, _ in w.anatomy.linears("linears") if path.startswith(f"{block.path}.")]
    read = {path: [path, *(other.path + path.removeprefix(block.path) for other in others)] for path in own}
    wanted, squares = dict.fromkeys(read, 0.0), dict.fromkeys(read, 0.0)
    _, whole = next(iter(batches(calibration.draw(w, 8), 8, w.tokenizer.pad_token_id)))
    with torch.no_grad(), flow.watch(w.model, [p for some in read.values() for p in some]) as seen:
        w.model(**model_inputs(whole, "cpu"))
        for path, some in read.items():
            given = torch.cat([sums.tokens(seen[p][0].given, masks(whole, "cpu")) for p in some])
            wanted[path], squares[path] = given.T @ given, given.square().mean(0)
    every = calibration.inputs(w, "linears", 8, sequential=sequential)
    found = {path: one.gram for one in every for path, _ in one.pairs}
    for path in read:
        torch.testing.assert_close(found[path], wanted[path], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(scoring.squares(w, [path], 8)[path], squares[path], rtol=1e-3, atol=1e-3)
    for one in compare.inputs(w, copy.deepcopy(w.model), "linears", 8, sequential=sequential, length=None):
        torch.testing.assert_close(one.gram, wanted[one.pairs[0][0]], rtol=1e-3, atol=1e-3)


def test_layers_whose_weights_others_read_apart_come_apart():
    w = work("bert")
    first, second, _ = w.anatomy.stacks[0].blocks
    layers.swap(w.model, second.attention.q, Shared.of(w.model.get_submodule(second.attention.q), first.attention.q))
    layers.bind(w.model)
    found = [{p for p, _ in one.pairs} for one in calibration.inputs(w, "linears", 8)]
    a = first.attention
    assert {a.q} in found[:2]
    assert {a.k, a.v} in found[:2]


@pytest.mark.parametrize(("family", "sets"), [("bert", 4), ("llama", 4), ("gpt2", 4), ("albert", 4)])
def test_layers_that_read_one_tensor_come_together_in_the_order_of_the_model(family, sets):
    w = work(family)
    block = w.anatomy.stacks[0].blocks[0]
    found = [[p for p, _ in i.pairs] for i in calibration.inputs(w, "linears", 8)][:sets]
    a = block.attention
    assert [set(group) for group in found] == [{a.q, a.k, a.v}, {a.o}, set(block.ffn.inputs), {block.ffn.output}]


def test_cross_attention_reads_the_encoder_as_it_was_rewritten():
    w = work("t5", head="sequence")
    before = plain(w, w.anatomy.stacks[1].blocks[0].cross.k)
    for found in calibration.inputs(w, "attention", 8):
        paths = [path for path, _ in found.pairs]
        if w.anatomy.stacks[1].blocks[0].cross.k in paths:
            assert not torch.allclose(found.gram, before, rtol=0.01)
            torch.testing.assert_close(found.gram, plain(w, paths[0]), rtol=1e-4, atol=1e-3)
            return
        rewrite(w, found.pairs)
    raise AssertionError("cross-attention never came")


def test_a_block_runs_no_further_than_the_last_layer_that_is_asked_for():
    w = work("bert")
    stage = next(calibration.stages(w, "attention", 8))
    last = w.anatomy.stacks[0].blocks[0].ffn.output
    calls = []
    with flow.standing_in(w.model, {last: lambda call, given, own: calls.append(call.path) or own()}):
        stage._grams(stage.groups()[1:])
    assert len(calls) == 1  # in finding the order, not in summing


def test_what_the_last_blocks_give_is_computed_only_where_it_is_read(monkeypatch):
    monkeypatch.setattr(examples, "TOKENS", 30)
    calls = {}
    for where in ("linears", "all"):  # the head reads what the last block gives
        w = work("llama", head="lm")
        calls[where] = []
        last = w.anatomy.stacks[0].blocks[-1].ffn.output
        w.model.get_submodule(last).register_forward_hook(lambda *_, where=where: calls[where].append(1))
        for one in calibration.inputs(w, where, 8, sequential=True):
            layers.swap(w.model, one.pairs[0][0], one.pairs[0][1])  # in place of itself
    assert len(calls["linears"]) == 1  # in finding the order
    assert len(calls["all"]) > 2


def test_blocks_that_are_done_hold_no_dense_weights():
    w = work("llama", head="lm")
    for one in calibration.inputs(w, "linears", 8, sequential=True):
        for path, module in one.pairs:
            layer = Quantized.of(module, bits=3, group="channel", symmetric=True)
            layer.freeze()
            layers.swap(w.model, path, layer)
    first, last = w.anatomy.stacks[0].blocks[0].path, w.anatomy.stacks[0].blocks[-1].path
    kept = {path for path, layer in layers.held(w.model) if layer._dense is not None}
    assert not [path for path in kept if path.startswith(first)]
    assert [path for path in kept if path.startswith(last)]


def walked(w, where="linears"):
    """Gram of every set of layers, all rewritten but one in the first block, and how often that one was called."""
    calls, first = [], w.anatomy.stacks[0].blocks[0].attention.o
    o = w.model.get_submodule(first)
    o.register_forward_hook(lambda *_: calls.append(1))
    found = []
    for one in calibration.inputs(w, where, 8, sequential=True):
        found.append(one.gram)
        layers.swap(w.model, one.pairs[0][0], one.pairs[0][1])  # in place of itself, so that its calls are seen
        for path, module in one.pairs:
            if path != first:
                layers.swap(w.model, path, Quantized.of(module, bits=3, group="channel", symmetric=True))
    return found, len(calls)


@pytest.mark.parametrize(("family", "head"), MODELS)
def test_passes_that_wait_and_passes_from_the_start_see_the_same(family, head, monkeypatch):
    monkeypatch.setattr(examples, "TOKENS", 30)
    found, few = walked(work(family, head=head))
    monkeypatch.setattr(calibration, "ROOM", 0)
    monkeypatch.setattr(calibration, "HELD", 2**40)
    again, many = walked(work(family, head=head))
    for one, other in zip(found, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert few <= many
    assert few < many or family == "albert"  # whose block runs more than once


@pytest.mark.parametrize("width", [3, 7, 16])
def test_sums_are_those_of_all_products(width, monkeypatch):
    monkeypatch.setattr(sums, "SQUARE", 7)
    x = torch.randn(20, width)
    torch.testing.assert_close(sums.gram(x), x.T @ x)
    assert torch.equal(sums.gram(x), sums.gram(x).T)
    torch.testing.assert_close(sums.gram(x, x[:, :2]), x.T @ x[:, :2])


def test_samples_length_and_seed_say_what_is_run():
    w = work("bert")
    assert len(calibration.draw(w, 5)) == 5
    assert {len(f["input_ids"]) for f in calibration.draw(w, 12, length=4)} <= {2, 3, 4}
    assert max(len(f["input_ids"]) for f in calibration.draw(w, 12)) > 4
    other = work("bert")
    other.seed = 1
    assert calibration.draw(w, 5) == calibration.draw(work("bert"), 5) != calibration.draw(other, 5)


def test_padding_is_no_token_and_batches_do_not_matter(monkeypatch):
    sums = []
    for most in (10_000, 12):
        monkeypatch.setattr(examples, "TOKENS", most)
        sums.append(next(calibration.inputs(work("bert"), "linears", 12)).gram)
    torch.testing.assert_close(sums[0], sums[1], rtol=1e-4, atol=1e-4)


def test_nothing_is_left_on_the_model_when_the_caller_stops_early():
    w = work("bert")
    w.model.train()
    walk = calibration.inputs(w, "linears", 8)
    next(walk)
    walk.close()
    assert all(m.training for m in w.model.modules())
    assert not any("forward" in vars(m) or m._forward_pre_hooks for m in w.model.modules())
    assert torch.is_grad_enabled()


def test_layers_that_no_example_reaches_are_named_and_left(monkeypatch):
    w, said = work("bert"), []
    w.log = said.append
    first, *rest = calibration.inputs(w, "attention", 8)
    monkeypatch.setattr(calibration, "inputs", lambda *_, **__: iter([calibration.Inputs(first.pairs, None), *rest]))
    before = {path: layers.take(module).weight.clone() for path, module in first.pairs}
    assert [pairs for pairs, _ in calibration.reached(w, "attention", 8)] == [found.pairs for found in rest]
    Wanda(0.5, where="attention").apply(w)
    assert all(layers.take(w.model.get_submodule(path)).weight.equal(weight) for path, weight in before.items())
    assert all((w.model.get_submodule(path).weight == 0).any() for found in rest for path, _ in found.pairs)
    assert said == [f"no training example reaches {', '.join(before)}: left as it is"] * 2


@pytest.mark.parametrize(
    "method", [Heads(importance="activation"), Neurons(importance="activation"), Width(multiple=8)], ids=type
)
def test_with_a_length_methods_that_cut_see_the_first_tokens_only(method, monkeypatch):
    """As where the task gives no more than these."""
    w = work("bert", number=12)
    whole, cut = (replace(w, model=copy.deepcopy(w.model)) for _ in range(2))
    method.apply(whole)
    replace(method, length=2).apply(w)
    encode = type(w.task).encode
    monkeypatch.setattr(
        type(w.task), "encode",
        lambda *given, **more: [{key: row[:2] for key, row in feature.items()} for feature in encode(*given, **more)],
    )  # fmt: skip
    method.apply(cut)
    weights = w.model.state_dict()
    assert all(value.equal(weights[name]) for name, value in cut.model.state_dict().items())
    assert any(not value.equal(weights[name]) for name, value in whole.model.state_dict().items())


@pytest.mark.parametrize("method", [Heads, Neurons, Width])
def test_slopes_read_whole_examples(method):
    with pytest.raises(RecipeError, match="length is 8, which nothing reads where importance is 'fisher'"):
        method(importance="fisher", length=8).check()


def test_without_training_examples_there_is_nothing_to_calibrate_on():
    given = work("llama")
    given.data = replace(given.data, train=[])
    with pytest.raises(RecipeError, match="there is no training example to calibrate on"):
        calibration.drawn(given, 4)


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(("family", "head"), [*MODELS, ("marian", "translate")])
def test_inputs_are_compared_with_those_in_the_original(family, head, sequential, monkeypatch):
    monkeypatch.setattr(examples, "TOKENS", 30)  # several batches
    w = work(family, head=head)
    original, seen, done, moved = copy.deepcopy(w.model), [], set(), 0
    for found in compare.inputs(w, original, "all", 8, sequential=sequential, length=None):
        paths = [path for path, _ in found.pairs]
        if found.moved is not None and (sequential or stage(w, paths[0]) not in done):
            size = len(found.moved)
            before, now = (sums[:size, :size] for sums in slow.crossed(w, original, paths[:1], 8)[paths[0]])
            torch.testing.assert_close(found.gram, now, rtol=1e-4, atol=1e-3)
            torch.testing.assert_close(found.moved, before - now, rtol=1e-3, atol=1e-3)
            moved += bool(found.moved.abs().max() > 0.01)
        rewrite(w, found.pairs)
        seen += paths
        done |= {stage(w, path) for path in paths}
    assert sorted(seen) == sorted(path for path, _ in layers.distinct(work(family, head=head).anatomy.linears("all")))
    assert moved > 3 - 2 * (not sequential)


def one_pass(w, model, paths):
    """What is seen at the paths in one example, alone in its batch."""
    ((_, batch),) = batches(calibration.draw(w, 1, answers=True), 1, w.tokenizer.pad_token_id)
    with flow.watch(model, paths) as seen, torch.no_grad():
        model(**model_inputs(batch, model.device))
    return seen


@pytest.mark.parametrize("side", [0, -1])
@pytest.mark.parametrize(("family", "head"), [*WITH_WRITERS, ("gemma3_text", "lm"), ("granite", "lm")])
def test_the_residual_stream_is_what_outputs_are_added_to(family, head, side):
    """The sum enters a module, or leaves the block; blocks that alter what they add name no outputs."""
    w = work(family, head=head)
    block = w.anatomy.stacks[side].blocks[-1]
    inside = [path for path, _ in w.model.named_modules() if path.startswith(f"{block.path}.")]
    seen = one_pass(w, w.model, [block.path, *(path for path in inside if path not in ("", "dropout"))])
    for path in block.outputs if family not in SIDE_BY_SIDE else block.outputs[-1:]:
        residual = block.residual(path)
        state = seen[residual.enters][-1].given + sum(seen[added][-1].gave for added in residual.added)
        total = (state + seen[path][-1].gave).flatten(0, -2)  # (tokens, hidden)
        found = [call[-1].given for call in seen.values() if call] + [seen[block.path][-1].gave]
        states = [x.flatten(0, -2) for x in found if x.shape[-1] == total.shape[-1]]
        assert any(x.shape == total.shape and torch.allclose(x, total, atol=1e-5) for x in states), path


def test_how_far_the_stream_has_moved_is_told_of_layers_that_add_to_it():
    w = work("llama")
    original, (first, second, *_) = copy.deepcopy(w.model), w.anatomy.stacks[0].blocks
    with torch.no_grad():
        w.model.get_submodule(first.ffn.output).weight.mul_(2)
    found = list(compare.inputs(w, original, "ffn", 1, sequential=True, length=None))
    told = {path: one.stream for one in found for path, _ in one.pairs}
    adding = {block.ffn.output for block in w.anatomy.stacks[0].blocks}
    assert {path for path, stream in told.items() if stream is not None} == adding
    now, then = (one_pass(w, model, [second.path, second.ffn.output]) for model in (w.model, original))
    here, there = (seen[second.path][0].gave - seen[second.ffn.output][0].gave for seen in (now, then))
    x = now[second.ffn.output][0].given[0]
    torch.testing.assert_close(told[second.ffn.output], (there - here)[0].T @ x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["svd", "basis"])
def test_the_last_factor_of_a_layer_adds_to_the_stream(name):
    w = work("llama")
    testing.small(methods.kind(name)).apply(w)
    original = copy.deepcopy(w.model)
    outputs = [path for stack in w.anatomy.stacks for block in stack.blocks for path in block.outputs]
    found = compare.inputs(w, original, "linears", 1, sequential=True, length=None)
    assert {p for one in found for p, _ in one.pairs if one.stream is not None} == {f"{path}.up" for path in outputs}


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_weights_make_up_for_what_moved_and_for_the_stream_as_well(family):
    w = work(family)
    original, block = copy.deepcopy(w.model), w.anatomy.stacks[0].blocks[0]
    attention, output = (w.model.get_submodule(path) for path in (block.attention.o, block.ffn.output))

    def apart():
        """How far the stream behind the block's feed-forward is from where it was."""
        residual = block.residual(block.ffn.output)
        states = []
        for seen in (one_pass(w, model, [residual.enters, *residual.added, block.ffn.output]) for model in pair):
            added = sum(seen[path][0].gave for path in (*residual.added, block.ffn.output))
            states.append(seen[residual.enters][0].given + added)
        return float((states[0] - states[1]).square().sum())

    pair, reached = (w.model, original), []
    compared = compare.inputs(w, original, "linears", 1, sequential=True, length=None)
    for found in compared:
        paths = [path for path, _ in found.pairs]
        if block.attention.o in paths:
            with torch.no_grad():
                attention.weight.mul_(0.5)
        if block.ffn.output in paths:
            own = output.weight.detach().clone()
            for stream in (found.stream, None, -found.stream):
                output.weight.data = hessian.propagated(own, found.gram, found.moved, stream)
                reached.append(apart())
            output.weight.data = own
            break
    both, moved, against = reached
    assert both < 0.9 * moved < 0.9 * against
    assert both < 0.9 * apart()


def test_what_is_wanted_is_what_is_there_or_part_of_the_way():
    """The weights of layers that read one tensor come apart again as they went together."""
    found = {}
    for part in (0.0, 0.5, 1.0):
        w = work("llama")
        for wanted in compare.weights(w, "linears", 8, part, sequential=True, length=None):
            for (path, module), weight in zip(wanted.pairs, wanted.weights, strict=True):
                assert weight.shape == layers.take(module).weight.shape
                found[part, path] = weight
            rewrite(w, wanted.pairs)
    first = w.anatomy.stacks[0].blocks[0].attention
    for path in (path for part, path in found if not part):
        own, half, whole = (found[part, path] for part in (0.0, 0.5, 1.0))
        if path in (first.q, first.k, first.v):
            assert torch.allclose(own, whole)  # nothing has been rewritten before
        else:
            assert not torch.allclose(own, whole)
            torch.testing.assert_close(half, (own + whole) / 2, rtol=1e-3, atol=1e-4)


def test_windows_of_text_are_cut_too():
    given = work("gpt2", head="lm")
    (feature,) = given.task.encode(given.data.train[:1], given.tokenizer, answers=False)
    cut = calibration.cut(feature, 2)
    assert cut["input_ids"] == feature["input_ids"][:2]
    assert cut["example"] == feature["example"]
    assert calibration.cut(feature, None) == feature
    assert [f["input_ids"] for f in calibration.draw(given, 1, length=2)] == [
        f["input_ids"][:2] for f in calibration.draw(given, 1)
    ]


HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALVES)
def test_sums_of_a_model_in_16_bits_are_made_in_32(dtype):
    w = work("llama", head="lm")
    w.model.to(dtype)
    path = "model.layers.0.mlp.down_proj"
    features = calibration.draw(w, 8)
    rows = []
    with torch.no_grad(), flow.entering(w.model, [path]) as seen:
        for _, batch in batches(features, 1, 1):
            w.model(**model_inputs(batch, w.model.device))
        rows = [x[0] for x in seen[path]]
    wanted = sum(x.double().T @ x.double() for x in rows)
    found = {p: given.gram for given in calibration.inputs(w, "ffn", 8) for p, _ in given.pairs}[path]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0.05, atol=0.05 * float(wanted.abs().max()))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(("family", "head"), [("bert", "tokens"), ("llama", "lm")])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wanda", {}), ("gptq", {}), ("gptq", {"propagate": 0.5}), ("sparsegpt", {"true_sequential": False}),
        ("awq", {}), ("autoround", {"steps": 8}), ("kmeans", {}),
    ],
)  # fmt: skip
def test_a_model_in_16_bits_is_rewritten_about_as_one_in_32(name, options, family, head, dtype):
    method, said = methods.kind(name)(**options), []
    for kind in (torch.float32, dtype):
        w = work(family, head=head)
        w.model.to(dtype).to(kind)  # the same numbers
        method.apply(w)
        said.append(testing.logits(w).float())
    assert (said[0] - said[1]).square().mean().sqrt() < 0.4 * said[0].std()
