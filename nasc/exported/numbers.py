"""Sizes and attributes as the text of a `.nas` file."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from nasc.compiler.ir import Node
from nasc.compiler.primitives import PRIMITIVES


def number(value: Any) -> str:
    """A whole number, or a decimal one: `0.2`, `1e-6`."""
    if Fraction(value).denominator == 1:
        return str(int(value))
    mantissa, _, exponent = f"{float(value):.12g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def sides(value: tuple[Any, Any]) -> str:
    """`3`, or `1 x 7`."""
    return str(value[0]) if value[0] == value[1] else f"{value[0]} x {value[1]}"


def pads_same(node: Node) -> bool:
    """Is the padding of a convolution or pooling the one that it has by default?"""
    a = node.attributes
    around, dilation = (a["stride"][0], a["dilation"]) if node.op == "conv2d" else (1, 1)
    wanted = tuple((around - 1 + dilation * (k - 1)) // 2 for k in a["kernel"])
    return bool(wanted == tuple(a["padding"]))


def operator(node: Node) -> str:
    """A norm as the value of a parameter, with what differs from its defaults: `bn { eps 1e-3 }`."""
    found = " ".join(f"{key} {value}" for key, value in changed(node))
    return f"{node.op} {{ {found} }}" if found else node.op


def changed(node: Node) -> tuple[tuple[str, str], ...]:
    """The attributes of an operator of numbers that are not its defaults, by name."""
    usual = PRIMITIVES[node.op].parameters
    return tuple((key, number(value)) for key, value in node.attributes.items() if usual.get(key) != value)
