"""What a training step of a network computes and keeps, operator by operator, without running it.

Sizes grow with the batch in a known way, so they are written as so much for each image and so much besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from nasc.compiler.cost import node_cost
from nasc.compiler.ir import Node, Tensor
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.forms import Saved, channels_of, elements_of

Kind = Literal[
    "dense",
    "matrix",
    "channelwise",
    "channelwise_large",
    "norm",
    "pool",
    "elementwise",
    "function",
    "slice",
    "prunode",
    "layer",
]
"""What an operator's time depends on alike: `dense` and `matrix` are dense convolutions with and without a window,
`channelwise_large` has a window of 4 x 4 or more, `function` is an activation that is more than a comparison."""

_KINDS: dict[str, Kind] = {"bn": "norm", "layer_norm": "norm", "max_pool": "pool", "avg_pool": "pool"}
_KINDS |= {"global_pool": "pool", "upsample": "pool", "linear": "matrix"}
_KINDS |= dict.fromkeys(("swish", "gelu", "sigmoid", "hard_sigmoid", "hard_swish", "tanh", "dropout"), "function")


@dataclass(frozen=True)
class Amount:
    """Bytes (or another count): `image` for each image of the batch, and `fixed` besides."""

    image: int = 0
    fixed: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.image + other.image, self.fixed + other.fixed)

    def at(self, batch: int) -> int:
        """The amount for a batch."""
        return self.image * batch + self.fixed


@dataclass(frozen=True)
class Trained:
    """Which gradients a step computes, and the bytes of a number in its forward pass.

    `recompute`: the backward pass computes the candidates again (`--checkpoint-activations`).
    """

    weights: bool = True
    architecture: bool = True
    element: int = 4
    recompute: bool = False


@dataclass(frozen=True)
class Work:
    """One operator of the forward pass with its backward pass.

    `macs`: multiply-accumulates of the forward pass for an image; `moved`: the numbers that it reads and writes;
    `weights`: does its backward pass compute gradients of weights too?
    """

    kind: Kind
    macs: int = 0
    moved: Amount = Amount()
    weights: bool = False


@dataclass(frozen=True)
class Value:
    """A tensor: the number of its memory, the numbers in it for each image, and whether a gradient flows through it."""

    memory: int
    elements: int
    gradient: bool


class Tape:
    """The operators of a forward pass in order, and the memory that automatic differentiation keeps of them."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self.work: list[Work] = []
        self.again: list[Work] = []
        """Operators whose forward pass is run once more."""
        self.passing_again = Amount()
        """The most that was kept within a `recomputing`, since this was last cleared: it is there for as long again."""
        self.further = Amount()
        """Kept beside whole tensors: statistics, indices, weights cast to the precision computed in."""
        self._sizes: list[int] = []
        self._kept: set[int] = set()
        self._repeated: set[int] = set()
        self._image = 0

    @property
    def passing(self) -> tuple[int, ...]:
        """The bytes for an image of each tensor that is not kept, nor computed again."""
        gone = self._kept | self._repeated
        return tuple(size for memory, size in enumerate(self._sizes) if memory not in gone)

    @property
    def kept(self) -> Amount:
        """Bytes kept so far."""
        return self.further + Amount(self._image)

    def new(self, elements: int, gradient: bool = False) -> Value:
        """A tensor in memory of its own."""
        self._sizes.append(elements * self.trained.element)
        return Value(len(self._sizes) - 1, elements, gradient)

    def keep(self, value: Value) -> None:
        """Keep a tensor; another that lies in the same memory costs nothing more."""
        if value.memory not in self._kept:
            self._kept.add(value.memory)
            self._image += self._sizes[value.memory]

    @contextmanager
    def recomputing(self, x: Value) -> Iterator[None]:
        """What is done within is done again in the backward pass: of what it keeps, only the input `x` stays."""
        before, kept, image, further = len(self.work), set(self._kept), self._image, self.further
        first = len(self._sizes)
        yield
        own = Amount(self._image - image + self.further.image - further.image, self.further.fixed - further.fixed)
        self._kept, self._image, self.further = kept, image, further
        if own != Amount():
            self.keep(x)
            self.again += self.work[before:]
            self._repeated.update(range(first, len(self._sizes)))
            self.passing_again = max(self.passing_again, own, key=lambda amount: amount.image)

    def run(self, node: Node, shapes: Sequence[Tensor], operands: Sequence[Value], sliced: bool = False) -> Value:
        """Apply one operator; `sliced`: its weights are cut out of larger ones."""
        primitive = PRIMITIVES[node.op]
        saved = primitive.saved(node, shapes)
        if saved.view:
            return Value(operands[0].memory, elements_of(node.output), operands[0].gradient)
        learned = sum(each.size for each in primitive.state(node, shapes) if each.learned)
        trains = bool(learned) and self.trained.weights
        output = self.new(elements_of(node.output), trains or any(each.gradient for each in operands))
        if output.gradient:
            self._save(saved, operands, output)
        macs = node_cost(node, list(shapes), "macs")
        if macs and self.trained.element < 4 and output.gradient:
            self.further += Amount(fixed=learned * self.trained.element)
        self._count(Work(_kind(node, shapes), macs, Amount(_moved(operands, output)), trains), learned, sliced)
        return output

    def _save(self, saved: Saved, operands: Sequence[Value], output: Value) -> None:
        for number in saved.inputs:
            self.keep(operands[number])
        if saved.output:
            self.keep(output)
        self.further += Amount(saved.elements * self.trained.element + saved.bytes, saved.fixed)

    def _count(self, work: Work, learned: int, sliced: bool) -> None:
        self.work.append(work)
        if sliced and learned:
            self.work.append(Work("slice", moved=Amount(fixed=learned), weights=work.weights))

    def mix(self, values: Sequence[Value]) -> Value:
        """Tensors of one shape summed, each times a coefficient that the architecture weights give."""
        architecture = self.trained.architecture
        output = self.new(values[0].elements, architecture or any(value.gradient for value in values))
        for value in values:
            if architecture:
                self.keep(value)
            self.work.append(Work("elementwise", moved=Amount(2 * value.elements)))
        self.add(len(values), output.elements)
        return output

    def add(self, count: int, elements: int) -> None:
        """Count the work of a sum of `count` tensors."""
        self.work.append(Work("elementwise", moved=Amount((count + 1) * elements)))

    def loss(self, logits: Value) -> None:
        """The cross-entropy: its logarithms in single precision, and the labels."""
        self.further += Amount(4 * logits.elements + 8, 4)
        self.work.append(Work("elementwise", moved=Amount(2 * logits.elements)))


def _kind(node: Node, shapes: Sequence[Tensor]) -> Kind:
    if node.op != "conv2d":
        return _KINDS.get(node.op, "elementwise")
    return convolution_kind(channels_of(shapes[0]), node.attributes["groups"], max(node.attributes["kernel"]))


def convolution_kind(channels: int, groups: int, kernel: int) -> Kind:
    """The kind of a convolution: by channels that are convolved apart, and by its window."""
    if groups > 1 or channels == 1:
        return "channelwise" if kernel <= 3 else "channelwise_large"
    return "matrix" if kernel == 1 else "dense"


def _moved(operands: Sequence[Value], output: Value) -> int:
    return sum(operand.elements for operand in operands) + output.elements
