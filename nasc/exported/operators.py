"""What each operator of an exported program becomes: a rule for every ATen operator that has a counterpart."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from nasc.compiler.weights import Array
from nasc.exported.tracer import RESHAPING, Refused, Rule, Tracer, Value
from nasc.runtime.read_exported import Ref, Statement

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
        raise Refused(f"its stride is {height} x {width}")
    return height


def _dimension(at: int, rank: int) -> int:
    return at + rank if at < 0 else at


def _activation(op: str) -> Rule:
    def rule(tracer: Tracer, statement: Statement) -> list[Value]:
        (operand,) = (name for name in statement.arguments if name in ("self", "input"))
        value = tracer.value(statement, operand)
        return [Value(tracer.node(op, [value.node]), value.last)]

    return rule


def _gelu(tracer: Tracer, statement: Statement) -> list[Value]:
    op = "gelu_tanh" if statement.arguments.get("approximate") == "tanh" else "gelu"
    return _activation(op)(tracer, statement)


def _hardtanh(tracer: Tracer, statement: Statement) -> list[Value]:
    a = statement.arguments
    low, high = a.get("min_val", a.get("min", -1)), a.get("max_val", a.get("max", 1))
    if (low, high) != (0, 6):
        raise Refused(f"it bounds to {low} .. {high}; only 0 .. 6 (relu6) is an operator")
    return _activation("relu6")(tracer, statement)


def _convolution(tracer: Tracer, statement: Statement) -> list[Value]:
    a = statement.arguments
    weight, bias = tracer.held(statement, "weight"), tracer.held(statement, "bias")
    if weight is None or weight.ndim != 4 or a.get("transposed"):
        raise Refused("it is not a convolution of images")
    padding, dilation = a.get("padding", 0), _pair(a.get("dilation", 1))
    if isinstance(padding, str):
        padding = {"valid": 0}.get(padding, [d * (k - 1) // 2 for d, k in zip(dilation, weight.shape[2:], strict=True)])
        if a["padding"] == "same" and any(d * (k - 1) % 2 for d, k in zip(dilation, weight.shape[2:], strict=True)):
            raise Refused("it pads one side more than the other")
    if dilation[0] != dilation[1]:
        raise Refused(f"its dilation is {dilation[0]} x {dilation[1]}")
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
    return [Value(node)]


def _batch_norm(tracer: Tracer, statement: Statement) -> list[Value]:
    node = tracer.plain(statement, "input")
    channels = tracer.shapes[node].channels
    mean, variance = tracer.held(statement, "running_mean"), tracer.held(statement, "running_var")
    if mean is None or variance is None:
        raise Refused("it has no running statistics")
    state = {"running_mean": mean, "running_var": variance, **_affine(tracer, statement, int(str(channels)))}
    eps, momentum = exact(statement.arguments["eps"]), exact(statement.arguments["momentum"])
    return [Value(tracer.node("bn", [node], state, eps=eps, momentum=momentum))]


def _affine(tracer: Tracer, statement: Statement, channels: int) -> dict[str, Array]:
    """Scale and shift; without them, ones and zeros."""
    weight, bias = tracer.held(statement, "weight"), tracer.held(statement, "bias")
    return {
        "weight": np.ones(channels, np.float32) if weight is None else weight,
        "bias": np.zeros(channels, np.float32) if bias is None else bias,
    }


def _layer_norm(tracer: Tracer, statement: Statement) -> list[Value]:
    value = tracer.value(statement, "input")
    shape = tracer.shapes[value.node]
    vector = shape.spatial in ((), (1, 1)) and len(statement.shape) == 2
    if not (value.last or vector) or statement.arguments["normalized_shape"] != [shape.channels]:
        raise Refused("it does not normalise the channels alone")
    state = _affine(tracer, statement, int(str(shape.channels)))
    node = tracer.node("layer_norm", [value.node], state, eps=exact(statement.arguments.get("eps", 1e-5)))
    return [Value(node, value.last)]


def _linear(tracer: Tracer, statement: Statement) -> list[Value]:
    value = tracer.value(statement, "input")
    weight, bias = tracer.held(statement, "weight"), tracer.held(statement, "bias")
    if weight is None:
        raise Refused("it has no weight")
    state = {} if bias is None else {"bias": bias}
    if value.last:  # on each place of an image by itself: a 1 x 1 convolution
        state["weight"] = weight[:, :, None, None]
        node = tracer.node("conv2d", [value.node], state, len(weight), kernel=(1, 1), bias=bias is not None)
        return [Value(node, last=True)]
    node = tracer.node("linear", [value.node], {**state, "weight": weight}, len(weight), bias=bias is not None)
    return [Value(node)]


def _addmm(tracer: Tracer, statement: Statement) -> list[Value]:
    """A linear layer as a decomposed program has it; `mm` without a bias."""
    has_bias = statement.operator == "addmm"
    weight, bias = tracer.held(statement, "mat2"), tracer.held(statement, "self") if has_bias else None
    if weight is None or {statement.arguments.get(name, 1) for name in ("alpha", "beta")} != {1}:
        raise Refused("it is not a linear layer")
    state = {"weight": np.ascontiguousarray(weight.T), **({} if bias is None else {"bias": bias})}
    node = tracer.plain(statement, "mat1" if has_bias else "self")
    return [Value(tracer.node("linear", [node], state, weight.shape[1], bias=has_bias))]


def _add(tracer: Tracer, statement: Statement) -> list[Value]:
    first, second = tracer.value(statement, "self"), tracer.value(statement, "other")
    if statement.arguments.get("alpha", 1) != 1 or first.last != second.last:
        raise Refused("it is not the sum of two tensors of one layout")
    return [Value(tracer.node("add", [first.node, second.node]), first.last)]


def _mul(tracer: Tracer, statement: Statement) -> list[Value]:
    held = [n for n in ("self", "other") if getattr(statement.arguments[n], "name", "") in tracer.constants]
    if held:
        return _scaled(tracer, statement, held[0], "other" if held[0] == "self" else "self")
    pair = [tracer.value(statement, name) for name in ("self", "other")]
    if pair[0].last != pair[1].last:
        raise Refused("it is not the product of two tensors of one layout")
    pair.sort(key=lambda value: -tracer.shapes[value.node].positions)  # the gate is the second
    for value, other in (pair, pair[::-1]):
        if tracer.is_sigmoid_of(other.node, value.node):
            return [Value(tracer.node("swish", [value.node]), value.last)]
    if tracer.shapes[pair[0].node].spatial:
        tracer.give_places(pair[1].node)
    return [Value(tracer.node("mul", [value.node for value in pair]), pair[0].last)]


def _scaled(tracer: Tracer, statement: Statement, held: str, operand: str) -> list[Value]:
    """A learned factor for each channel."""
    value, factors = tracer.value(statement, operand), tracer.held(statement, held)
    assert factors is not None
    channels = tracer.shapes[value.node].channels
    wanted = (channels,) if value.last else (channels, 1, 1)
    shape = tuple(factors.shape)
    if (1,) * (len(shape) - len(wanted)) + wanted != shape:
        raise Refused("it multiplies with a tensor that is not one number for each channel")
    init = exact(float(f"{abs(factors.ravel()[0]):.3g}"))
    node = tracer.node("layer_scale", [value.node], {"weight": factors.ravel()}, init=init)
    return [Value(node, value.last)]


def _pool(op: str) -> Rule:
    def rule(tracer: Tracer, statement: Statement) -> list[Value]:
        a = statement.arguments
        kernel, padding = _pair(a["kernel_size"]), _pair(a.get("padding", 0))
        counted = op == "avg_pool" and padding != (0, 0) and a.get("count_include_pad", True)
        if counted or a.get("ceil_mode") or _pair(a.get("dilation", 1)) != (1, 1) or a.get("divisor_override"):
            raise Refused("it counts its padding, rounds sizes up, or has a dilation or a divisor")
        stride = _stride(a.get("stride") or kernel)
        node = tracer.plain(statement, "self")
        return [Value(tracer.node(op, [node], kernel=kernel, stride=stride, padding=padding))]

    return rule


def _adaptive(tracer: Tracer, statement: Statement) -> list[Value]:
    if _pair(statement.arguments["output_size"]) != (1, 1):
        raise Refused("it does not pool to 1 x 1")
    return [Value(tracer.node("global_pool", [tracer.plain(statement, "self")]))]


def _mean(tracer: Tracer, statement: Statement) -> list[Value]:
    value = tracer.value(statement, "self")
    places = {1, 2} if value.last else {2, 3}
    dims = statement.arguments.get("dim") or []
    if len(tracer.shapes[value.node].spatial) != 2 or {_dimension(at, 4) for at in dims} != places:
        raise Refused("it is not the mean over all places of an image")
    keeps = statement.arguments.get("keepdim", False)
    return [Value(tracer.node("global_pool", [value.node]), value.last and keeps)]


def _upsample(tracer: Tracer, statement: Statement) -> list[Value]:
    operand = "input" if "input" in statement.arguments else "self"
    node = tracer.plain(statement, operand)
    before, after = tracer.shapes[node].spatial, statement.shape[2:]
    factors = {b // a for a, b in zip(before, after, strict=True) if b is not None and b % a == 0}
    if len(factors) != 1 or None in after or any(b != a * min(factors) for a, b in zip(before, after, strict=True)):
        raise Refused("it does not enlarge by one whole factor")
    return [Value(tracer.node("upsample", [node], factor=factors.pop()))]


def _cat(tracer: Tracer, statement: Statement) -> list[Value]:
    found = [each for each in statement.arguments["tensors"] if isinstance(each, Ref)]
    values = [tracer.values[each.name] for each in found if each.name in tracer.values]
    dims = {3 if value.last else 1 for value in values}
    if len(values) != len(found) or dims != {_dimension(statement.arguments.get("dim", 0), len(statement.shape))}:
        raise Refused("it does not put channels after channels")
    return [Value(tracer.node("concat", [value.node for value in values]), values[0].last)]


def _split(tracer: Tracer, statement: Statement) -> list[Value]:
    """Parts of the channels: `chunk`, and `split` with one size or with several."""
    node = tracer.plain(statement, "self")
    if _dimension(statement.arguments.get("dim", 0), len(statement.shape)) != 1 or statement.shape[1] is None:
        raise Refused("it does not divide the channels")
    total = int(str(tracer.shapes[node].channels))
    ends = list(accumulate(statement.arguments.get("split_sizes", ()))) or range(
        statement.shape[1], total, statement.shape[1]
    )
    starts = [0, *(end for end in ends if end < total)]
    return [Value(tracer.node("slice", [node], start=a, stop=b)) for a, b in pairwise([*starts, total])]


def _permute(tracer: Tracer, statement: Statement) -> list[Value]:
    value = tracer.value(statement, "self")
    order = [_dimension(at, 4) for at in statement.arguments["dims"]]
    if order == [0, 1, 2, 3]:
        return [value]
    if order != ([0, 3, 1, 2] if value.last else [0, 2, 3, 1]):
        raise Refused("it does not move the channels of an image to the end or back")
    return [Value(value.node, not value.last)]


def _reshape(tracer: Tracer, statement: Statement) -> list[Value]:
    """A pooled image as a vector, or back."""
    value = tracer.value(statement, "self")
    shape = tracer.shapes[value.node]
    if shape.spatial not in ((), (1, 1)) or [n for n in statement.shape[1:] if n != 1] not in ([shape.channels], []):
        raise Refused("only what is pooled to 1 x 1 can be flattened: put a global pooling before it")
    return [Value(value.node)]


def _dropout(tracer: Tracer, statement: Statement) -> list[Value]:
    value, rate = tracer.value(statement, "input"), exact(statement.arguments["p"])
    return [Value(tracer.node("dropout", [value.node], rate=rate), value.last)] if rate else [value]


def _pass(tracer: Tracer, statement: Statement) -> list[Value]:
    return [tracer.value(statement, next(iter(statement.arguments)))]


def _shuffle(tracer: Tracer, statement: Statement) -> list[Value]:
    node = tracer.plain(statement, next(iter(statement.arguments)))
    return [Value(tracer.node("shuffle", [node], groups=statement.arguments["groups"]))]


RULES: dict[str, Rule] = {
    **{name: _activation(op) for name, op in _ACTIVATIONS.items()},
    **dict.fromkeys(_PASSING, _pass),
    **dict.fromkeys(RESHAPING, _reshape),
    **dict.fromkeys(("conv2d", "convolution"), _convolution),
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training"), _batch_norm),
    **dict.fromkeys(("hardtanh", "clamp"), _hardtanh),
    **dict.fromkeys(("adaptive_avg_pool2d", "_adaptive_avg_pool2d"), _adaptive),
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), _split),
    "gelu": _gelu,
    **dict.fromkeys(("layer_norm", "native_layer_norm"), _layer_norm),
    "linear": _linear,
    **dict.fromkeys(("addmm", "mm"), _addmm),
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
