"""Dataflow graphs from block text: pipelines, block instances, choices and absence, along one path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from nasc.compiler.arguments import too_large, undivided, wrong_argument
from nasc.compiler.domain import Domain
from nasc.compiler.evaluate import Evaluator, World, clip, dotted, source_text
from nasc.compiler.expr import Expr, Size, add, multiply, substitute, variable, variables
from nasc.compiler.ir import Branch, Decision, Graph, Node, Tensor, Variant
from nasc.compiler.paths import Path, explore
from nasc.compiler.primitives import FORMS, PRIMITIVES
from nasc.compiler.primitives.base import REQUIRED, ShapeError, Use
from nasc.compiler.values import (
    Bound,
    ChoiceOperator,
    Given,
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
from nasc.compiler.wholes import is_whole
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span, did_you_mean

MAX_DEPTH = 64
MAX_WIDTH = 10_000_000
_ARROW_FORMS = frozenset({"take"})


Explored = tuple[list[tuple[int, Branch, Tensor]], dict[str, Domain], set[str]]


def origin(bound: Bound | Ready | None) -> Span | None:
    """Where a value was written first, before blocks handed it on by their parameters' names."""
    while isinstance(bound, Bound):
        value, scope = bound.value, bound.scope
        further = (
            scope.given.get(value.parts[0])
            if isinstance(scope, Instance) and isinstance(value, syntax.Reference) and len(value.parts) == 1
            else None
        )
        if not isinstance(further, Bound):
            return value.span
        bound = further
    return None


class Builder(Evaluator):
    """Builds the graph of one layer along one path."""

    def __init__(self, world: World, path: Path, counters: dict[str, int] | None = None) -> None:
        super().__init__(world, path)
        self.nodes: list[Node] = []
        self.counters = {} if counters is None else dict(counters)
        self.poison: dict[str, Mistake] = {}
        self.depth = 0
        self.foreign: set[str] = set()
        self.first_layer = True

    # --------------------------------------------------------------------------------------------- tensors

    def tensor(self, expression: syntax.Expression | syntax.Value, scope: Scope, address: str) -> TensorRef:
        """Evaluate what must be a tensor: a name, a joining call, or a pipeline."""
        if isinstance(expression, syntax.Pipeline):
            source = expression.source
            current = (
                self.step(source, None, scope, address)
                if isinstance(source, syntax.Step)
                else self.tensor(source, scope, address)
            )
            return self.steps(expression.steps, current, scope, address)
        if isinstance(expression, syntax.Call) and expression.called:
            found: Value = self.apply(expression, None, None, scope, address)
        else:
            found = self.value(expression, scope, address)
        if isinstance(found, Word) and found.name == "nothing":
            return TensorRef(None, Tensor.model_construct(channels=0, height=None, width=None, tokens=None, ids=False))
        if isinstance(found, Word) and isinstance(scope, SpaceScope):
            raise Mistake(
                "E0351",
                f"no stage before this one is called `{found.name}`",
                expression.span,
                did_you_mean(found.name, scope.stages),
            )
        if not isinstance(found, TensorRef):
            raise Mistake("E0332", f"{source_text(expression)} is not a tensor", expression.span)
        return found

    def steps(self, steps: Sequence[syntax.Step], current: TensorRef | None, scope: Scope, address: str) -> TensorRef:
        for step in steps:
            current = self.step(step, current, scope, address)
        assert current is not None
        return current

    def step(
        self,
        step: syntax.Step,
        current: TensorRef | None,
        scope: Scope,
        address: str,
        extra: Given | None = None,
        width: Bound | Ready | None = None,
    ) -> TensorRef:
        """One step of a pipeline; `extra` and `width` are what a choice was given from outside."""
        if step.when is not None and not self.truth(self.value(step.when, scope, ""), step.when.span):
            if current is None:
                raise Mistake("E0341", "a pipeline cannot start with a step that may be left out", step.span)
            return current
        if isinstance(step.operator, syntax.Group):
            return self.steps(step.operator.steps, current, scope, address)
        if step.width is not None:
            width = Bound(step.width, scope, dotted(self._label(step, scope, address), "width"))
        return self.apply(step.operator, current, width, scope, address, extra)

    def _label(self, step: syntax.Step, scope: Scope, address: str) -> str:
        label = scope.labels.get(id(step.operator)) if isinstance(scope, Instance) else None
        return dotted(address, label) if label else address

    def apply(
        self,
        operator: syntax.Call | syntax.Choice,
        current: TensorRef | None,
        width: Bound | Ready | None,
        scope: Scope,
        address: str,
        extra: Given | None = None,
    ) -> TensorRef:
        """Apply a written operator to a tensor."""
        self.world.step(self.path, operator.span)
        extra = extra or {}
        if isinstance(operator, syntax.Choice):
            return self.choice(ChoiceOperator(operator, scope, address), current, extra, width, operator.span)
        call = operator
        label = scope.labels.get(id(call)) if isinstance(scope, Instance) else None
        home = dotted(address, label) if label else address
        value = self.operator_named(call, scope, home)
        if isinstance(value, TensorRef):
            raise Mistake("E0333", f"`{call.name}` is a tensor, not an operator", call.name_span)
        if isinstance(value, ChoiceOperator):
            given = self._loose_arguments(call, scope, home)
            return self.choice(value, current, {**extra, **given}, width, call.span)
        name = value.name
        known = self.signature(name)
        if self.depth == 0:
            extra = {**self.world.defaults.get(None, {}), **self.world.defaults.get(name, {}), **extra}
        inherited = {k: v for k, v in extra.items() if k in known and self._counts_here(name, k, v)}
        own = dict(value.given) if isinstance(value, Operator) else {}
        if isinstance(value, Operator) and value.address:
            home = value.address
        if (name in PRIMITIVES and PRIMITIVES[name].variadic) or name in ("residual", "residual_prefix"):
            return self._join(name, call, current, scope, home)
        from_parameter = isinstance(scope, Instance) and call.name in scope.kinds
        given = self._loose_arguments(call, scope, home) if from_parameter else self.arguments(name, call, scope, home)
        given = {k: v for k, v in given.items() if k in known}
        return self.named(
            name,
            {**inherited, **given, **own} if from_parameter else {**inherited, **own, **given},
            current,
            width,
            call.span,
            home,
        )

    def _counts_here(self, name: str, parameter: str, bound: Bound | Ready) -> bool:
        """A stage's value of a `first` parameter is for its first layer only."""
        if self.first_layer or not isinstance(bound, Bound) or not bound.of_stage:
            return True
        block = self.world.blocks.get(name)
        if block is None:
            return parameter != "stride"
        return not any(p.name == parameter and p.kind == "first" for p in block.parameters)

    def _loose_arguments(self, call: syntax.Call, scope: Scope, address: str) -> dict[str, Bound | Ready]:
        """Arguments for whatever operator a parameter holds: by name, for those that have the parameter."""
        given: dict[str, Bound | Ready] = {}
        for argument in call.arguments:
            if argument.name is None:
                raise Mistake("E0304", f"`{call.name}` stands for any operator: name its arguments", argument.span)
            given[argument.name] = Bound(argument.value, scope, dotted(address, argument.name))
        for prop in call.properties:
            given[prop.name] = Bound(prop.value, scope, dotted(address, prop.name), prop)
        return given

    def named(
        self,
        name: str,
        given: Given,
        current: TensorRef | None,
        width: Bound | Ready | None,
        span: Span,
        address: str,
    ) -> TensorRef:
        """Apply a block, a primitive or a form by name."""
        if name in self.world.blocks and name not in PRIMITIVES:
            return self.instance(self.world.blocks[name], given, current, width, span, address)
        if current is None:
            raise Mistake("E0341", f"`{name}` needs an input", span, "write `in | …`")
        if name == "identity":
            return current
        if name == "nothing":
            return TensorRef(None, current.shape)
        if name == "take":
            return self._take(current, width, span)
        if name == "channels":
            return self._channels(current, given, span)
        if name in PRIMITIVES:
            return self.primitive(name, given, current, width, span)
        known = [*self.world.blocks, *PRIMITIVES, *FORMS]
        raise Mistake("E0350", f"no block or operator is called `{name}`", span, did_you_mean(name, known))

    # --------------------------------------------------------------------------------------------- blocks

    def instance(
        self,
        block: syntax.Block,
        given: Given,
        current: TensorRef | None,
        width: Bound | Ready | None,
        span: Span,
        address: str,
    ) -> TensorRef:
        """One instance of a block. Absent where every tensor that comes in is absent (language.md, Absence)."""
        if self.depth >= MAX_DEPTH:
            raise Mistake("E0308", f"`{block.name}` uses itself, or blocks nest more than {MAX_DEPTH} deep", span)
        if current is None:
            raise Mistake("E0341", f"`{block.name}` needs an input", span, "write `in | …`")
        if width is not None and block.width is None:
            raise Mistake("E0309", f"`{block.name}` takes no width", span, "remove the `->`")
        everything = dict(given)
        if width is not None and block.width is not None:
            everything[block.width] = width
        current = self.certain(current, span)
        scope = make_instance(block, everything, address, current, span)
        if current.absent and not self._has_tensor(scope, span):
            return current
        self.depth += 1
        try:
            result = block.statements[-1] if block.statements else None
            if result is None or isinstance(result, syntax.Assignment):
                raise Mistake("E0342", f"`{block.name}` has no result", block.name_span, "end it with a pipeline")
            return self.tensor(result, scope, address)
        finally:
            self.depth -= 1

    def _has_tensor(self, scope: Instance, span: Span) -> bool:
        for parameter in scope.block.parameters:
            if parameter.kind == "tensor":
                value = self.parameter(scope, parameter.name, span)
                if isinstance(value, TensorRef) and not value.absent:
                    return True
        return False

    def certain(self, tensor: TensorRef, span: Span) -> TensorRef:
        """Decide whether a slice has any channels."""
        if not tensor.uncertain:
            return tensor
        if self.is_zero(tensor.shape.channels, span):
            return TensorRef(None, tensor.shape)
        return TensorRef(tensor.name, tensor.shape)

    # --------------------------------------------------------------------------------------------- primitives

    def primitive(
        self, name: str, given: Given, current: TensorRef, width: Bound | Ready | None, span: Span
    ) -> TensorRef:
        primitive = PRIMITIVES[name]
        if width is not None and not primitive.arrow:
            raise Mistake("E0309", f"`{name}` takes no width", span, "remove the `->`")
        current = self.certain(current, span)
        if current.absent:
            return self._absent(current, given, span)
        if width is None and name == "linear" and self.depth == 0:
            filters: Size | None = self.world.classes
        else:
            filters = self.width(width, span) if width is not None else None
        if filters is not None and self.is_zero(filters, span):
            return self._absent(current, given, span)
        places = {p: place for p, bound in given.items() if (place := origin(bound)) is not None}
        return self._node(name, (current,), self._primitive_arguments(name, given, span), filters, span, places)

    def width(self, width: Bound | Ready, span: Span) -> Size:
        """The number of channels after `->`."""
        if isinstance(width, Ready):
            found = width.value
        else:
            found = self._remembered(
                ("width", width.address, id(width.value)),
                lambda: self.value_symbolic(width.value, width.scope, width.address),
            )
        place = origin(width) or span
        if isinstance(found, bool) or not isinstance(found, int | Fraction | Expr):
            raise Mistake("E0343", "a width must be a whole number", place)
        size = substitute(found, self._single_values(found))
        if not is_whole(size, self.path.domain):
            raise Mistake("E0343", "a width must be a whole number", place)
        low, high = self.bounds(size)
        if low < 0 or high > MAX_WIDTH:
            shown = clip(str(size) if low == high else f"{low} .. {high}")
            raise Mistake(
                "E0344", f"a width of {shown} is out of bounds", place, f"widths lie between 0 and {MAX_WIDTH:,}"
            )
        return size

    def settled(self, shape: Tensor) -> Tensor:
        """A shape with the decisions filled in that have one value left."""
        if not isinstance(shape.channels, Expr):
            return shape
        return shape.with_channels(substitute(shape.channels, self._single_values(shape.channels)))

    def _primitive_arguments(self, name: str, given: Given, span: Span) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for parameter, default in PRIMITIVES[name].parameters.items():
            bound = given.get(parameter)
            if bound is None:
                if default is REQUIRED:
                    raise Mistake("E0303", f"`{name}` needs `{parameter}`", span)
                arguments[parameter] = default
                continue
            found = bound.value if isinstance(bound, Ready) else self._bound(bound)
            arguments[parameter] = value = found.name if isinstance(found, Word) else found
            place = origin(bound) or span
            wrong_kind = isinstance(value, float | TensorRef | Operator | ChoiceOperator)
            if wrong_kind or (isinstance(value, str) and (parameter, value) != ("padding", "same")):
                raise Mistake("E0332", f"the `{parameter}` of `{name}` must be a number", place)
            wrong = wrong_argument(parameter, value, self.path.domain)
            if wrong is not None:
                raise Mistake("E0322", f"the `{parameter}` of `{name}` {wrong}", place)
        return arguments

    def _bound(self, bound: Bound) -> Value:
        if bound.site is not None:
            self.world.used.add(id(bound.site))
        return self.value(bound.value, bound.scope, bound.address)

    def _node(
        self,
        name: str,
        inputs: tuple[TensorRef, ...],
        arguments: dict[str, Any],
        width: Size | None,
        span: Span,
        places: Mapping[str, Span] | None = None,
    ) -> TensorRef:
        shapes = tuple(self.settled(t.shape) for t in inputs)
        use = Use(shapes, arguments, width, lambda s: self.whole(s, span))
        try:
            attributes, output = PRIMITIVES[name].infer(use)
        except ShapeError as error:
            attributes, output = {}, shapes[0] if width is None else shapes[0].with_channels(width)
            words = str(error).replace("`", " ").split()
            place = next((where for p, where in (places or {}).items() if p in words), span)
            mistake: Mistake | None = Mistake(error.code, str(error), place, error.help)
        except TypeError:
            attributes, output = {}, shapes[0]
            mistake = Mistake("E0332", f"an argument of `{name}` has the wrong kind", span)
        else:
            mistake = self._absurd(name, arguments, shapes, output, span)
        names = tuple(t.name for t in inputs if t.name is not None)
        made = self.fresh(name)
        self.nodes.append(
            Node.model_construct(name=made, op=name, inputs=names, attributes=attributes, output=output, branches=())
        )
        if mistake is not None:
            self.poison[made] = mistake
        return TensorRef(made, output)

    def _absurd(
        self, name: str, arguments: dict[str, Any], shapes: tuple[Tensor, ...], output: Tensor, span: Span
    ) -> Mistake | None:
        """What an operator's own rules do not see: sizes beyond use, groups that do not fit for some value."""
        split = (shapes[0].channels, output.channels)
        undivided_ = undivided(name, arguments, split, self.path.domain)
        if undivided_ is not None:
            return Mistake("E0324", undivided_, span)
        large = too_large(output, self.path.domain)
        return Mistake("E0344", large, span) if large is not None else None

    def fresh(self, kind: str) -> str:
        self.counters[kind] = self.counters.get(kind, 0) + 1
        return f"{kind}_{self.counters[kind]}"

    def _absent(self, current: TensorRef, given: Given, span: Span) -> TensorRef:
        """An operator of nothing is nothing; only the size it would have is kept."""
        shape = current.shape
        stride = given.get("stride")
        if stride is not None and shape.height is not None and shape.width is not None:
            value = stride.value if isinstance(stride, Ready) else self._bound(stride)
            if isinstance(value, int | Expr):
                s = max(1, self.whole(value, span))
                shape = Tensor(channels=0, height=-(-shape.height // s), width=-(-shape.width // s))
        return TensorRef(None, shape)

    # --------------------------------------------------------------------------------------------- joins

    def _join(self, name: str, call: syntax.Call, current: TensorRef | None, scope: Scope, address: str) -> TensorRef:
        """add, mul, concat, attend and the two residuals: operators of several tensors."""
        primitive = PRIMITIVES.get(name)
        options = primitive.parameters if primitive is not None else {}
        tensors = [] if current is None else [current]
        given: dict[str, Bound | Ready] = {}
        names = list(options)
        everything: list[syntax.Argument | syntax.Property] = [*call.arguments, *call.properties]
        for argument in everything:
            if argument.name in options:
                given[argument.name or ""] = Bound(argument.value, scope, dotted(address, argument.name or ""))
                continue
            value = self.value(argument.value, scope, address)
            if (isinstance(value, Word) and value.name == "nothing") or isinstance(value, TensorRef):
                tensors.append(value if isinstance(value, TensorRef) else self.tensor(argument.value, scope, address))
            elif names:
                given[names.pop(0)] = Ready(value)
            else:
                raise Mistake("E0332", f"`{name}` joins tensors", argument.span)
        if name in ("residual", "residual_prefix"):
            return self._residual(name, tensors, scope, call.span)
        return self.joined(name, tensors, given, call.span)

    def joined(self, name: str, tensors: Sequence[TensorRef], given: Given, span: Span) -> TensorRef:
        """Join the tensors that are there; one alone is itself."""
        if not tensors:
            raise Mistake("E0341", f"`{name}` needs tensors to join", span)
        if name == "concat" and any(not t.absent and not t.uncertain for t in tensors):
            present = [t for t in tensors if not t.absent]
        else:
            present = [t for t in (self.certain(t, span) for t in tensors) if not t.absent]
        if not present:
            return TensorRef(None, tensors[0].shape)
        if name == "attend":
            if len(present) < len(tensors):
                return TensorRef(None, tensors[0].shape)
        elif len(present) == 1:
            return present[0]
        if name == "concat":
            return self._concat(present, span)
        arguments = self._primitive_arguments(name, given, span)
        return self._node(name, tuple(present), arguments, None, span)

    def _concat(self, present: list[TensorRef], span: Span) -> TensorRef:
        kept = [t for t in present if self.bounds(t.shape.channels) != (0, 0)]
        if len(kept) == 1:
            return kept[0]
        made = self._node("concat", tuple(kept), {}, None, span)
        larger = self._filled(kept)
        if larger is None or made.name in self.poison:
            return made
        shape = made.shape.with_channels(larger)
        self.nodes[-1] = self.nodes[-1].model_copy(update={"output": shape})
        return TensorRef(made.name, shape)

    def _filled(self, parts: list[TensorRef]) -> Size | None:
        """a channels filled up from channel min(a, b) to b of another tensor are max(a, b)."""
        cut = next((n for n in self.nodes if n.name == parts[-1].name and n.op == "slice"), None)
        if len(parts) != 2 or cut is None:
            return None
        width, stop = self.settled(parts[0].shape).channels, cut.attributes["stop"]
        if cut.attributes["start"] != self._extremum("min", [width, stop]):
            return None
        larger = self._extremum("max", [width, stop])
        return None if isinstance(larger, float) else larger

    def _residual(self, name: str, tensors: list[TensorRef], scope: Scope, span: Span) -> TensorRef:
        """Add the source where it has the same shape; of an absent branch it is the source."""
        if not tensors:
            raise Mistake("E0341", f"`{name}` needs an input", span)
        explicit = len(tensors) > 1
        if not explicit and not isinstance(scope, Instance):
            raise Mistake("E0345", f"`{name}` adds a block's input and can only stand in a block", span)
        branch = self.certain(tensors[0], span)
        source = self.certain(tensors[1] if explicit else scope.input, span)  # type: ignore[union-attr]
        if source.absent or source.name == branch.name:
            return branch
        if branch.absent:
            return source
        same_size = source.shape.spatial == branch.shape.spatial
        if name == "residual_prefix" and same_size:
            return self._node("add_prefix", (branch, source), {}, None, span)
        if same_size and self.equal(source.shape.channels, branch.shape.channels, span):
            return self._node("add", (branch, source), {}, None, span)
        if explicit:
            raise Mistake(
                "E0328", f"a residual joins {source.shape} and {branch.shape}", span, "both must have one shape"
            )
        return branch

    # --------------------------------------------------------------------------------------------- channels

    def _take(self, current: TensorRef, width: Bound | Ready | None, span: Span) -> TensorRef:
        current = self.certain(current, span)
        if width is None or current.absent:
            return current
        size = self.width(width, span)
        if self.is_zero(size, span):
            return TensorRef(None, current.shape)
        stop = self._extremum("min", [size, current.shape.channels])
        assert not isinstance(stop, float)
        if stop == current.shape.channels:
            return current
        return self._node("slice", (current,), {"start": 0, "stop": stop}, None, span)

    def _channels(self, current: TensorRef, given: Given, span: Span) -> TensorRef:
        current = self.certain(current, span)
        if current.absent:
            return current
        arguments = [given.get("start"), given.get("stop")]
        if arguments[0] is None or arguments[1] is None:
            raise Mistake("E0303", "`channels` needs where to start and where to stop", span)
        start, stop = (
            self._number(a.value if isinstance(a, Ready) else self._bound(a), span) for a in arguments if a is not None
        )
        if isinstance(start, float) or isinstance(stop, float):
            raise Mistake("E0332", "`channels` needs finite numbers", span)
        self._inside(current, start, stop, span)
        low, high = self.bounds(add(stop, multiply(-1, start)))
        if high <= 0:
            return TensorRef(None, current.shape)
        if start == 0 and stop == current.shape.channels:
            return current
        cut = self._node("slice", (current,), {"start": start, "stop": stop}, None, span)
        return TensorRef(cut.name, cut.shape, uncertain=low <= 0)

    def _inside(self, current: TensorRef, start: Size, stop: Size, span: Span) -> None:
        """Refuse channels that a tensor certainly does not have."""
        beyond = self.bounds(add(stop, multiply(-1, current.shape.channels)))[0]
        below = self.bounds(start)[1]
        if beyond > 0 or below < 0 or not (is_whole(start, self.path.domain) and is_whole(stop, self.path.domain)):
            what = f"channels {start} up to {stop} of {current.shape.channels}"
            raise Mistake("E0322", f"there are no {clip(what, 80)}", span)

    # --------------------------------------------------------------------------------------------- choices

    def choice(
        self,
        operator: ChoiceOperator,
        current: TensorRef | None,
        extra: Given,
        width: Bound | Ready | None,
        span: Span,
    ) -> TensorRef:
        """`one of`, `any of`, `all of` applied to a tensor."""
        if current is None:
            raise Mistake("E0341", "a choice needs an input", span)
        current = self.certain(current, span)
        choice = operator.choice
        count = len(choice.candidates)
        if current.absent and isinstance(operator.scope, Instance):
            return current
        if choice.quantifier == "all":
            made = [self.candidate(operator, i, current, extra, width) for i in range(count)]
            return self._by(choice, made, span)
        if choice.quantifier == "one" and (count == 1 or isinstance(operator.scope, SpaceScope)):
            index = self.path.pick(dotted(operator.address, "of"), count) if count > 1 else 0
            if count > 1:
                self.path.chosen[dotted(operator.address, "of")] = source_text(choice.candidates[index])
            return self.candidate(operator, index, current, extra, width)
        return self._nested(operator, current, extra, width, span)

    def candidate(
        self, operator: ChoiceOperator, index: int, current: TensorRef, extra: Given, width: Bound | Ready | None
    ) -> TensorRef:
        """One candidate's chain of steps; what was given from outside goes to every step that takes it."""
        candidate = operator.choice.candidates[index]
        alone = len(operator.choice.candidates) == 1
        address = operator.address if alone else dotted(operator.address, str(index + 1))
        takers = [i for i, s in enumerate(candidate.steps) if s.width is None and self._takes_width(s, operator.scope)]
        for place, step in enumerate(candidate.steps):
            home = address if len(candidate.steps) == 1 else dotted(address, str(place + 1))
            handed = {
                k: Bound(v.value, v.scope, dotted(home, v.address.rsplit(".", 1)[-1]), v.site, v.of_stage)
                if isinstance(v, Bound) and isinstance(v.scope, SpaceScope) and not v.address.startswith("@")
                else v
                for k, v in extra.items()
            }
            given_width = width if takers and place == takers[-1] else None
            current = self.step(step, current, operator.scope, home, handed, given_width)
        return current

    def _takes_width(self, step: syntax.Step, scope: Scope) -> bool:
        if not isinstance(step.operator, syntax.Call):
            return isinstance(step.operator, syntax.Choice)
        value = self.operator_named(step.operator, scope, "")
        if isinstance(value, ChoiceOperator):
            return True
        name = value.name if isinstance(value, Word | Operator) else ""
        block = self.world.blocks.get(name)
        if block is not None:
            return block.width is not None
        return name in _ARROW_FORMS or (name in PRIMITIVES and PRIMITIVES[name].arrow)

    def _by(self, choice: syntax.Choice, made: list[TensorRef], span: Span) -> TensorRef:
        if len(made) > 1 and choice.join is None:
            raise Mistake(
                "E0346", f"`{choice.quantifier} of` does not say how to join", span, "`by add` or `by concat`"
            )
        if choice.join not in (None, "add", "concat"):
            raise Mistake("E0346", f"`by {choice.join}`: operators are joined by `add` or by `concat`", span)
        return self.joined(choice.join or "add", made, {}, span)

    def _nested(
        self,
        operator: ChoiceOperator,
        current: TensorRef,
        extra: Given,
        width: Bound | Ready | None,
        span: Span,
    ) -> TensorRef:
        """A choice inside a block: each candidate is explored by itself and becomes a branch of one node."""
        key = self._choice_key(operator, current, extra, width)
        explored = None if key is None else self.world.nested.get(key)
        if explored is None:
            explored = self._explore_branches(operator, current, extra, width)
            if key is not None:
                self.world.nested[key] = explored
        made, domains, foreign = explored
        for address, domain in domains.items():
            if address not in self.path.domains:
                self.foreign.add(address)
                self.path.domains[address] = domain
        self.foreign |= foreign
        if operator.choice.quantifier == "any":
            return self._any_of(operator, current, made, span)
        return self._one_of(operator, current, made, span)

    def _choice_key(
        self, operator: ChoiceOperator, current: TensorRef, extra: Given, width: Bound | Ready | None
    ) -> tuple[object, ...] | None:
        """What a choice's branches depend on; None where that is more than numbers and names."""
        scope = operator.scope
        fixed = width is None or (
            isinstance(width, Bound) and isinstance(width.value, syntax.Reference | syntax.Number)
        )
        if extra or not fixed or not isinstance(scope, Instance):
            return None
        size = None if width is None else self.width(width, operator.choice.span)
        seen: list[object] = [size, *((v, self.path.domain(v)) for v in sorted(variables(size or 0)))]
        for name in sorted(_referenced(operator.choice)):
            if name in scope.locals or name == "in":
                return None
            if name in scope.kinds or name == scope.block.width:
                value = self.parameter(scope, name, operator.choice.span)
                if (isinstance(value, Operator) and value.given) or isinstance(value, ChoiceOperator | TensorRef):
                    return None
                seen.append((name, value.name if isinstance(value, Operator | Word) else value))
                if isinstance(value, Expr):
                    seen.extend((v, self.path.domain(v)) for v in sorted(value.names))
        return id(operator.choice), operator.address, current.shape, tuple(seen)

    def _explore_branches(
        self, operator: ChoiceOperator, current: TensorRef, extra: Given, width: Bound | Ready | None
    ) -> Explored:
        """Every candidate's variants, with `in` for the tensor that the choice is applied to."""
        made: list[tuple[int, Branch, Tensor]] = []
        domains: dict[str, Domain] = {}
        foreign: set[str] = set()
        source = TensorRef("in", current.shape)
        for index, candidate in enumerate(operator.choice.candidates):

            def run(path: Path, index: int = index) -> tuple[Builder, TensorRef]:
                builder = Builder(self.world, path)
                builder.depth = self.depth
                return builder, builder.candidate(operator, index, source, extra, width)

            variants: list[Variant] = []
            shape = current.shape
            for path, (builder, out) in explore(run, self.path.shared, self.path):
                if out.absent:
                    continue
                domains.update(path.domains)
                foreign |= builder.foreign
                variants.append(builder.finish(out, "", {"in": current.shape, **self._outer(builder)}))
                shape = out.shape
            if variants:
                branch = Branch.model_construct(name=source_text(candidate), variants=tuple(unique(variants)))
                made.append((index, branch, shape))
        return made, domains, foreign

    def _outer(self, builder: Builder) -> dict[str, Tensor]:
        """The tensors of this graph that a branch reads besides its input."""
        own = {n.name for n in builder.nodes} | {"in"}
        shapes = {n.name: n.output for n in self.nodes}
        return {i: shapes[i] for n in builder.nodes for i in n.inputs if i not in own and i in shapes}

    def _any_of(
        self, operator: ChoiceOperator, current: TensorRef, made: list[tuple[int, Branch, Tensor]], span: Span
    ) -> TensorRef:
        choice = operator.choice
        some = made and self.path.pick(dotted(operator.address, "some"), 2) == 0
        if made:
            self.path.chosen[dotted(operator.address, "some")] = "some" if some else "none"
        if not some:
            return TensorRef(None, current.shape)
        shape = made[0][2]
        for _, branch, other in made:
            if other.spatial != shape.spatial:
                raise Mistake("E0326", f"operators of one choice give {shape} and {other}", span, note=branch.name)
        if choice.join == "concat":
            channels: Size = 0
            for index, _, branch_shape in made:
                presence = dotted(operator.address, f"{index + 1}?")
                self.foreign.add(presence)
                self.path.domains.setdefault(presence, Domain.grid(0, 1))
                channels = add(channels, multiply(variable(presence), branch_shape.channels))
            shape = shape.with_channels(channels)
        elif choice.join != "add":
            raise Mistake("E0346", "`any of` does not say how to join", span, "add `by add` or `by concat`")
        return self._select("any_of", operator, current, made, shape, {"join": choice.join})

    def _one_of(
        self, operator: ChoiceOperator, current: TensorRef, made: list[tuple[int, Branch, Tensor]], span: Span
    ) -> TensorRef:
        if not made:
            return TensorRef(None, current.shape)
        shape = made[0][2]
        for _, branch, other in made:
            if other.spatial != shape.spatial or other.channels != shape.channels:
                raise Mistake("E0326", f"candidates of one choice give {shape} and {other}", span, note=branch.name)
        return self._select("one_of", operator, current, made, shape, {})

    def _select(
        self,
        op: str,
        operator: ChoiceOperator,
        current: TensorRef,
        made: list[tuple[int, Branch, Tensor]],
        shape: Tensor,
        attributes: dict[str, Any],
    ) -> TensorRef:
        outer = {i: None for _, b, _ in made for v in b.variants for i in v.graph.inputs if i != "in"}
        assert current.name is not None
        name = self.fresh(op)
        numbers = tuple(index + 1 for index, _, _ in made)
        self.nodes.append(
            Node.model_construct(
                name=name,
                op=op,
                inputs=(current.name, *outer),
                attributes={**attributes, "address": operator.address, "numbers": numbers},
                output=shape,
                branches=tuple(b for _, b, _ in made),
            )
        )
        return TensorRef(name, shape)

    # --------------------------------------------------------------------------------------------- finishing

    def sound(self, out: TensorRef) -> list[Node]:
        """The nodes that a tensor comes from. Raises the first `Mistake` among them."""
        assert out.name is not None
        live = live_nodes(self.nodes, out.name)
        for node in live:
            if node.name in self.poison:
                raise self.poison[node.name]
        return live

    def finish(self, out: TensorRef, block: str, inputs: Mapping[str, Tensor]) -> Variant:
        """The variant this path has built: only what reaches the result, with the decisions that are left in it."""
        assert out.name is not None
        live = self.sound(out)
        fixed: dict[str, Size] = {
            a: d.first for a, d in self.path.domains.items() if d.size == 1 and a not in self.foreign
        }
        if fixed:
            live = [substituted(node, fixed) for node in live]
            inputs = {k: t.with_channels(substitute(t.channels, fixed)) if not t.ids else t for k, t in inputs.items()}
        names: set[str] = set()
        for node in live:
            names |= node_variables(node)
        own = [a for a in self.path.domains if a in names and a not in self.foreign and not a.startswith("@")]
        decisions = tuple(
            Decision.model_construct(address=a, domain=self.path.domains[a], ordered=self.path.ordered.get(a, True))
            for a in own
        )
        shared = {a: self.path.domain(a) for a in sorted(names) if a.startswith("@") and self.path.known(a)}
        used = {i for n in live for i in n.inputs} | {out.name}
        kept = {k: t for k, t in inputs.items() if k in used or k == "in"}
        graph = Graph.model_construct(inputs=kept, nodes=tuple(live), output=out.name)
        chosen = dict(self.path.chosen) | {a: str(v) for a, v in fixed.items()}
        return Variant.model_construct(block=block, chosen=chosen, decisions=decisions, graph=graph, shared=shared)


def make_instance(block: syntax.Block, given: Given, address: str, current: TensorRef, span: Span) -> Instance:
    locals_, labels = _block_facts(block)
    return Instance(
        block=block,
        given=given,
        address=address,
        input=current,
        locals=locals_,
        kinds={p.name: p for p in block.parameters},
        labels=labels,
        span=span,
    )


_REFERENCES: dict[int, tuple[syntax.Choice, frozenset[str]]] = {}


def _referenced(choice: syntax.Choice) -> frozenset[str]:
    """The names a choice mentions, as operators and in values."""
    if id(choice) not in _REFERENCES:
        names: set[str] = set()
        _collect_names(choice, names)
        _REFERENCES[id(choice)] = (choice, frozenset(names))
    return _REFERENCES[id(choice)][1]


def _collect_names(node: object, names: set[str]) -> None:
    if isinstance(node, syntax.Reference):
        names.add(node.parts[0])
    elif isinstance(node, syntax.Call):
        names.add(node.name)
    if isinstance(node, syntax.Node):
        for name in node.__dataclass_fields__:
            if not name.endswith("span"):
                _collect_names(getattr(node, name), names)
    elif isinstance(node, tuple):
        for item in node:
            _collect_names(item, names)


_FACTS: dict[int, tuple[syntax.Block, dict[str, syntax.Assignment], dict[int, str]]] = {}


def _block_facts(block: syntax.Block) -> tuple[dict[str, syntax.Assignment], dict[int, str]]:
    """A block's local values, and an address for each call in its body (its name, numbered where it repeats)."""
    if id(block) not in _FACTS:
        calls: list[syntax.Call] = []
        for statement in block.statements:
            _collect_calls(statement, calls)
        counts: dict[str, int] = {}
        labels: dict[int, str] = {}
        for call in calls:
            counts[call.name] = counts.get(call.name, 0) + 1
            labels[id(call)] = call.name if counts[call.name] == 1 else f"{call.name}#{counts[call.name]}"
        locals_ = {s.name: s for s in block.statements if isinstance(s, syntax.Assignment)}
        _FACTS[id(block)] = (block, locals_, labels)
    return _FACTS[id(block)][1:]


def _collect_calls(node: object, calls: list[syntax.Call]) -> None:
    if isinstance(node, syntax.Call):
        calls.append(node)
    if isinstance(node, syntax.Node):
        for name in node.__dataclass_fields__:
            if not name.endswith("span"):
                _collect_calls(getattr(node, name), calls)
    elif isinstance(node, tuple):
        for item in node:
            _collect_calls(item, calls)


def live_nodes(nodes: Sequence[Node], output: str) -> list[Node]:
    """The nodes that reach the output, in order."""
    wanted = {output}
    live: list[Node] = []
    for node in reversed(nodes):
        if node.name in wanted:
            live.append(node)
            wanted.update(node.inputs)
    return live[::-1]


def attribute_sizes(value: Any) -> list[Expr]:
    if isinstance(value, Expr):
        return [value]
    return [s for v in value for s in attribute_sizes(v)] if isinstance(value, tuple) else []


def node_variables(node: Node) -> frozenset[str]:
    """The decisions a node's attributes and output depend on."""
    names = set(variables(node.output.channels))
    for value in node.attributes.values():
        for size in attribute_sizes(value):
            names |= variables(size)
    return frozenset(names)


def map_sizes(value: Any, change: Callable[[Size], Size]) -> Any:
    """An attribute value with every symbolic size changed."""
    if isinstance(value, tuple):
        return tuple(map_sizes(v, change) for v in value)
    return change(value) if isinstance(value, Expr) else value


def substituted(node: Node, values: Mapping[str, Size]) -> Node:
    """A node with decisions replaced by sizes."""
    if node_variables(node).isdisjoint(values) and not node.branches:
        return node
    attributes = {k: map_sizes(v, lambda s: substitute(s, values)) for k, v in node.attributes.items()}
    output = node.output.with_channels(substitute(node.output.channels, values))
    return node.model_copy(update={"attributes": attributes, "output": output})


def unique(variants: Sequence[Variant]) -> list[Variant]:
    """Variants that build the same graph from the same decisions, once."""
    seen: list[Variant] = []
    for variant in variants:
        if not any(v.graph == variant.graph and v.decisions == variant.decisions for v in seen):
            seen.append(variant)
    return seen
