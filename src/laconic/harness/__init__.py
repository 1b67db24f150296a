"""An artifact or run folder under lm-evaluation-harness, whose own command runs here and knows `--model laconic`.

Gao et al. 2021, doi:10.5281/zenodo.5371628. `python -m laconic.harness run --model laconic --model_args path=out/`.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import torch

from laconic import trained
from laconic.errors import EngineError, LaconicError

try:
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM
except ImportError as error:
    raise EngineError(f"lm-eval cannot be imported ({error}); pip install 'laconic[harness]'") from error


@register_model("laconic")
class Harness(HFLM):  # type: ignore[misc]  # lm-eval has no types
    """The harness' model of Hugging Face, around one that is opened here; `path` is the folder.

    Other arguments are the harness' own (`batch_size`, `max_length`, ...); those that say how its model is loaded have
    no place here.
    """

    def __init__(self, path: str, device: str | None = None, **options: Any) -> None:
        """Raise EngineError where the model neither goes on with a text nor answers one."""
        opened = trained.read(path)
        if not opened.model.can_generate():
            raise EngineError(
                f"{path} holds a model of {opened.task.name}, which writes no text; give a language model"
            )
        backend = "seq2seq" if opened.model.config.is_encoder_decoder else "causal"
        if device and (torch.cuda.is_available() or not device.startswith("cuda")):  # it asks for cuda of itself
            cast(Any, opened.model).to(device)
        config = opened.model.config
        tied, config.tie_word_embeddings = config.tie_word_embeddings, False  # it would tie what our layers hold
        try:
            super().__init__(pretrained=opened.model, tokenizer=opened.tokenizer, backend=backend, **options)
        finally:
            config.tie_word_embeddings = tied


def main() -> None:
    """The harness' command line; what we know how to explain is one line."""
    try:
        cli_evaluate()
    except LaconicError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
