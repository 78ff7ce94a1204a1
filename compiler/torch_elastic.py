"""Classes of a SuperNet's blocks whose hidden width is searched: their output at each of several widths at once.

Where smaller widths are prefixes of larger ones up to the operator that mixes the hidden channels, what comes before it
is computed once, for the largest width asked for, and the rest for each width. Any other block is computed for each
width from its input. The literal form of PruNet (3.2.1), for comparison, computes a copy of the whole block for each
width, with the hidden channels behind it masked to zero. In both forms running statistics of what is shared count the
images once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nasc.compiler.elastic_cut import PREFIXED, Cut, Told
from nasc.compiler.expr import Size
from nasc.compiler.methods.elastic import WIDTH
from nasc.compiler.methods.relax import Candidate
from nasc.compiler.primitives.forms import Expression, axis_of
from nasc.compiler.structure import Step
from nasc.compiler.torch_classes import ClassWriter, GeneratedClass, Group
from nasc.compiler.torch_forward import forward_lines
from nasc.compiler.torch_text import WIDTH as LINE
from nasc.compiler.torch_text import Construction, call_lines
from nasc.compiler.width_text import width_text

_SEQUENCE = "PrefixSequential"
_FUNCTIONS = re.compile(r"\b(prefix|add_prefix|divisible|masked|keep_statistics)\(")

_INDENT = " " * 8


@dataclass(frozen=True)
class ElasticClass:
    """A generated class with its further method, and the names it needs from `nasc.runtime.supernet`."""

    made: GeneratedClass
    imports: frozenset[str]


def generate_elastic(
    each: Group, name: str, candidate: Candidate, literal: bool = False
) -> tuple[ElasticClass, list[Construction]]:
    """The class of a group of candidates with a searched width; `candidate` is the first of them.

    `literal`: a copy of the block for each width, masked where masks can stand for widths.
    """
    assert candidate.elastic is not None
    cut = Cut(each.steps, candidate.elastic)
    each.rows = [tuple(map(cut.prefixed, row)) for row in each.rows]
    writer = ClassWriter(each, name)
    made, constructions = writer.result()
    cut = Cut(each.steps, candidate.elastic)
    text = _ElasticForward(writer, cut, literal)
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


_KEPT = "/kept"
_ALL = ""
"""In place of a width: all hidden channels that there are."""


def _kept(values: Sequence[str], inputs: Sequence[str]) -> Step:
    """A last step that is all `values` and keeps the variables of `inputs` from being used for anything else."""
    text = ", ".join(f"{{{i}}}" for i in range(len(values)))
    return Step(_KEPT, (*values, *inputs), expression=Expression(text))


class _ElasticForward:
    """The body of `forward(x, widths)`, and the methods it needs."""

    def __init__(self, writer: ClassWriter, cut: Cut, literal: bool) -> None:
        self.writer = writer
        self.cut = cut
        self.literal = literal

    def lines(self) -> list[str]:
        if not self.cut.divides:
            return self._whole()
        (hidden,) = self.cut.hidden
        return self._copies(hidden) if self.literal else [*self._before(hidden, "widths[-1]"), *self._finishing(hidden)]

    def _before(self, hidden: str, width: str) -> list[str]:
        """What all widths share: the hidden channels `h`, and what else the rest reads."""
        kept = self.cut.inputs if self._reads_input() or self.literal else ()
        last = _kept((hidden, *self.cut.sides), kept)
        lines = forward_lines([*self.cut.shared, last], self._write(width), self._inputs(), _KEPT)
        given = ", ".join(["h", *self._sides()])
        name = lines[-1].strip().removeprefix("return ")
        if len(lines) > 1 and lines[-2].startswith(f"{_INDENT}{name} = "):
            return [*lines[:-2], lines[-2].replace(name, given, 1)]
        return [*lines[:-1], lines[-1].replace("return ", f"{given} = ", 1)]

    def _copies(self, hidden: str) -> list[str]:
        """The whole block for each width: masked, or cut where masks would be another network."""
        masks = self.cut.maskable
        given = self._given(f"masked(h, {self._hidden('width')})" if masks else "h")
        return [
            f"{_INDENT}outputs = []",
            f"{_INDENT}for width in widths:",
            f"{_INDENT}    with keep_statistics(self, width < widths[-1]):",
            *(f"{_INDENT}{line}" for line in self._before(hidden, _ALL if masks else "width")),
            f"{_INDENT}    outputs.append(self.finish({given}))",
            f"{_INDENT}return outputs",
            "",
            *self._finish(hidden),
        ]

    def _finishing(self, hidden: str) -> list[str]:
        """The rest: where a convolution reads the hidden channels, its sums over them are shared too."""
        reader = self._reader(hidden)
        if reader is None:
            given = self._given(f"prefix(h, {self._hidden('width')})")
            return [f"{_INDENT}return [self.finish({given}) for width in widths]", "", *self._finish(hidden)]
        each = f"self.{reader.attribute}.each(h, widths)"
        after = [step for step in self.cut.rest if step is not reader]
        body = forward_lines(
            after, self._write(self._width_of(hidden)), {**self._given_names(), reader.value: "y"}, self.cut.output
        )
        text = body[0].strip().removeprefix("return ")
        line = f"{_INDENT}return {each if text == 'y' else f'[{text} for y in {each}]'}"
        if len(body) == 1 and len(line) <= LINE:
            return [line]
        given, about = self._given("y"), "From a sum `y` over the hidden channels to the output."
        return [
            f"{_INDENT}return [self.finish({given}) for y in {each}]",
            "",
            *self._signature("y", about),
            *body,
        ]

    def _hidden(self, width: str) -> str:
        """The number of hidden channels at a width."""
        return width_text(self.cut.elastic.hidden, width)

    def _width_of(self, hidden: str) -> str:
        """The width that hidden channels `h` were cut to."""
        channels = f"h.shape[{axis_of(self.cut.tensor(hidden))}]"
        return channels if self.cut.elastic.unit == 1 else f"{channels} // {self.cut.elastic.unit}"

    def _reader(self, hidden: str) -> Step | None:
        """The convolution, not in groups, that is all that reads the hidden channels and is not cut itself."""
        readers = [step for step in self.cut.rest if hidden in step.operands]
        if (
            self.cut.elastic.unit != 1
            or len(readers) != 1
            or [call.function for call in readers[0].calls] != [PREFIXED["nn.Conv2d"]]
        ):
            return None
        node = self.cut.nodes[readers[0].owners[0]]
        whole = node.attributes["groups"] == 1 and node.name not in self.cut.elastic.channels
        return readers[0] if whole else None

    def _finish(self, hidden: str) -> list[str]:
        names = {**self._given_names(), hidden: "h"}
        which = (
            "the hidden channels `h`, masked,"
            if self.literal and self.cut.maskable
            else "the first hidden channels `h`"
        )
        about = f"From {which} to the output."
        return [
            *self._signature("h", about),
            *forward_lines(self.cut.rest, self._write(self._width_of(hidden)), names, self.cut.output),
        ]

    def _signature(self, value: str, about: str) -> list[str]:
        arguments = [f"{name}: torch.Tensor" for name in self._given(value).split(", ")]
        return [*call_lines(4, "def finish", ["self", *arguments], " -> torch.Tensor:"), f'{_INDENT}"""{about}"""']

    def _given(self, value: str) -> str:
        return ", ".join([*(["x"] if self._reads_input() else []), value, *self._sides()])

    def _sides(self) -> list[str]:
        count = len(self.cut.sides)
        return ["s"] if count == 1 else [f"s{i}" for i in range(1, count + 1)]

    def _given_names(self) -> dict[str, str]:
        return {**self._inputs(), **dict(zip(self.cut.sides, self._sides(), strict=True))}

    def _inputs(self) -> dict[str, str]:
        return dict.fromkeys(self.cut.inputs, "x")

    def _reads_input(self) -> bool:
        return any(name in step.operands for step in self.cut.rest for name in self.cut.inputs)

    def _whole(self) -> list[str]:
        """Everything anew for each width."""
        body = forward_lines(self.cut.steps, self._write("width"), self._inputs(), self.cut.output)
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
    cut: Cut
    width: str

    def __call__(self, step: Step, operands: Sequence[str]) -> str:
        if step.value == _KEPT:
            assert step.expression is not None
            return step.expression.template.format(*operands)
        if (bounds := self.cut.slice(step)) is not None:
            start, stop = map(self._number, bounds)
            if start == "0":
                return f"prefix({operands[0]}, {stop})"
            places = ", ".join([":"] * axis_of(self.cut.tensor(step.value)))
            return f"{operands[0]}[{places}, {start}:{stop}]"
        text = self.writer.apply(step, operands)
        told = self.cut.told(step) if self.width != _ALL else []
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
