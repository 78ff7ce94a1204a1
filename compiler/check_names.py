"""Names in expressions and pipelines, checked on the syntax: does each stand for something?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nasc.compiler.evaluate import CONSTANTS
from nasc.compiler.expr import FUNCTION_NAMES
from nasc.compiler.primitives import NAMES, PRIMITIVES
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, Label, Span, did_you_mean
from nasc.dsl.walk import children

WORDS = frozenset({*CONSTANTS, "identity", "nothing", "same", "same_shape"})
"""Names with a meaning of their own, which nothing else may take."""

TENSOR_FIELDS = ("channels", "height", "width", "tokens")
FORM_PARAMETERS = {"residual": ("source",), "residual_prefix": ("source",), "channels": ("start", "stop")}
MANY = 200  # alternatives among which a number that lies in a range of them is looked for
JOINING_FORMS = frozenset({"residual", "residual_prefix"})


@dataclass(frozen=True)
class Scope:
    """What names stand for at one place. `stages` are those that came before; `later` those that come after."""

    values: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()
    inside: bool = False
    """Inside a block: `in` has a meaning."""
    decides: bool = True
    """May there be sets? Not in a block's body (Rule R)."""


@dataclass
class NameChecker:
    """Walks expressions, values and pipelines, and records what is wrong with the names in them."""

    blocks: Mapping[str, syntax.Block]
    diagnostics: Diagnostics
    operators: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.operators = frozenset(self.blocks) | NAMES

    # --------------------------------------------------------------------------------------------- what there is

    def parameters(self, name: str) -> tuple[str, ...] | None:
        """The parameters of a block or operator in order; None where there is none of this name."""
        if name in PRIMITIVES:
            return tuple(PRIMITIVES[name].parameters)
        if name in NAMES:
            return FORM_PARAMETERS.get(name, ())
        block = self.blocks.get(name)
        return tuple(p.name for p in block.parameters) if block is not None else None

    def is_tensor(self, operator: str, parameter: str) -> bool:
        """Is this parameter of a block declared `tensor`?"""
        block = self.blocks.get(operator) if operator not in PRIMITIVES else None
        return block is not None and any(p.name == parameter and p.kind == "tensor" for p in block.parameters)

    # --------------------------------------------------------------------------------------------- nodes

    def visit(self, node: object, scope: Scope) -> None:
        """Check a node and all below it."""
        match node:
            case syntax.Reference():
                self._reference(node, scope)
            case syntax.Call():
                self.call(node, scope)
            case syntax.ValueSet() | syntax.Range() | syntax.Interval() | syntax.Choice():
                self._alternatives(node, scope)
            case syntax.Node():
                self.children(node, scope)
            case tuple():
                for item in node:
                    self.visit(item, scope)

    def children(self, node: syntax.Node, scope: Scope) -> None:
        for child in children(node):
            self.visit(child, scope)

    def _reference(self, node: syntax.Reference, scope: Scope) -> None:
        name, *fields = node.parts
        known = name in scope.values or name in scope.stages or name in self.operators or name in WORDS
        if name == "in" and not scope.inside:
            self.diagnostics.add("E0356", "`in` has a meaning inside a block only", node.span)
        elif name in scope.later and not known:
            self._later(name, node.span)
        elif name != "in" and not known:
            near = did_you_mean(name, [*scope.values, *scope.stages, *self.operators, *WORDS])
            self.diagnostics.add("E0356", f"`{name}` stands for nothing here", node.span, help=near)
        for part in fields:
            if part not in TENSOR_FIELDS:
                near = did_you_mean(part, TENSOR_FIELDS) or f"it has `.{'`, `.'.join(TENSOR_FIELDS)}`"
                self.diagnostics.add("E0306", f"a tensor has no `.{part}`", node.span, help=near)

    def _later(self, name: str, span: Span) -> None:
        self.diagnostics.add(
            "E0351", f"stage `{name}` comes after this one", span, help="only stages that came before can be read"
        )

    def _alternatives(
        self, node: syntax.ValueSet | syntax.Range | syntax.Interval | syntax.Choice, scope: Scope
    ) -> None:
        decides = not isinstance(node, syntax.Choice) or node.quantifier != "all"
        if decides and not scope.decides:
            self.diagnostics.add(
                "E0357",
                "a block's body decides nothing",
                node.span,
                "a set of alternatives",
                help="make it the default of a parameter, so that the decision has a name",
            )
        if isinstance(node, syntax.Choice):
            self._join(node)
            self.repeated(node.candidates)
        elif isinstance(node, syntax.ValueSet):
            self.repeated(node.members)
        self.children(node, scope)

    def _join(self, choice: syntax.Choice) -> None:
        if choice.quantifier == "one" or (len(choice.candidates) < 2 and choice.join is None):
            return
        if choice.join not in ("add", "concat"):
            what = "does not say how to join" if choice.join is None else f"cannot join by `{choice.join}`"
            mend = "end it with `by add` or `by concat`"
            self.diagnostics.add("E0346", f"`{choice.quantifier} of` {what}", choice.span, help=mend)

    def repeated(self, members: Iterable[syntax.Node]) -> None:
        """Warn of alternatives that are there twice."""
        seen: dict[syntax.Node, syntax.Node] = {}
        for member in members:
            first = seen.get(member)
            if first is None and len(seen) < MANY:
                first = next((other for other in seen if _covers(other, member)), None)
            if first is not None:
                label = Label(first.span, "it is here already")
                self.diagnostics.add(
                    "W0401", "this alternative is there twice", member.span, "it counts once", [label], "remove one"
                )
            seen.setdefault(member, member)

    # --------------------------------------------------------------------------------------------- calls

    def call(self, call: syntax.Call, scope: Scope) -> None:
        """Check an operator or function, and what it is given."""
        is_function = call.called and call.name in FUNCTION_NAMES and call.name not in self.operators
        if call.name in scope.values or call.name in scope.stages:
            self._repeated_arguments(call)
        elif is_function:
            pass
        elif call.name not in self.operators:
            near = did_you_mean(call.name, [*self.operators, *scope.values, *(FUNCTION_NAMES if call.called else ())])
            self.diagnostics.add("E0350", f"no block or operator is called `{call.name}`", call.name_span, help=near)
        else:
            self._arguments(call, scope)
            return
        self.visit(tuple(a.value for a in call.arguments), scope)
        self.visit(tuple(p.value for p in call.properties), scope)

    def _arguments(self, call: syntax.Call, scope: Scope) -> None:
        known = self.parameters(call.name) or ()
        joins = call.name in JOINING_FORMS or (call.name in PRIMITIVES and PRIMITIVES[call.name].variadic)
        for index, argument in enumerate(call.arguments):
            name = argument.name or (known[index] if index < len(known) else None)
            if joins:
                self.visit(argument.value, scope)
            elif name is None:
                most = f"at most {len(known)} argument{'s' * (len(known) != 1)}" if known else "no arguments"
                self.diagnostics.add("E0304", f"`{call.name}` takes {most}", argument.span)
            else:
                self._given(call.name, known, name, argument.value, argument.span, scope)
        for prop in call.properties:
            self._given(call.name, known, prop.name, prop.value, prop.name_span, scope)
        if not joins:
            self._repeated_arguments(call)

    def _given(
        self, operator: str, known: tuple[str, ...], name: str, value: syntax.Value, span: Span, scope: Scope
    ) -> None:
        if name not in known:
            near = did_you_mean(name, known)
            self.diagnostics.add("E0305", f"`{operator}` has no parameter `{name}`", span, help=near)
        self.given(value, scope, self.is_tensor(operator, name))

    def given(self, value: syntax.Value, scope: Scope, tensor: bool) -> None:
        """Check a value given to a parameter; at space level a `tensor` parameter takes a stage's name."""
        bare = isinstance(value, syntax.Reference) and len(value.parts) == 1
        if tensor and bare and not scope.inside:
            assert isinstance(value, syntax.Reference)
            self.stage_name(value.parts[0], value.span, scope)
        else:
            self.visit(value, scope)

    def stage_name(self, name: str, span: Span, scope: Scope) -> None:
        """Check a name that must be an earlier stage's (or `nothing`, or a `let`)."""
        if name in scope.stages or name in scope.values or name == "nothing":
            return
        if name in scope.later:
            self._later(name, span)
        else:
            near = did_you_mean(name, [*scope.stages, "nothing"])
            self.diagnostics.add("E0351", f"no stage before this one is called `{name}`", span, help=near)

    def _repeated_arguments(self, call: syntax.Call) -> None:
        known = self.parameters(call.name) or ()
        names = [(a.name or (known[i] if i < len(known) else ""), a.span) for i, a in enumerate(call.arguments)]
        self.given_twice([*names, *((p.name, p.name_span) for p in call.properties)])

    def given_twice(self, names: Iterable[tuple[str, Span]]) -> None:
        """Record a parameter that is given a second time at one place."""
        seen: dict[str, Span] = {}
        for name, span in names:
            if name and name in seen:
                first = Label(seen[name], "the first time")
                self.diagnostics.add("E0316", f"`{name}` is given twice", span, labels=[first], help="remove one")
            seen.setdefault(name, span)


def _covers(other: syntax.Node, member: syntax.Node) -> bool:
    """Does a range of numbers hold this number?"""
    if not isinstance(other, syntax.Range):
        other, member = member, other
    if not isinstance(other, syntax.Range) or not isinstance(member, syntax.Number):
        return False
    ends, step = (other.first, other.last), other.step
    if not all(isinstance(e, syntax.Number) for e in ends) or not (step is None or isinstance(step, syntax.Number)):
        return False
    first, last = (e.value for e in ends if isinstance(e, syntax.Number))
    width = step.value if isinstance(step, syntax.Number) else 1
    return first <= member.value <= last and width > 0 and (member.value - first) % width == 0
