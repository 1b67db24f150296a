"""A planted allocation is found, the caller's own memory is not."""

import sys
from pathlib import Path

import pytest

from laconic.errors import LaconicError
from laconic.measures import memory


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_a_planted_allocation_is_found_and_the_callers_memory_is_not():
    ballast = bytearray(300 * 2**20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    got = memory.take("hungry:eat", 64, "w" * 300_000)  # longer than an argument of a command may be
    assert 60 * 2**20 < got.peak_bytes - got.imported_bytes < 80 * 2**20
    assert got.imported_bytes > 5 * 2**20
    assert got.peak_bytes < memory.peak_bytes()
    assert len(ballast) > 0


def test_a_failure_there_is_one_line_here():
    with pytest.raises(LaconicError, match="status 1: ValueError: the planted failure"):
        memory.take("hungry:fail")


def test_a_job_that_hangs_is_ended():
    with pytest.raises(LaconicError, match="no answer after 1 seconds"):
        memory.take("hungry:sleep", seconds=1)


def test_without_proc_the_system_call_answers(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert memory.peak_bytes() > 10 * 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="VmHWM is the Linux kernel's")
def test_both_ways_to_ask_agree(monkeypatch, tmp_path):
    kernel = memory.peak_bytes()
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert memory.peak_bytes() >= 0.9 * kernel
