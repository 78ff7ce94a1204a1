"""A one-member network as `model.py`: plain PyTorch that imports torch alone, written for reading."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nasc.compiler.concrete import INPUT, ConcreteLayer, ConcreteNetwork, ConcreteStage, concrete
from nasc.compiler.cost import graph_cost
from nasc.compiler.drop_path import drop_rates
from nasc.compiler.identifiers import class_name
from nasc.compiler.ir import Network
from nasc.compiler.structure import chain, used_inputs
from nasc.compiler.torch_classes import GeneratedClass, defined_names, generate, group, named_groups
from nasc.compiler.torch_outputs import Outputs, named_outputs
from nasc.compiler.torch_text import Construction, call_lines, construct, sequential_lines
from nasc.compiler.weights import network_state

TEMPLATE = Path(__file__).parent / "templates" / "model.py.jinja"


def model_source(network: Network, drop_path: float = 0.0) -> str:
    """The text of `model.py`: the same for the same network, always; its state dict is `network_state(network)`.

    With a `drop_path` rate (0 to 1), training drops residual branches at random (see `drop_rates`). Raises `NascError`
    where the network is not one member or has operators that cannot be compiled yet.
    """
    from jinja2 import Environment, StrictUndefined

    flat = concrete(network)
    name = class_name(flat.name, ())
    outputs = named_outputs(flat, name, {name})
    classes, made = layer_classes(flat, {name, *([outputs.name] if outputs else [])}, drop_path)
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=name,
        network=flat.name,
        input_shape=repr(flat.input.layout),
        classes=flat.shape(flat.results[0]).channels if flat.output[0] == "classes" else None,
        vocabulary=flat.shape(flat.results[0]).channels if flat.output[0] == "tokens" else None,
        summary=_summary(flat),
        costs=_costs(flat, sum(t.size for t in network_state(network).values() if t.learned)),
        outputs=outputs,
        blocks=classes,
        helpers=sorted({helper for block in classes for helper in block.helpers} | helpers_of(flat)),
        init=[line for stage in flat.stages for line in stage_lines(stage, made)],
        forward=returned(Forward(flat, outputs).lines()),
        result=outputs.name if outputs else "torch.Tensor",
    )


def _summary(flat: ConcreteNetwork) -> str:
    shapes = ", ".join(str(flat.shape(value)) for value in flat.results)
    shapes += {"classes": " classes", "tokens": " logits"}.get(flat.output[0], "")
    return f"`{flat.name}`: {flat.input} to {shapes}."


def _costs(flat: ConcreteNetwork, parameters: int) -> str:
    macs = sum(graph_cost(layer.graph, {}, "macs") for layer in flat.layers())
    return f"{parameters:,} parameters; {macs:,} multiply-accumulates for one {'text' if flat.input.ids else 'image'}."


def returned(lines: list[str]) -> list[str]:
    """The body of a `forward` that returns a variable: what a module gives back has no type of its own."""
    found = re.fullmatch(r"        return (?![A-Za-z]+\Z)(.*)", lines[-1])
    if found is None or "Features(" in lines[-1]:
        return lines
    return [*lines[:-1], f"        x = {found.group(1)}", "        return x"]


def _inline(layer: ConcreteLayer) -> list[Construction] | None:
    """The modules of a layer that needs no class: a single one, or the head's, one after another."""
    row = chain(layer.graph)
    if row is None or not (layer.sequential or len(row) == 1):
        return None
    return [construct(step.calls[0]) for step in row]


def helpers_of(flat: ConcreteNetwork) -> set[str]:
    rows = [chain(layer.graph) or () for layer in flat.layers() if _inline(layer) is not None]
    return {call.helper for row in rows for step in row for call in step.calls if call.helper}


def layer_classes(
    flat: ConcreteNetwork, taken: set[str], drop_path: float
) -> tuple[list[GeneratedClass], dict[str, Construction]]:
    """The classes, and by each layer's path how it is constructed."""
    layers = [layer for layer in flat.layers() if _inline(layer) is None]
    groups = group(layers, drop_rates(layers, drop_path))
    taken |= defined_names(helpers_of(flat))
    classes: list[GeneratedClass] = []
    made: dict[str, Construction] = {}
    for each, name in zip(groups, named_groups(groups, taken), strict=True):
        generated, constructions = generate(each, name, shapes=True)
        classes.append(replace(generated, forward=returned(generated.forward)))
        made.update({layer.path: c for layer, c in zip(each.layers, constructions, strict=True)})
    return classes, made


def stage_lines(stage: ConcreteStage, made: dict[str, Construction]) -> list[str]:
    """The construction of a stage, each layer with the shape that comes out."""
    first = stage.layers[0]
    if first.sequential:
        return _head_lines(stage.name, first, made)
    rows = []
    for layer in stage.layers:
        inline = _inline(layer)
        rows.append((inline[0] if inline else made[layer.path], str(layer.graph.result)))
    return sequential_lines(stage.name, rows)


def _head_lines(name: str, head: ConcreteLayer, made: dict[str, Construction]) -> list[str]:
    row = chain(head.graph)
    if row is None:
        return [f"        self.{name} = {made[head.path]}  # {head.graph.result}"]
    shapes, before = [], str(head.graph.inputs[INPUT])
    for step in row:
        shape = str(head.graph.tensor(step.value)) if step.value in head.graph.shapes else before
        shapes.append(shape if shape != before else "")
        before = shape
    return sequential_lines(name, list(zip([construct(step.calls[0]) for step in row], shapes, strict=True)))


class Forward:
    """The body of the network's `forward`; a stage that is read again later has a variable of its own."""

    def __init__(self, flat: ConcreteNetwork, outputs: Outputs | None) -> None:
        self.flat = flat
        self.outputs = outputs
        self.variables = {INPUT: "x"}
        self.last_use = {INPUT: -1}
        for i, stage in enumerate(flat.stages):
            for layer in stage.layers:
                for name in used_inputs(layer.graph):
                    self.last_use[layer.values[name]] = i
        for value in flat.results:
            self.last_use[value] = len(flat.stages)

    def lines(self) -> list[str]:
        lines: list[str] = []
        for i, stage in enumerate(self.flat.stages):
            lines += self._stage(i, stage)
        if self.outputs is not None:
            return [
                *lines,
                *call_lines(8, f"return {self.outputs.name}", [self.variables[v] for v in self.flat.results]),
            ]
        (result,) = (self.variables[value] for value in self.flat.results)
        last = self.variables[self.flat.stages[-1].name] if self.flat.stages else ""
        opening = f"        {last} = "
        if result == last and lines[-1].startswith(opening):
            return [*lines[:-1], f"        return {lines[-1].removeprefix(opening)}"]
        return [*lines, f"        return {result}"]

    def _stage(self, i: int, stage: ConcreteStage) -> list[str]:
        target = "x" if self._free(i) and self.last_use.get(stage.name, -1) <= i + 1 else stage.name
        if stage.sides and self._clobbers(stage.layers[1:], target):
            target = stage.name
        self.variables[stage.name] = target
        if not stage.sides:
            return call_lines(8, f"{target} = self.{stage.name}", [self.variables[stage.source]])
        lines = []
        for k, layer in enumerate(stage.layers):
            arguments = [self.variables[layer.values[n]] for n in used_inputs(layer.graph)]
            module = f"self.{stage.name}" if layer.sequential else f"self.{stage.name}[{k}]"
            lines += call_lines(8, f"{target} = {module}", arguments)
            self.variables[f"{stage.name}.{k}"] = target
        return lines

    def _free(self, i: int) -> bool:
        """Is what `x` holds no longer read after stage `i`?"""
        return not any(name == "x" and self.last_use.get(value, -1) > i for value, name in self.variables.items())

    def _clobbers(self, later: Sequence[ConcreteLayer], target: str) -> bool:
        read = {layer.values[n] for layer in later for n in used_inputs(layer.graph)}
        return any(self.variables.get(value) == target for value in read)
