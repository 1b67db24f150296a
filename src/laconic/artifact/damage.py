"""How damage found by a coder reaches the message that names file and tensor.

No paper: an exception. Coders see a plane of bytes and no names; `store`, which knows them, turns `DamageError` into an
ArtifactError with both.
"""

from laconic.errors import ArtifactError

AGAIN = "copy or make the artifact again"


class DamageError(ArtifactError):
    """A coded plane and its header disagree: the cause, in words without a place."""
