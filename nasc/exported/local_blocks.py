"""Blocks of one's own for segments that are no library block: equal structures become one block with parameters.

Two segments are equal if the same operators read one another in the same way. What may differ becomes a parameter:
kernels, strides, and each width that the structure leaves free; a width that must be the input's is written so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from nasc.compiler.ir import Node, Tensor
from nasc.exported.numbers import changed, pads_same, sides
from nasc.exported.segments import INPUT, Segment
from nasc.stage_lines import Layer

_JOINS = ("add", "mul", "concat")


def structure(part: Segment) -> tuple[object, ...]:
    """What two segments must have in common to be one block."""
    places = {INPUT: -1} | {node.name: i for i, node in enumerate(part.nodes)}
    rows = [(_fixed(node, part.graph.tensor(node.inputs[0])), *(places[n] for n in node.inputs)) for node in part.nodes]
    return (*rows, tuple(_classes(part)))


def local_block(name: str, parts: Sequence[Segment]) -> tuple[str, list[Layer]]:
    """The text of a block that all of these segments of one structure are, and for each the layer that it is."""
    return _Writer(name, parts).block()


def _depthwise(node: Node, before: Tensor) -> bool:
    return bool(node.attributes["groups"] == before.channels == node.output.channels != 1)


def _fixed(node: Node, before: Tensor) -> tuple[object, ...]:
    """What is written into the block as it is."""
    a = node.attributes
    if node.op == "conv2d":
        groups = "each" if _depthwise(node, before) else "one" if a["groups"] == 1 else "some"
        pads = "same" if pads_same(node) else sides(a["padding"])
        return node.op, a["kernel"] == (1, 1), groups, pads, a["dilation"], a["bias"]
    if "kernel" in a:
        return node.op, "same" if pads_same(node) else sides(a["padding"])
    shown = {key: str(value) for key, value in a.items() if key not in ("start", "stop")}
    return node.op, *sorted(shown.items())


def _classes(part: Segment) -> list[int]:
    """For the input and each node the number of its width: equal numbers where the structure makes widths equal."""
    parent = list(range(len(part.nodes) + 1))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    places = {INPUT: 0} | {node.name: i for i, node in enumerate(part.nodes, start=1)}
    for i, node in enumerate(part.nodes, start=1):
        free = node.op in ("linear", "concat", "slice")
        if free or (node.op == "conv2d" and not _depthwise(node, part.graph.tensor(node.inputs[0]))):
            continue
        for name in node.inputs:
            low, high = sorted((root(places[name]), root(i)))
            parent[high] = low
    return [root(i) for i in range(len(parent))]


@dataclass
class _Writer:
    """Writes one block. `parameters` are its values for each segment, by name in the order of their first use."""

    name: str
    parts: Sequence[Segment]
    parameters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    widths: dict[int, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    def block(self) -> tuple[str, list[Layer]]:
        part = self.parts[0]
        self.classes = _classes(part)
        self.uses = Counter(name for node in part.nodes for name in node.inputs)
        self._name_widths(part)
        self.texts[INPUT] = INPUT
        for i, node in enumerate(part.nodes):
            self._write(i, node)
        has_arrow = "filters" in self.widths.values()
        # The stride is only a stage's first layer's, as it is in the library.
        given = ", ".join("first stride = 1" if name == "stride" else name for name in self.parameters)
        body = "\n".join(f"  {line}" for line in [*self.lines, self.texts[part.graph.output]])
        head = f"block {self.name}{f'({given})' if given else ''}{' -> filters' if has_arrow else ''}"
        text = f"{head} {{\n{body}\n}}\n"
        return text, [self._layer(i, each, has_arrow) for i, each in enumerate(self.parts)]

    def _layer(self, number: int, part: Segment, has_arrow: bool) -> Layer:
        values = [(name, found[number]) for name, found in self.parameters.items()]
        values = [(name, value) for name, value in values if (name, value) != ("stride", "1")]
        return Layer(self.name, int(str(part.output.channels)) if has_arrow else None, tuple(values))

    def _name_widths(self, part: Segment) -> None:
        self.widths[self.classes[0]] = "in.channels"
        made = {self.classes[i] for i, node in enumerate(part.nodes, start=1) if node.op in ("conv2d", "linear")}
        places = {node.name: i for i, node in enumerate(part.nodes, start=1)}
        last = self.classes[places[part.graph.output]]
        if last in made:
            self.widths.setdefault(last, "filters")

    def _width(self, i: int) -> str:
        """The text of the width of node `i`."""
        number = self.classes[i + 1]
        if number not in self.widths:
            values = tuple(str(part.nodes[i].output.channels) for part in self.parts)
            self.widths[number] = self._fresh("hidden", values)
        return self.widths[number]

    def _fresh(self, name: str, values: tuple[str, ...]) -> str:
        names = [name, *(f"{name}{n}" for n in range(2, len(self.parameters) + 3))]
        found = next(n for n in names if n not in self.parameters)
        self.parameters[found] = values
        return found

    def _parameter(self, name: str, i: int, values: Sequence[str]) -> str:
        """A parameter with these values: one that is there already, or a new one."""
        for known, there in self.parameters.items():
            if known.rstrip("0123456789") == name and there == tuple(values):
                return known
        return self._fresh(name, tuple(values))

    # ------------------------------------------------------------------------------------------- statements

    def _write(self, i: int, node: Node) -> None:
        """The pipeline that ends in a node; one that more than one node reads gets a name."""
        if node.op in _JOINS:
            text = f"{node.op}({', '.join(self._named(name) for name in node.inputs)})"
        else:
            (source,) = node.inputs
            text = f"{self._source(node, source)} | {self._step(i, node, source)}"
        self.texts[node.name] = text
        if self.uses[node.name] > 1:
            self._named(node.name)

    def _source(self, node: Node, source: str) -> str:
        needs_name = node.op == "conv2d" and self._is_depthwise(node) and node.attributes["bias"]
        return self._named(source) if needs_name else self.texts[source]

    def _named(self, tensor: str) -> str:
        """The name of a tensor; a pipeline is given one."""
        text = self.texts[tensor]
        if not text.isidentifier():
            name = f"x{len(self.lines) + 1}"
            self.lines.append(f"{name} = {text}")
            self.texts[tensor] = name
        return self.texts[tensor]

    def _is_depthwise(self, node: Node) -> bool:
        return _depthwise(node, self.parts[0].graph.tensor(node.inputs[0]))

    def _values(self, i: int, key: str) -> list[Any]:
        return [part.nodes[i].attributes[key] for part in self.parts]

    def _step(self, i: int, node: Node, source: str) -> str:
        a = node.attributes
        if node.op == "linear":
            return f"linear(bias = {_yes(a['bias'])}) -> {self._width(i)}"
        if node.op == "slice":
            ends = [self._parameter(key, i, [str(v) for v in self._values(i, key)]) for key in ("start", "stop")]
            return f"channels({', '.join(ends)})"
        if node.op not in ("conv2d", "max_pool", "avg_pool"):
            given = ", ".join(f"{key} = {value}" for key, value in changed(node))
            return f"{node.op}({given})" if given else node.op
        arguments = self._window(i, node)
        if node.op != "conv2d":
            return f"{node.op}({', '.join(arguments)})"
        arguments += [f"dilation = {a['dilation']}"] if a["dilation"] != 1 else []
        if self._is_depthwise(node) and not a["bias"]:
            return f"depthwise({', '.join(arguments)})"
        if self._is_depthwise(node):
            channels = f"{self.texts[source]}.channels"
            return f"conv2d({', '.join([*arguments, f'groups = {channels}', 'bias = yes'])}) -> {channels}"
        if a["groups"] != 1:
            groups = [str(value) for value in self._values(i, "groups")]
            arguments.append(f"groups = {self._parameter('groups', i, groups)}")
        arguments += ["bias = yes"] if a["bias"] else []
        return f"conv2d({', '.join(arguments)}) -> {self._width(i)}"

    def _window(self, i: int, node: Node) -> list[str]:
        a = node.attributes
        kernels = [sides(value) for value in self._values(i, "kernel")]
        arguments = ["1"] if set(kernels) == {"1"} else [self._parameter("kernel", i, kernels)]
        strides = [str(value[0]) for value in self._values(i, "stride")]
        if set(strides) != {"1"}:
            arguments.append(f"stride = {self._parameter('stride', i, strides)}")
        return arguments if pads_same(node) else [*arguments, f"padding = {sides(a['padding'])}"]


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
