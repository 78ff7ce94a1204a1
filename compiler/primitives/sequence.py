"""Tokens: attention, embeddings, positions and the class token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nasc.compiler.expr import Size, multiply
from nasc.compiler.ir import Node, Tensor
from nasc.compiler.primitives.base import REQUIRED, Inferred, Primitive, ShapeError, Use, require_image, require_tokens


class Attend(Primitive):
    """Scaled dot-product attention of queries, keys and values over `heads` heads."""

    name = "attend"
    lowers = False
    parameters: ClassVar[dict[str, Any]] = {"heads": REQUIRED, "causal": False}
    variadic = True
    channelwise = False

    def infer(self, use: Use) -> Inferred:
        require_tokens(use.input, self.name)
        if len(use.inputs) != 3 or len({(t.channels, t.tokens) for t in use.inputs}) != 1:
            raise ShapeError("E0326", "`attend` needs queries, keys and values of one shape")
        return {"heads": use.arguments["heads"], "causal": bool(use.arguments["causal"])}, use.input


class Embedding(Primitive):
    """A learned vector for each token number; `-> width`."""

    name = "embedding"
    lowers = False
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


class Position(Primitive):
    """A learned vector added to each place of the sequence."""

    name = "position"
    lowers = False

    def infer(self, use: Use) -> Inferred:
        require_tokens(use.input, self.name)
        return {}, use.input

    def weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        return multiply(node.output.positions, node.output.channels)


class ClassToken(Primitive):
    """A learned token before the others."""

    name = "class_token"
    lowers = False

    def infer(self, use: Use) -> Inferred:
        count = require_tokens(use.input, self.name)
        return {}, Tensor.model_construct(
            channels=use.input.channels, height=None, width=None, tokens=count + 1, ids=False
        )

    def weights(self, node: Node, inputs: Sequence[Tensor]) -> Size:
        return node.output.channels


class FirstToken(Primitive):
    """The first token alone, as a vector."""

    name = "first_token"
    lowers = False

    def infer(self, use: Use) -> Inferred:
        require_tokens(use.input, self.name)
        return {}, Tensor.model_construct(channels=use.input.channels, height=None, width=None, tokens=None, ids=False)


class Tokens(Primitive):
    """An image's places, row by row, as a sequence."""

    name = "tokens"
    lowers = False

    def infer(self, use: Use) -> Inferred:
        height, width = require_image(use.input, self.name)
        return {}, Tensor.model_construct(
            channels=use.input.channels, height=None, width=None, tokens=height * width, ids=False
        )
