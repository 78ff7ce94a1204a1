"""The items of a space, checked on the syntax: stages, rows, defaults, `let`s, the head, and what they are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nasc.compiler.check_blocks import circles, declared_once
from nasc.compiler.check_names import WORDS, NameChecker, Scope
from nasc.compiler.layers import read_header
from nasc.compiler.values import Mistake
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, did_you_mean
from nasc.dsl.walk import mentions

Callee = syntax.Call | syntax.Choice
SKIP_VALUES = ("no", "yes", "same_shape")


@dataclass
class SpaceChecker:
    """Checks one space. `lets` and `stages` are its own, the first of each name."""

    space: syntax.Space
    names: NameChecker
    lets: dict[str, syntax.Let] = field(init=False)
    stages: list[syntax.Stage] = field(init=False)

    def __post_init__(self) -> None:
        self.lets = {i.name: i for i in reversed(self.space.items) if isinstance(i, syntax.Let)}
        self.stages = [i for i in self.space.items if isinstance(i, syntax.Stage)]

    @property
    def diagnostics(self) -> Diagnostics:
        return self.names.diagnostics

    def check(self) -> None:
        """Record all that is wrong with the space and can be told without elaborating it."""
        self._declared()
        for item in self.space.items:
            self._item(item)
        self._header()

    def _declared(self) -> None:
        lets = [(i.name, i.span) for i in self.space.items if isinstance(i, syntax.Let)]
        declared_once(lets, self.diagnostics)
        declared_once([(s.name, s.name_span) for s in self.stages], self.diagnostics)
        for circle in circles({n: i.value for n, i in self.lets.items()}, mentions):
            way = " → ".join(f"`{name}`" for name in (*circle, circle[0])) if len(circle) > 1 else ""
            self.diagnostics.add("E0307", f"`{circle[0]}` is defined by itself", self.lets[circle[0]].span, way)

    def _header(self) -> None:
        """What `read_header` refuses, unless something in the same place is refused already."""
        try:
            read_header(self.space)
        except Mistake as mistake:
            found = mistake.diagnostic
            places = [d.span for d in self.diagnostics.errors if d.span is not None]
            inside = found.span is not None and any(
                found.span.start <= p.start and p.end <= found.span.end for p in places
            )
            if found.span == self.space.name_span or not inside:
                self.diagnostics.found.append(found)
        except RecursionError:
            pass  # a circle of `let`s, which is reported as such

    def scope(self, before: syntax.Stage | None = None) -> Scope:
        """What names stand for in a stage, or (None) after the last."""
        names = [s.name for s in self.stages]
        place = next((i for i, s in enumerate(self.stages) if s is before), len(names))
        return Scope(frozenset(self.lets), frozenset(names[:place]), frozenset(names[place:]))

    def _item(self, item: syntax.SpaceItem) -> None:
        after = self.scope()
        match item:
            case syntax.Let():
                self.names.visit(item.value, after)
            case syntax.Default():
                self._default(item, after)
            case syntax.Attribute(name="skip"):
                self._skip(item.value)
            case syntax.Attribute():
                self.names.visit(item.value, after)
            case syntax.Stage():
                self._stage(item)
            case syntax.Head():
                self.names.visit(item.steps, after)
            case syntax.Output(kind="features"):
                for value in item.values:
                    self._feature(value, after)
            case syntax.Input() | syntax.Output():
                self.names.children(item, after)

    def _feature(self, value: syntax.Value, scope: Scope) -> None:
        if isinstance(value, syntax.Reference) and len(value.parts) == 1:
            name = value.parts[0]
            if name not in scope.stages:
                near = did_you_mean(name, scope.stages)
                self.diagnostics.add("E0351", f"no stage is called `{name}`", value.span, help=near)
        else:
            self.diagnostics.add("E0351", "features are names of stages", value.span)

    def _skip(self, value: syntax.Value) -> None:
        word = value.parts[0] if isinstance(value, syntax.Reference) and len(value.parts) == 1 else None
        if word not in SKIP_VALUES:
            near = did_you_mean(word or "", SKIP_VALUES)
            self.diagnostics.add("E0313", "`skip` is `no`, `yes` or `same_shape`", value.span, help=near)

    # --------------------------------------------------------------------------------------------- who takes what

    def operators(self, callee: object, seen: frozenset[str] = frozenset()) -> Iterator[str | None]:
        """The operators that a callee may come to, through `let`s and choices; None for one that is not known."""
        match callee:
            case syntax.Call(name=name) | syntax.Reference(parts=(name,)):
                if name in self.lets and name not in seen:
                    yield from self.operators(self.lets[name].value, seen | {name})
                else:
                    yield name if self.names.parameters(name) is not None else None
            case syntax.Choice():
                for candidate in callee.candidates:
                    for step in candidate.steps:
                        if not isinstance(step.operator, syntax.Group):
                            yield from self.operators(step.operator, seen)
            case syntax.ValueSet():
                for member in callee.members:
                    yield from self.operators(member, seen)
            case _:
                yield None

    def _callees(self, stage: syntax.Stage) -> list[str | None]:
        callees: list[Callee] = [stage.callee, *(r.callee for r in stage.rows if r.callee is not None)]
        return [name for callee in callees for name in self.operators(callee)]

    def _properties(self, properties: tuple[syntax.Property, ...], takers: Iterable[str | None], scope: Scope) -> None:
        """Each value must have a taker; `skip` is taken by the layer itself."""
        known = list(dict.fromkeys(takers))
        self.names.given_twice((p.name, p.name_span) for p in properties)
        for prop in properties:
            if prop.name == "skip":
                self._skip(prop.value)
                continue
            taking = [n for n in known if n is not None and prop.name in (self.names.parameters(n) or ())]
            if not taking and None not in known:
                self._nobody(prop, [n for n in known if n is not None])
            self.names.given(prop.value, scope, any(self.names.is_tensor(n, prop.name) for n in taking))

    def _nobody(self, prop: syntax.Property, known: list[str]) -> None:
        there = dict.fromkeys(p for n in known for p in self.names.parameters(n) or ())
        if len(known) == 1:
            message = f"`{known[0]}` has no parameter `{prop.name}`"
        else:
            message = f"no block here has a parameter `{prop.name}`"
        self.diagnostics.add("E0305", message, prop.name_span, help=did_you_mean(prop.name, [*there, "skip"]))

    def _default(self, item: syntax.Default, scope: Scope) -> None:
        if item.block is None:
            users: list[str | None] = [name for stage in self.stages for name in self._callees(stage)]
            heads = [i for i in self.space.items if isinstance(i, syntax.Head)]
            users.extend(n for head in heads for s in head.steps for n in self.operators(s.operator))
            self._properties(item.properties, users, scope)
        elif self.names.parameters(item.block) is None:
            near = did_you_mean(item.block, self.names.operators)
            self.diagnostics.add("E0350", f"no block or operator is called `{item.block}`", item.span, help=near)
        else:
            self._properties(item.properties, [item.block], scope)

    # --------------------------------------------------------------------------------------------- stages

    def _stage(self, stage: syntax.Stage) -> None:
        scope = self.scope(stage)
        if stage.source is not None:
            self._source(stage, stage.source, scope)
        self.names.visit(stage.callee, scope)
        self.names.visit(stage.count, scope)
        self.names.visit(stage.width, scope)
        self._properties(stage.properties, self._callees(stage), scope)
        for row in stage.rows:
            self._row(stage, row, scope)
        self._rows_apart(stage)

    def _source(self, stage: syntax.Stage, source: str, scope: Scope) -> None:
        if source in scope.stages:
            return
        later = f"stage `{source}` does not come before `{stage.name}`"
        message = later if source in scope.later else f"no stage before `{stage.name}` is called `{source}`"
        self.diagnostics.add("E0351", message, stage.span, help=did_you_mean(source, scope.stages))

    def _row(self, stage: syntax.Stage, row: syntax.Row, scope: Scope) -> None:
        self.names.visit(row.callee, scope)
        self.names.visit(row.width, scope)
        callee = row.callee if row.callee is not None else stage.callee
        self._properties(row.properties, self.operators(callee), scope)

    def _rows_apart(self, stage: syntax.Stage) -> None:
        """Rows that say nothing or say it twice; whether the stage has so many layers shows later."""
        taken: list[syntax.Row] = []
        for row in stage.rows:
            if not 1 <= row.first <= row.last:
                message = f"`layer {row.first} .. {row.last}` holds no layer" if row.first else "layers count from 1"
                self.diagnostics.add("E0314", message, row.span)
            elif any(row.first <= other.last and other.first <= row.last for other in taken):
                self.diagnostics.add("E0315", "a layer of this row has a row already", row.span, help="join the two")
            taken.append(row)


__all__ = ["WORDS", "SpaceChecker"]
