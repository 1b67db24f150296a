"""Which versions of packages and which processor are at work, what it can, its memory, and where models are worked on.

No paper: a record of what results depend on, mallopt(3) and madvise(2).
"""

import ctypes
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import nn

PROCESSOR = torch.device("cpu")
AS_MUCH = 2  # times its bytes are free where a model is worked on: for inputs, sums over them and gradients
MAPPED = -3  # M_MMAP_THRESHOLD of glibc's mallopt(3)
LARGE, LARGEST = 2**20, 2**25  # bytes; the second is where glibc's own threshold ends up
PAGEOUT = 21  # MADV_PAGEOUT of madvise(2): nothing is lost, as who reads such a page again gets it from its file
MAPS = Path("/proc/self/maps")
CONTAINER = Path("/sys/fs/cgroup/memory.max")
_returning: list[None] = []  # as many as there are uses of `returning_memory` that last


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed version of each package, or that there is none."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def processor() -> str:
    """The processor's name."""
    cpu = Path("/proc/cpuinfo")
    names = [line for line in cpu.read_text().splitlines() if "model name" in line] if cpu.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


def memory() -> int | None:
    """Bytes of memory that there are: the machine's, or what its container may take; None where it cannot be known."""
    known = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in known or "SC_PAGE_SIZE" not in known:
        return None
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    allowed = CONTAINER.read_text().strip() if CONTAINER.is_file() else "max"
    return min(there, int(allowed)) if allowed.isdecimal() else there


@cache
def saturates() -> bool:
    """Whether sums of two products of 8-bit numbers saturate at 16 bits: on x86, unless it is known to have VNNI."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i686"):
        return False
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text().split()) if cpu.exists() else set()
    return not flags & {"avx512_vnni", "avx_vnni"}


@contextmanager
def returning_memory() -> Iterator[None]:
    """While it lasts, a large tensor that is let go of goes back to the system, where glibc hands out memory.

    By itself glibc learns to keep what is freed, and long-lived tensors among short-lived ones then leave holes that
    add up to as much again. It costs the system's clearing of pages, which only pays where memory is what is short.
    Afterwards glibc keeps what is below 32 MiB, the most that it learns by itself. Uses may overlap.
    """
    options = getattr(ctypes.CDLL(None), "mallopt", None) if platform.system() == "Linux" else None
    if options is None:
        yield
        return
    _returning.append(None)
    options(MAPPED, LARGE)
    try:
        yield
    finally:
        _returning.pop()
        if not _returning:
            options(MAPPED, LARGEST)


def let_go(tensor: torch.Tensor) -> None:
    """Give memory back that a tensor takes as part of a mapped file, on Linux; what it holds does not change.

    A file of weights is mapped whole, and each page that was read counts until the last of its tensors is gone.
    """
    if tensor.device != PROCESSOR or not MAPS.is_file():
        return
    page = os.sysconf("SC_PAGE_SIZE")
    first, end = -(-tensor.data_ptr() // page) * page, (tensor.data_ptr() + tensor.nbytes) // page * page
    if first < end and _of_a_file(first):
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), PAGEOUT)


def _of_a_file(address: int) -> bool:
    """Whether an address of this process's memory is mapped from a file."""
    for line in MAPS.read_text().splitlines():
        span, *rest = line.split(maxsplit=5)
        first, end = (int(number, 16) for number in span.split("-"))
        if first <= address < end:
            return len(rest) == 5 and rest[-1].startswith("/")
    return False


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of `seed`, on every device; afterwards come those that would have come without."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def device() -> torch.device:
    """Where models learn and are compressed: a GPU where there is one."""
    return torch.device("cuda") if torch.cuda.is_available() else PROCESSOR


def free(where: torch.device) -> float:
    """Bytes that are free on a GPU; as many as are wanted on the processor, which holds the model already."""
    if where.type != "cuda":
        return float("inf")
    kept = torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)  # by PyTorch, of what was used before
    return float(torch.cuda.mem_get_info(where)[0] + kept)


@contextmanager
def on_device(models: Sequence[nn.Module], log: Callable[[str], None]) -> Iterator[None]:
    """Models are on `device`, if it has room for them, and afterwards on the processor, from where they are saved."""
    where, size = device(), sum(t.nbytes for model in models for t in (*model.parameters(), *model.buffers()))
    if AS_MUCH * size > free(where):
        log(
            f"  {where} has no room for {AS_MUCH} times the {size:,} bytes that are worked on; all but training is here"
        )
        where = PROCESSOR
    try:
        for model in models:
            model.to(where)
        yield
    finally:
        for model in models:
            model.to(PROCESSOR)
