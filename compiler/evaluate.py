"""Expressions of the language: numbers, sets, ranges and references, evaluated along one path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from nasc.compiler.domain import ENUMERABLE, Domain
from nasc.compiler.expr import (
    FUNCTION_NAMES,
    Expr,
    Rational,
    Size,
    add,
    bounds,
    divide,
    evaluate,
    exact,
    function,
    multiply,
    substitute,
    variable,
    variables,
)
from nasc.compiler.paths import Path
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
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span, did_you_mean

CONSTANTS: dict[str, Size | float] = {"yes": 1, "no": 0, "inf": math.inf}

MAX_SPLIT = 1024
"""A decision with more values than this is not split value by value."""

MAX_LAYER_STEPS = 20_000
MAX_STEPS = 1_000_000
"""Steps of one way to build a layer, and of a whole space; the largest shipped ones take 400 and 100,000."""

MAX_BITS = 1063
MAX_TERMS = 4096
"""Numbers stay below 1e320, sums below this many terms; a width may be 1e7."""

MAX_POWER = 64

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_MIRROR: dict[str, Callable[[Size, Size], Size]] = {
    "+": add,
    "-": lambda a, b: add(a, multiply(-1, b)),
    "*": multiply,
    "/": divide,
}


@dataclass
class World:
    """What is the same for every layer of a file."""

    blocks: Mapping[str, syntax.Block]
    granularity: Rational | None
    classes: int | None
    defaults: Mapping[str | None, Mapping[str, Bound]] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    nested: dict[object, Any] = field(default_factory=dict)
    """Nested choices explored so far."""
    steps: int = 0
    """Values evaluated so far."""
    layers: dict[str, int] = field(default_factory=dict)
    """The largest number of layers of each stage so far."""

    def step(self, path: Path, span: Span) -> None:
        """Count a step of the elaboration. Raises `Mistake` where a layer or the space takes absurdly many."""
        self.steps += 1
        path.steps += 1
        if path.steps > MAX_LAYER_STEPS or self.steps > MAX_STEPS:
            raise Mistake(
                "E0319",
                "building this takes too many steps",
                span,
                "blocks that use blocks several times, many levels deep, grow beyond bounds",
            )


def dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def source_text(node: syntax.Node) -> str:
    """The words of a node as they stand in its file, on one line."""
    return " ".join(node.span.source.text[node.span.start : node.span.end].split())


def clip(text: str, length: int = 40) -> str:
    """A text short enough for a message."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


class Evaluator:
    """Evaluates values in a scope; `Builder` adds what makes tensors."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.path = path

    # --------------------------------------------------------------------------------------------- sizes

    def bounds(self, size: Size) -> tuple[Rational | float, Rational | float]:
        return bounds(size, self.path.bounds)

    def compare(self, operator: str, a: Size | float, b: Size | float, span: Span) -> bool:
        """Decide a comparison of sizes, splitting decisions where their values differ in it."""
        test = _COMPARE[operator]
        if isinstance(a, float) or isinstance(b, float):
            return test(self._extreme(a), self._extreme(b))
        difference = add(a, multiply(-1, b))
        for _ in range(64):
            low, high = self.bounds(difference)
            if low == high:
                return test(low, 0)
            answer = _from_bounds(operator, low, high)
            if answer is not None:
                return answer
            difference = substitute(difference, self._single_values(difference))
            decided = self._split_for(difference, lambda v: test(v, 0), span)
            if decided is not None:
                return decided
        raise Mistake("E0330", "this condition cannot be decided for every member", span)

    def _extreme(self, value: Size | float) -> Rational | float:
        return value if isinstance(value, float) else self.bounds(value)[0]

    def _single_values(self, size: Size) -> dict[str, Size]:
        if not isinstance(size, Expr):
            return {}
        domains = {v: self.path.domain(v) for v in variables(size)}
        return {v: d.first for v, d in domains.items() if d.size == 1}

    def _split_for(self, size: Size, test: Callable[[Rational], bool], span: Span) -> bool | None:
        """Split one decision of a size so that a test on the size comes nearer to being decided.

        Gives the answer where it turns out to be the same for all values of the only decision left.
        """
        open_ = {v: self.path.domain(v) for v in sorted(variables(size))}
        try:
            if len(open_) == 1:
                ((address, domain),) = open_.items()
                kept, rest = domain.split(lambda v: test(evaluate(size, {address: v})))
                if kept is not None and rest is not None:
                    self.path.split(address, [kept, rest])
                    return self.path.domain(address) is kept
                return kept is not None
            for address, domain in open_.items():
                if 0 in domain:
                    self.path.split_where(address, lambda v: v == 0)
                    return None
            address, domain = min(open_.items(), key=lambda item: item[1].size)
            if domain.size > MAX_SPLIT:
                raise OverflowError
            self.path.split(address, [Domain.of([v]) for v in domain])
            return None
        except OverflowError:
            raise Mistake(
                "E0330",
                "this condition depends on a decision with too many values to tell them apart",
                span,
                "give the value, or narrow the range",
            ) from None

    def is_zero(self, size: Size, span: Span) -> bool:
        return self.compare("==", size, 0, span)

    def equal(self, a: Size, b: Size, span: Span) -> bool:
        return a == b or self.compare("==", a, b, span)

    def whole(self, size: Size, span: Span) -> int:
        """The one integer a size is; a decision that changes it is split into its values."""
        if isinstance(size, Expr):
            size = substitute(size, self._single_values(size))
        if isinstance(size, Expr):
            size = self._constant(size, span)
        if size != int(size):
            raise Mistake("E0331", f"this must be a whole number, not {size}", span)
        return int(size)

    def _constant(self, size: Expr, span: Span) -> Rational:
        names = sorted(variables(size))
        if len(names) == 1:
            domain = self.path.domain(names[0])
            if domain.size <= ENUMERABLE:
                found = {evaluate(size, {names[0]: v}) for v in domain}
                if len(found) == 1:
                    return found.pop()
        for name in names:
            domain = self.path.domain(name)
            if domain.size > MAX_SPLIT:
                raise Mistake("E0330", "a size depends on a decision with too many values", span)
            if domain.size > 1:
                self.path.split(name, [Domain.of([v]) for v in domain])
        return evaluate(size, {n: self.path.domain(n).first for n in names})

    # --------------------------------------------------------------------------------------------- values

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

    def tensor(self, expression: syntax.Expression | syntax.Value, scope: Scope, address: str) -> TensorRef:
        raise NotImplementedError  # Builder

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
        value = self.reference(syntax.Reference(parts=(call.name,), span=call.name_span), scope, address)
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
        first = exact(math.ceil(Fraction(low) / grid) * grid)
        last = exact(math.floor(Fraction(high) / grid) * grid)
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

    # --------------------------------------------------------------------------------------------- arithmetic

    def operation(self, operation: syntax.Operation, scope: Scope) -> Value:
        operator = operation.operator
        if operator in ("and", "or", "not"):
            return self._logic(operation, scope)
        assert operation.left is not None
        left = self.value(operation.left, scope, "")
        if operator == "*" and left == 0 and not isinstance(left, float):
            return 0
        if operator == "*" and isinstance(left, Expr) and self.bounds(left) == (0, 0):
            return 0
        right = self.value(operation.right, scope, "")
        if operator in _COMPARE:
            return self._comparison(operation, left, right)
        a, b = (self._number(v, side.span) for v, side in ((left, operation.left), (right, operation.right)))
        if isinstance(a, float) or isinstance(b, float):
            raise Mistake("E0332", "`inf` can be compared and used in min and max only", operation.span)
        if operator == "/" and self.is_zero(b, operation.span):
            raise Mistake("E0340", "a division by zero", operation.right.span)
        if operator == "*" and _terms(a) * _terms(b) > MAX_TERMS:
            raise Mistake("E0329", "this sum has too many terms", operation.span)
        return _bounded(_MIRROR[operator](a, b), operation.span)

    def _number(self, value: Value, span: Span) -> Size | float:
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, int | Fraction | Expr | float):
            return value
        raise Mistake("E0332", "this is not a number", span)

    def _logic(self, operation: syntax.Operation, scope: Scope) -> bool:
        if operation.operator == "not":
            return not self.truth(self.value(operation.right, scope, ""), operation.right.span)
        assert operation.left is not None
        left = self.truth(self.value(operation.left, scope, ""), operation.left.span)
        if left is (operation.operator == "or"):
            return left
        return self.truth(self.value(operation.right, scope, ""), operation.right.span)

    def _comparison(self, operation: syntax.Operation, left: Value, right: Value) -> bool:
        words = (Word, Operator, ChoiceOperator)
        if isinstance(left, words) or isinstance(right, words):
            if operation.operator not in ("==", "!="):
                raise Mistake("E0332", "names can only be compared with == and !=", operation.span)
            return _same_name(left, right) is (operation.operator == "==")
        a = self._number(left, operation.span)
        return self.compare(operation.operator, a, self._number(right, operation.span), operation.span)

    def apply_function(self, call: syntax.Call, scope: Scope) -> Size | float:
        arguments = [self._number(self.value(a.value, scope, ""), a.span) for a in call.arguments]
        expected = {"round": 1, "floor": 1, "ceil": 1, "divisible": 2}.get(call.name)
        if not arguments or (expected is not None and len(arguments) != expected):
            raise Mistake("E0304", f"`{call.name}` takes {expected or 'at least one'} number(s)", call.span)
        if call.name in ("max", "min"):
            largest = self._extremum(call.name, arguments)
            return largest if isinstance(largest, float) else _bounded(largest, call.span)
        if any(isinstance(a, float) for a in arguments):
            raise Mistake("E0332", "`inf` can be compared and used in min and max only", call.span)
        sizes = [a for a in arguments if not isinstance(a, float)]
        if call.name == "divisible":
            return _bounded(self._divisible(sizes[0], sizes[1], call.span), call.span)
        return _bounded(function(call.name, *sizes), call.span)

    def _extremum(self, name: str, arguments: list[Size | float]) -> Size | float:
        """Drop the arguments that another one always beats; `inf` is one of them."""
        finite = [a for a in arguments if not isinstance(a, float)]
        if len(finite) < len(arguments) and (name == "max" or not finite):
            return math.inf
        sign = 1 if name == "max" else -1
        kept: list[Size] = []
        for index, a in enumerate(finite):
            low, high = self.bounds(a)
            top = high if sign > 0 else -low
            others = [b for j, b in enumerate(finite) if j != index and (b != a or j < index)]
            floors = [self.bounds(b)[0] if sign > 0 else -self.bounds(b)[1] for b in others]
            beaten = any(f > top or (f == top and b in kept) for f, b in zip(floors, others, strict=True))
            if not beaten and a not in kept:
                kept.append(a)
        return kept[0] if len(kept) == 1 else function(name, *kept)

    def _divisible(self, value: Size, divisor: Size, span: Span) -> Size:
        if isinstance(divisor, Expr) or divisor <= 0:
            raise Mistake("E0331", "`divisible` needs a positive number to divide by", span)
        names = variables(value)
        if isinstance(value, Expr) and len(names) == 1:
            (name,) = names
            domain = self.path.domain(name)
            if (
                not domain.listed
                and len(value.terms) <= 2
                and all(
                    evaluate(value, {name: v}) % divisor == 0 for v in (domain.first, exact(domain.first + domain.step))
                )
            ):
                return value
            if value == variable(name) and self.path.ordered.get(name):
                raise Mistake(
                    "E0334",
                    f"widths {domain} are rounded to multiples of {divisor} and would fall together",
                    span,
                    f"use a granularity that is a multiple of {divisor}, or give `hidden` its widths",
                )
        return function("divisible", value, divisor)


_RUNNING = object()


def _same_name(left: Value, right: Value) -> bool:
    if isinstance(left, Word):
        left, right = right, left
    if isinstance(left, Operator) and isinstance(right, Word):
        return left.same_as(right)
    return isinstance(left, Word) and isinstance(right, Word) and left.name == right.name


def _terms(size: Size) -> int:
    return len(size.terms) if isinstance(size, Expr) else 1


def _bounded(size: Size, span: Span) -> Size:
    """The size, unless it has grown beyond all use. Raises `Mistake`."""
    if isinstance(size, Expr):
        if _weight(size, MAX_TERMS) <= 0:
            raise Mistake("E0329", "this expression has grown beyond bounds", span, "decide some of what it depends on")
    elif max(size.numerator.bit_length(), size.denominator.bit_length()) > MAX_BITS:
        raise Mistake("E0329", "this number has grown beyond bounds", span, "numbers lie below 1e320")
    return size


def _weight(size: Size, left: int) -> int:
    """What is left of a budget after every atom of a size has taken one; 0 or less where a power is absurd."""
    if not isinstance(size, Expr):
        return left - 1
    for monomial, _ in size.terms:
        for atom, power in monomial:
            left -= 1 if abs(power) <= MAX_POWER else MAX_TERMS
            for argument in () if isinstance(atom, str) else atom.arguments:
                left = _weight(argument, left) if left > 0 else left
        if left <= 0:
            return 0
    return left


def _from_bounds(operator: str, low: Rational | float, high: Rational | float) -> bool | None:
    """Whether `x OP 0` holds for all x in [low, high], for none (False), or only some (None)."""
    match operator:
        case ">":
            return True if low > 0 else False if high <= 0 else None
        case ">=":
            return True if low >= 0 else False if high < 0 else None
        case "<":
            return True if high < 0 else False if low >= 0 else None
        case "<=":
            return True if high <= 0 else False if low > 0 else None
    outside = low > 0 or high < 0
    return (operator == "!=") if outside else None
