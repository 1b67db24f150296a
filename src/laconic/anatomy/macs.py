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


def count(anatomy: Anatomy, tokens: int) -> int:
    """Multiply-accumulates of a sequence of that many tokens; an encoder-decoder reads and writes as many."""
    model = anatomy.model
    total = 0
    for block in (block for stack in anatomy.stacks for block in stack.blocks):
        attentions = [a for a in (block.attention, block.cross) if a is not None]
        paths = {path for a in attentions for path in (a.q, a.k, a.v, a.o)} | {*block.ffn.inputs, block.ffn.output}
        matrices = sum(_product(path, model.get_submodule(path)) for path in paths)
        scores = sum(2 * a.heads * a.head_size * tokens for a in attentions)  # per token: q k^T, then times v
        total += block.repeats * tokens * (matrices + scores)
    pooled = anatomy.entry.pooled and "ForSequenceClassification" in type(model).__name__
    for path, module in anatomy.linears("head"):
        one = pooled or not POOLED.isdisjoint(path.split("."))
        total += (1 if one else tokens) * _product(path, module)
    return total + tokens * sum(_product(*pair) for pair in anatomy.linears("embeddings"))


def _product(path: str, module: nn.Module) -> int:
    """Multiply-accumulates of one token through a layer; a row that is looked up costs none."""
    total = 0
    for _, layer in layers.leaves(path, module):
        if not isinstance(layer, nn.Embedding) and getattr(layer, "role", "linear") == "linear":
            rows, columns = size(layer)
            total += rows * columns
    return total
