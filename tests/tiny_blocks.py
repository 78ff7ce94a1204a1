"""Small graphs, manifests, an ONNX builder of a few operators and an engine that only pretends, for profiling tests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nasc.compiler.domain import Domain
from nasc.compiler.expr import Size, variable
from nasc.compiler.ir import Decision, Graph, Node, Tensor
from nasc.compiler.manifest import Entry, Manifest, Target, Use
from nasc.runtime.device import Device, Environment
from nasc.runtime.engines import Session
from nasc.runtime.measurement import Measurement

MACHINE = Device(kind="cpu", model="pretended", cores=2, features=("avx2",), system="Linux x86_64")


def image(channels: Size, side: int = 8) -> Tensor:
    return Tensor(channels=channels, height=side, width=side)


def node(name: str, op: str, inputs: Sequence[str], output: Tensor, **attributes: Any) -> Node:
    return Node(name=name, op=op, inputs=tuple(inputs), attributes=attributes, output=output)


def conv(name: str, source: str, output: Tensor, kernel: int = 3) -> Node:
    around = kernel // 2
    return node(
        name,
        "conv2d",
        [source],
        output,
        kernel=(kernel, kernel),
        stride=(1, 1),
        padding=(around, around),
        groups=1,
        dilation=1,
        bias=False,
    )


def conv_relu(width: Size, channels: int = 4, side: int = 8) -> Graph:
    """A convolution to `width` channels, a relu, and a convolution back."""
    nodes = (
        conv("grow", "in", image(width, side)),
        node("act", "relu", ["grow"], image(width, side)),
        conv("back", "act", image(channels, side)),
    )
    return Graph(inputs={"in": image(channels, side)}, nodes=nodes, output="back")


def entry(name: str, domain: Domain, side: int = 8) -> Entry:
    graph = conv_relu(variable("hidden"), side=side)
    width = Decision(address="hidden", domain=domain, ordered=True)
    use = Use(layer=f"{name}.1", variant=0, widths=("width",))
    return Entry(key=f"key-{name}", block=name, uses=(use,), graph=graph, widths=(width,))


def manifest(*entries: Entry, targets: Sequence[Target] = (Target(),)) -> Manifest:
    return Manifest(name="tiny", nasc="0.0", targets=tuple(targets), entries=entries)


def tiny_onnx(graph: Graph, *, batch: int = 1, precision: str = "fp32") -> onnx.ModelProto:
    """ONNX of a graph of convolutions and relus, written apart from the compiler's own lowering."""
    element = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}[precision]
    random = np.random.default_rng(0)
    weights, nodes = [], []

    def shape(tensor: Tensor) -> list[int]:
        return [batch, int(str(tensor.channels)), *tensor.spatial]

    for n in graph.nodes:
        if n.op == "conv2d":
            size = (shape(n.output)[1], shape(graph.tensor(n.inputs[0]))[1], *n.attributes["kernel"])
            values = random.standard_normal(size).astype(helper.tensor_dtype_to_np_dtype(element))
            weights.append(numpy_helper.from_array(values, f"{n.name}.w"))
            pads = [*n.attributes["padding"]] * 2
            nodes.append(helper.make_node("Conv", [n.inputs[0], f"{n.name}.w"], [n.name], pads=pads))
        else:
            nodes.append(helper.make_node({"relu": "Relu"}[n.op], list(n.inputs), [n.name]))
    inputs = [helper.make_tensor_value_info(name, element, shape(t)) for name, t in graph.inputs.items()]
    output = helper.make_tensor_value_info(graph.output, element, shape(graph.result))
    body = helper.make_graph(nodes, "block", inputs, [output], weights)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def pretended_environment(precision: str = "fp32", batch: int = 1) -> Environment:
    return Environment(
        device=MACHINE,
        engine="pretend",
        engine_version="1",
        precision=precision,
        batch=batch,
        threads=1,
        timing_mode="pinned",
        protocol_version=1,
    )


class PretendEngine:
    """Says that each model takes as many microseconds as it has kilobytes; counts and logs what it was asked."""

    name = "pretend"

    def __init__(self, log: Path | None = None, seconds: float = 0.0) -> None:
        self.log, self.seconds, self.asked = log, seconds, 0
        self.groups: list[int] = []

    def available(self) -> str | None:
        return None

    def environment(self, target: Target) -> Environment:
        return pretended_environment(target.precision, target.batch)

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        self.groups.append(len(models))
        rows = []
        for model in models:
            time.sleep(self.seconds)
            self.asked += 1
            if self.log:
                with self.log.open("a") as file:
                    print(self.asked, file=file)
            us = len(model) / 1000
            rows.append(
                Measurement(status="ok", minimum=us, median=us, mad=0.1, samples=5, identity=2.0, quality="good")
            )
        return Session(tuple(rows), reference_us or 25.0)
