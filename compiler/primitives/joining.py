"""Joining and cutting tensors: add, mul, concat, the prefix residual, slices and the channel shuffle."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, ClassVar

from nasc.compiler.expr import Expr, Size, add, divide, function, multiply
from nasc.compiler.ir import Node, Tensor
from nasc.compiler.primitives.base import REQUIRED, Inferred, Primitive, ShapeError, Use, require_image, whole_from
from nasc.compiler.primitives.forms import (
    Argument,
    Call,
    Expression,
    OnnxBuilder,
    Saved,
    TorchForm,
    axis_of,
    channels_of,
    elements_of,
)

PARALLEL = "parallel"
"""The attribute of an `add` whose operands are operators side by side: none of them is a shortcut."""


def _agree(use: Use, operator: str) -> None:
    for other in use.inputs[1:]:
        if other.spatial != use.input.spatial:
            raise ShapeError("E0326", f"`{operator}` joins {use.input} and {other}: their sizes differ")


def _operands(count: int, between: str) -> str:
    return between.join(f"{{{i}}}" for i in range(count))


def _chain(op: str, operands: Sequence[str], build: OnnxBuilder) -> str:
    """A binary operator over any number of operands, from the left."""
    return reduce(lambda a, b: build.add(op, [a, b]), operands)


class Add(Primitive):
    """Sum of tensors of one shape."""

    name = "add"
    variadic = True
    linear = True

    def infer(self, use: Use) -> Inferred:
        _agree(use, self.name)
        for other in use.inputs[1:]:
            if other.channels != use.input.channels:
                raise ShapeError(
                    "E0327",
                    f"`add` joins {use.input.channels} and {other.channels} channels",
                    "`concat` joins different widths; a `let` makes two widths one decision",
                )
        return {}, use.input

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved()

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        return Expression(_operands(len(inputs), " + "), side="beside" if node.attributes.get(PARALLEL) else "shortcut")

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        return _chain("Add", operands, build)


class Mul(Primitive):
    """Product of a tensor and a gate of the same channels (the gate may be 1 x 1)."""

    name = "mul"
    variadic = True

    def infer(self, use: Use) -> Inferred:
        for other in use.inputs[1:]:
            if other.channels != use.input.channels:
                raise ShapeError("E0327", f"`mul` joins {use.input.channels} and {other.channels} channels")
            if other.spatial not in (use.input.spatial, (1, 1)):
                raise ShapeError("E0326", f"`mul` joins {use.input} and {other}: their sizes differ")
        return {}, use.input

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(inputs=tuple(range(len(inputs))), elements=(len(inputs) - 2) * elements_of(node.output))

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        return Expression(_operands(len(inputs), " * "), side="gate")

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        return _chain("Mul", operands, build)


class Concat(Primitive):
    """Tensors side by side, channels after channels."""

    name = "concat"
    variadic = True
    channelwise = False

    def infer(self, use: Use) -> Inferred:
        _agree(use, self.name)
        total: Size = reduce(add, (t.channels for t in use.inputs))
        return {}, use.input.with_channels(total)

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(view=len(inputs) == 1)

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        if len(inputs) == 1:
            return Expression("{0}")
        return Expression(f"torch.cat(({_operands(len(inputs), ', ')}), dim={axis_of(node.output)})")

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        return build.add("Concat", operands, axis=axis_of(node.output))


class AddPrefix(Primitive):
    """Sum of two tensors over the channels both have; the further channels of the wider one stay as they are."""

    name = "add_prefix"
    variadic = True

    def infer(self, use: Use) -> Inferred:
        _agree(use, self.name)
        return {}, use.input.with_channels(function("max", *(t.channels for t in use.inputs)))

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved()

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        before = "0, 0, 0, 0, 0" if inputs[0].height is not None else "0"
        terms, arguments = [], []
        for i, missing in enumerate(_missing(node, inputs)):
            if missing:
                arguments.append(Argument("extra", missing, f"extra{i}"))
            terms.append(f"nn.functional.pad({{{i}}}, ({before}, {{extra{i}}}))" if missing else f"{{{i}}}")
        return Expression(" + ".join(terms), tuple(arguments), side="shortcut")

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        axis, axes = axis_of(node.output), 1 + len(node.output.layout)
        before, after = (0,) * (axes + axis), (0,) * (axes - axis - 1)
        padded = [
            build.add("Pad", [operand, build.integers(*before, missing, *after)]) if missing else operand
            for operand, missing in zip(operands, _missing(node, inputs), strict=True)
        ]
        return _chain("Add", padded, build)


def _missing(node: Node, inputs: Sequence[Tensor]) -> list[int]:
    """How many channels each input lacks."""
    return [channels_of(node.output) - channels_of(t) for t in inputs]


class Slice(Primitive):
    """Channels `start` up to, not including, `stop`: what `take` and `channels`, which see to the bounds, become."""

    name = "slice"
    internal = True
    parameters: ClassVar[dict[str, Any]] = {"start": REQUIRED, "stop": REQUIRED}

    def infer(self, use: Use) -> Inferred:
        start, stop = use.arguments["start"], use.arguments["stop"]
        return {"start": start, "stop": stop}, use.input.with_channels(add(stop, multiply(-1, start)))

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(view=True)

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        start, stop = int(node.attributes["start"]), int(node.attributes["stop"])
        arguments = (Argument("start", start, "start"), Argument("length", stop - start, "length"))
        return Expression(f"{{0}}.narrow({axis_of(node.output)}, {{start}}, {{length}})", arguments)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        start, stop = int(node.attributes["start"]), int(node.attributes["stop"])
        ends = [build.integers(start), build.integers(stop), build.integers(axis_of(node.output))]
        return build.add("Slice", [operands[0], *ends])


class Shuffle(Primitive):
    """Channel shuffle: channels of `groups` groups are dealt out in turn."""

    name = "shuffle"
    parameters: ClassVar[dict[str, Any]] = {"groups": REQUIRED}
    channelwise = False
    linear = True

    def infer(self, use: Use) -> Inferred:
        require_image(use.input, self.name)
        groups = use.arguments["groups"]
        whole_from(groups, 1, "number of groups", self.name)
        share = divide(use.input.channels, groups)
        if not isinstance(share, Expr) and share != int(share):
            raise ShapeError("E0324", f"{use.input.channels} channels do not divide into {groups} groups")
        return {"groups": use.whole(groups)}, use.input

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved()

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        return (Call("nn.ChannelShuffle", (Argument("groups", node.attributes["groups"]),), "shuffle"),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        groups, (height, width) = node.attributes["groups"], inputs[0].spatial
        share = channels_of(inputs[0]) // groups
        # 0 keeps the batch, which may be open.
        split = build.add("Reshape", [operands[0], build.integers(0, groups, share, height, width)])
        dealt = build.add("Transpose", [split], perm=(0, 2, 1, 3, 4))
        return build.add("Reshape", [dealt, build.integers(0, groups * share, height, width)])
