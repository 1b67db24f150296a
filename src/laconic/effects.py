"""How sparse, low-bit, low-rank, grouped, narrow, shallow, tied, small of vocabulary and half a model measurably is.

No paper: amounts, not flags, because "some layer is sparse" says nothing. Each grows as the model has more of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from laconic import layers
from laconic.anatomy import Anatomy
from laconic.anatomy.cut import size
from laconic.contracts import Sketch
from laconic.layers.quantized import Quantized
from laconic.layers.sparse import Sparse
from laconic.maths import grid

ON_GRID = frozenset({
    "sparse", "narrow", "shallow", "tied", "small_vocabulary", "low_bit", "half", "low_rank", "grouped",
})  # fmt: skip
"""What rounding to a grid on which 0 is a point keeps of earlier steps."""

FULL_BITS, HALF_BITS = 32, 16
LEFT = 0.9  # of what a step made: less is a loss; a little may go, since shares and means count what later steps cut


def measure(model: PreTrainedModel) -> dict[str, float]:
    """Property -> amount.

    sparse: share of zeros in weight matrices. low_bit: 32 minus the mean bits of a weight with
    scales and masks. low_bit_inputs: 32 minus the mean bits of what enters a matrix of the blocks. low_rank: share of
    these matrices' full ranks that their factors leave out. grouped: share of their connections that groups leave out.
    narrow: minus the hidden size and the mean inner widths of a block. shallow: minus the blocks that run. tied: uses
    of a weight beyond its first. small_vocabulary: minus the rows of the word embedding. half: share of the floats that
    16 bits hold.
    """
    anatomy = Anatomy(model)
    blocks = [block for stack in anatomy.stacks for block in stack.blocks]
    inner = sum(b.attention.heads * b.attention.head_size + b.ffn.size for b in blocks) / max(len(blocks), 1)
    words = layers.take(model.get_submodule(anatomy.word_embedding)).weight
    return {
        "sparse": _zeros(anatomy),
        "low_bit": FULL_BITS - bits_per_weight(model),
        "low_bit_inputs": _low_bit_inputs(anatomy),
        "low_rank": _low_rank(anatomy),
        "grouped": _grouped(anatomy),
        "narrow": -float(anatomy.hidden + inner),
        "shallow": -float(sum(stack.depth for stack in anatomy.stacks)),
        "tied": float(_tied(model)),
        "small_vocabulary": -float(len(words)),
        "half": _half(model),
    }


def grew(before: dict[str, float], after: dict[str, float], property: str) -> bool:
    """Whether a model has more of a property than before; no amount at all is not more."""
    return after[property] > before[property]


def left(start: dict[str, float], made: dict[str, float], now: dict[str, float], property: str) -> float:
    """What a model has left of a property's growth in a step: amounts before it, after it, and now.

    Floats that happen to need 16 bits, as those of a checkpoint in half precision, need 32 once they are trained; that
    is no loss of low bits, which are of weights on grids. Nor is it a loss of narrowness where the narrowest blocks are
    removed: of fewer blocks the widths count in sum, not on average.
    """
    amount = now[property]
    if property == "low_bit":
        amount += HALF_BITS * max(0.0, made["half"] - now["half"])
    if property == "narrow" and made["shallow"]:
        amount *= min(1.0, now["shallow"] / made["shallow"])
    return amount - start[property]


def lost(start: dict[str, float], made: dict[str, float], now: dict[str, float], property: str) -> bool:
    """Whether too little is `left` of what a step made."""
    grown = made[property] - start[property]
    return grown > 0 and left(start, made, now, property) < LEFT * grown


def floats(model: nn.Module) -> Iterator[torch.Tensor]:
    """The tensors of floats that a model holds, those behind a grid left out."""
    grids = set()
    for _, layer in layers.held(model):
        if isinstance(layer, Quantized) and not layer.frozen:
            grids.add(id(layer.latent))
        if isinstance(layer, Sparse) and layer.frozen:
            yield layer.values
    yield from (parameter for parameter in model.parameters() if id(parameter) not in grids)


def bits_per_weight(model: nn.Module) -> float:
    """Mean bits of a stored number before entropy coding: ours count their own, floats are 16 where exact."""
    bits = count = 0
    ours = dict(layers.held(model))
    inside = {id(p) for layer in ours.values() if not layers.parts(layer) for p in layer.parameters()}
    for layer in ours.values():
        bits += cast(Any, layer).bits()
        count += layers.size(layer)
    for parameter in model.parameters():
        if id(parameter) not in inside:
            bits += grid.float_bits(parameter.detach())
            count += parameter.numel()
    return bits / max(count, 1)


def lowered(sketch: Sketch, where: str, bits: float) -> Sketch:
    """The sketch with that many bits a weight, where they are more now."""
    share = _share(sketch, where)
    linear = sketch.linear_bits + share * (min(bits, sketch.linear_bits) - sketch.linear_bits)
    table = min(bits, sketch.embedding_bits) if where in ("embeddings", "all") else sketch.embedding_bits
    return replace(sketch, linear_bits=linear, embedding_bits=table)


def on_grid(sketch: Sketch, where: str, bits: int, group: grid.Group, symmetric: bool) -> Sketch:
    """The sketch with weights on such a grid, scales and zeros counted."""
    return lowered(sketch, where, grid.cost(bits, group, symmetric, sketch.hidden))


def thinned(sketch: Sketch, where: str, sparsity: float) -> Sketch:
    """The sketch with that share of the weights zero; pruned embeddings have no place in a sketch."""
    return replace(sketch, density=min(sketch.density, 1 - sparsity * _share(sketch, where)))


def shrunk(sketch: Sketch, where: str, attention: float, ffn: float) -> Sketch:
    """The sketch with these shares of the parameters left in what `where` says of the blocks' linears."""
    kept = {"attention": attention, "ffn": ffn}
    left = {part: share if where in (part, "linears", "all") else 1.0 for part, share in kept.items()}
    return replace(sketch, attention=sketch.attention * left["attention"], ffn=sketch.ffn * left["ffn"])


def _share(sketch: Sketch, where: str) -> float:
    """Share of the blocks' weights that `where` says."""
    parts = {"attention": sketch.attention, "ffn": sketch.ffn}
    return sum(n for name, n in parts.items() if where in (name, "linears", "all")) / max(sum(parts.values()), 1)


def _zeros(anatomy: Anatomy) -> float:
    """Share of exact zeros in weight matrices, tied ones once."""
    zeros = count = 0
    for _, module in layers.distinct(anatomy.linears("all")):
        weight = layers.take(module).weight
        zeros += weight.numel() - int(weight.count_nonzero())
        count += weight.numel()
    return zeros / max(count, 1)


def _matrices(anatomy: Anatomy) -> list[tuple[tuple[int, int], nn.Module]]:
    """Size and layer of the matrices in blocks and embeddings, composite ones as they stand, tied ones once."""
    pairs = [*anatomy.whole("linears"), *anatomy.whole("embeddings")]
    return [(size(module), module) for _, module in layers.distinct(pairs)]


def _low_rank(anatomy: Anatomy) -> float:
    full = rank = 0
    for (rows, columns), module in _matrices(anatomy):
        full += min(rows, columns)
        rank += min(rows, columns, getattr(module, "rank", rows))
    return 1 - rank / max(full, 1)


def _grouped(anatomy: Anatomy) -> float:
    full = left = 0.0
    for (rows, columns), module in _matrices(anatomy):
        full += rows * columns
        left += rows * columns / getattr(module, "groups", 1)
    return 1 - left / max(full, 1)


def _low_bit_inputs(anatomy: Anatomy) -> float:
    """Of the blocks' matrices, each of which counts once, however many parts hold it."""
    bits = []
    for path, module in anatomy.whole("linears"):
        around = [anatomy.model.get_submodule(p.rpartition(".")[0]) for p, _ in layers.leaves(path, module)]
        bits.append(sum(getattr(layer, "input_bits", FULL_BITS) for layer in around) / len(around))
    return FULL_BITS - sum(bits) / max(len(bits), 1)


def _half(model: nn.Module) -> float:
    """Share of the floats in tensors that 16 bits hold; a tensor with one other number needs 32."""
    tensors = [tensor.detach() for tensor in floats(model)]
    held = sum(grid.float_bits(tensor) <= HALF_BITS * tensor.numel() and tensor.numel() for tensor in tensors)
    return held / max(sum(tensor.numel() for tensor in tensors), 1)


def _tied(model: nn.Module) -> int:
    """Uses of a weight or codebook beyond its first: layers with a source, modules and parameters at several places."""
    uses, distinct = 0, set()
    for _, module in model.named_modules(remove_duplicate=False):
        own = {name: p for name, p in module._parameters.items() if p is not None}
        if isinstance(module, layers.kinds()):  # its weight, whatever tensors hold it, and its bias
            uses += 1
            distinct |= set() if getattr(module, "source", "") else {id(module)}
            own = {name: p for name, p in own.items() if name == "bias"}
        uses += len(own)
        distinct |= {id(p) for p in own.values()}
    return uses - len(distinct)
