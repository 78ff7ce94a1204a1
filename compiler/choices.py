"""`one of`, `any of` and `all of`, applied to a tensor."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from nasc.compiler.block_facts import referenced
from nasc.compiler.domain import Domain
from nasc.compiler.expr import Expr, Size, add, multiply, variable, variables
from nasc.compiler.graph_tools import unique
from nasc.compiler.ir import Branch, Node, Tensor, Variant
from nasc.compiler.joins import JoinBuilder
from nasc.compiler.nodes import NodeBuilder
from nasc.compiler.paths import Path, explore
from nasc.compiler.primitives import PRIMITIVES
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
from nasc.dsl.diagnostics import Span

_ARROW_FORMS = frozenset({"take"})

Explored = tuple[list[tuple[int, Branch, Tensor]], dict[str, Domain], set[str]]


class ChoiceBuilder(JoinBuilder):
    """Takes a choice's candidates as separate paths, or explores them into branches of one node."""

    @abstractmethod
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
        if current.absent and (isinstance(operator.scope, Instance) or choice.quantifier == "any"):
            return current
        if choice.quantifier == "all":
            made = [self.candidate(operator, i, current, extra, width) for i in range(count)]
            return self._by(choice, made, span)
        if choice.quantifier == "one" and (count == 1 or isinstance(operator.scope, SpaceScope)):
            return self.candidate(operator, self._index(operator), current, extra, width)
        return self._nested(operator, current, extra, width, span)

    def taken(self, operator: ChoiceOperator, span: Span) -> Value:
        choice, address = operator.choice, operator.address
        if choice.quantifier != "one":
            return operator
        if len(choice.candidates) > 1 and not isinstance(operator.scope, SpaceScope):
            raise Mistake("E0330", "this condition depends on a choice within a block", span, "choose at the stage")
        candidate = choice.candidates[self._index(operator)]
        step = candidate.steps[0]
        if len(candidate.steps) > 1 or step.width is not None or not isinstance(step.operator, syntax.Call):
            return operator
        return self.value(step.operator, operator.scope, address)

    def _index(self, operator: ChoiceOperator) -> int:
        """The candidate of a `one of` that this path takes."""
        address, candidates = dotted(operator.address, "of"), operator.choice.candidates
        if len(candidates) == 1:
            return 0
        index = self.path.pick(address, len(candidates))
        self.path.chosen[address] = source_text(candidates[index])
        return index

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
        for name in sorted(referenced(operator.choice)):
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

            def run(path: Path, index: int = index) -> tuple[ChoiceBuilder, TensorRef]:
                builder = type(self)(self.world, path)
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

    def _outer(self, builder: NodeBuilder) -> dict[str, Tensor]:
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
            if choice.join == "add" and not self.equal(shape.channels, other.channels, span):
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
