"""ONNX models in 16 bits: of every kind of block of every shipped space, against the same block in 32 bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from nasc.compiler.ir import Graph
from nasc.compiler.lower_onnx import block_onnx
from tests.block_kinds import Kind, kinds
from tests.graphs import Array, GraphMaker, drawn, image

ELEMENTS = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
UNIT = {"fp16": 2.0**-11, "bf16": 2.0**-8}
"""The relative error of rounding once."""
FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, *ELEMENTS.values()}


def lowered() -> Iterator[tuple[Kind, onnx.ModelProto]]:
    """Every kind with its model in 32 bits."""
    for kind in kinds():
        yield kind, block_onnx(kind.graph)


def run(model: onnx.ModelProto, inputs: dict[str, Array]) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result = session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()})[0]
    assert isinstance(result, np.ndarray)
    return result


def inputs_of(graph: Graph) -> dict[str, Array]:
    rng = np.random.default_rng(7)
    return {n: drawn(t, rng) for n, t in graph.inputs.items()}


def _halved(x: Array) -> Array:
    """Numbers in 16 bits; token numbers as they are."""
    return x.astype(np.float16) if x.dtype == np.float32 else x


@pytest.mark.slow
def test_half_precision_of_every_block_equals_single_precision() -> None:
    """Every kind at full size. The largest seen is 3.5 roundings of the largest value, in cells of 160 operators."""
    checked = 0
    for kind, single in lowered():
        inputs = inputs_of(kind.graph)
        expected = run(single, inputs)
        half = run(block_onnx(kind.graph, precision="fp16"), {n: _halved(x) for n, x in inputs.items()})
        assert half.dtype == np.float16 and half.shape == expected.shape
        difference = half.astype(np.float32) - expected
        largest, root_mean_square = np.abs(expected).max(), np.sqrt(np.mean(expected**2))
        assert np.abs(difference).max() <= 8 * UNIT["fp16"] * largest, kind.name
        assert np.sqrt(np.mean(difference**2)) <= 5 * UNIT["fp16"] * root_mean_square, kind.name
        checked += 1
    assert checked > 100


@pytest.mark.slow
@pytest.mark.parametrize("precision", ELEMENTS)
def test_no_type_is_mixed_with_another(precision: str) -> None:
    """Weights, inputs, outputs and everything between, of every kind of block, valid by ONNX's own rules."""
    for kind, single in lowered():
        model = block_onnx(kind.graph, precision=precision)
        onnx.checker.check_model(model, full_check=True)
        assert float_types(model) == {ELEMENTS[precision]}, kind.name
        assert_rounded(single, model, UNIT[precision])


def float_types(model: onnx.ModelProto) -> set[int]:
    """The floating-point types in a model, as shape inference finds them. Scales of `Resize` are not computed with."""
    scales = {name for node in model.graph.node if node.op_type == "Resize" for name in node.input[1:]}
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    values = [v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)]
    assert len(graph.value_info) == sum(len(node.output) for node in graph.node) - len(graph.output)
    return FLOATS & {*values, *(i.data_type for i in graph.initializer if i.name not in scales)}


def assert_rounded(single: onnx.ModelProto, other: onnx.ModelProto, unit: float) -> None:
    """Each weight is that of the model in 32 bits, rounded once to the nearest."""
    exact = {i.name: numpy_helper.to_array(i) for i in single.graph.initializer}
    for initializer in other.graph.initializer:
        expected, found = exact[initializer.name], numpy_helper.to_array(initializer).astype(np.float64)
        assert np.all(np.abs(found - expected) <= unit * np.abs(expected) + 2.0**-25)


def test_bfloat16_needs_a_newer_operator_set() -> None:
    make = GraphMaker(input=image(3, 8))
    graph = make.graph(make.add("conv2d", "in", to=4, kernel=3))
    versions = {p: block_onnx(graph, precision=p).opset_import[0].version for p in ("fp32", "fp16", "bf16")}
    assert versions == {"fp32": 20, "fp16": 20, "bf16": 22}, "Conv takes bfloat16 from 22"


def test_hard_swish_in_bfloat16_is_its_definition() -> None:
    make = GraphMaker(input=image(3, 8))
    graph = make.graph(make.add("hard_swish", "in"))
    assert [n.op_type for n in block_onnx(graph, precision="fp16").graph.node] == ["HardSwish"]
    x = inputs_of(graph)["in"] * 4
    expected = x * np.clip(x / 6 + 0.5, 0, 1)
    model = block_onnx(graph, precision="bf16")
    assert [n.op_type for n in model.graph.node] == ["HardSigmoid", "Mul"]
    kind = onnx.helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    found = ReferenceEvaluator(model).run(None, {"in": x.astype(kind)})[0].astype(np.float32)
    assert np.abs(found - expected).max() <= 4 * UNIT["bf16"] * np.abs(expected).max()
