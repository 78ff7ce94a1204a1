"""Collects ONNX nodes and initializers. The only module beside `lower_onnx` that imports onnx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper

from nasc.compiler.ir import Graph, Tensor
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.forms import sizes_of
from nasc.compiler.weights import Array

DTYPES: dict[str, tuple[int, Any]] = {
    "fp32": (TensorProto.FLOAT, np.float32),
    "fp16": (TensorProto.FLOAT16, np.float16),
    "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
}
"""The element type of weights, inputs, outputs and all between them: a model holds no other floating-point type, but
for the scales of `Resize`, which ONNX wants in 32 bits."""
VERSIONS = {"fp32": (20, 9), "fp16": (20, 9), "bf16": (22, 10)}
"""Operator set and IR version: old ones, which most runtimes read; convolutions take bfloat16 from operator set 22."""

Weights = Mapping[str, Mapping[str, tuple[str, Array]]]
"""For each node, its tensors by name: what the initializer is called, and the array."""


class GraphBuilder:
    """An ONNX graph under construction (`nasc.compiler.primitives.forms.OnnxBuilder`)."""

    def __init__(self, precision: str) -> None:
        self.element, self.dtype = DTYPES[precision]
        self.opset, self.ir_version = VERSIONS[precision]
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.constants: dict[tuple[str, tuple[float, ...], tuple[int, ...]], str] = {}
        self.scope = ""
        self.made = 0
        self.tensors: Mapping[str, tuple[str, Array]] = {}

    def lower(self, graph: Graph, operands: Mapping[str, str], weights: Weights, prefix: str = "") -> str:
        """Append a graph whose inputs have the names in `operands`, and return the name of its output."""
        names = dict(operands)
        for node in graph.nodes:
            inputs = [names[name] for name in node.inputs]
            self.scope, self.made, self.tensors = f"{prefix}/{node.name}", 0, weights.get(node.name, {})
            shapes = [graph.tensor(name) for name in node.inputs]
            names[node.name] = PRIMITIVES[node.op].onnx(node, shapes, inputs, self)
        return names[graph.output]

    def add(self, op: str, operands: Sequence[str], **attributes: Any) -> str:
        if op == "HardSwish" and self.element == TensorProto.BFLOAT16:
            # What ONNX defines it as: TensorRT's parser takes HardSwish in 32 and 16 bits, but not in bfloat16.
            return self.add("Mul", [operands[0], self.add("HardSigmoid", operands, alpha=1 / 6, beta=0.5)])
        self.made += 1
        name = self.scope if self.made == 1 else f"{self.scope}/{self.made}"
        inputs = list(operands)
        while inputs and not inputs[-1]:
            inputs.pop()
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def weight(self, name: str) -> str:
        if name not in self.tensors:
            return ""
        full, array = self.tensors[name]
        self._initializer(full, array.astype(self.dtype, copy=False))
        return full

    def integers(self, *values: int) -> str:
        return self._constant(np.asarray(values, dtype=np.int64))

    def numbers(self, *values: float) -> str:
        return self._constant(np.asarray(values, dtype=np.float32))

    def scalar(self, value: float) -> str:
        return self._constant(np.asarray(value, dtype=self.dtype))

    def causal_mask(self, tokens: int) -> str:
        name = f"constant/causal_{tokens}"
        if name not in self.initializers:
            self._initializer(name, np.triu(np.full((tokens, tokens), -32768.0, dtype=self.dtype), 1))
        return name

    def _constant(self, array: Array) -> str:
        key = (str(array.dtype), tuple(np.ravel(array).tolist()), array.shape)
        if key not in self.constants:
            self.constants[key] = f"constant/{len(self.constants)}"
            self._initializer(self.constants[key], array)
        return self.constants[key]

    def _initializer(self, name: str, array: Array) -> None:
        kind = self.element if array.dtype == self.dtype else helper.np_dtype_to_tensor_dtype(array.dtype)
        self.initializers[name] = helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True)

    def model(
        self, name: str, inputs: Mapping[str, Tensor], outputs: Mapping[str, tuple[str, Tensor]], batch: int | str
    ) -> onnx.ModelProto:
        """The model. `outputs` gives each output's name the value it is and its shape."""
        for new, (value, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [value], [new], name=new))
        graph = helper.make_graph(
            self._without_identities({value: new for new, (value, _) in outputs.items()}, inputs),
            name,
            [self._info(n, tensor, batch) for n, tensor in inputs.items()],
            [self._info(n, tensor, batch) for n, (_, tensor) in outputs.items()],
            list(self.initializers.values()),
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=self.ir_version, producer_name="nasc")

    def _without_identities(self, renamed: dict[str, str], inputs: Mapping[str, Tensor]) -> list[onnx.NodeProto]:
        """The nodes with each output's value made under the output's name, unless it is an input or goes out twice."""
        kept: list[onnx.NodeProto] = []
        names = {value: new for value, new in renamed.items() if value not in inputs}
        for node in self.nodes:
            if node.op_type == "Identity" and names.get(node.input[0]) == node.output[0]:
                continue
            for field in (node.input, node.output):
                field[:] = [names.get(name, name) for name in field]
            kept.append(node)
        return kept

    def _info(self, name: str, tensor: Tensor, batch: int | str) -> onnx.ValueInfoProto:
        shape: list[int | str] = [batch, *sizes_of(tensor)]
        return helper.make_tensor_value_info(name, TensorProto.INT64 if tensor.ids else self.element, shape)
