"""A post-norm encoder as plain arrays: every weight dense, every norm and bias at hand, whatever layers hold them.

Vaswani et al. 2017, arXiv:1706.03762.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from laconic import layers
from laconic.anatomy import Anatomy
from laconic.anatomy.parts import Block as Parts
from laconic.anatomy.postnorm import postnorm
from laconic.errors import AnatomyError, EngineError
from laconic.layers.separable import Separable

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """weight (in, out), bias (out,), as a matrix product reads them.

    With several `taps` the weight is (taps * in, out), for a position and those before it, nearest first.
    """

    weight: Floats
    bias: Floats
    taps: int = 1

    @property
    def inputs(self) -> int:
        """Channels of a position."""
        return len(self.weight) // self.taps

    @property
    def first(self) -> Linear:
        """What it is for the first position, before which stands nothing."""
        return Linear(self.weight[: self.inputs], self.bias)


@dataclass(frozen=True)
class Norm:
    """A LayerNorm over the last axis."""

    scale: Floats  # (hidden,)
    shift: Floats  # (hidden,)
    epsilon: float


@dataclass(frozen=True)
class Block:
    """Attention and feed-forward, each followed by the sum with its input and a norm."""

    heads: int
    qkv: Linear  # (hidden, 3 * heads * head size)
    output: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    ffn_norm: Norm


@dataclass(frozen=True)
class Encoder:
    """Everything a graph of the model needs, as float32."""

    words: Floats  # (vocabulary, width)
    positions: Floats  # (tokens, width), from the first token's row on
    types: Floats | None  # (types, width)
    norm: Norm
    projection: Linear | None  # (width, hidden)
    blocks: tuple[Block, ...]  # as often as they run
    activation: str
    head: tuple[tuple[Linear, str | None], ...]
    pooled: bool  # the head reads the first token only


def read(model: PreTrainedModel) -> Encoder:
    """The arrays of a model; raises EngineError when it is not a post-norm encoder with a classification head."""
    try:
        names = postnorm(model)
    except AnatomyError as error:
        raise EngineError(f"the onnxruntime engine can't run this model: {error}; use engine='torch'") from error
    stack = Anatomy(model).stacks[0]
    blocks = []
    for _, run in groupby(zip(stack.blocks, names.norms, strict=True), key=lambda one: one[0].path.rpartition(".")[0]):
        group = [(block.repeats, _block(model, block, *norms)) for block, norms in run]
        blocks += [block for _, block in group] * group[0][0]  # ALBERT runs a group again and again
    return Encoder(
        words=_table(model, names.words),
        positions=_table(model, names.positions)[names.offset :],
        types=None if names.types is None else _table(model, names.types),
        norm=_norm(model, names.norm),
        projection=None if names.projection is None else _linear(model, names.projection),
        blocks=tuple(blocks),
        activation=names.activation,
        head=tuple((_linear(model, step.path), step.activation) for step in names.head),
        pooled=names.pooled,
    )


def _block(model: PreTrainedModel, block: Parts, attention_norm: str, ffn_norm: str) -> Block:
    attention = block.attention
    return Block(
        heads=attention.heads,
        qkv=_beside([_linear(model, path) for path in (attention.q, attention.k, attention.v)]),
        output=_linear(model, attention.o),
        attention_norm=_norm(model, attention_norm),
        up=_linear(model, block.ffn.inputs[0]),
        down=_linear(model, block.ffn.output),
        ffn_norm=_norm(model, ffn_norm),
    )


def _linear(model: PreTrainedModel, path: str) -> Linear:
    module = model.get_submodule(path)
    parts = layers.take(module)
    weights = module.weights if isinstance(module, Separable) else parts.weight[None]  # (taps, out, in)
    weight = _floats(weights.transpose(1, 2).flatten(0, 1))  # (taps * in, out)
    bias = np.zeros(weight.shape[1], np.float32) if parts.bias is None else _floats(parts.bias)
    return Linear(np.ascontiguousarray(weight), bias, len(weights))


def _beside(linears: Sequence[Linear]) -> Linear:
    """One that gives what these give, one after another; those of fewer taps get zeros for the others."""
    taps = max(linear.taps for linear in linears)
    zeros = [((0, (taps - linear.taps) * linear.inputs), (0, 0)) for linear in linears]
    weights = [np.pad(linear.weight, more) for linear, more in zip(linears, zeros, strict=True)]  # (taps * in, out)
    return Linear(np.concatenate(weights, axis=1), np.concatenate([linear.bias for linear in linears]), taps)


def _table(model: PreTrainedModel, path: str) -> Floats:
    parts = layers.take(model.get_submodule(path))
    return _floats(parts.weight) * np.float32(parts.multiplier)  # (rows, width)


def _norm(model: PreTrainedModel, path: str) -> Norm:
    norm = model.get_submodule(path)
    if not isinstance(norm, nn.LayerNorm) or norm.bias is None:
        raise EngineError(f"{path} is a {type(norm).__name__}; the onnxruntime engine knows LayerNorm with a bias")
    return Norm(_floats(norm.weight), _floats(norm.bias), norm.eps)


def _floats(tensor: torch.Tensor) -> Floats:
    return tensor.detach().to("cpu", torch.float32).numpy()
