"""Check a folder with an ordinary checkpoint before anything in it is opened.

No paper: a refusal of what could run code or can't be used.
"""

from __future__ import annotations

from pathlib import Path

from laconic import notation
from laconic.artifact.manifest import plain_name
from laconic.errors import ArtifactError

PICKLES = frozenset({".bin", ".pt", ".pkl", ".pth", ".ckpt", ".pickle"})
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "source.spm")
SHARDS = "model.safetensors.index.json"
READ = (  # files of an ordinary checkpoint that are read beside its weights
    "config.json", "generation_config.json", "laconic.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", SHARDS,
)  # fmt: skip
WITHOUT = (  # and where there is no tokenizer.json
    "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
    "source.spm", "target.spm",
)  # fmt: skip


def check_model_folder(folder: Path | str) -> None:
    """Raise ArtifactError unless the folder is a checkpoint with safetensors weights, a config and a tokenizer."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: there is no such folder; name a folder with a model")
    refuse_pickles(folder)
    if not (folder / "config.json").is_file():
        raise ArtifactError(f"{folder}: there is no config.json; name a folder with a model")
    for weights in weight_files(folder):
        if not weights.is_file():
            raise ArtifactError(
                f"{weights}: missing; weights are read from safetensors, as save_pretrained writes them"
            )
    if not any((folder / name).is_file() for name in TOKENIZERS):
        known = ", ".join(TOKENIZERS)
        raise ArtifactError(f"{folder}: there is no tokenizer ({known}); tokenizer.save_pretrained writes one")


def refuse_pickles(folder: Path) -> None:
    """Raise ArtifactError for the first file that could hold a pickle; below the folder nothing is read."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICKLES and path.is_file():
            raise ArtifactError(f"{path}: a pickle can run code, so it is never read; delete it and keep safetensors")


def weight_files(folder: Path) -> list[Path]:
    """The weight files, by the index where the model is in shards."""
    index = folder / SHARDS
    if not index.is_file():
        return [folder / "model.safetensors"]
    try:
        names = sorted(set(notation.read(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ArtifactError(f"{index}: does not read ({error}); copy the model again") from error
    return [folder / plain_name(str(name), index) for name in names]


def read_files(folder: Path, *, spare: bool = False) -> list[Path]:
    """Files of an ordinary checkpoint that are read when it is opened; with `spare`, also those that could be.

    Vocabularies are read in place of a tokenizer.json only.
    """
    named = (*READ, *WITHOUT) if spare or not (folder / "tokenizer.json").is_file() else READ
    return [file for file in (*(folder / name for name in named), *weight_files(folder)) if file.is_file()]
