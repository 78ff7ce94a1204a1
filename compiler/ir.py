"""The intermediate representation: a space as layers of variants, each a dataflow graph over primitive operators.

Everything downstream (count, cost, code, ONNX, manifest) reads only this. Sizes are exact and may be symbolic in the
addresses of decisions (`nasc.compiler.expr`). Data is frozen and has a JSON form.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from nasc.compiler.domain import Domain
from nasc.compiler.expr import Expr, Size, exact, parse_size


def _read_size(value: object) -> Size:
    if isinstance(value, bool):
        raise ValueError("not a size")
    if isinstance(value, int | Fraction | Expr):
        return value
    if isinstance(value, str):
        return exact_or_symbolic(value)
    raise ValueError("not a size")


def exact_or_symbolic(text: str) -> Size:
    size = parse_size(text)
    return size if isinstance(size, Expr) else exact(size)


SizeField = Annotated[
    Size, PlainValidator(_read_size), PlainSerializer(lambda v: v if isinstance(v, int) else str(v), return_type=object)
]


def _read_attribute(value: object) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_read_attribute(v) for v in value)
    if isinstance(value, dict) and set(value) == {"text"} and isinstance(value["text"], str):
        return value["text"]
    return value if isinstance(value, bool) else _read_size(value)


def _write_attribute(value: Any) -> object:
    if isinstance(value, tuple):
        return [_write_attribute(v) for v in value]
    if isinstance(value, str):
        return {"text": value}
    return value if isinstance(value, int) else str(value)


Attributes = Annotated[
    dict[str, Any],
    PlainValidator(lambda d: {str(k): _read_attribute(v) for k, v in dict(d).items()}),
    PlainSerializer(lambda d: {k: _write_attribute(v) for k, v in d.items()}, return_type=object),
]
"""Attribute values are sizes, booleans, words, and tuples of sizes (`kernel`, `stride`, `padding`: height, width)."""


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tensor(Model):
    """A tensor's shape without its batch: an image `channels x height x width`, a sequence `tokens x channels`, or a
    vector of `channels`. `tokens` with `channels` 0 and `ids` is a sequence of token numbers."""

    channels: SizeField
    height: int | None = None
    width: int | None = None
    tokens: int | None = None
    ids: bool = False

    @property
    def absent(self) -> bool:
        """A tensor without channels is not there."""
        return self.channels == 0 and not self.ids

    @property
    def spatial(self) -> tuple[int, ...]:
        if self.height is not None and self.width is not None:
            return (self.height, self.width)
        return (self.tokens,) if self.tokens is not None else ()

    @property
    def layout(self) -> tuple[Size, ...]:
        """The sizes in the order in which they lie in memory, without the batch: C x H x W, tokens x C, or C.

        Token numbers have no channels: their layout is the number of tokens alone.
        """
        if self.tokens is not None:
            return (self.tokens,) if self.ids else (self.tokens, self.channels)
        return (self.channels, *self.spatial)

    def with_channels(self, channels: Size) -> Tensor:
        return Tensor.model_construct(
            channels=channels, height=self.height, width=self.width, tokens=self.tokens, ids=False
        )

    @property
    def positions(self) -> int:
        """How many places each channel has."""
        count = 1
        for size in self.spatial:
            count *= size
        return count

    def __str__(self) -> str:
        if self.height is not None:
            return f"{self.channels} x {self.height} x {self.width}"
        if self.ids:
            return f"{self.tokens} token numbers"
        return f"{self.tokens} x {self.channels}" if self.tokens is not None else str(self.channels)


class Decision(Model):
    """A numeric decision: its address (`stage.layer.param`), its values, and whether they are ordered (`a .. b`, an
    interval) or unordered alternatives (`{a, b}`)."""

    address: str
    domain: Domain
    ordered: bool


class Node(Model):
    """One primitive operator: `output = op(inputs; attributes)`. Its name is unique in its graph.

    `branches` are there for a nested choice only: `op` is then `one_of` (each branch is one alternative) or `any_of`
    (each branch may be there; `attributes["join"]` says how those there are joined).
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Attributes = Field(default_factory=dict)
    output: Tensor
    branches: tuple[Branch, ...] = ()


class Graph(Model):
    """A dataflow graph: nodes in topological order; `output` names a node or an input."""

    inputs: dict[str, Tensor]
    nodes: tuple[Node, ...]
    output: str

    def tensor(self, name: str) -> Tensor:
        """The shape of a node's output or of an input. Raises `KeyError`."""
        return self.shapes[name]

    @cached_property
    def shapes(self) -> dict[str, Tensor]:
        return {**self.inputs, **{n.name: n.output for n in self.nodes}}

    @property
    def result(self) -> Tensor:
        return self.shapes[self.output]


class Variant(Model):
    """One way to build a layer: the alternatives chosen, the numeric decisions left, and the graph.

    `chosen` maps an address to the text of the alternative (`kernel` → `3`); `decisions` holds the decisions that this
    variant takes and nothing else does.
    """

    block: str
    chosen: dict[str, str]
    decisions: tuple[Decision, ...]
    graph: Graph
    shared: dict[str, Domain] = Field(default_factory=dict)


class Branch(Model):
    """An alternative of a nested choice, with the variants it can be built in."""

    name: str
    variants: tuple[Variant, ...]


class Layer(Model):
    """A place in a stage (or the head). Its variants are alternatives; `skippable` adds dropping it to them.

    Sizes inside name the layer's own decisions relative to `address` (`hidden`), and decisions shared with other places
    with an `@` (`@irb2.width`, `@dim`). Graph inputs are `in` (the layer before) and names of stages.
    """

    address: str
    variants: tuple[Variant, ...]
    skippable: bool
    input: Tensor
    output: Tensor


class Stage(Model):
    """Layers one after another; where `depth` is given, only the first so many of them are built."""

    name: str
    source: str | None
    layers: tuple[Layer, ...]
    depth: Decision | None = None


class Network(Model):
    """A space whose every layer has one input shape for all members (what code can be made for).

    `output` is (kind, sizes or stage names): `("classes", ("1000",))`, `("depth", ("1", "224", "224"))`, ….
    """

    format: Literal["nasc.space/1"] = "nasc.space/1"
    name: str
    single: bool
    input: Tensor
    output: tuple[str, tuple[str, ...]]
    stages: tuple[Stage, ...]
    head: Layer | None
    shared: tuple[Decision, ...] = ()


Node.model_rebuild()
