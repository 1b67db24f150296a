"""What is measured: settings, and which tools have a figure at each.

No paper: a table. Every tool compresses the same linears (those of the blocks), to the same grid or sparsity.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.pretrain import NAME as PRETRAINED

WIDE, SMALL = ("tinystories-656k", PRETRAINED), "stories260k"
"""Groups of 64 and 128 divide the widths of the first (128 and 384, 256 and 768), as most peers ask, but not of the
second (172)."""
ENCODERS = {"minilm-conll2003": "conll2003/teacher-0"} | {
    f"minilm-{name}": f"{name}/original" for name in ("sst2", "banking77", "clinc150")
}
"""MiniLM tuned on a data set, and its run folder below LACONIC_RUNS."""
MADE = ENCODERS | {PRETRAINED: f"{PRETRAINED}/model"}
"""What other benchmarks train, and its folder there."""


@dataclass(frozen=True)
class Setting:
    """`options` are the same for every tool; `tools` says which methods each has."""

    name: str
    family: str
    options: dict[str, Any]
    models: tuple[str, ...]
    tools: dict[str, tuple[str, ...]]
    inputs: str = "text"  # or "labelled", or "random": no text is read, nothing is evaluated
    grid: str = ""  # "symmetric" or "asymmetric" where numbers are rounded: both count for the same setting
    samples: dict[str, int] = field(default_factory=lambda: {"count": 64, "length": 512})


def quantized(bits: int, group: int | str, symmetric: bool) -> Setting:
    """Weights alone, on a grid with or without a zero point."""
    coarse = bits < 8
    learned = ("autoround",) if coarse else ()
    tools = {
        "laconic": (
            "rtn",
            "gptq",
            "gptq-best",
            "gptq-propagate",
            *(("awq",) if coarse else ()),
            *learned,
            *(() if symmetric else ("hqq",)),
        ),
        "llmcompressor": ("rtn", "gptq", *(("awq",) if coarse and not symmetric else ())),
        "gptqmodel": ("gptq", *(("gptaq",) if coarse else ())),
        "hqq": () if symmetric else ("hqq",),
        "autoround": learned,
        "torchao": ("rtn",),
        "onnxruntime": ("rtn",) if bits == 8 and group == "channel" else (),
        "nncf": {8: ("rtn",), 4: ("rtn", "awq")}.get(bits, ()),
    }
    kind = "symmetric" if symmetric else "asymmetric"
    wide = "per channel" if group == "channel" else f"group {group}"
    options = {"bits": bits, "group": group, "symmetric": symmetric}
    models = WIDE if isinstance(group, int) else (SMALL,) if coarse else (*WIDE, SMALL)
    return Setting(f"{bits} bits, {wide}", "bits", options, models, tools, grid=kind)


def pruned(scope: str | None) -> Setting:
    """Half of the weights set to zero, by a pattern or as each method has it."""
    names = ("sparsegpt", "wanda")
    options = {"sparsity": 0.5, **({"scope": scope} if scope else {})}
    tools = {"laconic": ("sparsegpt-propagate", *names), "llmcompressor": names}
    return Setting(f"{scope or '50%'} sparse", "sparse", options, (*WIDE, SMALL), tools)


def narrowed(keep: float) -> Setting:
    """Feed-forward neurons removed."""
    tools = {"laconic": ("taylor", "activation"), "torchpruning": ("taylor", "magnitude")}
    return Setting(f"{1 - keep:.0%} of neurons", "structured", {"keep": keep}, (*WIDE, SMALL), tools)


def encoded(setting: Setting) -> Setting:
    """The setting on encoders, without what is LEFT_OUT, and with their texts as they are."""
    tools = {t: tuple(name for name in names if (t, name) not in LEFT_OUT) for t, names in setting.tools.items()}
    return replace(setting, models=tuple(ENCODERS), tools=tools, inputs="labelled", samples={"count": 512})


LEFT_OUT = {  # (tool, method) -> why it is not run on encoders
    ("llmcompressor", "awq"): "finds no layers of BERT that it knows, and scales nothing",
    ("llmcompressor", "smoothquant"): "finds no layers of BERT that it knows, and smooths nothing",
    ("gptqmodel", "gptq"): "knows no BERT",
    ("gptqmodel", "gptaq"): "knows no BERT",
    ("autoround", "autoround"): "is for models that generate",
    ("laconic", "autoround"): "takes minutes a row, and there is no peer beside it",
}
ON_DECODERS: tuple[Setting, ...] = (
    *(quantized(4, group, symmetric) for group in (128, 64, "channel") for symmetric in (True, False)),
    pruned(None),
    pruned("2:4"),
    narrowed(0.8),
    narrowed(0.6),
    *(quantized(3, group, symmetric) for group in (128, 64, "channel") for symmetric in (True, False)),
    *(quantized(2, group, symmetric) for group in (64, "channel") for symmetric in (True, False)),
    *(quantized(8, "channel", symmetric) for symmetric in (True, False)),
    Setting(
        "W8A8, per channel", "activations", {"bits": 8, "group": "channel", "symmetric": True, "activations": 8},
        (*WIDE, SMALL), dict.fromkeys(("laconic", "llmcompressor"), ("smoothquant", "gptq")),
    ),
    *(
        Setting(
            f"timings, {name}", "timings", options, ("llama-125m",),
            {"laconic": (method,), "llmcompressor": (method,)}, "random",
        )
        for name, method, options in (
            ("4 bits, group 128", "gptq", {"bits": 4, "group": 128, "symmetric": True}),
            ("50% sparse", "sparsegpt", {"sparsity": 0.5}),
        )
    ),
)  # fmt: skip
SETTINGS = (*ON_DECODERS, *(encoded(s) for s in ON_DECODERS if s.inputs == "text"))
FAMILIES = tuple(dict.fromkeys(setting.family for setting in SETTINGS))
