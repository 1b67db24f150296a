"""Count the multiply-accumulates of one sequence: matrices and attention's two products.

Vaswani et al. 2017, arXiv:1706.03762, section 3.2. Additions, norms, activations and look-ups are not counted; a causal
mask saves nothing, as in the kernels that run it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from laconic import layers
from laconic.anatomy.cut import size

if TYPE_CHECKING:
    from laconic.anatomy import Anatomy

POOLED = {"pooler", "seq_relationship", "sop_classifier"}  # heads that read one position, whatever the model is for


def count(anatomy: Anatomy, tokens: int, written: int | None = None) -> int:
    """Multiply-accumulates of a sequence of that many tokens; an encoder-decoder writes as many, or `written` ones."""
    model = anatomy.model
    total, said = 0, tokens if written is None else written
    for block in (block for stack in anatomy.stacks for block in stack.blocks):
        own, cross = block.attention, block.cross
        length = tokens if cross is None else said
        runs = dict.fromkeys((own.q, own.k, own.v, own.o, *block.ffn.inputs, block.ffn.output), length)
        scores = 2 * own.heads * own.head_size * length * length  # q k^T, then times v
        if cross is not None:
            runs |= {cross.q: length, cross.o: length, cross.k: tokens, cross.v: tokens}
            scores += 2 * cross.heads * cross.head_size * length * tokens
        matrices = sum(times * _product(path, model.get_submodule(path)) for path, times in runs.items())
        total += block.repeats * (matrices + scores)
    pooled = anatomy.entry.pooled and "ForSequenceClassification" in type(model).__name__
    for path, module in anatomy.linears("head"):
        one = pooled or not POOLED.isdisjoint(path.split("."))
        total += (1 if one else said) * _product(path, module)
    return total + tokens * sum(_product(*pair) for pair in anatomy.linears("embeddings"))


def _product(path: str, module: nn.Module) -> int:
    """Multiply-accumulates of one token through a layer; a row that is looked up costs none."""
    total = getattr(module, "products", 0)  # of a composite layer itself, beside those of its parts
    for _, layer in layers.leaves(path, module):
        if not isinstance(layer, nn.Embedding) and getattr(layer, "role", "linear") == "linear":
            rows, columns = size(layer)
            total += rows * columns
    return total
