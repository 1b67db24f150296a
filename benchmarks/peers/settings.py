"""What is measured: settings, and which tools have a figure at each.

No paper: a table. Every tool compresses the same linears (those of the blocks), to the same grid or sparsity.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BITS = {128: ("tinystories-656k",), 64: ("tinystories-656k",), "channel": ("tinystories-656k", "stories260k")}
"""Group of a scale, and the models whose widths it divides, as most peers ask."""


@dataclass(frozen=True)
class Setting:
    """`options` are the same for every tool; `tools` says which methods each has."""

    name: str
    family: str
    options: dict[str, Any]
    models: tuple[str, ...]
    tools: dict[str, tuple[str, ...]]
    inputs: str = "text"  # or "random": no text is read, nothing is evaluated
    samples: dict[str, int] = field(default_factory=lambda: {"count": 64, "length": 512})


def quantized(bits: int, group: int | str, symmetric: bool) -> Setting:
    """Weights alone, on a grid."""
    tools = {
        "laconic": ("rtn", "gptq", *(() if bits == 8 else ("awq", "autoround")), *(() if symmetric else ("hqq",))),
        "llmcompressor": ("rtn", "gptq", *(() if bits == 8 else ("awq",))),
        "gptqmodel": ("gptq",),
        "hqq": () if symmetric else ("hqq",),
        "autoround": () if bits == 8 else ("autoround",),
        "torchao": ("rtn",),
        "nncf": {8: ("rtn",), 4: ("rtn", "awq")}.get(bits, ()),
    }
    kind = "symmetric" if symmetric else "asymmetric"
    wide = "per channel" if group == "channel" else f"group {group}"
    options = {"bits": bits, "group": group, "symmetric": symmetric}
    return Setting(f"{bits} bits, {wide}, {kind}", "bits", options, BITS[group], tools)


def pruned(scope: str | None) -> Setting:
    """Half of the weights set to zero, by a pattern or as each method has it."""
    names = ("sparsegpt", "wanda")
    options = {"sparsity": 0.5, **({"scope": scope} if scope else {})}
    tools = {"laconic": names, "llmcompressor": names}
    return Setting(f"{scope or '50%'} sparse", "sparse", options, ("tinystories-656k", "stories260k"), tools)


SETTINGS: tuple[Setting, ...] = (
    *(quantized(4, group, symmetric) for group in (128, 64, "channel") for symmetric in (True, False)),
    pruned(None),
    pruned("2:4"),
    *(quantized(3, group, symmetric) for group in (128, 64, "channel") for symmetric in (True, False)),
    *(quantized(2, group, symmetric) for group in (64, "channel") for symmetric in (True, False)),
    *(quantized(8, "channel", symmetric) for symmetric in (True, False)),
    Setting(
        "W8A8, per channel", "activations", {"bits": 8, "group": "channel", "symmetric": True, "activations": 8},
        ("tinystories-656k", "stories260k"), {"laconic": ("smoothquant",), "llmcompressor": ("smoothquant",)},
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
FAMILIES = tuple(dict.fromkeys(setting.family for setting in SETTINGS))
