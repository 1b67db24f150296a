"""Where the parts of a transformer are, and which dimensions change together.

Vaswani et al. 2017, arXiv:1706.03762, for the parts; Fang et al. 2023, arXiv:2301.12900, for dependency groups. What is
known of each architecture stands in `families.py`; a model of another raises AnatomyError that says what to add there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from laconic import layers
from laconic.anatomy import (
    blocks,
    feeds,
    heads,
    hidden,
    macs,
    neurons,
    positions,
    read,
    rotate,
    shape,
    sizes,
    vocabulary,
)
from laconic.anatomy.cut import size
from laconic.anatomy.feeds import Feed
from laconic.anatomy.names import Blocks
from laconic.anatomy.parts import Attention, Block, FeedForward, Residual, Stack
from laconic.contracts import WHERE
from laconic.errors import AnatomyError

__all__ = ["Anatomy", "Attention", "Block", "Feed", "FeedForward", "Residual", "Stack"]


class Anatomy:
    """The parts of one model, read off it as it is now; surgery is in place and reads them again.

    Surgery works on meta tensors and on layers held dense; a layer held otherwise raises AnatomyError. Optimizers made
    before hold tensors the model has lost.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Raises AnatomyError when the architecture is not known."""
        self.model = model
        self.family, self.entry = read.family_of(model)
        self.base = read.base_path(model)
        words = read.present(model, self.base, self.entry.words)
        if not words:
            raise AnatomyError(f"{type(model).__name__} has no word embedding at any of {', '.join(self.entry.words)}")
        self.word_embedding = words[0]
        self.refresh()

    def refresh(self) -> None:
        """Read the parts again, after something else changed the model."""
        model = self.model
        self.stacks = read.stacks(model, self.entry, self.base)
        self.hidden = read.hidden(model, self.stacks)

    @property
    def embeddings(self) -> list[str]:
        """Paths of all embedding tables, the word embedding first, and of what brings them to the hidden size."""
        found = [path for path, _ in read.tables(self.model, self.stacks)]
        return list(dict.fromkeys([self.word_embedding, *found, *self.projections]))

    @property
    def projections(self) -> list[str]:
        """Paths of linears between embeddings and the first block (ELECTRA, ALBERT)."""
        return read.present(self.model, self.base, [self.entry.projection])

    @property
    def head(self) -> list[str]:
        """Paths of the linears after the last block, poolers included."""
        return [path for path, _ in read.matrices(self.model, self.stacks) if path not in self.projections]

    @property
    def vocabulary(self) -> int:
        """Rows of the word embedding."""
        return size(self.model.get_submodule(self.word_embedding))[0]

    @property
    def padding(self) -> int | None:
        """The token id that the model itself takes for padding."""
        return vocabulary.padding(self.model, self.word_embedding)

    @property
    def positions(self) -> int | None:
        """Tokens of the longest text with learned positions for it; None where positions are not learned."""
        paths = read.present(self.model, self.base, self.entry.positions)
        return positions.longest(self.model, paths, self.entry, self.padding)

    @property
    def token_types(self) -> int | None:
        """Rows of the token type table; None where there is none."""
        found = read.present(self.model, self.base, [self.entry.types])
        return size(self.model.get_submodule(found[0]))[0] if found else None

    def linears(self, where: str) -> Iterator[tuple[str, nn.Module]]:
        """(path, module) of weight matrices in one of contracts.WHERE, whatever layer holds them.

        A fused q, k, v comes once, and so does a table that several places share; a tied head comes among the heads.
        Tables that do more than look rows up (BART's positions) are left out. `layers.take` reads each one's weight.
        In place of a composite layer come its parts, the factors of a low-rank one for example.
        """
        for path, module in self.whole(where):
            yield from layers.leaves(path, module)

    def whole(self, where: str) -> Iterator[tuple[str, nn.Module]]:
        """As `linears`, with composite layers as they stand."""
        if where not in WHERE:
            raise AnatomyError(f"where is {where!r}; it is one of {', '.join(WHERE)}")
        paths: list[str] = []
        if where in ("embeddings", "all"):
            paths += self._distinct_tables()
        for block in (block for stack in self.stacks for block in stack.blocks):
            if where in ("attention", "linears", "all"):
                for a in (block.attention, *((block.cross,) if block.cross is not None else ())):
                    paths += [a.q, a.k, a.v, a.o]
            if where in ("ffn", "linears", "all"):
                paths += [*block.ffn.inputs, block.ffn.output]
        if where in ("head", "all"):
            paths += self.head
        for path in dict.fromkeys(paths):
            yield path, self.model.get_submodule(path)

    def alike(self, blocks: Sequence[Block], where: str) -> list[list[str]]:
        """For every matrix of the first block, its paths in all of these blocks; composite layers as they stand.

        Raises AnatomyError where one is of another size.
        """
        found = [
            path.removeprefix(blocks[0].path) for path, _ in self.whole(where) if path.startswith(blocks[0].path + ".")
        ]
        rows = [[block.path + path for block in blocks] for path in found]
        for paths in rows:
            sizes = {path: size(self.model.get_submodule(path)) for path in paths}
            if len(set(sizes.values())) > 1:
                raise AnatomyError(f"layers of these sizes can't share weights: {sizes}; cut the same from every block")
        return rows

    def feeds(self, where: str) -> tuple[list[Feed], dict[str, str]]:
        """What feeds linears in one of contracts.WHERE and no others, and why the rest has none: {path: reason}."""
        chosen = {path for each in (self.linears, self.whole) for path, _ in each(where)}
        entries = [(stack, self.stack_entry(stack)) for stack in self.stacks]
        found, reasons = feeds.feeds(self.model, entries, self.entry.plus)
        reasons |= dict.fromkeys(self.head, feeds.HEAD)
        inside = [feed for feed in found if set(feed.readers) <= chosen]
        reasons |= {path: feeds.SPLIT for feed in found if feed not in inside for path in feed.readers}
        return inside, {path: reason for path, reason in reasons.items() if path in chosen}

    def remove_heads(self, part: Block | Stack, heads_gone: Sequence[int], *, cross: bool = False) -> None:
        """Remove query heads of a block, or the same ones of every block in a stack; with `cross`, of cross-attention.

        Query heads that share a key and a value go together, so name all of such a group. Where blocks share what
        counts heads (T5's relative positions) the stack must be given. Raises AnatomyError otherwise.
        """
        stack = next((s for s in self.stacks if f"{part.path}.".startswith(f"{s.path}.")), None)
        if isinstance(part, Block) and stack is not None and stack.shared_heads:
            raise AnatomyError(
                f"{part.path} shares what counts its heads, such as a position bias, with all blocks of its stack; "
                "give the stack, so that the heads go from every block"
            )
        for path in [b.path for b in (part.blocks if isinstance(part, Stack) else (part,))]:
            block = self._block(path)
            attention = block.cross if cross else block.attention
            if attention is None:
                raise AnatomyError(f"{path} has no cross-attention; leave cross out")
            heads.remove(self.model, attention, heads_gone)
        self._say()

    def remove_neurons(self, block: Block, neurons_gone: Sequence[int]) -> None:
        """Remove feed-forward neurons of a block, with their gates."""
        neurons.remove(self.model, self._block(block.path).ffn, neurons_gone)
        self._say()

    def remove_hidden(self, dims: Sequence[int]) -> None:
        """Remove dimensions of the residual stream everywhere; heads keep their size. See `hidden.remove`."""
        hidden.remove(self.model, self.entry, self.stacks, self.hidden, dims)
        self._say()

    def remove_blocks(self, stack: Stack, indices: Sequence[int]) -> None:
        """Remove blocks of a stack, counted in `stack.depth`; ALBERT's one block then runs fewer times."""
        current = next((s for s in self.stacks if s.path == stack.path), None)
        if current is None:
            raise AnatomyError(
                f"the model has no stack {stack.path!r}; it has {', '.join(s.path for s in self.stacks)}"
            )
        blocks.remove(self.model, current, self.stack_entry(current), indices)
        self._say()

    def keep_vocabulary(self, ids: Sequence[int]) -> None:
        """Token ids[i] becomes token i, in tables, tied or untied heads and their biases.

        `padding_idx` moves along. The config's pad, bos, eos ... ids are the caller's to set.
        """
        vocabulary.select(self.model, self.entry, self.word_embedding, self.vocabulary, list(ids))
        self._say()

    def trim_positions(self, tokens: int) -> None:
        """Keep learned positions for texts up to that many tokens; rows before the first position stay."""
        positions.trim(self.model, self.entry, self.padding, self.positions, tokens)
        self._say()

    def widen_token_types(self, rows: int) -> None:
        """Give the token type table that many rows; new ones copy row 0, so the function stays."""
        found = read.present(self.model, self.base, [self.entry.types])
        positions.widen_types(self.model, found[0] if found else None, rows)

    def rotate(self, stream: torch.Tensor, values: torch.Tensor | None) -> None:
        """Turn the residual stream, and every head's values, by orthogonal matrices; the model's function stays.

        Norms' gains move into linears, and a tied head is untied. AnatomyError unless all norms are pre-norm RMS norms.
        """
        final = rotate.check(self)
        rotate.fold_gains(self, final)
        rotate.turn_stream(self, stream)
        if values is not None:
            rotate.turn_values(self, values)

    def shape(self) -> dict[str, Any]:
        """Every dimension that surgery can change, as JSON."""
        return shape.describe(self)

    def reshape(self, wanted: dict[str, Any]) -> None:
        """Cut an empty model, built from the config before any surgery, to what `shape()` said of another."""
        shape.reshape(self, wanted)
        self._say()

    def macs(self, tokens: int, written: int | None = None) -> int:
        """Multiply-accumulates of one sequence of that many tokens; an encoder-decoder writes `written`, or as many."""
        return macs.count(self, tokens, written)

    def stack_entry(self, stack: Stack) -> Blocks:
        """What `families.py` says of a stack."""
        return next(entry for entry in self.entry.stacks if self.base + entry.path == stack.path)

    def _block(self, path: str) -> Block:
        """The block as it is now: a caller's may be from before the last cut."""
        for block in (block for stack in self.stacks for block in stack.blocks):
            if block.path == path:
                return block
        raise AnatomyError(f"the model has no block {path!r}; ask its stacks again, for blocks may have been removed")

    def _distinct_tables(self) -> list[str]:
        seen: set[int] = set()
        found = []
        for path in self.embeddings:
            module = self.model.get_submodule(path)
            if not read.plain(module) or layers.is_shared(module):
                continue
            identity = id(module._parameters.get("weight", module))
            if identity not in seen:
                seen.add(identity)
                found.append(path)
        return found

    def _say(self) -> None:
        self.refresh()
        fields = {self.entry.hidden: self.hidden}
        if hidden.embedding_follows(self.model, self.entry) and self.entry.embedding is not None:
            fields[self.entry.embedding] = self.hidden
        sizes.say(self.model, self.entry, fields, [(self.stack_entry(s).path, s) for s in self.stacks])
