"""Normalisation, activations and dropout: what works on each channel by itself."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from nasc.compiler.expr import Size, multiply
from nasc.compiler.ir import Node, Tensor
from nasc.compiler.primitives.base import Inferred, Primitive, ShapeError, Use
from nasc.compiler.primitives.forms import (
    Argument,
    Call,
    OnnxBuilder,
    Saved,
    StateTensor,
    TorchForm,
    channels_of,
    elements_of,
)

CHANNEL_NORM = '''\
class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of an image, at each place by itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
'''

TOKEN_BATCH_NORM = '''\
class TokenBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of the channels of sequences, batch x tokens x channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)
'''

GELU_TANH = '''\
class GELUTanh(nn.GELU):
    """GELU by its approximation with tanh, as GPT-2 has it."""

    def __init__(self) -> None:
        super().__init__(approximate="tanh")
'''


class BatchNorm(Primitive):
    """Batch normalisation with a learned scale and shift per channel."""

    name = "bn"
    parameters: ClassVar[dict[str, Any]] = {"eps": Fraction(1, 100_000), "momentum": Fraction(1, 10)}

    def infer(self, use: Use) -> Inferred:
        return {"eps": use.arguments["eps"], "momentum": use.arguments["momentum"]}, use.input

    def weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        return multiply(2, inputs[0].channels)

    def state(self, node: Node, inputs: Sequence[Tensor]) -> tuple[StateTensor, ...]:
        shape = (channels_of(inputs[0]),)
        return (
            StateTensor("weight", shape, mean=1.0),
            StateTensor("bias", shape),
            StateTensor("running_mean", shape, learned=False),
            StateTensor("running_var", shape, mean=1.0, learned=False),
            StateTensor("num_batches_tracked", (), learned=False, dtype="int64"),
        )

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(inputs=(0,), fixed=8 * channels_of(inputs[0]))  # with the batch's mean and deviation

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        arguments = (
            Argument("channels", channels_of(inputs[0])),
            Argument("eps", float(node.attributes["eps"]), "eps", default=1e-5),
            Argument("momentum", float(node.attributes["momentum"]), "momentum", default=0.1),
        )
        if inputs[0].tokens is not None:
            return (Call("TokenBatchNorm", arguments, "norm", helper=TOKEN_BATCH_NORM),)
        return (Call("nn.BatchNorm2d" if inputs[0].height is not None else "nn.BatchNorm1d", arguments, "norm"),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        stored = [build.weight(name) for name in ("weight", "bias", "running_mean", "running_var")]
        tokens = inputs[0].tokens is not None
        source = build.add("Transpose", operands, perm=(0, 2, 1)) if tokens else operands[0]
        result = build.add("BatchNormalization", [source, *stored], epsilon=float(node.attributes["eps"]))
        return build.add("Transpose", [result], perm=(0, 2, 1)) if tokens else result


class LayerNorm(Primitive):
    """Layer normalisation over the channels, with a learned scale and shift."""

    name = "layer_norm"
    parameters: ClassVar[dict[str, Any]] = {"eps": Fraction(1, 100_000)}
    channelwise = False

    def infer(self, use: Use) -> Inferred:
        return {"eps": use.arguments["eps"]}, use.input

    def weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        return multiply(2, inputs[0].channels)

    def state(self, node: Node, inputs: Sequence[Tensor]) -> tuple[StateTensor, ...]:
        shape = (channels_of(inputs[0]),)
        return StateTensor("weight", shape, mean=1.0), StateTensor("bias", shape)

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(inputs=(0,), bytes=8 * inputs[0].positions)  # with each place's mean and deviation

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        arguments = (
            Argument("channels", channels_of(inputs[0])),
            Argument("eps", float(node.attributes["eps"]), "eps", default=1e-5),
        )
        if inputs[0].height is not None:
            return (Call("ChannelNorm", arguments, "norm", helper=CHANNEL_NORM),)
        return (Call("nn.LayerNorm", arguments, "norm"),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        image = inputs[0].height is not None
        source = build.add("Transpose", operands, perm=(0, 2, 3, 1)) if image else operands[0]
        result = build.add(
            "LayerNormalization",
            [source, build.weight("weight"), build.weight("bias")],
            axis=-1,
            epsilon=float(node.attributes["eps"]),
        )
        return build.add("Transpose", [result], perm=(0, 3, 1, 2)) if image else result


class Dropout(Primitive):
    """Dropout while training."""

    name = "dropout"
    parameters: ClassVar[dict[str, Any]] = {"rate": Fraction(1, 2)}

    def infer(self, use: Use) -> Inferred:
        rate = use.arguments["rate"]
        if not 0 <= rate < 1:
            raise ShapeError("E0322", f"the rate of `dropout` must be at least 0 and below 1, not {rate}")
        return {"rate": rate}, use.input

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(elements=elements_of(inputs[0])) if node.attributes["rate"] else Saved(view=True)

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        return (Call("nn.Dropout", (Argument("rate", float(node.attributes["rate"])),), "dropout"),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        return operands[0]


class Activation(Primitive):
    """A function of each element."""

    constructor: ClassVar[str]
    operator: ClassVar[str]
    keeps_output: ClassVar[bool] = False
    """Is its derivative computed from its output, not its input?"""

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(output=True) if self.keeps_output else Saved(inputs=(0,))

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        return (Call(self.constructor, role="act", swappable=True),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        return build.add(self.operator, operands)


class Relu(Activation):
    """max(x, 0)."""

    name = "relu"
    constructor = "nn.ReLU"
    keeps_output = True
    operator = "Relu"


class Relu6(Activation):
    """min(max(x, 0), 6)."""

    name = "relu6"
    constructor = "nn.ReLU6"

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        return build.add("Clip", [operands[0], build.scalar(0.0), build.scalar(6.0)])


class Swish(Activation):
    """x * sigmoid(x), also called SiLU."""

    name = "swish"
    constructor = "nn.SiLU"

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        return build.add("Mul", [operands[0], build.add("Sigmoid", operands)])


class Gelu(Activation):
    """x * Phi(x), exact."""

    name = "gelu"
    constructor = "nn.GELU"
    operator = "Gelu"


class GeluTanh(Activation):
    """GELU by its approximation with tanh (Hendrycks and Gimpel 2016, section 2), as GPT-2 has it."""

    name = "gelu_tanh"

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        return (Call("GELUTanh", role="act", swappable=True, helper=GELU_TANH),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        return build.add("Gelu", operands, approximate="tanh")


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    name = "sigmoid"
    constructor = "nn.Sigmoid"
    zero = False
    keeps_output = True
    operator = "Sigmoid"


class HardSigmoid(Activation):
    """min(max(x / 6 + 1/2, 0), 1)."""

    name = "hard_sigmoid"
    constructor = "nn.Hardsigmoid"
    zero = False

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        return build.add("HardSigmoid", operands, alpha=1 / 6, beta=0.5)


class HardSwish(Activation):
    """x * hard_sigmoid(x)."""

    name = "hard_swish"
    constructor = "nn.Hardswish"
    operator = "HardSwish"


class Tanh(Activation):
    """Hyperbolic tangent."""

    name = "tanh"
    constructor = "nn.Tanh"
    keeps_output = True
    operator = "Tanh"
