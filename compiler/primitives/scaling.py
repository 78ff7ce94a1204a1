"""Layer scale: a learned factor for each channel of a residual branch."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from nasc.compiler.expr import Size
from nasc.compiler.ir import Node, Tensor
from nasc.compiler.primitives.base import Inferred, Primitive, Use
from nasc.compiler.primitives.forms import Argument, Call, OnnxBuilder, Saved, StateTensor, TorchForm, channels_of

LAYER_SCALE = '''\
class LayerScale(nn.Module):
    """A learned factor for each channel, the last dimension."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), init))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight
'''

CHANNEL_SCALE = '''\
class ChannelScale(nn.Module):
    """A learned factor for each channel of an image."""

    def __init__(self, channels: int, init: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), init))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight.reshape(-1, 1, 1)
'''


class LayerScale(Primitive):
    """A learned factor for each channel (Touvron et al. 2021, "Going deeper with Image Transformers", section 2.2)."""

    name = "layer_scale"
    parameters: ClassVar[dict[str, Any]] = {"init": Fraction(1, 100_000)}
    linear = True

    def infer(self, use: Use) -> Inferred:
        return {"init": use.arguments["init"]}, use.input

    def weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        return inputs[0].channels

    def state(self, node: Node, inputs: Sequence[Tensor]) -> tuple[StateTensor, ...]:
        return (StateTensor("weight", (channels_of(inputs[0]),), mean=float(node.attributes["init"])),)

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(inputs=(0,))

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        image = inputs[0].height is not None
        arguments = (
            Argument("channels", channels_of(inputs[0])),
            Argument("init", float(node.attributes["init"]), "init"),
        )
        function, helper = ("ChannelScale", CHANNEL_SCALE) if image else ("LayerScale", LAYER_SCALE)
        return (Call(function, arguments, "scale", helper=helper),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        weight = build.weight("weight")
        if inputs[0].height is not None:
            weight = build.add("Reshape", [weight, build.integers(-1, 1, 1)])
        return build.add("Mul", [operands[0], weight])
