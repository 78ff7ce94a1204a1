"""A space as `supernet.py` and `search.py`: every candidate of every layer, and the module that searches them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from nasc.compiler.concrete import INPUT, ConcreteLayer
from nasc.compiler.identifiers import checked, class_name
from nasc.compiler.ir import Network
from nasc.compiler.methods.plugins import Method
from nasc.compiler.methods.relax import Candidate, RelaxedLayer
from nasc.compiler.methods.values import Options
from nasc.compiler.parts import layer_address
from nasc.compiler.supernet_paths import head_address, in_place, is_fixed_head, is_nothing, named_stages
from nasc.compiler.torch_classes import GeneratedClass, generate, group, named_groups
from nasc.compiler.torch_elastic import generate_elastic
from nasc.compiler.torch_text import WIDTH, Construction, call_lines, construct
from nasc.dsl.diagnostics import NascError

TEMPLATES = Path(__file__).parent / "templates"


def supernet_source(network: Network, layers: Sequence[RelaxedLayer], method: Method, literal: bool = False) -> str:
    """The text of `supernet.py`, of layers that the method relaxed: the same for the same network, always.

    `literal`: Prunodes of two masked copies (3.2.1 of PruNet) instead of shared prefixes. Both forms have the same
    weights under the same names. Raises `NascError` where there are no Prunodes.
    """
    if literal and not any(candidate.widths for layer in layers for candidate in layer.candidates):
        raise NascError(
            f"the SuperNet of `{network.name}` for {method.about} has no Prunodes to be literal",
            help="leave --prunode out: it is for methods that search widths with Prunodes, such as prunet",
        )
    return _Supernet(network, layers, method, literal).source()


def search_source(network: Network, method: Method, options: Options, space_hash: str) -> str:
    """The text of `search.py`, which stands beside `supernet.py`. `space_hash` is that of the compiled space."""
    given = options.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return _render(
        "search.py.jinja",
        network=checked(network.name, "space"),
        name=class_name(network.name, ()) if method.has_supernet else None,
        about=method.about,
        method=method.name,
        input_shape=network.input.layout,
        classes=_classes(network),
        space_hash=space_hash,
        options=[f"    {_literal(key)}: {_literal(value)}," for key, value in given.items()],
    )


def _render(template: str, **values: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string((TEMPLATES / template).read_text(encoding="utf-8")).render(**values)


def _literal(value: Any) -> str:
    """Plain data as Python with double quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _classes(network: Network) -> int:
    """How many classes there are to tell apart, for each image or as the next of each token."""
    kind, sizes = network.output
    if kind not in ("classes", "tokens"):
        raise NascError(
            f"a search trains with labels: it needs `output classes N` or `output tokens N`, not `output {kind}`",
            help="one member of the space can be compiled: `nasc sample` draws some",
        )
    return int(sizes[0])


@dataclass(frozen=True)
class _Place:
    """Where a candidate stands, and how its module is made there."""

    layer: RelaxedLayer
    candidate: Candidate
    path: str


class _Supernet:
    """Writes one SuperNet."""

    def __init__(self, network: Network, layers: Sequence[RelaxedLayer], method: Method, literal: bool) -> None:
        self.network, self.method, self.literal = network, method, literal
        self.name = class_name(checked(network.name, "space"), ())
        self.head = head_address(network)
        self.layers = [layer for layer in layers if not is_nothing(layer)]
        self.taken = {self.name, "Prunode", "StochasticLayer", "Sequence"}
        self.imports: set[str] = set()
        self.classes: list[GeneratedClass] = []
        self.helpers: set[str] = set()
        self.made: dict[str, Construction] = {}

    def source(self) -> str:
        self._write_classes()
        init, forward = self._stages()
        return _render(
            "supernet.py.jinja",
            network=self.network.name,
            name=self.name,
            input_shape=self.network.input.layout,
            classes=_classes(self.network),
            about=f"{self.method.about}{', with literal Prunodes' if self.literal else ''}",
            summary=self._summary(),
            imports=sorted(self.imports),
            fractions=any("Fraction(" in line for block in self.classes for line in block.forward),
            sequences=any("Sequence[int]" in line for block in self.classes for line in block.forward_signature),
            blocks=self.classes,
            helpers=sorted(self.helpers.union(*(block.helpers for block in self.classes))),
            init=init,
            forward=forward,
        )

    def _summary(self) -> str:
        stochastic = [layer for layer in self.layers if not layer.fixed]
        candidates = sum(len(layer.candidates) for layer in stochastic)
        what = {"classes": "classes", "tokens": "logits a token"}[self.network.output[0]]
        return (
            f"Every network of `{self.network.name}`: {self.network.input} to {_classes(self.network)} {what}; "
            f"{len(stochastic)} layers of {candidates} candidates."
        )

    # ------------------------------------------------------------------------------------------ blocks

    def _write_classes(self) -> None:
        places = [
            _Place(layer, candidate, f"{layer.address}#{number}")
            for layer in self.layers
            for number, candidate in enumerate(layer.candidates)
        ]
        by_path = {place.path: place.candidate for place in places}
        concrete = [_concrete(place) for place in places if not self._inline(place)]
        parts: dict[object, list[ConcreteLayer]] = {None: []}
        for layer in concrete:
            elastic = by_path[layer.path].elastic
            parts.setdefault(elastic and elastic.key, []).append(layer)
        groups = [each for part in parts.values() for each in group(part)]
        for each, name in zip(groups, named_groups(groups, self.taken), strict=True):
            first = by_path[each.layers[0].path]
            paths = [layer.path for layer in each.layers]
            if first.width:
                cut, constructions = generate_elastic(each, name, first, self.literal)
                generated = cut.made
                self.imports |= cut.imports | {"Prunode"}
            else:
                generated, constructions = generate(each, name)
            self.classes.append(replace(generated, summary=_uses(generated.summary, len(paths), bool(first.width))))
            self.made.update(zip(paths, constructions, strict=True))

    def _inline(self, place: _Place) -> bool:
        """Is a candidate written out in place: nothing, a single module, or the head's modules one after another?"""
        row = in_place(place.layer, place.candidate, self.head)
        if row is None:
            return False
        self.helpers |= {step.calls[0].helper for step in row} - {""}
        made = [construct(step.calls[0]) for step in row]
        if len(made) == 1:
            self.made[place.path] = made[0]
        else:
            self.made[place.path] = Construction("nn.Sequential" if made else "nn.Identity", tuple(map(str, made)))
        return True

    # ------------------------------------------------------------------------------------------ stages

    def _stages(self) -> tuple[list[str], list[str]]:
        init: list[str] = []
        names: list[str] = []
        for name, found in named_stages(self.layers):
            names.append(name)
            init += self._stage(name, found)
        calls = [f"        x = self.{name}(x)" for name in names]
        calls[-1] = calls[-1].replace("x =", "return", 1)
        return init, calls

    def _stage(self, name: str, layers: list[RelaxedLayer]) -> list[str]:
        if is_fixed_head(layers, self.head):
            construction = self.made[f"{layers[0].address}#0"]
            return call_lines(8, f"self.{name} = {construction.function}", construction.arguments)
        lines = [f"        self.{name} = nn.Sequential("]
        whole = [list(parts) for _, parts in groupby(layers, key=lambda layer: layer_address(layer.address))]
        for _, alike in groupby(whole, key=lambda parts: tuple(map(self._key, parts))):
            lines += self._alike(list(alike))
        return [*lines, "        )"]

    def _key(self, layer: RelaxedLayer) -> object:
        """Equal for layers that are written alike (fixed ones are short enough to be repeated)."""
        if layer.fixed:
            return layer.address
        made = [self.made[f"{layer.address}#{number}"] for number in range(len(layer.candidates))]
        return layer.skippable, tuple(made), tuple(candidate.widths for candidate in layer.candidates)

    def _alike(self, layers: list[list[RelaxedLayer]]) -> list[str]:
        """Layers, each in one or more parts, that are written alike."""
        if len(layers) == 1:
            return [line for part in layers[0] for line in self._one(part)]
        parts = layers[0]
        stage, _, start = layer_address(parts[0].address).rpartition(".")
        self.imports.add("StochasticLayer")
        loop = f"for i in range({start}, {int(start) + len(layers)})"
        names = [f'f"{stage}.{{i}}{part.address.removeprefix(f"{stage}.{start}")}"' for part in parts]
        if len(parts) == 1:
            body = [*self._stochastic(16, names[0], parts[0], ""), f"                {loop}"]
        else:
            made = [
                line for name, part in zip(names, parts, strict=True) for line in self._stochastic(20, name, part, ",")
            ]
            body = [
                "                part",
                f"                {loop}",
                "                for part in (",
                *made,
                "                )",
            ]
        return ["            *(", *body, "            ),"]

    def _one(self, layer: RelaxedLayer) -> list[str]:
        """One layer, or part of one."""
        if layer.fixed:
            construction = self.made[f"{layer.address}#0"]
            return call_lines(12, construction.function, construction.arguments, ",", str(layer.layer.output))
        self.imports.add("StochasticLayer")
        return self._stochastic(12, f'"{layer.address}"', layer, ",")

    def _stochastic(self, indent: int, address: str, layer: RelaxedLayer, closing: str) -> list[str]:
        space = " " * indent
        lines = [f"{space}StochasticLayer(  # {layer.layer.output}", f"{space}    {address},", f"{space}    ["]
        for number, candidate in enumerate(layer.candidates):
            lines += _candidate_lines(indent + 8, self.made[f"{layer.address}#{number}"], candidate)
        lines.append(f"{space}    ],")
        if layer.skippable:
            lines.append(f"{space}    skippable=True,")
        return [*lines, f"{space}){closing}"]


def _concrete(place: _Place) -> ConcreteLayer:
    graph = place.candidate.graph
    return ConcreteLayer(place.layer.address, _block(place), graph, place.path, {INPUT: INPUT})


def _block(place: _Place) -> str:
    """The block's name; of a candidate of `one of`, the name that it begins with."""
    variant = place.layer.layer.variants[place.candidate.variant]
    name = variant.block if variant.block.isidentifier() else variant.chosen.get("of", "")
    found = re.match(r"\w+", name)
    return found.group() if found else "block"


def _uses(summary: str, count: int, elastic: bool) -> str:
    """A class's summary that counts candidates instead of layers."""
    ending = f"{count} candidate{'s' if count > 1 else ''}{', each of any hidden width' if elastic else ''}."
    return re.sub(r"\d+ layers?\.$", ending, summary)


def _widths(widths: tuple[int, ...]) -> str:
    """`range(32, 193, 32)` where they are evenly spaced."""
    step = widths[1] - widths[0] if len(widths) > 1 else 1
    if len(widths) > 2 and widths == tuple(range(widths[0], widths[-1] + 1, step)):
        return f"range({widths[0]}, {widths[-1] + 1}{f', {step}' if step > 1 else ''})"
    return f"({', '.join(map(str, widths))})"


def _candidate_lines(indent: int, made: Construction, candidate: Candidate) -> list[str]:
    """A candidate as an argument: on one line where it fits, else a Prunode's own arguments on theirs."""
    if not candidate.widths:
        return call_lines(indent, made.function, made.arguments, ",")
    space, widths = " " * indent, _widths(candidate.widths)
    line = f"{space}Prunode({made}, {widths}),"
    if len(line) <= WIDTH:
        return [line]
    inner = call_lines(indent + 4, made.function, made.arguments, ",")
    return [f"{space}Prunode(", *inner, f"{space}    {widths},", f"{space}),"]
