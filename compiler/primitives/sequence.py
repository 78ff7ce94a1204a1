"""Tokens: attention, embeddings, positions and the class token. Sequences lie as batch x tokens x channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nasc.compiler.expr import Expr, Size, divide, multiply
from nasc.compiler.ir import Node, Tensor
from nasc.compiler.primitives.base import (
    REQUIRED,
    Inferred,
    Primitive,
    ShapeError,
    Use,
    require_image,
    require_tokens,
    whole_from,
)
from nasc.compiler.primitives.forms import (
    Argument,
    Call,
    Expression,
    OnnxBuilder,
    Saved,
    StateTensor,
    TorchForm,
    channels_of,
)

INITIAL_STD = 0.02
"""Standard deviation that learned tokens, positions and embeddings start from (Radford et al. 2018, GPT, section 4.1;
Dosovitskiy et al. 2021 have the same for positions)."""

ATTEND = '''\
def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    head_width: int,
    causal: bool = False,
) -> torch.Tensor:
    """Attention of channels / head_width heads; all tensors are batch x tokens x channels."""
    # batch x heads x tokens x head_width
    q, k, v = (x.reshape(*x.shape[:2], -1, head_width).transpose(1, 2) for x in (q, k, v))
    y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return y.transpose(1, 2).flatten(2)
'''

POSITION = '''\
class Position(nn.Module):
    """Adds a learned vector to each place: batch x tokens x channels, of all tokens or fewer."""

    def __init__(self, tokens: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(tokens, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight[: x.shape[1]]
'''

CLASS_TOKEN = '''\
class ClassToken(nn.Module):
    """Puts a learned token first: batch x tokens x channels to batch x (1 + tokens) x channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.weight.expand(x.shape[0], 1, -1), x), dim=1)
'''

FIRST_TOKEN = '''\
class FirstToken(nn.Module):
    """The first token alone: batch x tokens x channels to batch x channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 0]
'''


_ROWS, _COLUMNS = (0, 2, 1, 3), (0, 2, 3, 1)
"""Batch x tokens x heads x width to batch x heads x tokens x width, and the same turned round."""


class Attend(Primitive):
    """Scaled dot-product attention of queries, keys and values over `heads` heads.

    Head i works on channels i w up to (i + 1) w of queries, keys and values and gives the same of the output, where
    w = channels / heads. So without its last heads it is the attention of the first channels alone, as long as w stays.
    """

    name = "attend"
    parameters: ClassVar[dict[str, Any]] = {"heads": REQUIRED, "causal": False}
    variadic = True
    channelwise = False

    def infer(self, use: Use) -> Inferred:
        require_tokens(use.input, self.name)
        if len(use.inputs) != 3 or len({(t.channels, t.tokens) for t in use.inputs}) != 1:
            raise ShapeError("E0326", "`attend` needs queries, keys and values of one shape")
        heads = use.arguments["heads"]
        whole_from(heads, 1, "number of heads", self.name)
        width = divide(use.input.channels, heads)
        if not isinstance(width, Expr) and width != int(width):
            raise ShapeError("E0324", f"{use.input.channels} channels do not divide into {heads} heads")
        return {"heads": heads, "causal": use.flag("causal")}, use.input

    def work(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        tokens = inputs[0].positions
        return multiply(2 * tokens * tokens, inputs[0].channels)

    def workspace(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        tokens = inputs[0].positions
        return multiply(tokens * tokens, node.attributes["heads"])

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        # Fused attention keeps no weights of attention: of each row of a head, the logarithm of its softmax's sum.
        return Saved(inputs=(0, 1, 2), output=True, bytes=4 * inputs[0].positions * int(node.attributes["heads"]))

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        # The width of a head, not their number: with fewer channels there are fewer heads.
        arguments = (Argument("head_width", head_width(node, inputs), "head_width"),)
        given = "{head_width}, causal=True" if node.attributes["causal"] else "{head_width}"
        return Expression(
            f"attend({{0}}, {{1}}, {{2}}, {given})",
            arguments,
            operands=("query", "key", "value"),
            reader="project",
            helper=ATTEND,
        )

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        tokens, width, heads = inputs[0].positions, head_width(node, inputs), int(node.attributes["heads"])
        # 0 keeps the batch, which may be open.
        split = build.integers(0, tokens, heads, width)
        q, k, v = (build.add("Reshape", [operand, split]) for operand in operands)
        q, k, v = (build.add("Transpose", [x], perm=p) for x, p in ((q, _ROWS), (k, _COLUMNS), (v, _ROWS)))
        # Scaled before the product, whose sums then stay in the range of 16 bits.
        scores = build.add("MatMul", [build.add("Mul", [q, build.scalar(width**-0.5)]), k])
        if node.attributes["causal"]:
            scores = build.add("Add", [scores, build.causal_mask(tokens)])
        mixed = build.add("MatMul", [build.add("Softmax", [scores], axis=-1), v])
        back = build.add("Transpose", [mixed], perm=_ROWS)
        return build.add("Reshape", [back, build.integers(0, tokens, heads * width)])


def head_width(node: Node, inputs: Sequence[Tensor]) -> int:
    """The channels of one head; all sizes are known."""
    return channels_of(inputs[0]) // int(node.attributes["heads"])


class Embedding(Primitive):
    """A learned vector for each token number; `-> width`."""

    name = "embedding"
    parameters: ClassVar[dict[str, Any]] = {"vocabulary": REQUIRED}
    arrow = True
    channelwise = False

    def infer(self, use: Use) -> Inferred:
        if not use.input.ids:
            raise ShapeError("E0320", "`embedding` needs token numbers: `input tokens N`")
        if use.width is None:
            raise ShapeError("E0323", "`embedding` needs a width", "write `embedding { vocabulary 1000 } -> 64`")
        attributes = {"vocabulary": use.whole(use.arguments["vocabulary"])}
        return attributes, Tensor.model_construct(
            channels=use.width, height=None, width=None, tokens=use.input.tokens, ids=False
        )

    def weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        return multiply(node.attributes["vocabulary"], node.output.channels)

    def state(self, node: Node, inputs: Sequence[Tensor]) -> tuple[StateTensor, ...]:
        return (StateTensor("weight", (node.attributes["vocabulary"], channels_of(node.output)), std=INITIAL_STD),)

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(bytes=8 * inputs[0].positions)  # the numbers, int64

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        arguments = (
            Argument("vocabulary", node.attributes["vocabulary"]),
            Argument("channels", channels_of(node.output)),
        )
        return (Call("nn.Embedding", arguments, "embedding"),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        return build.add("Gather", [build.weight("weight"), operands[0]], axis=0)


class Position(Primitive):
    """A learned vector added to each place of the sequence."""

    name = "position"

    def infer(self, use: Use) -> Inferred:
        require_tokens(use.input, self.name)
        return {}, use.input

    def weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        return multiply(node.output.positions, node.output.channels)

    def state(self, node: Node, inputs: Sequence[Tensor]) -> tuple[StateTensor, ...]:
        return (StateTensor("weight", (node.output.positions, channels_of(node.output)), std=INITIAL_STD),)

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved()

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        arguments = (Argument("tokens", node.output.positions), Argument("channels", channels_of(node.output)))
        return (Call("Position", arguments, "position", helper=POSITION),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        return build.add("Add", [operands[0], build.weight("weight")])


class ClassToken(Primitive):
    """A learned token before the others."""

    name = "class_token"

    def infer(self, use: Use) -> Inferred:
        count = require_tokens(use.input, self.name)
        return {}, Tensor.model_construct(
            channels=use.input.channels, height=None, width=None, tokens=count + 1, ids=False
        )

    def weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        return node.output.channels

    def state(self, node: Node, inputs: Sequence[Tensor]) -> tuple[StateTensor, ...]:
        return (StateTensor("weight", (channels_of(node.output),), std=INITIAL_STD),)

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved()

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        return (Call("ClassToken", (Argument("channels", channels_of(node.output)),), "token", helper=CLASS_TOKEN),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        # One for each image of the batch, which may be open.
        batch = build.add("Shape", operands, start=0, end=1)
        shape = build.add("Concat", [batch, build.integers(1, channels_of(node.output))], axis=0)
        return build.add("Concat", [build.add("Expand", [build.weight("weight"), shape]), operands[0]], axis=1)


class FirstToken(Primitive):
    """The first token alone, as a vector."""

    name = "first_token"

    def infer(self, use: Use) -> Inferred:
        require_tokens(use.input, self.name)
        return {}, Tensor.model_construct(channels=use.input.channels, height=None, width=None, tokens=None, ids=False)

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(view=True)

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        return (Call("FirstToken", role="first", helper=FIRST_TOKEN),)

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        first = build.add("Slice", [operands[0], build.integers(0), build.integers(1), build.integers(1)])
        return build.add("Squeeze", [first, build.integers(1)])


class Tokens(Primitive):
    """An image's places, row by row, as a sequence."""

    name = "tokens"

    def infer(self, use: Use) -> Inferred:
        height, width = require_image(use.input, self.name)
        return {}, Tensor.model_construct(
            channels=use.input.channels, height=None, width=None, tokens=height * width, ids=False
        )

    def saved(self, node: Node, inputs: Sequence[Tensor]) -> Saved:
        return Saved(view=True)

    def torch(self, node: Node, inputs: Sequence[Tensor]) -> TorchForm:
        return Expression("{0}.flatten(2).transpose(1, 2)")

    def onnx(self, node: Node, inputs: Sequence[Tensor], operands: Sequence[str], build: OnnxBuilder) -> str:
        channels, tokens = channels_of(inputs[0]), inputs[0].positions
        flat = build.add("Reshape", [operands[0], build.integers(0, channels, tokens)])
        return build.add("Transpose", [flat], perm=(0, 2, 1))
