"""A device that only pretends: its tensors are reckoned on the processor, but mix with the processor's as a GPU's do.

`with accelerator() as device:` gives the device. What is on two devices is an error, as are `numpy()` and random
numbers of another device's generator. It has the type of PyTorch's lazy device, which nothing else here uses and which
automatic differentiation knows how to run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

DEVICE = torch.device("lazy", 0)
PROCESSOR = torch.device("cpu")
CROSSING = {"aten::copy_", "aten::_to_copy"}  # what takes numbers from one device to another
INDEXED = {"aten::index", "aten::_unsafe_index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
GIVEN = {torch.tensor, torch.as_tensor, torch.asarray}  # these look for a real device of that type
FUSED = "torch.optim.optimizer._get_fused_kernels_supported_devices"  # asked by optimizers before a fused step
CHOSEN = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}  # and these, to put lists of indices there


class Distant(torch.Tensor):
    """A tensor that says it is on the device; `held` has its numbers."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Distant":
        made: Distant = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, layout=held.layout, device=DEVICE,
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, operator: Any, _: Any, args: Any = (), named: Any = None) -> Any:
        return _reckoned(operator, args, named or {})

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert a tensor of the device to numpy; copy it to the processor first")

    __array__ = numpy


class _Dispatched(TorchDispatchMode):
    def __torch_dispatch__(self, operator: Any, _: Any, args: Any = (), named: Any = None) -> Any:
        return _reckoned(operator, args, named or {})


class _Given(TorchFunctionMode):
    def __torch_function__(self, function: Any, _: Any, args: Any = (), named: Any = None) -> Any:
        named = dict(named or {})
        if function in CHOSEN:
            args = (args[0], tree_map(_index, args[1], is_leaf=lambda x: isinstance(x, list)), *args[2:])
        device = torch.device(named["device"]) if function in GIVEN and named.get("device") is not None else None
        if device == DEVICE:
            del named["device"]
        made = function(*args, **named)
        return made.to(DEVICE) if device == DEVICE else made


@contextmanager
def accelerator() -> Iterator[torch.device]:
    """The device, as long as it lasts."""
    with _Given(), _Dispatched(), mock.patch(FUSED, return_value=[PROCESSOR.type, DEVICE.type]):
        yield DEVICE


def _reckoned(operator: Any, args: Any, named: dict[str, Any]) -> Any:
    flat, shape = tree_flatten((args, named))
    distant = [x for x in flat if isinstance(x, Distant)]
    name = operator._schema.name
    asked = named.get("device")
    if distant and name not in CROSSING:
        _apart(name, args, flat)
    there = (asked.type == DEVICE.type) if asked is not None else bool(distant)
    if name == "aten::copy_":
        there = isinstance(args[0], Distant)
    generator = named.get("generator")
    if there and generator is not None and generator.device.type != DEVICE.type:
        raise RuntimeError(f"{name}: expected a generator of the device, but found one of the processor")
    args, named = tree_unflatten([_near(x) for x in flat], shape)
    made = operator(*args, **named)
    known = {id(x.held): x for x in distant}  # what is written in place stays the tensor it was

    def placed(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        if there:
            return known[id(x)] if id(x) in known else Distant(x)
        return x.clone() if id(x) in known else x

    return tree_map(placed, made)


def _index(x: Any) -> Any:
    """Of a list of indices the tensor."""
    return torch.tensor(x) if isinstance(x, list) else x


def _near(x: Any) -> Any:
    """What an operator of the processor is given for it."""
    if isinstance(x, Distant):
        return x.held
    return PROCESSOR if isinstance(x, torch.device) and x.type == DEVICE.type else x


def _apart(name: str, args: Any, flat: list[Any]) -> None:
    """Raise RuntimeError where tensors of both take part; single numbers and, in the device's, indices may be apart."""
    if name in INDEXED and isinstance(args[0], Distant):
        flat = [args[0], *args[2:]]
    near = [tuple(x.shape) for x in flat if isinstance(x, torch.Tensor) and not isinstance(x, Distant) and x.dim()]
    if near:
        raise RuntimeError(f"{name}: expected all tensors on one device, but those of {near} are on the processor")
