"""An ONNX graph under construction: constants once, nodes in order, every name made here.

No paper: the ONNX format, https://onnx.ai/onnx/repo-docs/IR.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

CONTRIB = "com.microsoft"  # ONNX Runtime's own operators
OPSETS = (("", 20), (CONTRIB, 1))
IR = 10  # the format version that goes with opset 20


class Graph:
    """Nodes and constants; a tensor is known by its name, a `str`."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[TensorProto] = []
        self.tables: dict[str, NDArray[Any]] = {}
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, array: NDArray[Any]) -> str:
        """The name of a constant; equal arrays are one (ALBERT runs the same block many times)."""
        array = np.asarray(array, order="C")  # ascontiguousarray would give a scalar an axis
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._names:
            self._names[key] = f"constant_{len(self._names)}"
            self.constants.append(numpy_helper.from_array(array, self._names[key]))
        return self._names[key]

    def table(self, array: NDArray[Any]) -> str:
        """The name of a big constant that stays outside the model: who runs it hands `tables` over, without a copy."""
        name = f"table_{len(self.tables)}"
        self.tables[name] = np.ascontiguousarray(array)
        held = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
        held.data_location = TensorProto.EXTERNAL
        held.external_data.add(key="location", value="memory")
        self.constants.append(held)
        return name

    def node(self, operator: str, *inputs: str, contrib: bool = False, **attributes: Any) -> str:
        """Add an operator with one output and return its name; an input named "" is left out."""
        return self.split(operator, 1, *inputs, contrib=contrib, **attributes)[0]

    def split(self, operator: str, count: int, *inputs: str, contrib: bool = False, **attributes: Any) -> list[str]:
        """Add an operator with `count` outputs and return their names."""
        name = f"{operator}_{len(self.nodes)}"
        outputs = [f"{name}_{i}" for i in range(count)]
        domain = CONTRIB if contrib else ""
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, name=name, domain=domain, **attributes))
        return outputs

    def model(self, inputs: Mapping[str, Sequence[str]], output: str, shape: Sequence[str | int]) -> ModelProto:
        """The finished model: int32 inputs by name and axes, one float32 output, which is called `logits`."""
        self.nodes[-1].output[list(self.nodes[-1].output).index(output)] = "logits"
        made = helper.make_graph(
            self.nodes,
            "laconic",
            [helper.make_tensor_value_info(name, TensorProto.INT32, list(axes)) for name, axes in inputs.items()],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, list(shape))],
            self.constants,
        )
        opsets = [helper.make_opsetid(*opset) for opset in OPSETS]
        return helper.make_model(made, opset_imports=opsets, ir_version=IR, producer_name="laconic")
