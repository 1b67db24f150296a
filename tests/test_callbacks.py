"""Checkpoints are whole or not there."""

from laconic.callbacks import last_checkpoint


def test_a_half_written_checkpoint_is_not_used(tmp_path):
    (tmp_path / "checkpoint-3").mkdir(parents=True)
    (tmp_path / "checkpoint-3" / "model.safetensors").write_bytes(b"half")
    assert last_checkpoint(tmp_path) is None
    assert not (tmp_path / "checkpoint-3").exists()
