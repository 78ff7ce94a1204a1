"""Expressions of the language: numbers, sets, ranges and references, evaluated along one path."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, MutableMapping
from fractions import Fraction
from typing import Any

from nasc.compiler.arithmetic import Arithmetic
from nasc.compiler.deciding import MAX_SPLIT
from nasc.compiler.domain import ENUMERABLE, Domain
from nasc.compiler.expr import (
    FUNCTION_NAMES,
    Expr,
    Rational,
    Size,
    divide,
    exact,
    substitute,
    variable,
    variables,
)
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.values import (
    Bound,
    ChoiceOperator,
    Instance,
    Mistake,
    Operator,
    Ready,
    Scope,
    SpaceScope,
    TensorRef,
    Value,
    Word,
)
from nasc.compiler.world import dotted, source_text
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span, did_you_mean

CONSTANTS: dict[str, Size | float] = {"yes": 1, "no": 0, "inf": math.inf}


class Evaluator(Arithmetic):
    """Evaluates values in a scope; `Builder` adds what makes tensors."""

    def value(self, value: syntax.Expression | syntax.Value, scope: Scope, address: str) -> Value:
        """Evaluate a value; `address` is where its decisions are filed."""
        self.world.step(self.path, value.span)
        match value:
            case syntax.Number():
                return exact(value.value)
            case syntax.Reference():
                return self.reference(value, scope, address)
            case syntax.Operation():
                return self.operation(value, scope)
            case syntax.ValueSet():
                return self.one_of_set(value, scope, address)
            case syntax.Range() | syntax.Interval():
                return self.decision(address, self.domain(value, scope, None), ordered=True)
            case syntax.Shape():
                return tuple(self.size(s, scope) for s in value.sizes)
            case syntax.Choice():
                return ChoiceOperator(value, scope, address)
            case syntax.Call():
                return self.call(value, scope, address)
            case syntax.Pipeline():
                return self.tensor(value, scope, address)
        raise Mistake("E0332", f"{source_text(value)} is not a value here", value.span)

    @abstractmethod
    def tensor(self, expression: syntax.Expression | syntax.Value, scope: Scope, address: str) -> TensorRef:
        """Evaluate what must be a tensor."""

    def call(self, call: syntax.Call, scope: Scope, address: str) -> Value:
        if call.called and call.name in FUNCTION_NAMES:
            return self.apply_function(call, scope)
        primitive = PRIMITIVES.get(call.name)
        if call.called and primitive is not None and primitive.variadic:
            return self.tensor(call, scope, address)
        base = self.operator_named(call, scope, address)
        if isinstance(base, ChoiceOperator | TensorRef):
            return base
        given = self.arguments(base.name, call, scope, address)
        inherited = base.given if isinstance(base, Operator) else {}
        home = base.address if isinstance(base, Operator) and base.address.startswith("@") else address
        return Operator(base.name, {**inherited, **given}, home, call.span)

    def operator_named(
        self, call: syntax.Call, scope: Scope, address: str
    ) -> Word | Operator | ChoiceOperator | TensorRef:
        """What an operator's name stands for in a scope."""
        value = self._named(call.name, scope, call.name_span)
        if isinstance(value, Word | Operator | ChoiceOperator | TensorRef):
            return value
        raise Mistake("E0333", f"`{call.name}` is a number, not an operator", call.name_span)

    def arguments(self, name: str, call: syntax.Call, scope: Scope, address: str) -> dict[str, Bound | Ready]:
        """A call's arguments by parameter name; the positional ones in order of the signature."""
        names = self.signature(name)
        given: dict[str, Bound | Ready] = {}
        for index, argument in enumerate(call.arguments):
            if argument.name is None and index >= len(names):
                raise Mistake("E0304", f"`{name}` takes at most {len(names)} arguments", argument.span)
            parameter = argument.name or names[index]
            self._check_parameter(name, parameter, names, argument.span)
            given[parameter] = Bound(argument.value, scope, dotted(address, parameter))
        for prop in call.properties:
            self._check_parameter(name, prop.name, names, prop.name_span)
            given[prop.name] = Bound(prop.value, scope, dotted(address, prop.name), prop)
        return given

    def _check_parameter(self, name: str, parameter: str, names: tuple[str, ...], span: Span) -> None:
        if parameter not in names:
            raise Mistake("E0305", f"`{name}` has no parameter `{parameter}`", span, did_you_mean(parameter, names))

    def signature(self, name: str) -> tuple[str, ...]:
        """The parameter names of a block or primitive, in order."""
        block = self.world.blocks.get(name)
        if block is not None:
            return tuple(p.name for p in block.parameters)
        if name in PRIMITIVES:
            return tuple(PRIMITIVES[name].parameters)
        return {"residual": ("source",), "residual_prefix": ("source",), "channels": ("start", "stop")}.get(name, ())

    def size(self, value: syntax.Expression | syntax.Value, scope: Scope, address: str = "") -> Size:
        """Evaluate what must be a finite number."""
        found = self.value(value, scope, address)
        if isinstance(found, bool):
            return int(found)
        if not isinstance(found, int | Fraction | Expr):
            raise Mistake("E0332", f"{source_text(value)} is not a number", value.span)
        return found

    def truth(self, value: Value, span: Span) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, int | Fraction | Expr):
            return not self.is_zero(value, span)
        if isinstance(value, float):
            return True
        raise Mistake("E0332", "a condition must be a number, `yes` or `no`", span)

    # --------------------------------------------------------------------------------------------- references

    def reference(self, reference: syntax.Reference, scope: Scope, address: str) -> Value:
        name, *fields = reference.parts
        value = self._named(name, scope, reference.span)
        for part in fields:
            value = self._field(value, part, reference.span)
        return value

    def _named(self, name: str, scope: Scope, span: Span) -> Value:
        if isinstance(scope, Instance):
            if name == "in":
                return scope.input
            if name in scope.kinds or name == scope.block.width:
                return self.parameter(scope, name, span)
            if name in scope.locals:
                return self.local(scope, name)
        elif name in scope.lets:
            return self._remembered(("let", name), lambda: self._let(name, scope))
        elif name in scope.stages:
            return scope.stages[name]
        return CONSTANTS[name] if name in CONSTANTS else Word(name, span)

    def _let(self, name: str, scope: SpaceScope) -> Value:
        return self.value_symbolic(scope.lets[name].value, scope, f"@{name}")

    def _remembered(self, key: object, make: Callable[[], Value]) -> Value:
        memo: MutableMapping[object, Any] = self.path.memo
        if key not in memo:
            memo[key] = make()
        found: Value = memo[key]
        return found

    def _field(self, value: Value, part: str, span: Span) -> Value:
        if not isinstance(value, TensorRef):
            raise Mistake("E0332", f"only a tensor has `.{part}`", span)
        sizes: dict[str, Size | None] = {
            "channels": 0 if value.absent else value.shape.channels,
            "height": value.shape.height,
            "width": value.shape.width,
            "tokens": value.shape.tokens,
        }
        if part not in sizes:
            raise Mistake("E0306", f"a tensor has no `.{part}`", span, did_you_mean(part, sizes))
        size = sizes[part]
        if size is None:
            raise Mistake("E0320", f"`.{part}` asks for a size that {value.shape} does not have", span)
        return size

    def parameter(self, instance: Instance, name: str, span: Span) -> Value:
        return self._remembered((instance, name), lambda: self._parameter(instance, name, span))

    def _parameter(self, instance: Instance, name: str, span: Span) -> Value:
        given = instance.given.get(name)
        declared = instance.kinds.get(name)
        if given is None:
            if declared is None or declared.default is None:
                raise self._missing(instance, name, span)
            given = Bound(declared.default, instance, dotted(instance.address, name))
        if isinstance(given, Ready):
            return given.value
        if given.site is not None:
            self.world.used.add(id(given.site))
        if declared is not None and declared.kind == "ratio" and isinstance(given.value, syntax.Interval):
            return self._ratio(given, instance.input)
        if declared is not None and declared.kind == "tensor":
            return self.tensor(given.value, given.scope, given.address)
        if name == instance.block.width:  # a set of widths stays one decision
            return self.value_symbolic(given.value, given.scope, given.address)
        return self.value(given.value, given.scope, given.address)

    def _missing(self, instance: Instance, name: str, span: Span) -> Mistake:
        block = instance.block.name
        if name == instance.block.width:
            return Mistake("E0303", f"`{block}` needs a width", instance.span, f"write `-> {name}` after it")
        return Mistake("E0303", f"`{block}` needs `{name}`", instance.span, f"give it in braces: `{{ {name} … }}`")

    def local(self, instance: Instance, name: str) -> Value:
        assignment = instance.locals[name]
        key = (instance, name)
        if self.path.memo.get(key) is _RUNNING:
            raise Mistake("E0307", f"`{name}` is defined by itself", assignment.span)

        def make() -> Value:
            self.path.memo[key] = _RUNNING
            return self.value(assignment.value, instance, instance.address)

        if key not in self.path.memo:
            self.path.memo[key] = make()
        found: Any = self.path.memo[key]
        return found  # type: ignore[no-any-return]

    # --------------------------------------------------------------------------------------------- decisions

    def value_symbolic(self, value: syntax.Value, scope: Scope, address: str) -> Value:
        """As `value`, but a set of numbers stays one decision instead of separate alternatives (widths, `let`s)."""
        if isinstance(value, syntax.ValueSet) and not any(
            isinstance(m, syntax.Reference | syntax.Call | syntax.Choice) for m in value.members
        ):
            numbers: list[Rational] = []
            for member in value.members:
                if isinstance(member, syntax.Range):
                    numbers.extend(self._listed(member, scope))
                else:
                    number = self.size(member, scope)
                    if isinstance(number, Expr):
                        raise Mistake("E0335", "a value of a set must not depend on another decision", member.span)
                    numbers.append(number)
            return self.decision(address, Domain.of(numbers), ordered=False)
        return self.value(value, scope, address)

    def _listed(self, value: syntax.Range, scope: Scope) -> Domain:
        """The values of a range inside a set, which are taken one by one."""
        domain = self.domain(value, scope, None)
        if domain.size > ENUMERABLE:
            raise Mistake(
                "E0317", f"a set of more than {ENUMERABLE:,} values", value.span, "write one range, without the braces"
            )
        return domain

    def one_of_set(self, value: syntax.ValueSet, scope: Scope, address: str) -> Value:
        members = list({source_text(m): m for m in value.members}.values())
        if len(members) == 1:
            return self.value(members[0], scope, address)
        index = self.path.pick(address, len(members))
        self.path.chosen[address] = source_text(members[index])
        return self.value(members[index], scope, f"{address}.{index + 1}")

    def decision(self, address: str, domain: Domain, ordered: bool) -> Size:
        if domain.size == 1:
            self.path.chosen[address] = str(domain.first)
            return domain.first
        if self.path.known(address) and not address.startswith("@"):
            return variable(address)
        self.path.declare(address, domain, ordered)
        return variable(address)

    def domain(self, value: syntax.Range | syntax.Interval, scope: Scope, ratio_of: Rational | None) -> Domain:
        """The values of a range or an interval. Raises `Mistake` for an empty one."""
        if isinstance(value, syntax.Range):
            return self._range(value, scope)
        grid = self.world.granularity
        if grid is None:
            raise Mistake("E0336", "an interval needs a granularity", value.span, "add `granularity 8` to the space")
        unit: Rational = 1 if ratio_of is None else ratio_of
        low, high = self._literal(value.low, scope) * unit, self._literal(value.high, scope) * unit
        first, last = exact(-(-low // grid) * grid), exact(high // grid * grid)
        if value.open_low and first == low:
            first += grid
        if value.open_high and last == high:
            last -= grid
        if first > last:
            where = "" if ratio_of is None else f" for an input of {ratio_of} channels"
            raise Mistake(
                "E0337",
                f"no multiple of the granularity {grid} lies in {source_text(value)}{where}",
                value.span,
                "choose a smaller granularity or a wider interval",
            )
        return Domain.grid(first, last, grid)

    def _range(self, value: syntax.Range, scope: Scope) -> Domain:
        first, last = self._literal(value.first, scope), self._literal(value.last, scope)
        step = self._literal(value.step, scope) if value.step is not None else 1
        if step <= 0:
            raise Mistake("E0338", f"the step of a range must be above 0, not {step}", value.span)
        if last < first:
            raise Mistake("E0338", f"the range {source_text(value)} is empty", value.span, f"{last} .. {first}?")
        if (last - first) % step != 0:
            below = exact(last - (last - first) % step)
            raise Mistake(
                "E0339",
                f"steps of {step} from {first} do not reach {last}",
                value.span,
                f"end at {below}" + (f" or {exact(below + step)}" if step else ""),
            )
        return Domain.grid(first, last, step)

    def _literal(self, value: syntax.Expression, scope: Scope) -> Rational:
        number = self.size(value, scope)
        if isinstance(number, Expr):
            number = substitute(number, self._single_values(number))
        if isinstance(number, Expr):
            names = sorted(variables(number))
            if len(names) == 1 and self.path.domain(names[0]).size <= MAX_SPLIT and names[0].startswith("@"):
                self.path.split(names[0], [Domain.of([v]) for v in self.path.domain(names[0])])
            raise Mistake("E0335", "the bounds of a range must not depend on another decision", value.span)
        return number

    def _ratio(self, given: Bound, source: TensorRef) -> Value:
        """`expand (0, 8]`: the widths w on the grid with a * in < w <= b * in, as the ratio w / in (language.md)."""
        assert isinstance(given.value, syntax.Interval)
        channels = source.shape.channels
        if isinstance(channels, Expr):
            channels = self.whole(channels, given.value.span)
        domain = self.domain(given.value, given.scope, channels)
        width = self.decision(given.address, domain, ordered=True)
        return divide(width, channels)


_RUNNING = object()
