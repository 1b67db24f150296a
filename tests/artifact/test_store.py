"""The container: every tensor comes back bit for bit, tied tensors once, damage is named."""

import hashlib
import json
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from laconic.artifact import floats, planes, store
from laconic.errors import ArtifactError


def bits(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor, whatever its dtype and strides."""
    return (
        tensor.detach()
        .resolve_conj()
        .clone(memory_format=torch.contiguous_format)
        .reshape(-1)
        .view(torch.uint8)
        .numpy()
        .tobytes()
    )


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal dtype, shape and bits, NaN payloads and signs of zero included."""
    return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)


@st.composite
def tensors(draw) -> torch.Tensor:
    """A tensor of any dtype and up to 4 dimensions from random bits, perhaps transposed, strided or expanded."""
    dtype = floats.DTYPES[draw(st.sampled_from(sorted(floats.DTYPES)))]
    shape = draw(st.lists(st.integers(0, 9), max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = int(np.prod(shape, dtype=int)) * dtype.itemsize
    top = 2 if dtype == torch.bool else draw(st.sampled_from([2, 17, 256]))
    raw = rng.integers(0, top, size=count, dtype=np.uint8)
    tensor = torch.frombuffer(bytearray(raw), dtype=dtype) if count else torch.empty(0, dtype=dtype)
    tensor = tensor.reshape(shape)
    match draw(st.sampled_from(["plain", "turned", "stepped", "expanded"])):
        case "turned" if tensor.dim() > 1:
            return tensor.transpose(0, -1)
        case "stepped" if tensor.dim() and tensor.shape[-1] > 1:
            return tensor[..., ::2]
        case "expanded" if not dtype.is_complex:
            return tensor.expand(3, *shape)
    return tensor


@settings(max_examples=150, deadline=None)
@given(st.lists(tensors(), max_size=4))
def test_any_tensors_come_back(drawn):
    held = {f"layer.{i}.weight": tensor for i, tensor in enumerate(drawn)}
    opened = store.decode(store.encode(held))
    assert set(opened) == set(held)
    assert all(same(opened[name], tensor) for name, tensor in held.items())


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([torch.float64, torch.float32]),
    st.lists(
        st.floats(width=16)
        | st.floats(width=32)
        | st.sampled_from([-0.0, 2.0**-24, 65504.0, 65536.0, 2.0**-149, 3e38]),
        max_size=40,
    ),
)
def test_floats_that_fit_narrower_types_come_back(dtype, values):
    tensor = torch.tensor(values, dtype=dtype)
    assert same(store.decode(store.encode({"a": tensor}))["a"], tensor)


def test_nan_payloads_and_signs_of_zero():
    words = torch.tensor([0x7FC00001, -0x3FFFFF, 0x7F800001, -(2**31), 0, 0x7F800000], dtype=torch.int32)
    tensor = words.view(torch.float32)
    assert floats.narrow(torch.tensor([float("nan")]))[0] == "float32"  # machines convert NaNs differently
    assert same(store.decode(store.encode({"a": tensor}))["a"], tensor)


@pytest.mark.parametrize("narrow", [torch.float16, torch.bfloat16, torch.float32])
def test_a_float_is_held_as_the_narrowest_that_has_its_values(narrow):
    scale = 2.0**-30 if narrow == torch.bfloat16 else 1.0  # below what float16 reaches
    values = (torch.randn(100, 100, generator=torch.Generator().manual_seed(0)) * scale).to(narrow)
    assert floats.narrow(values.double())[0] == str(narrow).removeprefix("torch.")
    one_off = values.double()
    one_off[50, 50] = 1 / 3
    assert floats.narrow(one_off)[0] == "float64"


@pytest.mark.parametrize(("dtype", "share"), [(torch.float16, 0.90), (torch.bfloat16, 0.73), (torch.float32, 0.86)])
def test_ordinary_weights_get_smaller(dtype, share):
    weights = (torch.randn(300, 300, generator=torch.Generator().manual_seed(0)) * 0.02).to(dtype)
    assert len(store.encode({"w": weights})) < weights.numel() * dtype.itemsize * share


def test_a_tensor_of_two_names_is_stored_once_and_comes_back_as_one():
    weights = torch.randn(200, 100)
    both = store.encode({"a": weights, "b": weights})
    assert len(both) < len(store.encode({"a": weights})) + 100
    opened = store.decode(both)
    assert opened["a"] is opened["b"]
    apart = store.decode(store.encode({"a": weights, "b": weights.clone()}))
    assert apart["a"] is not apart["b"]


def test_equal_tensors_are_stored_once_and_come_back_apart():
    weights = torch.randn(200, 100)
    held = {"a": weights, "b": weights.clone(), "c": weights.half().float(), "d": weights.reshape(100, 200).clone()}
    held["e"] = held["b"]
    container = store.encode(held)
    opened = store.decode(container)
    assert all(same(opened[name], tensor) for name, tensor in held.items())
    assert opened["a"] is not opened["b"]
    assert opened["e"] is opened["b"]
    assert store.index_of(container).copies == {"b": "a"}
    assert len(container) < len(store.encode({n: held[n] for n in "acd"})) + 150


def test_many_small_tensors_cost_little_beside_their_values():
    rng = torch.Generator().manual_seed(0)
    held = {f"encoder.layer.{i}.output.LayerNorm.bias": torch.randn(384, generator=rng) for i in range(60)}
    assert len(store.encode(held)) < 60 * 384 * 4


def test_weights_add_up():
    held = {"big": torch.randn(200, 100), **{f"{i}.bias": torch.randn(7 + i) for i in range(9)}, "none": torch.zeros(0)}
    container = store.encode(held)
    weighed = store.weigh(store.index_of(container))
    assert {name: count for name, count, _ in weighed} == {name: t.numel() for name, t in held.items()}
    assert 0 < len(container) - sum(size for *_, size in weighed) < 2500


def made() -> str:
    """The hash of a container of codes, mask and bias."""
    rng = torch.Generator().manual_seed(0)
    spread = torch.rand(300, 1, generator=rng) * torch.rand(1, 200, generator=rng)
    codes = (8 + 8 * spread * torch.randn(300, 200, generator=rng)).clamp(0, 15).to(torch.uint8)
    held = {"x.codes": codes, "x.mask": codes > 9, "y.bias": torch.randn(50, generator=rng)}
    return hashlib.sha256(store.encode(held)).hexdigest()


def test_equal_tensors_give_equal_bytes_in_another_process():
    here = str(Path(__file__).parent)
    script = f"import sys; sys.path.insert(0, {here!r}); import test_store; print(test_store.made())"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == made()


def test_every_byte_flip_is_noticed_or_harmless():
    """Alone, without the manifest's hash, the container notices flips of all that carries values."""
    held = {"a.codes": torch.arange(20000).remainder(13).to(torch.uint8), "b.bias": torch.randn(30)}
    container = store.encode(held)
    for position in np.random.default_rng(0).choice(len(container), 150, replace=False):
        damaged = bytearray(container)
        damaged[position] ^= 1 << (position % 8)
        with suppress(ArtifactError):
            opened = store.decode(bytes(damaged))
            assert all(same(opened[name], tensor) for name, tensor in held.items())


@settings(max_examples=60, deadline=None)
@given(st.lists(tensors(), min_size=1, max_size=3), st.data())
def test_any_flipped_byte_is_noticed_or_harmless(drawn, data):
    held = {f"layer.{i}.weight": tensor for i, tensor in enumerate(drawn)}
    damaged = bytearray(store.encode(held))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(ArtifactError):
        opened = store.decode(bytes(damaged))
        assert all(same(opened[name], tensor) for name, tensor in held.items())


def test_a_flipped_byte_of_a_predicted_payload_is_noticed(monkeypatch):
    monkeypatch.setattr(planes.predicted, "SMALLEST", 1)
    monkeypatch.setattr(planes, "WORTH", 10.0)
    codes = torch.randint(0, 9, (300, 64), generator=torch.Generator().manual_seed(0)).cumsum(1).remainder(16)
    container = store.encode({"a.codes": codes.to(torch.uint8)})
    assert store.index_of(container).streams[0].planes[0][0][0] == "predicted"
    assert torch.equal(store.decode(container)["a.codes"], codes.to(torch.uint8))
    start = 8 + int.from_bytes(container[:8], "little")
    for position in range(start, len(container), 199):
        damaged = bytearray(container)
        damaged[position] ^= 1
        with pytest.raises(ArtifactError):
            store.decode(bytes(damaged))


def test_a_truncated_container_is_refused():
    container = store.encode({"a": torch.randn(100)})
    for size in (0, 7, 8, 50, len(container) - 1):
        with pytest.raises(ArtifactError, match="w: "):
            store.decode(container[:size], "w")


@pytest.mark.parametrize(
    "change",
    [
        {"tensors": [["a", "float32", [2**41], 0]]},
        {"tensors": [["a", "float32", [-1], 0]]},
        {"tensors": [["a", "float33", [4], 0]]},
        {"tensors": [["a", "float32", [4], 1]]},
        {"tensors": [["a", "float32", [4], 0], ["a", "float32", [0], 0]]},
        {"tensors": []},
        {"tensors": None},
        {"same": {"b": "c"}},
        {"same": {"a": "a"}},
        {"copies": {"b": "c"}},
        {"copies": {"a": "a"}},
        {"copies": {"b": "a"}, "same": {"b": "a"}},
        {"copies": None},
    ],
)
def test_an_index_that_lies_is_refused(change):
    """With its hash made good again, so that only the checks of its content stand."""
    payloads = load(store.encode({"a": torch.ones(4)}))
    text = json.loads(zlib.decompress(payloads[store.INDEX].tobytes()[: -store.DIGEST])) | change
    index = zlib.compress(json.dumps(text).encode())
    payloads[store.INDEX] = np.frombuffer(index + hashlib.sha256(index).digest(), np.uint8)
    with pytest.raises(ArtifactError, match="index does not read"):
        store.decode(save(payloads), "w")


def test_what_cannot_be_stored_is_named():
    with pytest.raises(ArtifactError, match=r"a: .*meta"):
        store.encode({"a": torch.empty(3, device="meta")})
    with pytest.raises(ArtifactError, match="begin with #"):
        store.encode({"#index": torch.ones(3)})


def test_what_memory_cannot_hold_is_refused_before_any_of_it_is_taken(monkeypatch):
    """Zeros: 16 million floats in a few hundred bytes."""
    zeros = torch.zeros(1 << 12, 1 << 12)
    container = store.encode({"a": zeros, "b": zeros.clone(), "c": zeros})
    needed = 2 * 4 * zeros.numel() + 2 * zeros.numel()  # two tensors of float32, and the planes of one as float16
    assert len(container) < 1000
    monkeypatch.setattr(store.machine, "memory", lambda: needed)
    assert len(store.decode(container, "w")) == 3
    monkeypatch.setattr(store.machine, "memory", lambda: needed - 1)
    monkeypatch.setattr(store, "_stream", None)
    with pytest.raises(ArtifactError, match=f"w: unpacks in {needed:,} bytes of memory, and here are {needed - 1:,}"):
        store.decode(container, "w")
    assert store.index_of(container).copies == {"b": "a"}
