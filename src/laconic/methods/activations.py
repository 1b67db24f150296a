"""Round what enters the linears of blocks to 8 bits or fewer, so that they compute on whole numbers.

Xiao et al. 2022, arXiv:2211.10438 (SmoothQuant), table 2: each token by its own range as it comes (O1), or all by one
that calibration finds (O3). Jacob et al. 2018, arXiv:1712.05877. In PyTorch the products are of floats that hold whole
numbers: the loss is that of int8, the time is not.
Differs from the paper: there is no range of a whole tensor as it comes (O2), with which what a text gets would depend
on the texts beside it in a batch.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from laconic import calibration, layers, options, scoring
from laconic.contracts import IN_BLOCKS, PROPERTIES, Sketch, Work
from laconic.errors import RecipeError
from laconic.layers.inputs import BITS, Inputs


@dataclass(frozen=True)
class Activations:
    """Each token's inputs have their own range, found as they come; with `samples`, all share one, found on so many."""

    input_bits: int = 8
    where: str = "linears"
    samples: int | None = None
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit_inputs"})
    keeps: ClassVar[frozenset[str]] = PROPERTIES - {"tied"}

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, IN_BLOCKS)
        calibration.check(1 if self.samples is None else self.samples, self.length)
        if self.samples is None:
            options.unread(self, "samples", "length")
        low, high = BITS
        bits = self.input_bits
        if not isinstance(bits, int) or isinstance(bits, bool) or not low <= bits <= high:
            raise RecipeError(f"input_bits is {bits!r}; inputs have {low} to {high} bits")

    def forecast(self, sketch: Sketch) -> Sketch:
        """Sizes stay."""
        return sketch

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Find all ranges in one pass, where they are to be found, then stand before each linear."""
        pairs = [p for p in layers.distinct(work.anatomy.linears(self.where)) if not _rounded(work, p[0])]
        paths = [path for path, _ in pairs]
        peaks = scoring.peaks(work, paths, self.samples, self.length) if self.samples else {}
        for path, module in pairs:
            if self.samples and path not in peaks:
                work.log(f"no training example reaches {path}: its inputs stay floats")
                continue
            highest = float(peaks[path].max()) if path in peaks else None
            layers.swap(work.model, path, Inputs.of(module, self.input_bits, highest))


def _rounded(work: Work, path: str) -> bool:
    """Whether the inputs of the layer at a path are rounded already."""
    return isinstance(work.model.get_submodule(path.rpartition(".")[0]), Inputs)
