"""Dataflow graphs from block text: pipelines and block instances, along one path."""

from __future__ import annotations

from collections.abc import Sequence

from nasc.compiler.block_facts import make_instance
from nasc.compiler.choices import ChoiceBuilder
from nasc.compiler.ir import Tensor
from nasc.compiler.primitives import NAMES, PRIMITIVES
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
from nasc.compiler.world import dotted, source_text
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span, did_you_mean

MAX_DEPTH = 64


class Builder(ChoiceBuilder):
    """Builds the graph of one layer along one path."""

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
        known = [*self.world.blocks, *NAMES]
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
