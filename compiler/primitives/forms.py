"""What a primitive operator becomes: PyTorch calls and expressions, stored tensors, and ONNX nodes.

These are data for the lowerings; nothing here imports torch or onnx.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nasc.compiler.ir import Node, Tensor


@dataclass(frozen=True)
class Text:
    """A string as an argument, which generated code has in quotes."""

    text: str

    def __repr__(self) -> str:
        return json.dumps(self.text)


Value = int | float | bool | tuple[int, int] | Text


@dataclass(frozen=True)
class Argument:
    """An argument of a call. Arguments of one `kind` may become one parameter of a generated class.

    It is left out where every call of a class gives it its `default`.
    """

    kind: str
    value: Value
    keyword: str = ""
    default: Value | None = None


@dataclass(frozen=True)
class Call:
    """The construction of a module, such as `nn.Conv2d(24, 96, kernel_size=3)`.

    `role` names it inside a generated class. `swappable`: the constructor itself may be a parameter of the class.
    `helper` is the source of a class that the generated file must define for it.
    """

    function: str
    arguments: tuple[Argument, ...] = ()
    role: str = ""
    swappable: bool = False
    helper: str = ""


@dataclass(frozen=True)
class Expression:
    """An expression of the operands `{0}`, `{1}`, … and of its arguments by keyword.

    `side` is the role of a run of modules that leads to it beside the main path (`gate`, `shortcut`).
    `operands` are the roles of the modules that make its operands for it alone, `reader` that of the one that alone
    reads it (`query`, …, `project` for attention). `helper` is the source of a function that the file must define.
    """

    template: str
    arguments: tuple[Argument, ...] = ()
    side: str = ""
    operands: tuple[str, ...] = ()
    reader: str = ""
    helper: str = ""


TorchForm = tuple[Call, ...] | Expression
"""Modules applied one after another (stored tensors belong to the last), or an expression."""


@dataclass(frozen=True)
class StateTensor:
    """A tensor of a state dict: its name in its module, its shape, and the normal distribution it starts from.

    A standard deviation of 0 makes every element `mean`. `learned` is False for running statistics.
    """

    name: str
    shape: tuple[int, ...]
    mean: float = 0.0
    std: float = 0.0
    learned: bool = True
    dtype: str = "float32"

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Saved:
    """What automatic differentiation keeps of an operator until its backward pass, beside the weights.

    `inputs` are the numbers of the operands that are kept; `output`: what comes out is kept. `elements` are further
    numbers for each image, in the precision computed in, `bytes` of other types for each image, and `fixed` bytes
    whatever the batch. `view`: what comes out lies in the memory of the first operand.
    """

    inputs: tuple[int, ...] = ()
    output: bool = False
    elements: int = 0
    bytes: int = 0
    fixed: int = 0
    view: bool = False


class OnnxBuilder(Protocol):
    """Collects the nodes of an ONNX graph."""

    def add(self, op: str, operands: Sequence[str], **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""

    def weight(self, name: str) -> str:
        """The initializer that holds this tensor of the node being lowered; an empty name where it has none."""

    def integers(self, *values: int) -> str:
        """A constant vector of int64."""

    def numbers(self, *values: float) -> str:
        """A constant vector of float32."""

    def scalar(self, value: float) -> str:
        """A constant in the network's precision."""

    def causal_mask(self, tokens: int) -> str:
        """A constant of tokens x tokens in the network's precision: 0 on and below the diagonal, else -32768.

        A softmax gives what that is added to no weight, and neither overflows in 16 bits.
        """


class OnnxForm(Protocol):
    """The signature of `Primitive.onnx`."""

    def __call__(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str: ...


def channels_of(tensor: Tensor) -> int:
    """The channels of a tensor whose sizes are known. Raises `TypeError` where they are still open."""
    if not isinstance(tensor.channels, int):
        raise TypeError(f"{tensor.channels} channels are not decided yet")
    return tensor.channels


def elements_of(tensor: Tensor) -> int:
    """The numbers in a tensor of one image. Raises `TypeError` where its channels are still open."""
    return channels_of(tensor) * tensor.positions


def sizes_of(tensor: Tensor) -> tuple[int, ...]:
    """The layout of a tensor whose sizes are known. Raises `TypeError` where its channels are still open."""
    channels_of(tensor)
    return tuple(size for size in tensor.layout if isinstance(size, int))


def axis_of(tensor: Tensor) -> int:
    """The axis of a tensor's channels, its batch being axis 0."""
    return 1 if tensor.tokens is None else 2


def square(size: tuple[int, int]) -> int | tuple[int, int]:
    """`(3, 3)` as 3."""
    return size[0] if size[0] == size[1] else size
