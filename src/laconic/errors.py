"""Every error Laconic raises on purpose; foreign errors pass through.

No paper: a tree of exceptions.

    LaconicError
    ├── DataError       a record, a file or a split is not what the task needs
    ├── RecipeError     a recipe that cannot work, found before a weight is loaded
    ├── AnatomyError    a model whose parts are not known, or a cut that is impossible
    ├── EffectError     a step that did not do what it says it does
    ├── ArtifactError   a folder that is damaged, unsafe or not ours
    └── EngineError     an engine that is missing or cannot run this model
"""

import errno

MENDS = {  # errno -> what to do: the state of the machine, which is not a fault of ours and which the user can change
    errno.ENOSPC: "make room or choose another place",
    errno.EDQUOT: "make room or choose another place",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f) or choose another place",
    errno.EACCES: "ask for the right to use it or choose another place",
    errno.EPERM: "ask for the right to use it or choose another place",
    errno.EROFS: "choose a place on a disk that can be written to",
    errno.ENOTDIR: "a file stands where a folder is needed, so choose another place",
    errno.EISDIR: "a folder stands where a file is needed, so choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class LaconicError(Exception):
    """The cause and the mend in one sentence; the command line prints it as it is."""


class DataError(LaconicError):
    """A record, a file or a split is not what the task needs."""


class RecipeError(LaconicError):
    """A recipe that cannot work, found before a weight is loaded."""


class AnatomyError(LaconicError):
    """A model whose parts are not known, or a cut that is impossible."""


class EffectError(LaconicError):
    """A step that did not do what it says it does."""


class ArtifactError(LaconicError):
    """A folder that is damaged, unsafe or not ours."""


class EngineError(LaconicError):
    """An engine that is missing or cannot run this model."""
