"""How damage found by a coder, or by others' code, reaches the message that names file and tensor.

No paper: exceptions. Coders see a plane of bytes and no names; `store`, which knows them, turns `DamageError` into an
ArtifactError with both. transformers and tokenizers check few of the files they read, and end in whatever comes of it.
"""

import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from laconic.errors import ArtifactError

AGAIN = "copy or make the artifact again"
CAUSE = 160  # characters of a foreign error that are passed on
FOREIGN = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError, ImportError,
    SafetensorError, StrictDataclassError,
)  # fmt: skip
"""What transformers raises on files that do not hold what they should."""


class DamageError(ArtifactError):
    """A coded plane and its header disagree: the cause, in words without a place."""


class Reading(AbstractContextManager["Reading"]):
    """Turns what others' code raises while it reads into an ArtifactError, which `says` words around the cause."""

    def __init__(self, says: Callable[[str], str]) -> None:
        self.says = says

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, FOREIGN) or kind is Exception:  # tokenizers raises Exception itself
            cause = textwrap.shorten(f"{type(error).__name__}: {error}", CAUSE, placeholder=" ...")
            raise ArtifactError(self.says(cause)) from error
