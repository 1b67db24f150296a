"""Counts of a tiny BERT against what its dimensions say, and bytes against files written by hand."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification

from laconic import artifact, layers
from laconic.errors import ArtifactError
from laconic.layers.quantized import Quantized
from laconic.layers.sparse import Sparse
from laconic.measures import size
from tests.workshop import work

HIDDEN, FFN, WORDS, PLACES, BLOCKS, LABELS = 8, 12, 30, 16, 2, 3
ATTENTION = 4 * (HIDDEN * HIDDEN + HIDDEN)
FEED = 2 * HIDDEN * FFN + FFN + HIDDEN
UP = "bert.encoder.layer.0.intermediate.dense"


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS, hidden_size=HIDDEN, num_hidden_layers=BLOCKS, num_attention_heads=2, intermediate_size=FFN,
        max_position_embeddings=PLACES, type_vocab_size=2, num_labels=LABELS, pad_token_id=0,
    )  # fmt: skip
    made = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.uniform_(0.1, 0.9)
    return made


def part(rows, name, field="parameters"):
    return sum(getattr(row, field) for row in rows if row.part == name)


def test_parameters_stand_where_the_dimensions_say(model):
    rows = size.layers(model)
    assert part(rows, "embeddings") == (WORDS + PLACES + 2) * HIDDEN
    assert part(rows, "attention") == BLOCKS * ATTENTION
    assert part(rows, "ffn") == BLOCKS * FEED
    assert part(rows, "other") + part(rows, "head") == (2 * BLOCKS + 1) * 2 * HIDDEN + HIDDEN * (
        HIDDEN + 1
    ) + LABELS * (HIDDEN + 1)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())
    assert sum(row.held_bits for row in rows) == 32 * sum(p.numel() for p in model.parameters())
    assert part(rows, "ffn", "macs") == BLOCKS * 2 * HIDDEN * FFN
    assert part(rows, "embeddings", "macs") == part(rows, "other", "macs") == 0
    assert all(row.stored_bytes is None for row in rows)


def test_zeros_and_replaced_layers_are_counted(model):
    plain = {row.path: row for row in size.layers(model)}
    dense = model.get_submodule(UP)
    mask = torch.ones(FFN, HIDDEN, dtype=torch.bool)
    mask[:, :3] = False
    layers.swap(model, UP, Sparse.of(dense, mask))
    query = "bert.encoder.layer.1.attention.self.query"
    layers.swap(model, query, Quantized.of(model.get_submodule(query), bits=4))
    layers.freeze(model)
    rows = {row.path: row for row in size.layers(model)}
    assert rows.keys() == plain.keys()
    assert (rows[UP].kind, rows[query].kind, rows["classifier"].kind) == ("sparse", "quantized", "stock")
    assert rows[UP].parameters == plain[UP].parameters == FFN * HIDDEN + FFN
    assert rows[UP].nonzero == plain[UP].nonzero - 3 * FFN
    assert rows[query].parameters == plain[query].parameters
    assert rows[query].held_bits < plain[query].held_bits
    assert rows[UP].macs == FFN * HIDDEN


def test_stored_bytes_find_their_layer_and_strangers_get_a_row(model):
    stored = {f"{UP}.codes": 70, f"{UP}.bias": 5, "classifier.weight": 9, "extra": 4}
    rows = {row.path: row for row in size.layers(model, stored)}
    assert rows[UP].stored_bytes == 75
    assert rows["classifier"].stored_bytes == 9
    assert (rows["extra"].part, rows["extra"].stored_bytes) == ("other", 4)
    assert sum(row.stored_bytes for row in rows.values()) == 88


def test_a_folder_is_weighed_with_the_files_that_are_read(model, tmp_path):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "tokenizer.json").write_bytes(b"x" * 100)
    (tmp_path / "config.json").write_bytes(b"x" * 23)
    strangers = ("onnx/model.onnx", "tf_model.h5", "vocab.txt")
    for name in strangers:
        (tmp_path / name).write_bytes(b"x" * 5000)
    save_file({name: p.detach().clone() for name, p in model.named_parameters()}, tmp_path / "model.safetensors")
    got = size.take(tmp_path, model)
    total = sum(p.numel() for p in model.parameters())
    weights = (tmp_path / "model.safetensors").stat().st_size
    assert got.bytes == weights + 123
    assert size.strangers(tmp_path) == [tmp_path / name for name in strangers]
    assert (got.parameters, got.nonzero) == (total, total)
    assert got.bits_per_parameter == pytest.approx(8 * got.bytes / total)
    assert sum(got.parts.values()) == 4 * total
    assert got.parts["attention"] == 4 * BLOCKS * ATTENTION
    assert got.macs > got.tokens * BLOCKS * (4 * HIDDEN**2 + 2 * HIDDEN * FFN)


def test_of_weights_in_shards_those_of_the_index_are_counted(model, tmp_path):
    names = [name for name, _ in model.named_parameters()]
    parts = {f"model-{i}.safetensors": names[i::2] for i in range(2)}
    for file, held in {**parts, "model-9.safetensors": names, "model.safetensors": names}.items():
        save_file({name: model.get_parameter(name).detach().clone() for name in held}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, held in parts.items() for name in held}}))
    got = size.take(tmp_path, model)
    assert got.bytes == sum((tmp_path / file).stat().st_size for file in (*parts, index.name))
    assert sum(got.parts.values()) == 4 * sum(p.numel() for p in model.parameters())


def test_a_report_beside_an_artifact_does_not_count(tmp_path):
    given = work("bert", tmp_path / "work")
    about = {"task": {}, "recipe": None, "provenance": {}, "measures": {}}
    artifact.save(tmp_path / "a", given.model, given.tokenizer, **about, base_config=given.model.config.to_dict())
    plain = sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
    (tmp_path / "a" / "report.html").write_bytes(b"x" * 1000)
    assert size.folder_bytes(tmp_path / "a") == plain


def test_a_damaged_checkpoint_and_a_missing_folder_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="is not a folder"):
        size.folder_bytes(tmp_path / "none")
    (tmp_path / "model.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}")
    with pytest.raises(ArtifactError, match="cut short"):
        size.checkpoint(tmp_path)
    assert json.dumps(size.checkpoint(tmp_path / "sub")) == "{}"
