"""What a SuperNet of masks is made of: no operator of the language, but of the code that searches.

Their names cannot be written in a `.nas` file. Shapes and costs are those of what they stand for; the modules are in
`nasc.runtime.masks`.
"""

from __future__ import annotations

from collections.abc import Sequence

from nasc.compiler.ir import Node, Tensor
from nasc.compiler.primitives.base import Primitive
from nasc.compiler.primitives.forms import Argument, Call, Saved, Text, TorchForm, channels_of
from nasc.compiler.primitives.pointwise import BatchNorm

MASK = "mask"
"""The attribute of a node that says which mask it applies."""


class MaskedBatchNorm(BatchNorm):
    """Batch normalisation followed by a mask, folded into its scale and shift."""

    name = "/bn"
    internal = True

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        plain = super().torch(node, inputs)
        assert isinstance(plain, tuple)
        (call,) = plain
        function = {"nn.BatchNorm2d": "MaskedBatchNorm2d", "nn.BatchNorm1d": "MaskedBatchNorm1d"}[call.function]
        return (Call(function, (*call.arguments, _mask(node)), "norm"),)


class ChannelMask(Primitive):
    """A factor for each channel."""

    name = "/mask"
    internal = True

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(inputs=(0,))

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        return (Call("ChannelMask", (Argument("channels", channels_of(inputs[0])), _mask(node)), "mask"),)


def _mask(node: Node) -> Argument:
    return Argument("mask", Text(node.attributes[MASK]), "mask")
