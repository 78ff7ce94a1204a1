"""Convolution, linear layer, pooling and up-sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from nasc.compiler.expr import Expr, Size, add, divide, multiply
from nasc.compiler.ir import Node, Tensor
from nasc.compiler.primitives.base import (
    REQUIRED,
    Inferred,
    Primitive,
    ShapeError,
    Use,
    pair,
    positive,
    require_image,
    same_padding,
    whole_from,
    window,
)
from nasc.compiler.primitives.forms import (
    Argument,
    Call,
    OnnxBuilder,
    Saved,
    StateTensor,
    TorchForm,
    channels_of,
    elements_of,
    square,
)

MEAN_TOKEN = '''\
class MeanToken(nn.Module):
    """The mean of a sequence's tokens: batch x tokens x channels to batch x channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)
'''


def _slide(use: Use, operator: str, extra_stride_padding: bool) -> tuple[dict[str, object], int, int]:
    """Kernel, stride and padding attributes of a sliding window, and the size that comes out."""
    height, width = require_image(use.input, operator)
    kernel = pair(use.arguments["kernel"])
    stride = positive(use.whole(use.arguments["stride"]), "stride")
    dilation = use.arguments.get("dilation", 1)
    given = use.arguments["padding"]
    for side in kernel:
        whole_from(side, 1, "kernel", operator)
    whole_from(dilation, 1, "dilation", operator)
    around = stride if extra_stride_padding else 1
    padding = tuple(same_padding(k, around, dilation) for k in kernel) if given == "same" else pair(given)
    for side in padding:
        whole_from(side, 0, "padding", operator)
    attributes: dict[str, object] = {"kernel": kernel, "stride": (stride, stride), "padding": padding}
    return (
        attributes,
        window(height, kernel[0], stride, padding[0], dilation, use),
        window(width, kernel[1], stride, padding[1], dilation, use),
    )


class Conv2d(Primitive):
    """k x k convolution, `groups` of channels apart; `-> filters`."""

    name = "conv2d"
    parameters: ClassVar[dict[str, Any]] = {
        "kernel": REQUIRED,
        "stride": 1,
        "padding": "same",
        "groups": 1,
        "dilation": 1,
        "bias": False,
    }
    arrow = True
    channelwise = False
    linear = True

    def infer(self, use: Use) -> Inferred:
        if use.width is None:
            raise ShapeError("E0323", "`conv2d` needs a number of filters", "write `conv2d(3) -> 64`")
        attributes, height, width = _slide(use, self.name, extra_stride_padding=True)
        groups = use.arguments["groups"]
        whole_from(groups, 1, "number of groups", self.name)
        for channels in (use.input.channels, use.width):
            share = divide(channels, groups)
            if not isinstance(share, Expr) and share != int(share):
                raise ShapeError("E0324", f"{channels} channels do not divide into {groups} groups")
        attributes |= {
            "groups": groups,
            "dilation": use.whole(use.arguments["dilation"]),
            "bias": use.flag("bias"),
        }
        return attributes, Tensor.model_construct(
            channels=use.width, height=height, width=width, tokens=None, ids=False
        )

    def _kernel_weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        a = node.attributes
        per_filter = multiply(multiply(a["kernel"][0], a["kernel"][1]), divide(inputs[0].channels, a["groups"]))
        return multiply(per_filter, node.output.channels)

    def weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        bias = node.output.channels if node.attributes["bias"] else 0
        return add(self._kernel_weights(node, inputs), bias)

    def macs(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        return multiply(self._kernel_weights(node, inputs), node.output.positions)

    def state(self, node: Node, inputs: Sequence[Tensor]) -> tuple[StateTensor, ...]:
        kernel, groups, filters = node.attributes["kernel"], node.attributes["groups"], channels_of(node.output)
        fan_out = kernel[0] * kernel[1] * filters // groups
        shape = (filters, channels_of(inputs[0]) // groups, *kernel)
        # He et al. 2015, "Delving Deep into Rectifiers", section 2.2 (backward case).
        weight = StateTensor("weight", shape, std=math.sqrt(2 / fan_out))
        return (weight, StateTensor("bias", (filters,))) if node.attributes["bias"] else (weight,)

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(inputs=(0,))

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        a = node.attributes
        channels = channels_of(inputs[0])
        each = a["groups"] == channels > 1
        arguments = (
            Argument("channels", channels),
            Argument("channels", channels_of(node.output)),
            Argument("kernel", square(a["kernel"]), "kernel_size"),
            Argument("stride", square(a["stride"]), "stride", default=1),
            Argument("padding", square(a["padding"]), "padding", default=0),
            Argument("dilation", a["dilation"], "dilation", default=1),
            Argument("channels" if each else "groups", a["groups"], "groups", default=None if each else 1),
            Argument("bias", a["bias"], "bias", default=True),
        )
        role = "depthwise" if each else "pointwise" if a["kernel"] == (1, 1) else "conv"
        return (Call("nn.Conv2d", arguments, role),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        a = node.attributes
        return build.add(
            "Conv",
            [operands[0], build.weight("weight"), build.weight("bias")],
            kernel_shape=a["kernel"],
            strides=a["stride"],
            pads=(*a["padding"], *a["padding"]),
            dilations=(a["dilation"], a["dilation"]),
            group=a["groups"],
        )


class Linear(Primitive):
    """Matrix product over the channels of a vector, of each token, or of a 1 x 1 image."""

    name = "linear"
    parameters: ClassVar[dict[str, Any]] = {"bias": True}
    arrow = True
    channelwise = False
    linear = True

    def infer(self, use: Use) -> Inferred:
        if use.width is None:
            raise ShapeError("E0323", "`linear` needs a number of outputs", "write `linear -> 64`")
        shape = use.input
        if shape.ids:
            raise ShapeError("E0320", "`linear` needs numbers, but its input is a sequence of token numbers")
        if shape.height is not None and (shape.height, shape.width) != (1, 1):
            raise ShapeError(
                "E0325", f"`linear` needs a vector, but its input is {shape}", "put `global_pool |` before it"
            )
        output = Tensor.model_construct(channels=use.width, height=None, width=None, tokens=shape.tokens, ids=False)
        return {"bias": use.flag("bias")}, output

    def weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        bias = node.output.channels if node.attributes["bias"] else 0
        return add(multiply(inputs[0].channels, node.output.channels), bias)

    def macs(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        return multiply(multiply(inputs[0].channels, node.output.channels), node.output.positions)

    def state(self, node: Node, inputs: Sequence[Tensor]) -> tuple[StateTensor, ...]:
        outputs = channels_of(node.output)
        weight = StateTensor("weight", (outputs, channels_of(inputs[0])), std=0.01)
        return (weight, StateTensor("bias", (outputs,))) if node.attributes["bias"] else (weight,)

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(inputs=(0,))

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        arguments = (
            Argument("channels", channels_of(inputs[0])),
            Argument("channels", channels_of(node.output)),
            Argument("bias", node.attributes["bias"], "bias", default=True),
        )
        call = Call("nn.Linear", arguments, "linear")
        return (Call("nn.Flatten", role="flatten"), call) if inputs[0].height is not None else (call,)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        if inputs[0].tokens is not None:
            # Gemm takes matrices alone. Runtimes turn the weight round once, when they load it.
            turned = build.add("Transpose", [build.weight("weight")], perm=(1, 0))
            product = build.add("MatMul", [operands[0], turned])
            return build.add("Add", [product, build.weight("bias")]) if node.attributes["bias"] else product
        flat = build.add("Flatten", operands) if inputs[0].height is not None else operands[0]
        return build.add("Gemm", [flat, build.weight("weight"), build.weight("bias")], transB=1)


class _Pool(Primitive):
    parameters: ClassVar[dict[str, Any]] = {"kernel": REQUIRED, "stride": 1, "padding": "same"}
    constructor: ClassVar[str]
    further: ClassVar[tuple[Argument, ...]] = ()
    operator: ClassVar[str]

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(inputs=(0,))

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        a = node.attributes
        window = (
            Argument("kernel", square(a["kernel"]), "kernel_size"),
            Argument("stride", square(a["stride"]), "stride"),
            Argument("padding", square(a["padding"]), "padding", default=0),
        )
        return (Call(self.constructor, window + self.further, "pool"),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        a = node.attributes
        pads = (*a["padding"], *a["padding"])
        return build.add(self.operator, operands, kernel_shape=a["kernel"], strides=a["stride"], pads=pads)

    def infer(self, use: Use) -> Inferred:
        attributes, height, width = _slide(use, self.name, extra_stride_padding=False)
        for size, padding in zip(pair(use.arguments["kernel"]), pair(attributes["padding"]), strict=True):
            if not isinstance(size, Expr) and not isinstance(padding, Expr) and 2 * padding > size:
                message = f"the padding of `{self.name}` is {padding}, more than half of its kernel of {size}"
                raise ShapeError("E0322", message)
        return attributes, Tensor.model_construct(
            channels=use.input.channels, height=height, width=width, tokens=None, ids=False
        )


class MaxPool(_Pool):
    """Largest value under a window."""

    name = "max_pool"
    constructor = "nn.MaxPool2d"
    operator = "MaxPool"

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(inputs=(0,), bytes=8 * elements_of(node.output))  # where each largest value was


class AvgPool(_Pool):
    """Mean under a window; padding does not count."""

    name = "avg_pool"
    constructor = "nn.AvgPool2d"
    further = (Argument("flag", False, "count_include_pad"),)
    operator = "AveragePool"


class GlobalPool(Primitive):
    """Mean over all places: an image becomes C x 1 x 1, a sequence one vector."""

    name = "global_pool"

    def infer(self, use: Use) -> Inferred:
        image = use.input.height is not None
        if not image and use.input.tokens is None:
            raise ShapeError("E0320", "`global_pool` needs an image or a sequence, but its input is a vector")
        side = 1 if image else None
        return {}, Tensor.model_construct(channels=use.input.channels, height=side, width=side, tokens=None, ids=False)

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved()

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        if inputs[0].tokens is not None:
            return (Call("MeanToken", role="pool", helper=MEAN_TOKEN),)
        return (Call("nn.AdaptiveAvgPool2d", (Argument("size", 1),), "pool"),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        if inputs[0].tokens is not None:
            return build.add("ReduceMean", [operands[0], build.integers(1)], keepdims=0)
        return build.add("GlobalAveragePool", operands)


class Upsample(Primitive):
    """Nearest-neighbour up-sampling by a whole factor."""

    name = "upsample"
    parameters: ClassVar[dict[str, Any]] = {"factor": 2}

    def infer(self, use: Use) -> Inferred:
        height, width = require_image(use.input, self.name)
        factor = positive(use.whole(use.arguments["factor"]), "factor")
        return {"factor": factor}, Tensor.model_construct(
            channels=use.input.channels, height=height * factor, width=width * factor, tokens=None, ids=False
        )

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved()

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        return (Call("nn.Upsample", (Argument("factor", node.attributes["factor"], "scale_factor"),), "upsample"),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        factor = float(node.attributes["factor"])
        return build.add(
            "Resize",
            [operands[0], "", build.numbers(1.0, 1.0, factor, factor)],
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )
