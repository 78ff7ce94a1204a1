"""Operators of several tensors, residuals, and cuts along the channels."""

from __future__ import annotations

from collections.abc import Sequence

from nasc.compiler.expr import Size, add, multiply
from nasc.compiler.nodes import NodeBuilder
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.values import (
    Bound,
    Given,
    Instance,
    Mistake,
    Ready,
    Scope,
    TensorRef,
    Word,
)
from nasc.compiler.wholes import is_whole
from nasc.compiler.world import clip, dotted
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span


class JoinBuilder(NodeBuilder):
    """Joins and cuts tensors, leaving absent ones out."""

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
        kept = [t for t in present if t.shape.ids or self.bounds(t.shape.channels) != (0, 0)]
        if not kept:
            return TensorRef(None, present[0].shape)
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
