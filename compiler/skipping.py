"""The mistake of layers that are to be skipped and cannot be, told as a person would."""

from __future__ import annotations

from dataclasses import dataclass

from nasc.compiler.ir import Tensor
from nasc.compiler.layers import LayerText
from nasc.compiler.values import Mistake
from nasc.compiler.world import World
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Label, Span


@dataclass(frozen=True, eq=False)
class Unskippable:
    """A layer that `skip yes` names, and whose shape changes."""

    text: LayerText
    before: Tensor
    after: Tensor | None


def cannot_skip(space: syntax.Space, stage: syntax.Stage, world: World, found: list[Unskippable], rest: int) -> Mistake:
    """What is wrong with `skip yes` in a stage; `rest` is the number of its layers whose shape stays."""
    worst = found[0]
    places = [p.span for p in (*_row(stage, worst.text.index), *stage.properties) if p.name == "skip"]
    places += [i.span for i in space.items if isinstance(i, syntax.Attribute) and i.name == "skip"]
    cause = _cause(stage, world, worst)
    change = f"{worst.before} becomes {worst.after} here"
    note = "a skipped layer must keep its shape"
    return Mistake(
        "E0312",
        "these layers cannot be skipped",
        places[0] if places else worst.text.span,
        f"`skip same_shape` lets only the {rest} layer{'s' * (rest != 1)} with equal shapes be dropped"
        if rest
        else "no layer of the stage keeps its shape: `skip no`",
        note if cause is not None else f"{note}: {change}",
        (Label(cause, change),) if cause is not None else (),
    )


def _row(stage: syntax.Stage, index: int) -> tuple[syntax.Property, ...]:
    return next((r.properties for r in stage.rows if r.first <= index <= r.last), ())


def _cause(stage: syntax.Stage, world: World, worst: Unskippable) -> Span | None:
    """What changes the shape: a value for first layers only (a stride) where the size changes, else the width."""
    if worst.after is not None and worst.after.spatial != worst.before.spatial:
        callee = worst.text.callee
        block = world.blocks.get(callee.name) if isinstance(callee, syntax.Call) else None
        first = {
            p.name for b in ([block] if block else world.blocks.values()) for p in b.parameters if p.kind == "first"
        }
        given = (*_row(stage, worst.text.index), *stage.properties)
        return next((p.span for p in given if p.name in first), None)
    return worst.text.width.value.span if worst.text.width is not None else None
