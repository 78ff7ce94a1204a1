"""ONNX forms of the primitives, folding, and whole networks, against `torch.nn.functional` in ONNX Runtime."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.compiler.concrete import NotLoweredError
from nasc.compiler.expr import variable
from nasc.compiler.ir import Graph, Node, Tensor
from nasc.compiler.lower_onnx import block_onnx, network_onnx
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.structure import parameter_paths
from nasc.compiler.weights import graph_state, joined, network_state, seeded_weights
from nasc.dsl.diagnostics import NascError
from tests.graphs import UNARY, Array, GraphMaker, chained, drawn, evaluate, image, network, randomised


def run(model: onnx.ModelProto, *inputs: Array) -> Array:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [i.name for i in session.get_inputs()]
    result = session.run(None, dict(zip(names, inputs, strict=True)))[0]
    assert isinstance(result, np.ndarray)
    return result


def inputs_of(graph: Graph, batch: int = 2) -> dict[str, Array]:
    rng = np.random.default_rng(7)
    return {n: drawn(t, rng, batch, 2) for n, t in graph.inputs.items()}


def by_node(graph: Graph, weights: dict[str, Array]) -> dict[str, dict[str, Array]]:
    paths = parameter_paths(graph)
    return {
        node.name: {t.name: weights[joined(paths[node.name], t.name)] for t in state}
        for node in graph.nodes
        if (state := PRIMITIVES[node.op].state(node, [graph.tensor(n) for n in node.inputs]))
    }


def check(graph: Graph, tolerance: float = 1e-5, **options: Any) -> None:
    """ONNX Runtime gives what the operators' definitions give, up to a part of the largest value."""
    weights, inputs = randomised(graph_state(graph)), inputs_of(graph)
    expected = evaluate(graph, {n: torch.from_numpy(x) for n, x in inputs.items()}, by_node(graph, weights)).numpy()
    found = run(block_onnx(graph, batch=2, weights=weights, **options), *inputs.values())
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", 0, 1, (2, 1)]),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
)
def test_convolution(
    kernel: tuple[int, int], stride: int, padding: Any, dilation: int, groups: int, bias: bool
) -> None:
    make = GraphMaker(input=image(4, 11, 10))
    options = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    check(make.graph(make.add("conv2d", "in", to=8, groups=groups, bias=bias, **options)))


@settings(max_examples=30, deadline=None)
@given(
    op=st.sampled_from(["max_pool", "avg_pool"]),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", 0]),
)
def test_pooling(op: str, kernel: tuple[int, int], stride: int, padding: Any) -> None:
    make = GraphMaker(input=image(3, 9, 8))
    check(make.graph(make.add(op, "in", kernel=kernel, stride=stride, padding=padding)))


@pytest.mark.parametrize("op", [*UNARY, "global_pool", "bn", "layer_norm"])
def test_operators_without_arguments(op: str) -> None:
    make = GraphMaker(input=image(5, 4, 3))
    check(make.graph(make.add(op, "in")))


@pytest.mark.parametrize("op", ["bn", "layer_norm", "relu", "dropout"])
def test_operators_on_vectors(op: str) -> None:
    make = GraphMaker(input=Tensor(channels=6))
    check(make.graph(make.add(op, "in")))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [Tensor(channels=6), image(6, 1)])
def test_linear(shape: Tensor, bias: bool) -> None:
    make = GraphMaker(input=shape)
    check(make.graph(make.add("linear", "in", to=4, bias=bias)))


def test_joins_of_two_inputs() -> None:
    for op, second in (
        ("add", image(4, 3)),
        ("mul", image(4, 1)),
        ("concat", image(2, 3)),
        ("add_prefix", image(2, 3)),
    ):
        make = GraphMaker(input=image(4, 3), other=second)
        check(make.graph(make.add(op, "in", "other")))
    make = GraphMaker(input=image(2, 3), other=image(5, 3))
    check(make.graph(make.add("add_prefix", "other", "in", "in")))
    make = GraphMaker(input=Tensor(channels=2), other=Tensor(channels=5))
    check(make.graph(make.add("add_prefix", "in", "other")))


def test_slices_shuffles_and_upsampling() -> None:
    for op, arguments in (
        ("slice", {"start": 1, "stop": 4}),
        ("slice", {"start": 0, "stop": 6}),
        ("shuffle", {"groups": 2}),
        ("shuffle", {"groups": 3}),
        ("upsample", {"factor": 2}),
        ("upsample", {"factor": 3}),
    ):
        make = GraphMaker(input=image(6, 3, 2))
        check(make.graph(make.add(op, "in", **arguments)))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), structure=st.integers(0, 200), fold=st.booleans())
def test_blocks(data: st.DataObject, structure: int, fold: bool) -> None:
    # Layer normalisation of nearly equal channels enlarges rounding errors up to 300 times.
    check(data.draw(chained(4, 6, structure)), tolerance=1e-3, fold=fold)


def test_folding_leaves_no_normalisation_behind_a_convolution() -> None:
    make = GraphMaker(input=image(3, 5))
    first = make.add("relu", make.add("bn", make.add("conv2d", "in", to=4, kernel=3, bias=True)))
    graph = make.graph(make.add("bn", make.add("linear", make.add("global_pool", first), to=5)))
    folded, plain = block_onnx(graph), block_onnx(graph, fold=False)
    assert [n.op_type for n in folded.graph.node] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert sum(n.op_type == "BatchNormalization" for n in plain.graph.node) == 2
    check(graph)


def test_a_convolution_that_is_read_twice_keeps_its_normalisation() -> None:
    make = GraphMaker(input=image(3, 5))
    conv = make.add("conv2d", "in", to=4, kernel=3)
    graph = make.graph(make.add("add", make.add("bn", conv), conv))
    assert "BatchNormalization" in [n.op_type for n in block_onnx(graph).graph.node]
    check(graph)


def test_a_block_is_the_same_bytes_each_time_and_readable_by_older_runtimes() -> None:
    make = GraphMaker(input=image(3, 8))
    graph = make.graph(make.add("bn", make.add("conv2d", "in", to=4, kernel=3)))
    model = block_onnx(graph, seed=3)
    assert model.SerializeToString() == block_onnx(graph, seed=3).SerializeToString()
    assert model.SerializeToString() != block_onnx(graph, seed=4).SerializeToString()
    assert (model.ir_version, model.opset_import[0].version) == (9, 20)


def test_half_precision_is_used_throughout() -> None:
    make = GraphMaker(input=image(3, 8))
    graph = make.graph(make.add("relu6", make.add("bn", make.add("conv2d", "in", to=4, kernel=3))))
    model = block_onnx(graph, precision="fp16", batch=4)
    onnx.checker.check_model(model, full_check=True)
    half = onnx.TensorProto.FLOAT16
    assert {i.data_type for i in model.graph.initializer} == {half}
    assert {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)} == {half}
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [4, 3, 8, 8]


def test_a_network_s_initializers_are_its_state_dict() -> None:
    make = GraphMaker(input=image(3, 6))
    block = make.graph(make.add("relu", make.add("bn", make.add("conv2d", "in", to=4, kernel=3))))
    top = GraphMaker(input=image(4, 6))
    net = network({"a": [block]}, top.graph(top.add("linear", top.add("global_pool", "in"), to=5)))
    model = network_onnx(net, seeded_weights(net, 0))
    stored = [name for name in network_state(net) if not name.endswith("num_batches_tracked")]
    assert sorted(i.name for i in model.graph.initializer) == sorted(stored)
    assert "a.0.conv.weight" in stored and "head.2.bias" in stored
    x = np.ones((3, 3, 6, 6), np.float32)
    assert run(model, x).shape == (3, 5)


def test_a_block_that_is_its_input() -> None:
    graph = Graph(inputs={"in": image(3, 4)}, nodes=(), output="in")
    x = inputs_of(graph, 1)["in"]
    np.testing.assert_array_equal(run(block_onnx(graph), x), x)


def test_weights_that_do_not_fit_are_refused() -> None:
    make = GraphMaker(input=image(3, 8))
    graph = make.graph(make.add("conv2d", "in", to=4, kernel=3))
    with pytest.raises(NascError, match="weight is 4 x 3 x 3 x 1, the network's is 4 x 3 x 3 x 3"):
        block_onnx(graph, weights={"weight": np.zeros((4, 3, 3, 1), np.float32)})


def test_what_cannot_be_written_is_said() -> None:
    choice = Node(name="a", op="one_of", inputs=("in",), output=image(4, 5))
    with pytest.raises(NotLoweredError, match=r"s\.1: `one_of` cannot be compiled yet"):
        block_onnx(Graph(inputs={"in": image(4, 5)}, nodes=(choice,), output="a"), name="s.1")
    wide = Tensor(channels=variable("hidden"), height=4, width=4)
    with pytest.raises(NascError, match="hidden channels"):
        block_onnx(Graph(inputs={"in": wide}, nodes=(), output="in"))
    with pytest.raises(NascError, match="int8"):
        block_onnx(Graph(inputs={"in": image(3, 4)}, nodes=(), output="in"), precision="int8")


def test_every_primitive_has_both_forms() -> None:
    from nasc.compiler.primitives import Primitive

    for name, primitive in PRIMITIVES.items():
        if not primitive.internal:
            assert type(primitive).torch is not Primitive.torch and type(primitive).onnx is not Primitive.onnx, name


def test_the_compiler_needs_neither_torch_nor_onnx_for_model_py() -> None:
    code = "import sys, nasc.compiler.lower_torch; print({'torch', 'onnx', 'jinja2', 'safetensors'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
