"""What feeds which linears, where channels can be scaled on one side and scaled back on the other without a trace.

Xiao et al. 2022, arXiv:2211.10438 (a norm's gains carry the scales of the linears it feeds); Lin et al. 2023,
arXiv:2306.00978 (so do values, which attention only averages, and the ungated half of a feed-forward). A post-norm
block's norms feed the residual stream too, and an activation other than relu does not commute with scales.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import PreTrainedModel

from laconic import layers
from laconic.anatomy.names import Blocks
from laconic.anatomy.parts import Attention, Block, Stack
from laconic.layers.lowrank import LowRank

ACTIVATIONS = ("hidden_act", "activation_function", "activation", "dense_act_fn")  # config fields that name one
RESIDUAL = "their input feeds the residual stream as well"
NONLINEAR = "their input is behind an activation that scales do not pass"
ENCODED = "their input is the encoder's output, which other layers read as well"
SPLIT = "their norm feeds other layers as well, which are not among those chosen"
HEAD = "a head's input is not among what is scaled"
SHARED = "they or what feeds them stand at several places, or are held in a form that can't be scaled"


@dataclass(frozen=True)
class Feed:
    """Output channels of a norm or linear that only these linears read.

    `rows` are the source's channels, and column j of every reader reads rows[columns[j]].
    """

    source: str
    readers: tuple[str, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    plus: float = 0.0  # what the source, a norm, adds to its weight

    @torch.no_grad()
    def fold(self, model: nn.Module, scales: torch.Tensor) -> None:
        """Divide the source's channels by positive scales (rows,) and multiply the readers' columns; outputs stay."""
        source = model.get_submodule(self.source)
        outputs = scales.new_ones(_width(source))  # (out,)
        outputs[list(self.rows)] = 1 / scales
        if layers.is_linear(source):
            layers.rescale(source, rows=outputs)
        else:
            for own in source.parameters():
                own.add_(self.plus).mul_(outputs).sub_(self.plus)
        for path in self.readers:
            layers.rescale(model.get_submodule(path), columns=scales[list(self.columns)])


def feeds(
    model: PreTrainedModel, stacks: Sequence[tuple[Stack, Blocks]], plus: float
) -> tuple[list[Feed], dict[str, str]]:
    """Every feed of the blocks, norms first in each, and why other linears have none: {path: reason}.

    Norms multiply by their weight and `plus`.
    """
    found: list[Feed] = []
    reasons: dict[str, str] = {}
    for stack, entry in stacks:
        for block in stack.blocks:
            if entry.norms is None:
                reasons |= dict.fromkeys(_entrances(block), RESIDUAL)
            found += [replace(feed, plus=plus) for feed in _norms(model, block, entry.norms)]
            reasons |= dict.fromkeys(_encoded(block), ENCODED)
            found += _values(block)
            found += _neurons(model, block, reasons)
    found = [_between(model, feed) for feed in found]
    alone = [feed for feed in found if _alone(model, feed)]
    reasons |= {path: SHARED for feed in found if feed not in alone for path in feed.readers}
    return alone, reasons


def _entrances(block: Block) -> list[str]:
    a = block.attention
    return [a.q, a.k, a.v, *([block.cross.q] if block.cross else []), *block.ffn.inputs]


def _encoded(block: Block) -> list[str]:
    return [block.cross.k, block.cross.v] if block.cross else []


def _norms(model: nn.Module, block: Block, names: tuple[str, str | None, str] | None) -> list[Feed]:
    """The norms of a pre-norm block and the linears behind each; one may stand before attention and feed-forward."""
    if names is None:
        return []
    a = block.attention
    behind = {names[0]: [a.q, a.k, a.v]}
    if block.cross is not None and names[1] is not None:
        behind[names[1]] = [block.cross.q]
    behind.setdefault(names[2], []).extend(block.ffn.inputs)
    return [_whole(model, f"{block.path}.{name}", tuple(readers)) for name, readers in behind.items()]


def _whole(model: nn.Module, source: str, readers: tuple[str, ...]) -> Feed:
    every = tuple(range(_width(model.get_submodule(source))))
    return Feed(source, tuple(dict.fromkeys(readers)), every, every)


def _values(block: Block) -> list[Feed]:
    """Values and the projection that reads their averages; query heads that share a value share its channels."""
    return [_attention(a) for a in (block.attention, block.cross) if a is not None]


def _attention(a: Attention) -> Feed:
    rows = tuple(a.rows("v", range(a.kv_heads)))
    shared = a.heads // a.kv_heads
    columns = tuple((h // shared) * a.head_size + i for h in range(a.heads) for i in range(a.head_size))
    return Feed(a.v, (a.o,), rows, columns)


def _neurons(model: PreTrainedModel, block: Block, reasons: dict[str, str]) -> list[Feed]:
    """The ungated half of a gated feed-forward, or one with relu, and the projection that reads it."""
    names = {str(getattr(model.config, field, None)) for field in ACTIVATIONS} - {"None"}
    if block.ffn.gated or names == {"relu"}:
        return [Feed(block.ffn.inputs[0], (block.ffn.output,), tuple(block.ffn.ungated), tuple(range(block.ffn.size)))]
    reasons[block.ffn.output] = NONLINEAR
    return []


def _between(model: nn.Module, feed: Feed) -> Feed:
    """The feed from and to the factors of low-rank layers, where these are its ends."""
    readers = tuple(_factor(model, path, "down") for path in feed.readers)
    return replace(feed, source=_factor(model, feed.source, "up"), readers=readers)


def _factor(model: nn.Module, path: str, name: str) -> str:
    return f"{path}.{name}" if isinstance(model.get_submodule(path), LowRank) else path


def _width(module: nn.Module) -> int:
    """Output channels of a norm or a linear."""
    return len(layers.take(module).weight) if layers.is_linear(module) else len(next(module.parameters()))


def _alone(model: nn.Module, feed: Feed) -> bool:
    """Whether each module of a feed stands at one place only and its numbers can be scaled."""
    paths = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    sources = {module.source for _, module in layers.held(model) if layers.is_shared(module)}
    weights = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    members = [(path, model.get_submodule(path)) for path in (feed.source, *feed.readers)]
    return all(
        paths[id(module)] == 1
        and path not in sources
        and all(weights[id(p)] == 1 for p in module.parameters(recurse=False))
        and (not layers.is_linear(module) or layers.can_rescale(module))
        for path, module in members
    )
