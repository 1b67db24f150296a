"""What a post-norm encoder has beside its matrices: norms, activation, embedding tables and the steps of its head.

Vaswani et al. 2017, arXiv:1706.03762 (post-norm); names taken from transformers 5's modeling files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from transformers import PreTrainedModel

from laconic.anatomy import positions, vocabulary
from laconic.anatomy.families import FAMILIES
from laconic.anatomy.read import at, base_path, stacks
from laconic.errors import AnatomyError


@dataclass(frozen=True)
class Step:
    """One linear of a head by its full path, and the activation after it, None for none."""

    path: str
    activation: str | None


@dataclass(frozen=True)
class Names:
    """Where one family keeps them: norms below a block, the activation's config field, the head's linears."""

    attention_norm: str
    ffn_norm: str
    activation: str
    sequence: tuple[Step, ...]  # of ...ForSequenceClassification, which reads the first token


@dataclass(frozen=True)
class PostNorm:
    """Full paths, in the order in which they run."""

    words: str
    positions: str
    types: str | None
    offset: int  # row of the first token in the position table
    norm: str  # after the sum of the embeddings
    projection: str | None  # from the embeddings' width to the hidden size
    norms: tuple[tuple[str, str], ...]  # of each block: after attention, after feed-forward
    activation: str
    head: tuple[Step, ...]
    pooled: bool  # the head reads the first token only


_BERT = Names(
    "attention.output.LayerNorm",
    "output.LayerNorm",
    "hidden_act",
    (Step("bert.pooler.dense", "tanh"), Step("classifier", None)),
)

NAMES: dict[str, Names] = {
    "bert": _BERT,
    **dict.fromkeys(
        ("roberta", "xlm-roberta", "camembert"),
        replace(_BERT, sequence=(Step("classifier.dense", "tanh"), Step("classifier.out_proj", None))),
    ),
    "electra": replace(_BERT, sequence=(Step("classifier.dense", "gelu"), Step("classifier.out_proj", None))),
    "distilbert": Names(
        "sa_layer_norm",
        "output_layer_norm",
        "activation",
        (Step("pre_classifier", "relu"), Step("classifier", None)),
    ),
    "albert": Names(
        "attention.LayerNorm",
        "full_layer_layer_norm",
        "hidden_act",
        (Step("albert.pooler", "tanh"), Step("classifier", None)),
    ),
}


def postnorm(model: PreTrainedModel) -> PostNorm:
    """Read a post-norm encoder with a head; raises AnatomyError for any other model or head."""
    family = str(getattr(model.config, "model_type", ""))
    if family not in NAMES or getattr(model.config, "is_decoder", False):
        raise AnatomyError(f"{type(model).__name__} is not a post-norm encoder (known: {', '.join(NAMES)})")
    names, entry, base = NAMES[family], FAMILIES[family], base_path(model)
    head, pooled = _head(model, names)
    blocks = [b for stack in stacks(model, entry, base) for b in stack.blocks]
    projected = entry.projection is not None and at(model, base + entry.projection) is not None
    typed = entry.types is not None and at(model, base + entry.types) is not None
    return PostNorm(
        words=base + entry.words[0],
        positions=base + entry.positions[0],
        types=f"{base}{entry.types}" if typed else None,
        offset=positions.before(entry, vocabulary.padding(model, base + entry.words[0])),
        norm=f"{base}embeddings.LayerNorm",
        projection=f"{base}{entry.projection}" if projected else None,
        norms=tuple((f"{b.path}.{names.attention_norm}", f"{b.path}.{names.ffn_norm}") for b in blocks),
        activation=str(getattr(model.config, names.activation)),
        head=head,
        pooled=pooled,
    )


def _head(model: PreTrainedModel, names: Names) -> tuple[tuple[Step, ...], bool]:
    kind = type(model).__name__
    if kind.endswith("ForTokenClassification"):
        return (Step("classifier", None),), False
    if kind.endswith("ForQuestionAnswering"):
        return (Step("qa_outputs", None),), False
    if kind.endswith("ForSequenceClassification"):
        return names.sequence, True
    raise AnatomyError(
        f"{kind} has a head that is not named here; token and sequence classification and question answering are"
    )
