"""The records an anatomy is made of: stacks of blocks, their attention and feed-forward.

Vaswani et al. 2017, arXiv:1706.03762; key and value heads shared by groups: Ainslie et al. 2023, arXiv:2305.13245.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Attention:
    """Paths of the projections and how many heads they hold; q, k and v are one path where one matrix holds them."""

    path: str  # the module that computes with them
    q: str
    k: str
    v: str
    o: str
    heads: int  # query heads
    kv_heads: int  # key and value heads; heads / kv_heads query heads share one
    head_size: int
    by_head: bool = False  # where one matrix holds q, k and v: those of one head after those of another

    @property
    def fused(self) -> bool:
        """Whether one matrix holds q, k and v."""
        return self.q == self.k

    def rows(self, part: Literal["q", "k", "v"], heads: Sequence[int]) -> list[int]:
        """Rows of the (out, in) weight at path q, k or v that make these heads; for k and v, heads of `kv_heads`."""
        if self.by_head:
            place = ("q", "k", "v").index(part)
            return [(3 * h + place) * self.head_size + i for h in heads for i in range(self.head_size)]
        before = {"q": 0, "k": self.heads, "v": self.heads + self.kv_heads}[part] if self.fused else 0
        return [(before + h) * self.head_size + i for h in heads for i in range(self.head_size)]

    def columns(self, heads: Sequence[int]) -> list[int]:
        """Columns of the (out, in) weight at path o that read these query heads."""
        return [h * self.head_size + i for h in heads for i in range(self.head_size)]


@dataclass(frozen=True)
class FeedForward:
    """Paths of the matrices that make the neurons (up, then gate where there is one) and of the one that reads them."""

    inputs: tuple[str, ...]
    output: str
    size: int  # neurons
    fused: bool = False  # whether one matrix holds gate and up, below one another

    @property
    def gated(self) -> bool:
        """Whether what a neuron says is multiplied by a gate."""
        return self.fused or len(self.inputs) > 1

    @property
    def ungated(self) -> list[int]:
        """Rows of the (out, in) weight at the first of `inputs` that make the neurons, without their gates."""
        return [self.size + i if self.fused else i for i in range(self.size)]

    def rows(self, neurons: Sequence[int]) -> list[int]:
        """Rows of the (out, in) weight at each of `inputs` that make these neurons and their gates."""
        return [*neurons, *(self.size + n for n in neurons)] if self.fused else list(neurons)


@dataclass(frozen=True)
class Residual:
    """A state of the residual stream: what enters the module at `enters`, and the outputs of linears added to it."""

    enters: str
    added: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """One transformer block; `cross` is a decoder's attention to the encoder."""

    path: str
    attention: Attention
    cross: Attention | None
    ffn: FeedForward
    repeats: int = 1  # times it runs in one pass: ALBERT runs one block many times
    pre_norm: bool = False  # whether norms stand before attention and feed-forward, or after their sums
    altered: bool = False  # whether what they give is normed or scaled before it is added

    @property
    def attentions(self) -> tuple[Attention, ...]:
        """One or two, in the order they run."""
        return (self.attention,) if self.cross is None else (self.attention, self.cross)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Paths of the linears whose outputs are added to the residual stream, in the order they run."""
        if self.altered:
            return ()
        return (*(attention.o for attention in self.attentions), self.ffn.output)

    def residual(self, path: str) -> Residual:
        """The state to which the layer at `path`, one of `outputs`, adds."""
        place = self.outputs.index(path)
        if self.pre_norm or not place:
            return Residual(self.path, self.outputs[:place])
        return Residual((*(attention.q for attention in self.attentions), self.ffn.inputs[0])[place], ())


@dataclass(frozen=True)
class Stack:
    """A list of blocks that feed one another."""

    path: str
    blocks: tuple[Block, ...]  # each once, however often it runs
    depth: int  # blocks that run in one pass: more than len(blocks) where ALBERT repeats one
    shared_heads: bool  # T5: all blocks must have the same heads

    @property
    def runs(self) -> int:
        """How often its blocks are called in one pass, each counted."""
        return sum(block.repeats for block in self.blocks)
