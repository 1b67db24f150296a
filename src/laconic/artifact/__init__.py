"""Save and open artifacts: folders that describe a result.

No paper: storage. A folder holds manifest.json, config.json, weights.safetensors and tokenizer.json.xz; the
coders are in `integers`, `masks`, `floats` and `planes`, each with its source.
"""

from laconic.artifact.folder import Opened, load, save, weigh
from laconic.artifact.manifest import MANIFEST, REPORTS, Manifest, is_artifact, is_damaged
from laconic.artifact.manifest import read as read_manifest
from laconic.artifact.original import check_model_folder, read_files, weight_files
from laconic.artifact.place import PARTIAL, check_target, flush, is_underfoot, settle, write_file

__all__ = [
    "MANIFEST",
    "PARTIAL",
    "REPORTS",
    "Manifest",
    "Opened",
    "check_model_folder",
    "check_target",
    "flush",
    "is_artifact",
    "is_damaged",
    "is_underfoot",
    "load",
    "read_files",
    "read_manifest",
    "save",
    "settle",
    "weigh",
    "weight_files",
    "write_file",
]
