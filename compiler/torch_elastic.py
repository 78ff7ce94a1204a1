"""Classes of a SuperNet's blocks whose hidden width is searched: their output at each of several widths at once.

What comes before the operator that mixes the hidden channels is computed once, for the largest width asked for: it
works channel by channel, so smaller widths are prefixes of it. The rest is computed for each width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nasc.compiler.ir import Node
from nasc.compiler.methods.relax import Candidate
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.forms import Expression
from nasc.compiler.structure import Step
from nasc.compiler.torch_classes import ClassWriter, GeneratedClass, Group
from nasc.compiler.torch_forward import forward_lines
from nasc.compiler.torch_text import WIDTH, Construction, call_lines

PREFIXED = {
    "nn.Conv2d": "PrefixConv2d",
    "nn.Linear": "PrefixLinear",
    "nn.BatchNorm2d": "PrefixBatchNorm2d",
    "nn.BatchNorm1d": "PrefixBatchNorm1d",
}
"""The classes that stand for torch's where channels can be cut."""

_INDENT = " " * 8


@dataclass(frozen=True)
class ElasticClass:
    """A generated class with its further method, and the names it needs from `nasc.runtime.supernet`."""

    made: GeneratedClass
    imports: frozenset[str]


def generate_elastic(each: Group, name: str, candidate: Candidate) -> tuple[ElasticClass, list[Construction]]:
    """The class of a group of candidates with a searched width; `candidate` is the first of them."""
    cut = _Cut(each.steps, candidate)
    each.rows = [tuple(map(cut.prefixed, row)) for row in each.rows]
    writer = ClassWriter(each, name)
    made, constructions = writer.result()
    text = _ElasticForward(writer, _Cut(each.steps, candidate))
    made = replace(
        made,
        forward_signature=call_lines(
            4, "def forward", ["self", "x: torch.Tensor", "widths: Sequence[int]"], " -> list[torch.Tensor]:"
        ),
        forward=text.lines(),
    )
    used = {call.function for step in each.steps for call in step.calls} & set(PREFIXED.values())
    if any("prefix(" in line for line in made.forward):
        used.add("prefix")
    return ElasticClass(made, frozenset(used)), constructions


class _Cut:
    """Divides the steps of a block into those shared by all widths and those that each width needs anew."""

    def __init__(self, steps: Sequence[Step], candidate: Candidate) -> None:
        self.steps = steps
        self.elastic = candidate.elastic
        self.nodes = {node.name: node for node in candidate.graph.nodes}
        self.inputs = tuple(candidate.graph.inputs)
        self.output = candidate.graph.output
        shared = set(self.inputs)
        for step in steps:
            if set(step.operands) <= shared and not self.mixes(step):
                shared.add(step.value)
        self.shared = tuple(step for step in steps if step.value in shared)
        self.rest = tuple(step for step in steps if step.value not in shared)
        read = {name for step in self.rest for name in step.operands}
        self.crossing = tuple(step.value for step in self.shared if step.value in read)

    def is_elastic(self, value: str) -> bool:
        """Are the value's channels cut? (`node/1` is a value inside a node's own modules.)"""
        name, _, inner = value.partition("/")
        return self.nodes[name].inputs[0] in self.elastic if inner else name in self.elastic

    def _mixer(self, owner: str) -> Node | None:
        """The node of stored tensors, where it mixes channels: a convolution that is not depthwise, a linear layer."""
        node = self.nodes.get(owner)
        if node is None or PRIMITIVES[node.op].channelwise or (node.op == "conv2d" and node.attributes["groups"] > 1):
            return None
        return node

    def mixes(self, step: Step) -> bool:
        """Does a step add up channels that are cut?"""
        mixers = (self._mixer(owner) for owner in step.owners)
        return any(node is not None and node.inputs[0] in self.elastic for node in mixers)

    def widens(self, step: Step) -> bool:
        """Does a step make cut channels out of others?"""
        return any(self._mixer(owner) is not None and owner in self.elastic for owner in step.owners)

    def prefixed(self, step: Step) -> Step:
        """The step with torch's modules replaced where their channels are cut."""
        calls = []
        for call, owner in zip(step.calls, step.owners, strict=True):
            node = self.nodes.get(owner)
            cut = node is not None and (node.name in self.elastic or node.inputs[0] in self.elastic)
            calls.append(replace(call, function=PREFIXED.get(call.function, call.function)) if cut else call)
        return replace(step, calls=tuple(calls))


_KEPT = "/kept"


def _kept(value: str, inputs: Sequence[str]) -> Step:
    """A last step that is `value` and keeps the variables of `inputs` from being used for anything else."""
    return Step(_KEPT, (value, *inputs), expression=Expression("{0}"))


class _ElasticForward:
    """The body of `forward(x, widths)`, and of `finish` where the rest is more than a line."""

    def __init__(self, writer: ClassWriter, cut: _Cut) -> None:
        self.writer = writer
        self.cut = cut

    def lines(self) -> list[str]:
        hidden = self.cut.crossing[-1]
        others = [value for value in self.cut.crossing if value != hidden]
        if others or not self.cut.is_elastic(hidden):
            return self._whole()
        before = forward_lines(
            [*self.cut.shared, _kept(hidden, self.cut.inputs if self._reads_input() else ())],
            self._write("widths[-1]"),
            dict.fromkeys(self.cut.inputs, "x"),
            _KEPT,
        )
        before[-1] = before[-1].replace("return ", "h = ", 1)
        return [*before, *self._finishing(hidden)]

    def _finishing(self, hidden: str) -> list[str]:
        readers = [step for step in self.cut.rest if hidden in step.operands]
        if len(readers) == 1 and len(readers[0].calls) == 1 and readers[0].calls[0].function == PREFIXED["nn.Conv2d"]:
            line = self._sums(readers[0])
            if line is not None:
                return [line]
        body = forward_lines(
            self.cut.rest,
            self._write("h.shape[1]"),
            {**dict.fromkeys(self.cut.inputs, "x"), hidden: "h"},
            self.cut.output,
        )
        arguments = "x, prefix(h, width)" if self._reads_input() else "prefix(h, width)"
        return [
            f"{_INDENT}return [self.finish({arguments}) for width in widths]",
            "",
            *self._signature(),
            *body,
        ]

    def _signature(self) -> list[str]:
        arguments = ["self", *(["x: torch.Tensor"] if self._reads_input() else []), "h: torch.Tensor"]
        lines = call_lines(4, "def finish", arguments, " -> torch.Tensor:")
        return [*lines, f'{_INDENT}"""From the first hidden channels `h` to the output."""']

    def _reads_input(self) -> bool:
        return any(name in step.operands for step in self.cut.rest for name in self.cut.inputs)

    def _sums(self, reader: Step) -> str | None:
        """The rest in one line, where a convolution's sums over the hidden channels can be shared too."""
        after = [step for step in self.cut.rest if step is not reader]
        names = {**dict.fromkeys(self.cut.inputs, "x"), reader.value: "y"}
        body = forward_lines(after, self._write("h.shape[1]"), names, self.cut.output)
        line = f"[{body[0].strip().removeprefix('return ')} for y in self.{reader.attribute}.each(h, widths)]"
        if body[0].strip() == "return y":
            line = f"self.{reader.attribute}.each(h, widths)"
        text = f"{_INDENT}return {line}"
        return text if len(body) == 1 and len(text) <= WIDTH else None

    def _whole(self) -> list[str]:
        """Everything anew for each width."""
        body = forward_lines(self.cut.steps, self._write("width"), dict.fromkeys(self.cut.inputs, "x"), self.cut.output)
        return [
            f"{_INDENT}return [self.at(x, width) for width in widths]",
            "",
            "    def at(self, x: torch.Tensor, width: int) -> torch.Tensor:",
            f'{_INDENT}"""The output with the first `width` hidden channels."""',
            *body,
        ]

    def _write(self, width: str) -> _Write:
        return _Write(self.writer, self.cut, width)


@dataclass(frozen=True)
class _Write:
    """A step's text, with the width given to what makes the hidden channels."""

    writer: ClassWriter
    cut: _Cut
    width: str

    def __call__(self, step: Step, operands: Sequence[str]) -> str:
        if step.value == _KEPT:
            return operands[0]
        text = self.writer.apply(step, operands)
        if not self.cut.widens(step):
            return text
        if len(step.calls) == 1:
            return f"{text[:-1]}, {self.width})"
        return f"prefix({text}, {self.width})"
