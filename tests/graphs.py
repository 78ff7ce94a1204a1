"""Graphs made by hand and drawn at random, and an independent way to run them: `torch.nn.functional`, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

from nasc.compiler.expr import Size
from nasc.compiler.ir import Graph, Layer, Network, Node, Stage, Tensor, Variant
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.base import Use
from nasc.compiler.primitives.forms import sizes_of

torch.set_num_threads(1)
Array = NDArray[Any]

UNARY = {
    "relu": F.relu,
    "relu6": lambda x: x.clamp(0, 6),
    "swish": lambda x: x / (1 + torch.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "gelu_tanh": lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "hard_sigmoid": lambda x: (x / 6 + 0.5).clamp(0, 1),
    "hard_swish": lambda x: x * (x / 6 + 0.5).clamp(0, 1),
    "tanh": lambda x: 1 - 2 / (torch.exp(2 * x) + 1),
    "dropout": lambda x: x,
}


VOCABULARY = 7
"""Token numbers in tests are below this."""


def sequence(channels: int, tokens: int) -> Tensor:
    return Tensor(channels=channels, tokens=tokens)


def ids(tokens: int) -> Tensor:
    return Tensor(channels=0, tokens=tokens, ids=True)


def drawn(shape: Tensor, rng: np.random.Generator, batch: int = 1, scale: float = 1.0) -> Array:
    """Normal values, or token numbers, for an input of this shape."""
    size = (batch, *sizes_of(shape))
    return rng.integers(0, VOCABULARY, size) if shape.ids else rng.normal(0, scale, size).astype(np.float32)


def image(channels: int, height: int, width: int | None = None) -> Tensor:
    return Tensor(channels=channels, height=height, width=height if width is None else width)


class GraphMaker:
    """Builds a graph node by node through the primitives' shape rules."""

    def __init__(self, /, **inputs: Tensor) -> None:
        self.inputs = {"in" if name == "input" else name: shape for name, shape in inputs.items()}
        self.nodes: list[Node] = []

    def shape(self, name: str) -> Tensor:
        return {**self.inputs, **{n.name: n.output for n in self.nodes}}[name]

    def add(self, op: str, *operands: str, to: int | None = None, **arguments: Any) -> str:
        primitive = PRIMITIVES[op]
        shapes = tuple(self.shape(name) for name in operands)
        attributes, output = primitive.infer(Use(shapes, {**primitive.parameters, **arguments}, to, _whole))
        name = f"{op}_{sum(n.op == op for n in self.nodes) + 1}"
        self.nodes.append(Node(name=name, op=op, inputs=operands, attributes=attributes, output=output))
        return name

    def graph(self, output: str) -> Graph:
        return Graph(inputs=self.inputs, nodes=tuple(self.nodes), output=output)


def _whole(size: Size) -> int:
    assert isinstance(size, int)
    return size


def network(layers: Mapping[str, list[Graph]], head: Graph, name: str = "net", block: str = "blk") -> Network:
    """A one-member network of classes from the graphs of its stages."""
    stages = tuple(
        Stage(name=n, source=None, layers=tuple(_layer(f"{n}.{i}", g, block) for i, g in enumerate(graphs, start=1)))
        for n, graphs in layers.items()
    )
    first = stages[0].layers[0] if stages else _layer("head", head, "head")
    outputs = ("classes", (str(head.result.channels),))
    top = _layer("head", head, "head")
    return Network(name=name, single=True, input=first.input, output=outputs, stages=stages, head=top)


def _layer(address: str, graph: Graph, block: str) -> Layer:
    variant = Variant(block=block, chosen={}, decisions=(), graph=graph)
    return Layer(address=address, variants=(variant,), skippable=False, input=graph.inputs["in"], output=graph.result)


def randomised(state: Mapping[str, Any], seed: int = 0) -> dict[str, Array]:
    """Weights and statistics with nothing at 0 or 1, so that a mix-up shows."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name, tensor in state.items():
        if tensor.dtype == "int64":
            made[name] = np.zeros(tensor.shape, np.int64)
        elif name.endswith(("running_var", "bias")):
            made[name] = rng.uniform(0.5, 2, tensor.shape).astype(np.float32)
        else:
            fan_in = max(1, int(np.prod(tensor.shape[1:])))
            made[name] = (rng.normal(0, 1, tensor.shape) / fan_in**0.5).astype(np.float32)
    return made


def evaluate(graph: Graph, inputs: Mapping[str, torch.Tensor], weights: Mapping[str, Mapping[str, Array]]) -> Any:
    """Run a graph by the definition of each operator. `weights`: node, tensor, array."""
    values = dict(inputs)
    for node in graph.nodes:
        held = {name: torch.from_numpy(array) for name, array in weights.get(node.name, {}).items()}
        values[node.name] = _run(node, [values[name] for name in node.inputs], held)
        assert tuple(values[node.name].shape[1:]) == node.output.layout, node
    return values[graph.output]


def _run(node: Node, x: list[torch.Tensor], held: Mapping[str, torch.Tensor]) -> torch.Tensor:
    a = node.attributes
    if node.op in UNARY:
        return UNARY[node.op](x[0])
    if node.op in SEQUENCES:
        return SEQUENCES[node.op](node, x, held)
    if node.output.tokens is not None:
        return _on_tokens(node, x, held)
    if node.op == "conv2d":
        given = (a["stride"], a["padding"], a["dilation"], a["groups"])
        return F.conv2d(x[0], held["weight"], held.get("bias"), *given)
    if node.op == "linear":
        return F.linear(x[0].reshape(x[0].shape[0], -1), held["weight"], held.get("bias"))
    if node.op == "bn":
        shape = (1, -1, *(1,) * (x[0].dim() - 2))
        mean, var = held["running_mean"].view(shape), held["running_var"].view(shape)
        return (x[0] - mean) / (var + float(a["eps"])).sqrt() * held["weight"].view(shape) + held["bias"].view(shape)
    if node.op == "layer_norm":
        shape = (1, -1, *(1,) * (x[0].dim() - 2))
        mean, var = x[0].mean(1, keepdim=True), x[0].var(1, unbiased=False, keepdim=True)
        return (x[0] - mean) / (var + float(a["eps"])).sqrt() * held["weight"].view(shape) + held["bias"].view(shape)
    return _run_other(node, x)


def _on_tokens(node: Node, x: list[torch.Tensor], held: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What works on images works on sequences with the channels in second place, tokens as an image's rows."""
    turned = [t.transpose(1, 2)[..., None] for t in x]
    if node.op == "linear":
        product = torch.einsum("oc,bcn->bno", held["weight"], turned[0][..., 0])
        return product + held["bias"] if "bias" in held else product
    image = node.output.model_copy(update={"tokens": None, "height": node.output.tokens, "width": 1})
    result = _run(node.model_copy(update={"output": image}), turned, held)
    return result[..., 0].transpose(1, 2)


def _attend(node: Node, x: list[torch.Tensor], held: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Head by head and query by query."""
    heads, causal = node.attributes["heads"], node.attributes["causal"]
    q, k, v = (t.double() for t in x)
    out = torch.zeros_like(q)
    width = q.shape[2] // heads
    for h in range(heads):
        own = slice(h * width, (h + 1) * width)
        for i in range(q.shape[1]):
            seen = slice(0, i + 1 if causal else q.shape[1])
            scores = (q[:, i : i + 1, own] * k[:, seen, own]).sum(2) / width**0.5
            share = torch.exp(scores) / torch.exp(scores).sum(1, keepdim=True)
            out[:, i, own] = (share[..., None] * v[:, seen, own]).sum(1)
    return out.float()


def _class_token(node: Node, x: list[torch.Tensor], held: Mapping[str, torch.Tensor]) -> torch.Tensor:
    found = torch.empty(x[0].shape[0], x[0].shape[1] + 1, x[0].shape[2])
    found[:, 0], found[:, 1:] = held["weight"], x[0]
    return found


SEQUENCES: dict[str, Any] = {
    "attend": _attend,
    "class_token": _class_token,
    "embedding": lambda node, x, held: F.one_hot(x[0], node.attributes["vocabulary"]).float() @ held["weight"],
    "position": lambda node, x, held: x[0] + held["weight"][None],
    "first_token": lambda node, x, held: x[0].select(1, 0),
    "tokens": lambda node, x, held: torch.stack([x[0][:, :, i, j] for i, j in np.ndindex(*x[0].shape[2:])], 1),
}


def _run_other(node: Node, x: list[torch.Tensor]) -> torch.Tensor:
    a = node.attributes
    if node.op in ("max_pool", "avg_pool"):
        (top, left), mean = a["padding"], node.op == "avg_pool"
        padded = F.pad(x[0], (left, left, top, top), value=0.0 if mean else -torch.inf)
        seen = F.pad(torch.ones_like(x[0]), (left, left, top, top))
        windows, there = (
            t.unfold(2, a["kernel"][0], a["stride"][0]).unfold(3, a["kernel"][1], a["stride"][1])
            for t in (padded, seen)
        )
        return windows.sum((4, 5)) / there.sum((4, 5)) if mean else windows.amax((4, 5))
    if node.op == "global_pool":
        return x[0].mean((2, 3), keepdim=True) if x[0].dim() == 4 else x[0].mean(1)
    if node.op == "upsample":
        return x[0].repeat_interleave(a["factor"], 2).repeat_interleave(a["factor"], 3)
    if node.op == "slice":
        return x[0][:, a["start"] : a["stop"]]
    if node.op == "shuffle":
        share = x[0].shape[1] // a["groups"]
        order = [g * share + i for i in range(share) for g in range(a["groups"])]
        return x[0][:, order]
    if node.op == "concat":
        return torch.cat(x, 1)
    if node.op == "add_prefix":
        total = torch.zeros(x[0].shape[0], node.output.channels, *x[0].shape[2:])
        for tensor in x:
            total[:, : tensor.shape[1]] += tensor
        return total
    result = x[0]
    for tensor in x[1:]:
        result = result + tensor if node.op == "add" else result * tensor
    return result


# ------------------------------------------------------------------------------------------------- at random


@st.composite
def chained(draw: st.DrawFn, channels: int, side: int, structure: int) -> Graph:
    """A block whose structure is fixed by `structure` and whose widths, kernels, strides and activations are drawn."""
    rng = np.random.default_rng(structure)
    make = GraphMaker(input=image(channels, side))
    at = "in"
    for _ in range(int(rng.integers(1, 5))):
        at = _extend(draw, make, at, int(rng.integers(0, 11)))
    return make.graph(at)


def _extend(draw: st.DrawFn, make: GraphMaker, at: str, kind: int) -> str:
    width = int(make.shape(at).channels)  # type: ignore[arg-type]
    act = draw(st.sampled_from(["relu", "swish", "hard_swish", "tanh", "gelu", "relu6"]))
    to, kernel = draw(st.integers(1, 6)), draw(st.sampled_from([1, 3, 5]))
    if kind <= 1:
        made = make.add("conv2d", at, to=to, kernel=kernel, bias=draw(st.booleans()))
        return make.add(act, make.add("bn", made))
    if kind == 2:
        return make.add("conv2d", at, to=width, kernel=kernel, groups=width)
    if kind == 3:
        pooled = make.add("conv2d", make.add("global_pool", at), to=to, kernel=1, bias=True)
        gate = make.add("conv2d", make.add(act, pooled), to=width, kernel=1, bias=True)
        return make.add("mul", at, make.add("sigmoid", gate))
    if kind == 4:
        return make.add("add", make.add("bn", make.add("conv2d", at, to=width, kernel=kernel)), at)
    if kind == 5:
        short = make.add("bn", make.add("conv2d", at, to=to, kernel=1))
        main = make.add("bn", make.add("conv2d", make.add(act, at), to=to, kernel=kernel))
        return make.add(act, make.add("add", main, short, main))
    if kind == 6:
        if width > 100:  # three times as wide each time: nine in a row would need 72 GiB of weights
            return make.add(act, at)
        return make.add("concat", make.add(act, at), at, make.add("max_pool", at, kernel=3))
    if kind == 7:
        cut = draw(st.integers(1, width))
        return make.add("add_prefix", make.add("slice", at, start=0, stop=cut), make.add("layer_norm", at))
    if kind == 8:
        return make.add("avg_pool", at, kernel=3)
    if kind == 9:
        groups = draw(st.sampled_from([g for g in range(1, width + 1) if width % g == 0]))
        return make.add("shuffle", at, groups=groups)
    return make.add("dropout", make.add("add", at, make.add(act, at)), rate=Fraction(1, draw(st.integers(2, 4))))


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """A network whose stages repeat a few structures with other numbers in them."""
    structures = draw(st.lists(st.integers(0, 60), min_size=1, max_size=3))
    channels, stages = 3, {}
    for i in range(draw(st.integers(1, 3))):
        graphs: list[Graph] = []
        for _ in range(draw(st.integers(1, 3))):
            graphs.append(draw(chained(channels, 6, draw(st.sampled_from(structures)))))
            channels = int(graphs[-1].result.channels)  # type: ignore[arg-type]
        stages[f"s{i}"] = graphs
    make = GraphMaker(input=image(channels, 6))
    head = make.graph(make.add("linear", make.add("dropout", make.add("global_pool", "in"), rate=Fraction(1, 5)), to=4))
    return network(stages, head)
