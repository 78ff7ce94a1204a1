"""Classes of a generated `model.py`: layers of one structure share a class, and what differs becomes its arguments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nasc.compiler.concrete import ConcreteLayer
from nasc.compiler.drop_path import with_drop_path
from nasc.compiler.identifiers import class_name
from nasc.compiler.ir import Graph
from nasc.compiler.primitives.forms import Argument, Text, channels_of
from nasc.compiler.structure import Step, used_inputs
from nasc.compiler.torch_forward import forward_lines
from nasc.compiler.torch_text import Construction, call_lines, keyword, sequential_lines

Column = tuple[str, tuple[object, ...]]
"""What an argument is in each layer of a class, with its kind: equal columns are one parameter."""

_LABELS = {"shortcut": "projected", "gate": "gated", "shuffle": "shuffled"}


@dataclass(frozen=True)
class GeneratedClass:
    """A class's text in parts. `summary` is its docstring; a signature may take several lines."""

    name: str
    summary: str
    signature: list[str]
    init: list[str]
    forward_signature: list[str]
    forward: list[str]
    helpers: tuple[str, ...]


@dataclass(eq=False)
class Group:
    """Layers of one structure. `rows` has the steps of each; they differ in values of arguments only."""

    layers: list[ConcreteLayer]
    rows: list[tuple[Step, ...]] = field(default_factory=list)

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.rows[0]

    @property
    def graph(self) -> Graph:
        return self.layers[0].graph

    def labels(self) -> tuple[str, ...]:
        """Words for what the structure has, in the order in which they occur."""
        inputs = used_inputs(self.graph)
        found: list[str] = []
        for step in self.steps:
            found += [_LABELS[name] for name in _LABELS if step.attribute.startswith(name)]
            if step.expression is not None and step.expression.side == "shortcut":
                found += ["residual" if name == "in" else "with_skip" for name in step.operands if name in inputs]
            if step.expression is not None and ".narrow(" in step.expression.template:
                found.append("sliced")
        return tuple(dict.fromkeys(found))

    def shapes(self) -> dict[str, str]:
        """The shapes that values have in every layer."""
        if len(self.rows) > 1 and len({str(layer.graph.shapes) for layer in self.layers}) > 1:
            return {}
        return {name: str(shape) for name, shape in self.graph.shapes.items()}


def group(layers: Sequence[ConcreteLayer], drop_rates: Mapping[str, float] | None = None) -> list[Group]:
    """The layers by block and structure, in the order in which they first occur.

    `drop_rates` are the drop rates of residual branches, by the layers' paths.
    """
    groups: dict[object, Group] = {}
    for layer in layers:
        row = with_drop_path(layer.graph, (drop_rates or {}).get(layer.path))
        key = (layer.block, _signature(row, layer.graph))
        found = groups.setdefault(key, Group([]))
        found.layers.append(layer)
        found.rows.append(row)
    return list(groups.values())


def _signature(row: Sequence[Step], graph: Graph) -> object:
    numbers = {name: i for i, name in enumerate(used_inputs(graph))}
    parts: list[object] = []
    for step in row:
        operands = tuple(numbers[name] for name in step.operands)
        numbers[step.value] = len(numbers)
        calls = tuple((c.role if c.swappable else c.function, c.role, _kinds(c.arguments)) for c in step.calls)
        expression = step.expression and (step.expression.template, _kinds(step.expression.arguments))
        parts.append((operands, step.attribute, calls, expression))
    return tuple(parts), numbers[graph.output]


def _kinds(arguments: Sequence[Argument]) -> tuple[object, ...]:
    return tuple((a.kind, a.keyword, type(a.value)) for a in arguments)


def named_groups(groups: Sequence[Group], taken: set[str]) -> list[str]:
    """A class name for each group: its block's, with words for what not all classes of the block have.

    Where that is another's name already, the module that the other has not is a word too.
    """
    names: list[str] = []
    taken |= defined_names(helper for each in groups for helper in _helpers(each.rows))
    modules: dict[str, set[str]] = {}
    for each in groups:
        fellows = [set(g.labels()) for g in groups if g.layers[0].block == each.layers[0].block]
        words = [w for w in each.labels() if not all(w in labels for labels in fellows)]
        plain = class_name("_".join([each.layers[0].block, *words]), ())
        own = {step.attribute.rstrip("0123456789"): None for step in each.steps if step.attribute}
        if plain in taken and plain in modules:
            words += [name for name in own if name not in modules[plain]][:1]
        modules.setdefault(plain, set()).update(own)
        name = class_name("_".join([each.layers[0].block, *words]), taken)
        taken.add(name)
        names.append(name)
    return names


def defined_names(helpers: Iterable[str]) -> set[str]:
    """What the sources of classes and functions define."""
    return {name for helper in helpers for name in re.findall(r"^(?:class|def) (\w+)", helper, re.MULTILINE)}


def generate(each: Group, name: str, shapes: bool = False) -> tuple[GeneratedClass, list[Construction]]:
    """The class of a group, and how each of its layers is constructed.

    With `shapes`, values whose shape is the same in all layers have it as a comment.
    """
    return ClassWriter(each, name).result(each.shapes() if shapes else None)


class ClassWriter:
    def __init__(self, each: Group, name: str) -> None:
        self.group = each
        self.name = name
        self.bases: dict[Column, str] = {}
        self.names: dict[Column, str] = {}
        self.attributes: dict[str, str] = {}
        self._collect()

    def result(self, shapes: Mapping[str, str] | None = None) -> tuple[GeneratedClass, list[Construction]]:
        layers, block = self.group.layers, self.group.layers[0].block
        words = [word.replace("_", " ") for word in self.group.labels()]
        uses = f"{len(layers)} layer{'s' if len(layers) > 1 else ''}"
        parameters = [f"{n}: {_annotation(column)}" for column, n in self.names.items()]
        used = used_inputs(self.group.graph)
        inputs = ("x", *_numbered(["skip"] * (len(used) - 1)))
        names, output = dict(zip(used, inputs, strict=True)), self.group.graph.output
        made = GeneratedClass(
            self.name,
            f"Block `{block}`{': ' + ', '.join(words) if words else ''}; {uses}.",
            call_lines(4, "def __init__", ["self", *parameters], " -> None:"),
            self._init(),
            call_lines(4, "def forward", ["self", *(f"{n}: torch.Tensor" for n in inputs)], " -> torch.Tensor:"),
            forward_lines(self.group.steps, self.apply, names, output, shapes),
            tuple(dict.fromkeys(_helpers(self.group.rows))),
        )
        return made, [self._construction(i) for i in range(len(layers))]

    # ------------------------------------------------------------------------------------ parameters

    def _columns(self) -> Iterator[tuple[Column, str]]:
        """Each argument's column and the name it would have as a parameter (none where it follows from another)."""
        for i, step in enumerate(self.group.steps):
            for j, call in enumerate(step.calls):
                if call.swappable:
                    yield self._functions(i, j), "act"
                found = self._call_columns(i, j)
                kernel = _kernel(found)
                for column in found:
                    yield column, "" if _follows(column, kernel) else _base(column[0], step)
            for k, argument in enumerate(step.expression.arguments if step.expression else ()):
                yield self._column(i, -1, k), argument.kind

    def _call_columns(self, i: int, j: int) -> list[Column]:
        return [self._column(i, j, k) for k in range(len(self.group.steps[i].calls[j].arguments))]

    def _column(self, i: int, j: int, k: int) -> Column:
        found = [_arguments(row[i], j)[k] for row in self.group.rows]
        return found[0].kind, tuple(a.value for a in found)

    def _functions(self, i: int, j: int) -> Column:
        return "act", tuple(row[i].calls[j].function for row in self.group.rows)

    @cached_property
    def _ends(self) -> dict[Column, str]:
        """The columns of the widths that come in and go out."""
        first = used_inputs(self.group.graph)[0]
        graphs = [layer.graph for layer in self.group.layers]
        into = ("channels", tuple(channels_of(g.tensor(first)) for g in graphs))
        out = ("channels", tuple(channels_of(g.result) for g in graphs))
        return {into: "channels"} if into == out else {into: "in_channels", out: "out_channels"}

    def _collect(self) -> None:
        """Decide which columns are parameters: those that differ, and where any does, the widths in and out."""
        columns = list(self._columns())
        ends = self._ends
        if any(_varies(column) for column, _ in columns):
            present = {column for column, _ in columns}
            self.bases.update({column: name for column, name in ends.items() if column in present})
        for column, base in columns:
            if _varies(column) and base:
                self.bases.setdefault(column, base)
        self.names = dict(zip(self.bases, _numbered(list(self.bases.values())), strict=True))

    def _construction(self, i: int) -> Construction:
        arguments = []
        for column, name in self.names.items():
            value = column[1][i]
            text = value if isinstance(value, str) else repr(value)
            arguments.append(text if name.endswith("channels") and column in self._ends else keyword(name, text))
        return Construction(self.name, tuple(arguments))

    # ------------------------------------------------------------------------------------ the text

    def _text(self, column: Column, kernel: Column | None) -> str:
        if kernel is not None and _follows(column, kernel):
            return f"{self.names[kernel]} // 2"
        return self.names.get(column) or repr(column[1][0])

    def _made(self, i: int, j: int) -> Construction:
        call = self.group.steps[i].calls[j]
        function = call.function
        if call.swappable:
            function = self.names.get(self._functions(i, j), function)
        columns = self._call_columns(i, j)
        kernel = _kernel(columns)
        written = [
            keyword(argument.keyword, self._text(column, kernel))
            for argument, column in zip(call.arguments, columns, strict=True)
            if any(value != argument.default for value in column[1])
        ]
        return Construction(function, tuple(written))

    def _init(self) -> list[str]:
        lines: list[str] = []
        self._name_activations()
        for column in self._kept():
            lines.append(f"        self.{self.names[column]} = {self.names[column]}")
        written: set[str] = set()
        for i, step in enumerate(self.group.steps):
            if step.expression is not None:
                continue
            attribute = self._attribute(step)
            if attribute in written:
                continue
            written.add(attribute)
            made = [self._made(i, j) for j in range(len(step.calls))]
            if len(made) > 1:
                lines += sequential_lines(attribute, [(m, "") for m in made])
            else:
                lines += call_lines(8, f"self.{attribute} = {made[0].function}", made[0].arguments)
        return lines

    def _kept(self) -> dict[Column, None]:
        """The parameters that `forward` needs."""
        return {
            column: None
            for i, step in enumerate(self.group.steps)
            if step.expression is not None
            for k in range(len(step.expression.arguments))
            if (column := self._column(i, -1, k)) in self.names
        }

    def _name_activations(self) -> None:
        """Activations made alike are one attribute."""
        made: dict[Construction, list[str]] = {}
        for i, step in enumerate(self.group.steps):
            if step.swappable:
                made.setdefault(self._made(i, 0), []).append(step.value)
        for name, values in zip(_numbered(["act"] * len(made)), made.values(), strict=True):
            self.attributes.update(dict.fromkeys(values, name))

    def _attribute(self, step: Step) -> str:
        return self.attributes.get(step.value, step.attribute)

    def apply(self, step: Step, operands: Sequence[str]) -> str:
        if step.expression is None:
            return f"self.{self._attribute(step)}({operands[0]})"
        i = self.group.steps.index(step)
        texts = {}
        for k, argument in enumerate(step.expression.arguments):
            column = self._column(i, -1, k)
            texts[argument.keyword] = f"self.{self.names[column]}" if column in self.names else repr(column[1][0])
        return step.expression.template.format(*operands, **texts)


def _helpers(rows: Sequence[Sequence[Step]]) -> Iterator[str]:
    """The sources of the classes and functions that steps of a class need."""
    for step in (step for row in rows for step in row):
        yield from (call.helper for call in step.calls if call.helper)
        if step.expression is not None and step.expression.helper:
            yield step.expression.helper


def _arguments(step: Step, j: int) -> tuple[Argument, ...]:
    if j >= 0:
        return step.calls[j].arguments
    return step.expression.arguments if step.expression is not None else ()


def _base(kind: str, step: Step) -> str:
    if kind != "channels":
        return kind
    return f"{step.attribute}_channels" if len(step.calls) > 1 else "hidden"


def _varies(column: Column) -> bool:
    return len(set(column[1])) > 1


def _kernel(columns: Sequence[Column]) -> Column | None:
    return next((column for column in columns if column[0] == "kernel"), None)


def _follows(column: Column, kernel: Column | None) -> bool:
    """Is the column half of a kernel that varies: the padding that keeps the size?"""
    if column[0] != "padding" or kernel is None or not _varies(kernel):
        return False
    return all(isinstance(k, int) and p == k // 2 for p, k in zip(column[1], kernel[1], strict=True))


def _annotation(column: Column) -> str:
    kind, values = column
    if kind == "act":
        return "type[nn.Module]"
    if isinstance(values[0], Text):
        return "str"
    return "tuple[int, int]" if isinstance(values[0], tuple) else type(values[0]).__name__


def _numbered(bases: Sequence[str]) -> list[str]:
    """Each name once: numbered where it occurs more than once."""
    total, seen = Counter(bases), Counter[str]()
    names = []
    for base in bases:
        seen[base] += 1
        names.append(f"{base}{seen[base]}" if total[base] > 1 else base)
    return names
