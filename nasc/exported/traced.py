"""An exported program as a graph of nasc's primitive operators, with the tensors that each node stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from nasc.compiler.ir import Graph, Node, Tensor
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.base import ShapeError, Use
from nasc.compiler.weights import Array
from nasc.dsl.diagnostics import NascError
from nasc.runtime.read_exported import Exported, Ref, Statement

INPUT = "in"

_ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "silu": "swish",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "hardsigmoid": "hard_sigmoid",
    "hardswish": "hard_swish",
}
_PASSING = frozenset(
    {"contiguous", "clone", "detach", "alias", "lift_fresh_copy", "feature_dropout", "sym_size", "_to_copy", "to"}
)
"""Operators whose result is what came in (in evaluation)."""
_RESHAPING = frozenset({"flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten"})


@dataclass(frozen=True)
class Traced:
    """The graph, and for each node the arrays of its state by their names there (`weight`, `running_mean`, …)."""

    graph: Graph
    state: Mapping[str, Mapping[str, Array]]


@dataclass(frozen=True)
class _Value:
    """A node's output; `last`: in the program its channels are the last dimension, N x H x W x C."""

    node: str
    last: bool = False


def traced(program: Exported) -> Traced:
    """The graph of a program on images, batch x channels x height x width.

    Raises NascError for an operator without counterpart, naming it and the module that it came from.
    """
    shape = program.input_shape
    sizes = [size for size in shape[1:] if size is not None]
    if len(shape) != 4 or len(sizes) != 3:
        shown = " x ".join("?" if size is None else str(size) for size in shape)
        raise NascError(
            f"the program takes {shown or 'a single number'}: it must take images of one size, N x C x H x W",
            help="export it with an example image; only the batch may be open",
        )
    return _Tracer(program, Tensor(channels=sizes[0], height=sizes[1], width=sizes[2])).traced()


class _Refused(Exception):
    """Why an operator has no counterpart."""


def _not_imported(statement: Statement, reason: str) -> NascError:
    place = f" (in `{printable(statement.module)}`)" if statement.module else ""
    return NascError(
        f"`{printable(statement.operator)}`{place} cannot be imported: {reason}",
        help="leave this part out of the module that you export, or write it as a block by hand",
    )


def printable(text: str) -> str:
    """The text of a stranger's file in one line of plain characters."""
    return "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text[:200])


@dataclass
class _Tracer:
    program: Exported
    image: Tensor
    values: dict[str, _Value] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Mapping[str, Array]] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    """The stored tensors, and what the program only reshapes of them."""

    def traced(self) -> Traced:
        self.values = {self.program.input: _Value(INPUT)}
        self.shapes = {INPUT: self.image}
        self.constants = dict(self.program.held)
        for statement in self.program.statements:
            self._statement(statement)
        found = self.values.get(self.program.output)
        if found is None or found.last or not self.nodes:
            raise NascError("the program's output is not computed from its input by operators that are understood")
        graph = Graph(inputs={INPUT: self.image}, nodes=tuple(self.nodes), output=found.node)
        return Traced(_live(graph), self.state)

    def _statement(self, statement: Statement) -> None:
        private = statement.operator.startswith("_")
        rule = statement.operator if private else statement.operator.rstrip("_")
        try:
            if not _reads(statement, self.values):
                self._fold(statement)
                return
            if rule not in _RULES:
                raise _Refused("nas has no such operator")
            results = _RULES[rule](self, statement)
        except (_Refused, ShapeError) as reason:
            raise _not_imported(statement, str(reason)) from None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise _not_imported(statement, "its arguments are not understood") from None
        self.values.update(zip(statement.outputs, results, strict=False))
        if rule != statement.operator:
            self._overwritten(statement, results[0])

    def _fold(self, statement: Statement) -> None:
        """Keep a stored tensor that is reshaped. What else does not depend on the image is refused where it is read."""
        operand = next(iter(statement.arguments.values()), None)
        if not isinstance(operand, Ref) or operand.name not in self.constants or len(statement.outputs) != 1:
            return
        array = self.constants[operand.name]
        if statement.operator in _RESHAPING:
            self.constants[statement.outputs[0]] = array.reshape([size or 1 for size in statement.shape])
        elif statement.operator in ("t", "permute"):
            order = statement.arguments.get("dims", range(array.ndim)[::-1])
            self.constants[statement.outputs[0]] = array.transpose(order)

    def _overwritten(self, statement: Statement, result: _Value) -> None:
        """After an operator in place, every name of its operand means the result."""
        old = self.value(statement, next(iter(statement.arguments)))
        for name, value in self.values.items():
            if value.node == old.node:
                self.values[name] = _Value(result.node, value.last)

    # ----------------------------------------------------------------------------------------- for the rules

    def value(self, statement: Statement, name: str) -> _Value:
        found = statement.arguments.get(name)
        if not isinstance(found, Ref) or found.name not in self.values:
            raise _Refused(f"its {name} is not computed from the image")
        return self.values[found.name]

    def plain(self, statement: Statement, name: str) -> str:
        """The node of an operand whose channels come first."""
        found = self.value(statement, name)
        if found.last:
            raise _Refused("the channels of its operand are the last dimension")
        return found.node

    def held(self, statement: Statement, name: str) -> Array | None:
        found = statement.arguments.get(name)
        if found is None:
            return None
        if not isinstance(found, Ref) or found.name not in self.constants:
            raise _Refused(f"its {name} is not a stored tensor")
        return np.asarray(self.constants[found.name], dtype=np.float32)

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        state: Mapping[str, Array] | None = None,
        width: int | None = None,
        **given: Any,
    ) -> str:
        """Append a primitive and return its name. Raises `ShapeError`."""
        primitive = PRIMITIVES[op]
        tensors = tuple(self.shapes[name] for name in inputs)
        arguments = {**primitive.parameters, **given}
        attributes, output = primitive.infer(Use(tensors, arguments, width, int))  # type: ignore[arg-type]
        name = f"n{len(self.nodes)}"
        self.nodes.append(Node(name=name, op=op, inputs=tuple(inputs), attributes=attributes, output=output))
        self.shapes[name] = output
        if state:
            self.state[name] = state
        return name


def _reads(statement: Statement, values: Mapping[str, _Value]) -> bool:
    found = [each for value in statement.arguments.values() for each in (value if isinstance(value, list) else [value])]
    return any(isinstance(each, Ref) and each.name in values for each in found)


def _live(graph: Graph) -> Graph:
    """Without the nodes that nothing reads."""
    needed = {graph.output}
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return graph.model_copy(update={"nodes": tuple(node for node in graph.nodes if node.name in needed)})


# ------------------------------------------------------------------------------------------------------- rules


def exact(number: float) -> Fraction:
    """The decimal number that a float was written as."""
    return Fraction(repr(float(number)))


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def _stride(value: Any) -> int:
    height, width = _pair(value)
    if height != width:
        raise _Refused(f"its stride is {height} x {width}")
    return height


def _dimension(at: int, rank: int) -> int:
    return at + rank if at < 0 else at


def _activation(op: str) -> Callable[[_Tracer, Statement], list[_Value]]:
    def rule(tracer: _Tracer, statement: Statement) -> list[_Value]:
        (operand,) = (name for name in statement.arguments if name in ("self", "input"))
        value = tracer.value(statement, operand)
        return [_Value(tracer.node(op, [value.node]), value.last)]

    return rule


def _gelu(tracer: _Tracer, statement: Statement) -> list[_Value]:
    op = "gelu_tanh" if statement.arguments.get("approximate") == "tanh" else "gelu"
    return _activation(op)(tracer, statement)


def _hardtanh(tracer: _Tracer, statement: Statement) -> list[_Value]:
    a = statement.arguments
    low, high = a.get("min_val", a.get("min", -1)), a.get("max_val", a.get("max", 1))
    if (low, high) != (0, 6):
        raise _Refused(f"it bounds to {low} .. {high}; only 0 .. 6 (relu6) is an operator")
    return _activation("relu6")(tracer, statement)


def _convolution(tracer: _Tracer, statement: Statement) -> list[_Value]:
    a = statement.arguments
    weight, bias = tracer.held(statement, "weight"), tracer.held(statement, "bias")
    if weight is None or weight.ndim != 4 or a.get("transposed"):
        raise _Refused("it is not a convolution of images")
    padding, dilation = a.get("padding", 0), _pair(a.get("dilation", 1))
    if isinstance(padding, str):
        padding = {"valid": 0}.get(padding, [d * (k - 1) // 2 for d, k in zip(dilation, weight.shape[2:], strict=True)])
        if a["padding"] == "same" and any(d * (k - 1) % 2 for d, k in zip(dilation, weight.shape[2:], strict=True)):
            raise _Refused("it pads one side more than the other")
    if dilation[0] != dilation[1]:
        raise _Refused(f"its dilation is {dilation[0]} x {dilation[1]}")
    node = tracer.node(
        "conv2d",
        [tracer.plain(statement, "input")],
        {"weight": weight, **({} if bias is None else {"bias": bias})},
        weight.shape[0],
        kernel=(weight.shape[2], weight.shape[3]),
        stride=_stride(a.get("stride", 1)),
        padding=_pair(padding),
        groups=a.get("groups", 1),
        dilation=dilation[0],
        bias=bias is not None,
    )
    return [_Value(node)]


def _batch_norm(tracer: _Tracer, statement: Statement) -> list[_Value]:
    node = tracer.plain(statement, "input")
    channels = tracer.shapes[node].channels
    mean, variance = tracer.held(statement, "running_mean"), tracer.held(statement, "running_var")
    if mean is None or variance is None:
        raise _Refused("it has no running statistics")
    state = {"running_mean": mean, "running_var": variance, **_affine(tracer, statement, int(str(channels)))}
    eps, momentum = exact(statement.arguments["eps"]), exact(statement.arguments["momentum"])
    return [_Value(tracer.node("bn", [node], state, eps=eps, momentum=momentum))]


def _affine(tracer: _Tracer, statement: Statement, channels: int) -> dict[str, Array]:
    """Scale and shift; without them, ones and zeros."""
    weight, bias = tracer.held(statement, "weight"), tracer.held(statement, "bias")
    return {
        "weight": np.ones(channels, np.float32) if weight is None else weight,
        "bias": np.zeros(channels, np.float32) if bias is None else bias,
    }


def _layer_norm(tracer: _Tracer, statement: Statement) -> list[_Value]:
    value = tracer.value(statement, "input")
    shape = tracer.shapes[value.node]
    vector = shape.spatial in ((), (1, 1)) and len(statement.shape) == 2
    if not (value.last or vector) or statement.arguments["normalized_shape"] != [shape.channels]:
        raise _Refused("it does not normalise the channels alone")
    state = _affine(tracer, statement, int(str(shape.channels)))
    node = tracer.node("layer_norm", [value.node], state, eps=exact(statement.arguments.get("eps", 1e-5)))
    return [_Value(node, value.last)]


def _linear(tracer: _Tracer, statement: Statement) -> list[_Value]:
    value = tracer.value(statement, "input")
    weight, bias = tracer.held(statement, "weight"), tracer.held(statement, "bias")
    if weight is None:
        raise _Refused("it has no weight")
    state = {} if bias is None else {"bias": bias}
    if value.last:  # on each place of an image by itself: a 1 x 1 convolution
        state["weight"] = weight[:, :, None, None]
        node = tracer.node("conv2d", [value.node], state, len(weight), kernel=(1, 1), bias=bias is not None)
        return [_Value(node, last=True)]
    node = tracer.node("linear", [value.node], {**state, "weight": weight}, len(weight), bias=bias is not None)
    return [_Value(node)]


def _addmm(tracer: _Tracer, statement: Statement) -> list[_Value]:
    weight, bias = tracer.held(statement, "mat2"), tracer.held(statement, "self")
    if weight is None or bias is None or {statement.arguments.get(name, 1) for name in ("alpha", "beta")} != {1}:
        raise _Refused("it is not a linear layer")
    state = {"weight": np.ascontiguousarray(weight.T), "bias": bias}
    return [_Value(tracer.node("linear", [tracer.plain(statement, "mat1")], state, weight.shape[1]))]


def _add(tracer: _Tracer, statement: Statement) -> list[_Value]:
    first, second = tracer.value(statement, "self"), tracer.value(statement, "other")
    if statement.arguments.get("alpha", 1) != 1 or first.last != second.last:
        raise _Refused("it is not the sum of two tensors of one layout")
    return [_Value(tracer.node("add", [first.node, second.node]), first.last)]


def _mul(tracer: _Tracer, statement: Statement) -> list[_Value]:
    held = [n for n in ("self", "other") if getattr(statement.arguments[n], "name", "") in tracer.constants]
    if held:
        return _scaled(tracer, statement, held[0], "other" if held[0] == "self" else "self")
    pair = [tracer.value(statement, name) for name in ("self", "other")]
    if pair[0].last != pair[1].last:
        raise _Refused("it is not the product of two tensors of one layout")
    pair.sort(key=lambda value: -tracer.shapes[value.node].positions)  # the gate is the second
    return [_Value(tracer.node("mul", [value.node for value in pair]), pair[0].last)]


def _scaled(tracer: _Tracer, statement: Statement, held: str, operand: str) -> list[_Value]:
    """A learned factor for each channel."""
    value, factors = tracer.value(statement, operand), tracer.held(statement, held)
    assert factors is not None
    channels = tracer.shapes[value.node].channels
    wanted = (channels,) if value.last else (channels, 1, 1)
    shape = tuple(factors.shape)
    if (1,) * (len(shape) - len(wanted)) + wanted != shape:
        raise _Refused("it multiplies with a tensor that is not one number for each channel")
    init = exact(float(f"{abs(factors.ravel()[0]):.3g}"))
    node = tracer.node("layer_scale", [value.node], {"weight": factors.ravel()}, init=init)
    return [_Value(node, value.last)]


def _pool(op: str) -> Callable[[_Tracer, Statement], list[_Value]]:
    def rule(tracer: _Tracer, statement: Statement) -> list[_Value]:
        a = statement.arguments
        kernel, padding = _pair(a["kernel_size"]), _pair(a.get("padding", 0))
        counted = op == "avg_pool" and padding != (0, 0) and a.get("count_include_pad", True)
        if counted or a.get("ceil_mode") or _pair(a.get("dilation", 1)) != (1, 1) or a.get("divisor_override"):
            raise _Refused("it counts its padding, rounds sizes up, or has a dilation or a divisor")
        stride = _stride(a.get("stride") or kernel)
        node = tracer.plain(statement, "self")
        return [_Value(tracer.node(op, [node], kernel=kernel, stride=stride, padding=padding))]

    return rule


def _adaptive(tracer: _Tracer, statement: Statement) -> list[_Value]:
    if _pair(statement.arguments["output_size"]) != (1, 1):
        raise _Refused("it does not pool to 1 x 1")
    return [_Value(tracer.node("global_pool", [tracer.plain(statement, "self")]))]


def _mean(tracer: _Tracer, statement: Statement) -> list[_Value]:
    value = tracer.value(statement, "self")
    places = {1, 2} if value.last else {2, 3}
    dims = statement.arguments.get("dim") or []
    if len(tracer.shapes[value.node].spatial) != 2 or {_dimension(at, 4) for at in dims} != places:
        raise _Refused("it is not the mean over all places of an image")
    keeps = statement.arguments.get("keepdim", False)
    return [_Value(tracer.node("global_pool", [value.node]), value.last and keeps)]


def _upsample(tracer: _Tracer, statement: Statement) -> list[_Value]:
    operand = "input" if "input" in statement.arguments else "self"
    node = tracer.plain(statement, operand)
    before, after = tracer.shapes[node].spatial, statement.shape[2:]
    factors = {b // a for a, b in zip(before, after, strict=True) if b is not None and b % a == 0}
    if len(factors) != 1 or None in after or any(b != a * min(factors) for a, b in zip(before, after, strict=True)):
        raise _Refused("it does not enlarge by one whole factor")
    return [_Value(tracer.node("upsample", [node], factor=factors.pop()))]


def _cat(tracer: _Tracer, statement: Statement) -> list[_Value]:
    found = [each for each in statement.arguments["tensors"] if isinstance(each, Ref)]
    values = [tracer.values[each.name] for each in found if each.name in tracer.values]
    dims = {3 if value.last else 1 for value in values}
    if len(values) != len(found) or dims != {_dimension(statement.arguments.get("dim", 0), len(statement.shape))}:
        raise _Refused("it does not put channels after channels")
    return [_Value(tracer.node("concat", [value.node for value in values]), values[0].last)]


def _split(tracer: _Tracer, statement: Statement) -> list[_Value]:
    """Equal parts of the channels: `chunk` and `split` with one size."""
    node = tracer.plain(statement, "self")
    if _dimension(statement.arguments.get("dim", 0), len(statement.shape)) != 1 or statement.shape[1] is None:
        raise _Refused("it does not divide the channels")
    share, total = statement.shape[1], int(str(tracer.shapes[node].channels))
    starts = range(0, total, share)
    return [_Value(tracer.node("slice", [node], start=at, stop=min(at + share, total))) for at in starts]


def _permute(tracer: _Tracer, statement: Statement) -> list[_Value]:
    value = tracer.value(statement, "self")
    order = [_dimension(at, 4) for at in statement.arguments["dims"]]
    if order == [0, 1, 2, 3]:
        return [value]
    if order != ([0, 3, 1, 2] if value.last else [0, 2, 3, 1]):
        raise _Refused("it does not move the channels of an image to the end or back")
    return [_Value(value.node, not value.last)]


def _reshape(tracer: _Tracer, statement: Statement) -> list[_Value]:
    """A pooled image as a vector, or back."""
    value = tracer.value(statement, "self")
    shape = tracer.shapes[value.node]
    if shape.spatial not in ((), (1, 1)) or [n for n in statement.shape[1:] if n != 1] not in ([shape.channels], []):
        raise _Refused("only what is pooled to 1 x 1 can be flattened: put a global pooling before it")
    return [_Value(value.node)]


def _dropout(tracer: _Tracer, statement: Statement) -> list[_Value]:
    value, rate = tracer.value(statement, "input"), exact(statement.arguments["p"])
    return [_Value(tracer.node("dropout", [value.node], rate=rate), value.last)] if rate else [value]


def _pass(tracer: _Tracer, statement: Statement) -> list[_Value]:
    return [tracer.value(statement, next(iter(statement.arguments)))]


def _shuffle(tracer: _Tracer, statement: Statement) -> list[_Value]:
    node = tracer.plain(statement, next(iter(statement.arguments)))
    return [_Value(tracer.node("shuffle", [node], groups=statement.arguments["groups"]))]


_RULES: dict[str, Callable[[_Tracer, Statement], list[_Value]]] = {
    **{name: _activation(op) for name, op in _ACTIVATIONS.items()},
    **dict.fromkeys(_PASSING, _pass),
    **dict.fromkeys(_RESHAPING, _reshape),
    **dict.fromkeys(("conv2d", "convolution"), _convolution),
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training"), _batch_norm),
    **dict.fromkeys(("hardtanh", "clamp"), _hardtanh),
    **dict.fromkeys(("adaptive_avg_pool2d", "_adaptive_avg_pool2d"), _adaptive),
    **dict.fromkeys(("chunk", "split"), _split),
    "gelu": _gelu,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "addmm": _addmm,
    "add": _add,
    "mul": _mul,
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), _pool("max_pool")),
    "avg_pool2d": _pool("avg_pool"),
    "mean": _mean,
    "upsample_nearest2d": _upsample,
    "cat": _cat,
    "permute": _permute,
    "dropout": _dropout,
    "channel_shuffle": _shuffle,
}
