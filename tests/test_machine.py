"""What the machine is, and memory that goes back to it."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from laconic import machine
from tests.accelerator import accelerator

GROWS = """
import contextlib, sys, torch
from laconic import machine

def held():
    return next(int(l.split()[1]) // 1024 for l in open("/proc/self/status") if l.startswith("VmRSS:"))

torch.set_num_threads(1)
learnt = torch.ones(6_000_000)
del learnt  # from now on glibc by itself keeps what is freed below 24 MB
with machine.returning_memory() if sys.argv[1] == "returning" else contextlib.nullcontext():
    before, kept = held(), []
    for _ in range(10):
        large = [torch.ones(2_000_000) for _ in range(3)]  # 24 MB, and a little that stays behind it
        kept.append(torch.ones(2_000))
        large.append(torch.ones(3_000_000))
        kept.append(torch.ones(2_000))
    del large
    print(held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is handed out by another library")
def test_large_tensors_that_are_let_go_of_go_back():
    grown = {}
    for how in ("returning", "keeping"):
        done = subprocess.run([sys.executable, "-c", GROWS, how], capture_output=True, text=True, check=True)
        grown[how] = int(done.stdout)
    assert grown["returning"] < 4  # MB
    assert grown["keeping"] > 20


def test_elsewhere_nothing_is_asked_of_the_system(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda *_: pytest.fail("asked"))
    with machine.returning_memory():
        pass


def resident(path):
    """Kilobytes of a mapped file that count as this process's."""
    held, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            held += int(line.split()[1])
    return held


@pytest.mark.skipif(platform.system() != "Linux", reason="memory is handed back on Linux")
def test_what_was_read_of_a_mapped_file_is_handed_back_and_can_be_read_again(tmp_path):
    path = tmp_path / "weights.safetensors"
    first, second = torch.rand(1_000_000), torch.rand(1_000_000)
    save_file({"first": first, "second": second}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    held = load_file(path)
    assert torch.equal(held["first"], first)
    assert torch.equal(held["second"], second)
    if resident(path) < 7000:
        pytest.skip("safetensors does not map the file here")
    if subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True).stdout.strip() == "tmpfs":
        pytest.skip("a file that is in memory itself is not taken out of it")
    machine.let_go(held["first"])
    assert resident(path) < 5000  # of 8000
    assert torch.equal(held["first"], first)
    assert torch.equal(held["second"], second)


@pytest.mark.skipif(platform.system() != "Linux", reason="memory is handed back on Linux")
def test_nothing_is_handed_back_of_what_is_in_no_file_or_below_a_page(tmp_path, monkeypatch):
    save_file({"few": torch.rand(100)}, tmp_path / "few.safetensors")
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda *_: pytest.fail("asked"))
    machine.let_go(torch.rand(1_000_000))
    machine.let_go(load_file(tmp_path / "few.safetensors")["few"])


def test_versions_and_the_processor_are_named():
    assert machine.versions(["torch", "no-such-package"])["no-such-package"] == "not installed"
    assert machine.versions(["torch"])["torch"][0].isdigit()
    assert machine.processor()


@pytest.mark.parametrize(
    ("kind", "flags", "saturates"),
    [
        ("x86_64", "fpu avx2 fma", True),
        ("x86_64", "fpu avx2 avx512f avx512_vnni", False),
        ("AMD64", "avx2 avx_vnni", False),
        ("x86_64", None, True),
        ("aarch64", "asimddp", False),
    ],
)
def test_processors_without_vnni_saturate(kind, flags, saturates, tmp_path, monkeypatch):
    cpu = tmp_path / "cpuinfo"
    if flags is not None:
        cpu.write_text(f"flags\t\t: {flags}\n")
    monkeypatch.setattr(machine, "Path", lambda _: cpu)
    monkeypatch.setattr(platform, "machine", lambda: kind)
    assert machine.saturates.__wrapped__() is saturates


def test_a_seed_holds_as_long_as_it_is_asked_for():
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    with machine.seeded(5):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), wanted)
    with machine.seeded(5):
        assert torch.equal(torch.rand(3), first)


def test_memory_is_the_machines_or_its_containers(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CONTAINER", tmp_path / "memory.max")
    whole = machine.memory()
    assert whole is None or whole > 1 << 28
    for said, allowed in (("max\n", whole), ("1048576\n", whole and 1 << 20), (f"{1 << 62}\n", whole)):
        (tmp_path / "memory.max").write_text(said)
        assert machine.memory() == allowed
    monkeypatch.setattr(machine.os, "sysconf_names", {})
    assert machine.memory() is None


def test_models_go_to_a_device_with_room_and_come_back_whatever_happens(monkeypatch):
    models, said = [torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)], []
    size = 2 * 4 * (4 * 4 + 4)
    with accelerator() as device:
        monkeypatch.setattr(machine, "device", lambda: device)
        for room, where in ((2 * size, device), (2 * size - 1, machine.PROCESSOR)):
            monkeypatch.setattr(machine, "free", lambda _, room=room: room)
            places = set()

            def stopped(places=places):
                with machine.on_device(models, said.append):
                    places.update(p.device for model in models for p in model.parameters())
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                stopped()
            assert places == {where}
            assert {p.device for model in models for p in model.parameters()} == {machine.PROCESSOR}
    assert said == [f"  lazy:0 has no room for 2 times the {size} bytes that are worked on; all but training is here"]
