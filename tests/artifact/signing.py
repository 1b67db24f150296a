"""A manifest changed by someone who knows how it is closed."""

import hashlib
import json
from pathlib import Path

from laconic.artifact import manifest as manifests


def rewritten(folder: Path, **changes: object) -> None:
    """Change the manifest and make its own hash good again, as an attacker would."""
    text = json.loads((folder / manifests.MANIFEST).read_text()) | changes
    text.pop("sha256")
    raw = json.dumps(text, separators=(",", ":"), ensure_ascii=False).encode()
    closing = b',"sha256":"' + hashlib.sha256(raw).hexdigest().encode() + b'"}'
    (folder / manifests.MANIFEST).write_bytes(raw[:-1] + closing)
