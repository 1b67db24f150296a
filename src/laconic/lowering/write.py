"""Lower a post-norm encoder to the fastest ONNX graph that we measured on CPUs.

LayerNorm: Ba et al. 2016, arXiv:1607.06450; RMSNorm: Zhang and Sennrich 2019, arXiv:1910.07467. What differs from an
exported graph, each for time:

- ONNX Runtime's LayerNorm is a scalar loop and a third of the time of an exported BERT. `LayerNorm(x)` is written as
  `RMSNorm(x - mean(x)) + shift`, whose kernels are vectorized: five times faster, and closer to the exact value.
- `shift` is never added: the layers that read it take it into their biases, and the sum beside them too.
- The means of the embedding tables' rows are subtracted from them here, and positions and types are one table.
- One operator does q, k, v and attention; integer matrix products add the biases on their own.
- A head that reads the first token gets it before the last block's dense layers, which then run on it alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import ModelProto

from laconic.errors import EngineError
from laconic.lowering.columns import codes
from laconic.lowering.encoder import Block, Encoder, Floats, Linear, Norm
from laconic.lowering.graph import Graph

IDS, PLACES, LENGTHS = "ids", "places", "lengths"
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {  # name in a config -> operator and attributes
    "gelu": ("Gelu", {"approximate": "none"}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
}


@dataclass(frozen=True)
class Lowered:
    """A graph and how its inputs are made. All are int32.

    `ids` (batch, tokens); `places` (batch, tokens) = type * tokens_at_most + position; `lengths` (batch,): padding is
    at the end of a row. The output `logits` is (batch, tokens, labels), or (batch, labels) of a pooled head.
    """

    model: ModelProto
    tables: dict[str, Floats]  # constants that the model names and does not hold
    tokens_at_most: int
    types: int
    pooled: bool


@dataclass(frozen=True)
class Stream:
    """The residual stream: what a tensor of the graph lacks is `shift`, still to be added to it."""

    tensor: str
    shift: Floats  # (hidden,)


def lower(encoder: Encoder, *, integers: bool = True) -> Lowered:
    """The graph of an encoder, its blocks' matrices in int8 or, for comparison, in float32.

    Raises EngineError for an activation that is not known.
    """
    graph = Graph()
    tokens_at_most, types = len(encoder.positions), 1 if encoder.types is None else len(encoder.types)
    stream = _embed(graph, encoder)
    if encoder.projection is not None:
        projected = _dense(graph, stream, encoder.projection, integers)
        stream = Stream(projected, np.zeros_like(encoder.projection.bias))
    for i, block in enumerate(encoder.blocks):
        last = encoder.pooled and i == len(encoder.blocks) - 1
        stream = _block(graph, stream, block, encoder.activation, integers=integers, first_token=last)
    for linear, activation in encoder.head:
        logits = _dense(graph, stream, linear, integers=False)  # too narrow for rounding to pay
        if activation is not None:
            logits = _activate(graph, logits, activation)
        stream = Stream(logits, np.zeros_like(linear.bias))
    axes = ("batch",) if encoder.pooled else ("batch", "tokens")
    inputs = {IDS: ("batch", "tokens"), PLACES: ("batch", "tokens"), LENGTHS: ("batch",)}
    return Lowered(
        graph.model(inputs, stream.tensor, (*axes, len(stream.shift))),
        graph.tables,
        tokens_at_most,
        types,
        encoder.pooled,
    )


def _embed(graph: Graph, encoder: Encoder) -> Stream:
    """Word plus place; rows of mean zero give a sum of mean zero, so the norm needs no mean."""
    places = encoder.positions[None]  # (1, tokens, width)
    if encoder.types is not None:
        places = encoder.types[:, None] + places  # (types, tokens, width)
    words = graph.node("Gather", graph.table(_centred(encoder.words)), IDS)
    where = graph.node("Gather", graph.table(_centred(places.reshape(-1, places.shape[-1]))), PLACES)
    return _scale(graph, graph.node("Add", words, where), encoder.norm)


def _block(graph: Graph, stream: Stream, block: Block, activation: str, *, integers: bool, first_token: bool) -> Stream:
    mixed = _attention(graph, stream, block, integers)
    output, up, down = block.output, block.up, block.down
    if first_token:
        output, up, down = output.first, up.first, down.first
        first = graph.constant(np.array(0, np.int64))
        mixed = graph.node("Gather", mixed, first, axis=1)  # (batch, heads * head size)
        stream = Stream(graph.node("Gather", stream.tensor, first, axis=1), stream.shift)  # (batch, hidden)
    nothing = np.zeros(output.inputs, np.float32)
    stream = _join(graph, stream, Stream(mixed, nothing), output, block.attention_norm, integers)
    neurons = _activate(graph, _dense(graph, stream, up, integers), activation)  # (..., neurons)
    nothing = np.zeros(down.inputs, np.float32)
    return _join(graph, stream, Stream(neurons, nothing), down, block.ffn_norm, integers)


def _attention(graph: Graph, stream: Stream, block: Block, integers: bool) -> str:
    """softmax(q k / sqrt(head size)) v over the first `lengths` tokens: (batch, tokens, heads * head size)."""
    stream = _behind(graph, stream, block.qkv.taps)
    weight, bias = block.qkv.weight, graph.constant(_bias(stream, block.qkv))
    if not integers:
        floats = (stream.tensor, graph.constant(weight), bias, LENGTHS)
        return graph.node("Attention", *floats, contrib=True, num_heads=block.heads)
    rounded, scales = codes(weight)
    activations, scale, zero = graph.split("DynamicQuantizeLinear", 3, stream.tensor)
    inputs = (activations, graph.constant(rounded), bias, scale, graph.constant(scales), LENGTHS, zero)
    return graph.node("QAttention", *inputs, contrib=True, num_heads=block.heads)


def _join(graph: Graph, stream: Stream, branch: Stream, linear: Linear, norm: Norm, integers: bool) -> Stream:
    """norm(stream + linear(branch)); the linear brings the shift that the stream lacks."""
    shifted = replace(linear, bias=linear.bias + stream.shift)
    total = graph.node("Add", stream.tensor, _dense(graph, branch, shifted, integers))
    mean = graph.node("ReduceMean", total, graph.constant(np.array([-1], np.int64)), keepdims=1)  # (..., 1)
    return _scale(graph, graph.node("Sub", total, mean), norm)


def _scale(graph: Graph, centred: str, norm: Norm) -> Stream:
    scale = graph.constant(norm.scale)
    tensor = graph.node("SimplifiedLayerNormalization", centred, scale, epsilon=norm.epsilon, axis=-1)
    return Stream(tensor, norm.shift)


def _dense(graph: Graph, stream: Stream, linear: Linear, integers: bool) -> str:
    stream = _behind(graph, stream, linear.taps)
    bias = graph.constant(_bias(stream, linear))
    if not integers:
        return graph.node("Add", graph.node("MatMul", stream.tensor, graph.constant(linear.weight)), bias)
    rounded, scales = codes(linear.weight)
    inputs = (stream.tensor, graph.constant(rounded), graph.constant(scales), "", bias)
    return graph.node("DynamicQuantizeMatMul", *inputs, contrib=True)


def _behind(graph: Graph, stream: Stream, taps: int) -> Stream:
    """Every position beside those before it, nearest first, (batch, tokens, taps * in).

    Before the first stands what is 0 with its shift.
    """
    if taps == 1:
        return stream
    first = graph.node("Gather", stream.tensor, graph.constant(np.array([0], np.int64)), axis=1)  # (batch, 1, in)
    nothing = graph.node("Sub", graph.node("Sub", first, first), graph.constant(stream.shift))
    held = graph.node("Concat", *[nothing] * (taps - 1), stream.tensor, axis=1)  # (batch, taps - 1 + tokens, in)
    axis = graph.constant(np.array([1], np.int64))
    moved = []
    for back in range(taps):
        start, end = taps - 1 - back, -back if back else np.iinfo(np.int64).max
        moved.append(graph.node("Slice", held, *(graph.constant(np.array([n], np.int64)) for n in (start, end)), axis))
    return Stream(graph.node("Concat", *moved, axis=-1), np.tile(stream.shift, taps))


def _activate(graph: Graph, tensor: str, name: str) -> str:
    if name not in ACTIVATIONS:
        raise EngineError(
            f"the onnxruntime engine has no activation {name!r} (it has: {', '.join(ACTIVATIONS)}); use engine='torch'"
        )
    operator, attributes = ACTIVATIONS[name]
    return graph.node(operator, tensor, **attributes)


def _bias(stream: Stream, linear: Linear) -> Floats:
    """linear(stream + shift) = stream W + (bias + shift W)."""
    moved: Floats = linear.bias + stream.shift @ linear.weight
    return moved


def _centred(rows: Floats) -> Floats:
    centred: Floats = rows - rows.mean(axis=-1, keepdims=True)
    return centred
