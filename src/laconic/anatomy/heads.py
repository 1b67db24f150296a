"""Remove attention heads: rows of q, k and v, columns of o.

Michel et al. 2019, arXiv:1905.10650.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from laconic.anatomy.cut import Side, keep, outs
from laconic.anatomy.neurons import rest
from laconic.anatomy.parts import Attention
from laconic.errors import AnatomyError

COUNTS = ("num_attention_heads", "num_heads", "n_heads")  # names an attention gives its number of query heads
KV_COUNT = "num_key_value_heads"
WIDTHS = ("all_head_size", "inner_dim", "split_size")  # and names for heads x head size
RELATIVE = "relative_attention_bias"  # T5's table, (buckets, heads)


def remove(model: nn.Module, attention: Attention, heads: Sequence[int]) -> None:
    """Remove these query heads, in place; heads that share a key and a value go together.

    Raises AnatomyError for a head that isn't there, a part of such a group, or all heads.
    """
    kept = rest(attention.heads, heads, "heads", attention.path)
    each = attention.heads // attention.kv_heads
    groups = sorted({h // each for h in kept})
    if len(kept) != len(groups) * each:
        raise AnatomyError(
            f"{attention.path}: {each} query heads share a key and a value; remove heads {each} by {each}, "
            f"such as {list(range(each))}, and not {sorted(heads)}"
        )
    q, k, v = attention.rows("q", kept), attention.rows("k", groups), attention.rows("v", groups)
    keep(model, [Side(attention.o, "weight", 1)], attention.columns(kept))
    if attention.fused:
        keep(model, outs(model, attention.q), sorted(q + k + v))
    else:
        for path, rows in ((attention.q, q), (attention.k, k), (attention.v, v)):
            keep(model, outs(model, path), rows)
    if hasattr(model.get_submodule(attention.path), RELATIVE):
        keep(model, [Side(f"{attention.path}.{RELATIVE}", "weight", 1)], kept)
    sizes = {
        **dict.fromkeys(COUNTS, len(kept)),
        **dict.fromkeys(WIDTHS, len(kept) * attention.head_size),
        KV_COUNT: len(groups),
    }
    module = model.get_submodule(attention.path)
    for name, value in sizes.items():
        if hasattr(module, name):
            setattr(module, name, value)
