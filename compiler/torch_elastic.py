"""Classes of a SuperNet's blocks whose hidden width is searched: their output at each of several widths at once.

Where smaller widths are prefixes of larger ones up to the operator that mixes the hidden channels, what comes before it
is computed once, for the largest width asked for, and the rest for each width. Any other block is computed for each
width from its input.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

from nasc.compiler.expr import Size
from nasc.compiler.ir import Node
from nasc.compiler.methods.elastic import WIDTH, Elastic
from nasc.compiler.methods.relax import Candidate
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.forms import Call, Expression
from nasc.compiler.structure import Step
from nasc.compiler.torch_classes import ClassWriter, GeneratedClass, Group
from nasc.compiler.torch_forward import forward_lines
from nasc.compiler.torch_text import WIDTH as LINE
from nasc.compiler.torch_text import Construction, call_lines
from nasc.compiler.width_text import width_text

PREFIXED = {
    "nn.Conv2d": "PrefixConv2d",
    "nn.Linear": "PrefixLinear",
    "nn.BatchNorm2d": "PrefixBatchNorm2d",
    "nn.BatchNorm1d": "PrefixBatchNorm1d",
    "nn.LayerNorm": "PrefixLayerNorm",
    "ChannelNorm": "PrefixChannelNorm",
}
"""The classes that stand for torch's, and for generated ones, where channels can be cut."""

_MODULES = frozenset({"PrefixConv2d", "PrefixLinear"})
"""Those that can be told how many channels to give."""

Told = tuple[Size | None, Size | None]
"""The number of channels that a module must give and that of its groups; None for what it was made with."""

_SEQUENCE = "PrefixSequential"
_FUNCTIONS = re.compile(r"\b(prefix|add_prefix|divisible)\(")

_INDENT = " " * 8


@dataclass(frozen=True)
class ElasticClass:
    """A generated class with its further method, and the names it needs from `nasc.runtime.supernet`."""

    made: GeneratedClass
    imports: frozenset[str]


def generate_elastic(each: Group, name: str, candidate: Candidate) -> tuple[ElasticClass, list[Construction]]:
    """The class of a group of candidates with a searched width; `candidate` is the first of them."""
    assert candidate.elastic is not None
    cut = _Cut(each.steps, candidate.elastic)
    each.rows = [tuple(map(cut.prefixed, row)) for row in each.rows]
    writer = ClassWriter(each, name)
    made, constructions = writer.result()
    cut = _Cut(each.steps, candidate.elastic)
    text = _ElasticForward(writer, cut)
    told = [step.attribute for step in each.steps if cut.tells_inside(step)]
    made = replace(
        made,
        init=[_retold(line, told) for line in made.init],
        forward_signature=call_lines(
            4, "def forward", ["self", "x: torch.Tensor", "widths: Sequence[int]"], " -> list[torch.Tensor]:"
        ),
        forward=text.lines(),
    )
    used = {call.function for step in each.steps for call in step.calls} & set(PREFIXED.values())
    used |= {_SEQUENCE} if told else set()
    used |= {found for line in made.forward for found in _FUNCTIONS.findall(line)}
    return ElasticClass(made, frozenset(used)), constructions


def _retold(line: str, told: Sequence[str]) -> str:
    """A line of `__init__` in which the sequences that are told widths are of the class that can be."""
    begins = any(line.strip().startswith(f"self.{attribute} = nn.Sequential(") for attribute in told)
    return line.replace("nn.Sequential", _SEQUENCE, 1) if begins else line


class _Cut:
    """Divides the steps of a block into those shared by all widths and those that each width needs anew."""

    def __init__(self, steps: Sequence[Step], elastic: Elastic) -> None:
        self.steps = steps
        self.elastic = elastic
        self.nodes = {node.name: node for node in elastic.graph.nodes}
        self.inputs = tuple(elastic.graph.inputs)
        self.output = elastic.graph.output
        shared = set(self.inputs)
        for step in steps:
            if set(step.operands) <= shared and not self.mixes(step):
                shared.add(step.value)
        self.shared = tuple(step for step in steps if step.value in shared)
        self.rest = tuple(step for step in steps if step.value not in shared)
        read = {name for step in self.rest for name in step.operands}
        self.crossing = tuple(step.value for step in self.shared if step.value in read)

    @property
    def divides(self) -> bool:
        """Is there something to share, one value that carries all of it over, and are its prefixes the smaller ones?"""
        return self.elastic.nested and len(self.crossing) == 1 and self._is_cut(self.crossing[0])

    def _is_cut(self, value: str) -> bool:
        """Are the value's channels cut? (`node/1` is a value inside a node's own modules.)"""
        name, _, inner = value.partition("/")
        return (self.nodes[name].inputs[0] if inner else name) in self.elastic.channels

    def _mixer(self, owner: str) -> Node | None:
        """The node of stored tensors, where it mixes channels."""
        node = self.nodes.get(owner)
        if node is None or PRIMITIVES[node.op].channelwise or self.elastic.is_depthwise(node):
            return None
        return node

    def mixes(self, step: Step) -> bool:
        """Does a step work on channels that are cut all together?"""
        mixers = (self._mixer(owner) for owner in step.owners)
        return any(node is not None and node.inputs[0] in self.elastic.channels for node in mixers)

    def told(self, step: Step) -> list[Told]:
        """What each of a step's modules that can be told anything must be told."""
        return [
            self._told(owner) for call, owner in zip(step.calls, step.owners, strict=True) if call.function in _MODULES
        ]

    def _told(self, owner: str) -> Told:
        if self._mixer(owner) is None:
            return None, None
        return self.elastic.channels.get(owner), self.elastic.attributes.get((owner, "groups"))

    def tells_inside(self, step: Step) -> bool:
        """Must modules inside a sequence be told something, other than the width of its last?"""
        *others, last = self.told(step) or [(None, None)]
        return len(step.calls) > 1 and (last[1] is not None or any(each != (None, None) for each in others))

    def slice(self, step: Step) -> tuple[Size, Size] | None:
        """The start and stop of a slice that follows the width."""
        node = self.nodes.get(step.value)
        if node is None or node.op != "slice":
            return None
        start, stop = (self.elastic.attributes.get((node.name, key)) for key in ("start", "stop"))
        if start is None and stop is None:
            return None
        return (
            node.attributes["start"] if start is None else start,
            node.attributes["stop"] if stop is None else stop,
        )

    def prefixed(self, step: Step) -> Step:
        """The step with torch's modules replaced where their channels are cut, and operators by what follows widths."""
        node = self.nodes.get(step.value)
        if self.slice(step) is not None:
            return replace(step, expression=Expression("{0}"))
        if node is not None and node.op == "add_prefix" and set(node.inputs) & set(self.elastic.channels):
            operands = [f"{{{i}}}" for i in range(len(step.operands))]
            joined = reduce(lambda a, b: f"add_prefix({a}, {b})", operands)
            return replace(step, expression=Expression(joined, side="shortcut"))
        calls = tuple(map(self._prefixed_call, step.calls, step.owners))
        return replace(step, calls=calls)

    def _prefixed_call(self, call: Call, owner: str) -> Call:
        node = self.nodes.get(owner)
        cut = node is not None and not {node.name, node.inputs[0]}.isdisjoint(self.elastic.channels)
        if not cut or call.function not in PREFIXED:
            return call
        return replace(call, function=PREFIXED[call.function], helper="")


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
        if not self.cut.divides:
            return self._whole()
        (hidden,) = self.cut.crossing
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
        return text if len(body) == 1 and len(text) <= LINE else None

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
    """A step's text, with widths given to what makes the hidden channels."""

    writer: ClassWriter
    cut: _Cut
    width: str

    def __call__(self, step: Step, operands: Sequence[str]) -> str:
        if step.value == _KEPT:
            return operands[0]
        if (bounds := self.cut.slice(step)) is not None:
            start, stop = map(self._number, bounds)
            return f"prefix({operands[0]}, {stop})" if start == "0" else f"{operands[0]}[:, {start}:{stop}]"
        text = self.writer.apply(step, operands)
        told = self.cut.told(step)
        if len(step.calls) == 1:
            given = [self._given(each) for each in told if each != (None, None)]
        elif self.cut.tells_inside(step):
            given = [f"({self._given(each)})" if each[1] is not None else self._number(each[0]) for each in told]
        elif told and told[-1][0] is not None:
            return f"prefix({text}, {self._number(told[-1][0])})"
        else:
            given = []
        return f"{text[:-1]}, {', '.join(given)})" if given else text

    def _given(self, told: Told) -> str:
        width, groups = told
        return self._number(width) if groups is None else f"{self._number(width)}, {self._number(groups)}"

    def _number(self, size: Size | None) -> str:
        return self.width if size == WIDTH else "None" if size is None else width_text(size, self.width)
