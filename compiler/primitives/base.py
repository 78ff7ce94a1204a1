"""What a primitive operator is: one class that states its shape, cost and channel rules together.

The PyTorch and ONNX forms of each primitive live in the same classes (see `nasc.compiler.primitives`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from nasc.compiler.expr import Expr, Size, add, divide, function, multiply
from nasc.compiler.ir import Node, Tensor
from nasc.compiler.primitives.forms import OnnxBuilder, Saved, StateTensor, TorchForm


class ShapeError(Exception):
    """An operator that cannot be applied to its input; becomes a diagnostic where the operator is used."""

    def __init__(self, code: str, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.help = help


REQUIRED = object()
"""Marks a parameter without default."""


@dataclass(frozen=True)
class Use:
    """One use of a primitive: the shapes that come in, its arguments, and what `->` says.

    `whole` turns a size into the one integer it must be (raising where it is still open).
    """

    inputs: tuple[Tensor, ...]
    arguments: Mapping[str, Any]
    width: Size | None
    whole: Callable[[Size], int] = field(repr=False)

    @property
    def input(self) -> Tensor:
        return self.inputs[0]

    def flag(self, parameter: str) -> bool:
        """An argument that says yes or no."""
        return bool(self.whole(self.arguments[parameter]))


Inferred = tuple[dict[str, Any], Tensor]


class Primitive:
    """A primitive operator. Subclasses give the rules; instances hold no state."""

    name: ClassVar[str]
    parameters: ClassVar[dict[str, Any]] = {}
    """Parameter names in call order, with defaults (`REQUIRED` where there is none)."""
    arrow: ClassVar[bool] = False
    """Does it take `-> width`?"""
    variadic: ClassVar[bool] = False
    """Does it join several tensors?"""
    channelwise: ClassVar[bool] = True
    """Does output channel i depend on input channel i alone?"""
    linear: ClassVar[bool] = False
    """Is it linear in its input, so that a sum over input channels can be split?"""
    zero: ClassVar[bool] = True
    """Does a channel of zeros stay one? (Of operators that work on each channel by itself and store nothing.)"""
    internal: ClassVar[bool] = False
    """Is it made by the compiler alone, and no word of the language?"""

    def infer(self, use: Use) -> Inferred:
        """Attributes of the node and the shape that comes out. Raises `ShapeError`."""
        return {}, use.input

    def weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        """Number of parameters (learned elements)."""
        return 0

    def macs(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        """Multiply-accumulates of convolutions and linear layers for one image."""
        return 0

    def work(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        """Multiply-accumulates of all its products of matrices for one image or sequence.

        More than `macs` where two activations are multiplied, which costs by custom do not count.
        """
        return self.macs(node, inputs)

    def workspace(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        """Numbers that may be held on the way, beside what goes in and comes out, for one image or sequence."""
        return 0

    def state(self, node: Node, inputs: Sequence[Tensor]) -> tuple[StateTensor, ...]:
        """The tensors that its module stores; all sizes are known."""
        return ()

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        """What PyTorch keeps of it for the backward pass; all sizes are known."""
        raise NotImplementedError(self.name)

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        """Its PyTorch form; all sizes are known."""
        raise NotImplementedError(self.name)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        """Append its ONNX nodes and return the name of what comes out; all sizes are known."""
        raise NotImplementedError(self.name)


def pair(value: Any) -> tuple[Size, Size]:
    """`3` or `1 x 7` as (height, width)."""
    return (value[0], value[1]) if isinstance(value, tuple) else (value, value)


def require_image(tensor: Tensor, operator: str) -> tuple[int, int]:
    if tensor.height is None or tensor.width is None:
        raise ShapeError("E0320", f"`{operator}` needs an image, but its input is {_described(tensor)}")
    return tensor.height, tensor.width


def require_tokens(tensor: Tensor, operator: str) -> int:
    if tensor.tokens is None:
        raise ShapeError(
            "E0320",
            f"`{operator}` needs a sequence of tokens, but its input is {_described(tensor)}",
            "`| tokens` turns an image into a sequence" if tensor.height is not None else None,
        )
    return tensor.tokens


def _described(tensor: Tensor) -> str:
    if tensor.ids:
        return "a sequence of token numbers"
    if tensor.height is not None:
        return f"an image of {tensor}"
    return f"a sequence of {tensor}" if tensor.tokens is not None else f"a vector of {tensor.channels}"


def same_padding(kernel: Size, stride: Size, dilation: Size) -> Size:
    """((s - 1) + d (k - 1)) // 2 on both sides, as timm and PyTorch models pad."""
    span = add(add(stride, -1), multiply(dilation, add(kernel, -1)))
    return function("floor", divide(span, 2))


def window(size: int, kernel: Size, stride: int, padding: Size, dilation: Size, use: Use) -> int:
    """Places that a sliding window has along one side."""
    reach = add(multiply(dilation, add(kernel, -1)), 1)
    free = add(add(size, multiply(2, padding)), multiply(-1, reach))
    places = use.whole(function("floor", divide(free, stride))) + 1
    if places < 1:
        raise ShapeError(
            "E0321", f"nothing is left of the image: a window of {reach} does not fit into {size} + 2 x {padding}"
        )
    return places


def positive(value: int, what: str) -> int:
    if value < 1:
        raise ShapeError("E0322", f"the {what} must be at least 1, not {value}")
    return value


def whole_from(size: Size, least: int, what: str, operator: str) -> None:
    """Refuse a known size that is not a whole number from `least` on."""
    if not isinstance(size, Expr) and (size != int(size) or size < least):
        raise ShapeError("E0322", f"the {what} of `{operator}` must be a whole number of at least {least}, not {size}")
