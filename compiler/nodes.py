"""Nodes of a graph: primitive operators applied to tensors that may be absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from nasc.compiler.arguments import FLAGS, too_large, undivided, wrong_argument
from nasc.compiler.evaluate import Evaluator
from nasc.compiler.expr import Expr, Size, substitute
from nasc.compiler.graph_tools import live_nodes, node_variables, substituted
from nasc.compiler.ir import Decision, Graph, Node, Tensor, Variant
from nasc.compiler.paths import Path
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.base import REQUIRED, ShapeError, Use
from nasc.compiler.values import (
    Bound,
    ChoiceOperator,
    Given,
    Instance,
    Mistake,
    Operator,
    Ready,
    TensorRef,
    Value,
    Word,
)
from nasc.compiler.wholes import is_whole
from nasc.compiler.world import World, clip
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span

MAX_WIDTH = 10_000_000


def _require_channels(name: str, shapes: Sequence[Tensor]) -> None:
    """Nothing can be calculated with token numbers but what they stand for."""
    if name != "embedding" and any(shape.ids for shape in shapes):
        raise ShapeError("E0320", f"`{name}` cannot work on token numbers", "begin with an `embedding`")


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


class NodeBuilder(Evaluator):
    """Applies primitive operators."""

    def __init__(self, world: World, path: Path, counters: dict[str, int] | None = None) -> None:
        super().__init__(world, path)
        self.nodes: list[Node] = []
        self.counters = {} if counters is None else dict(counters)
        self.poison: dict[str, Mistake] = {}
        self.depth = 0
        self.foreign: set[str] = set()
        self.first_layer = True

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
        return self._node(name, (current,), self._primitive_arguments(name, given, span), filters, span, given)

    def width(self, width: Bound | Ready, span: Span) -> Size:
        """The number of channels after `->`."""
        if isinstance(width, Ready):
            found = width.value
        else:
            found = self._remembered(
                ("width", width.address, id(width.value)),
                lambda: self.value_symbolic(width.value, width.scope, width.address),
            )
        if isinstance(found, bool) or not isinstance(found, int | Fraction | Expr):
            raise Mistake("E0343", "a width must be a whole number", origin(width) or span)
        size = substitute(found, self._single_values(found))
        if not is_whole(size, self.path.domain):
            raise Mistake("E0343", "a width must be a whole number", origin(width) or span)
        low, high = self.bounds(size)
        if low < 0 or high > MAX_WIDTH:
            what = f"a width of {clip(str(size) if low == high else f'{low} .. {high}')} is out of bounds"
            raise Mistake("E0344", what, origin(width) or span, f"widths lie between 0 and {MAX_WIDTH:,}")
        return size

    def settled(self, shape: Tensor) -> Tensor:
        """A shape with the decisions filled in that have one value left."""
        single = self._single_values(shape.channels)
        return shape.with_channels(substitute(shape.channels, single)) if single else shape

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
            wrong_kind = isinstance(value, float | TensorRef | Operator | ChoiceOperator)
            wrong_kind |= isinstance(value, bool) and parameter not in FLAGS
            if wrong_kind or (isinstance(value, str) and (parameter, value) != ("padding", "same")):
                raise Mistake("E0332", f"the `{parameter}` of `{name}` must be a number", origin(bound) or span)
            wrong = wrong_argument(parameter, value, self.path.domain)
            if wrong is not None:
                raise Mistake("E0322", f"the `{parameter}` of `{name}` {wrong}", origin(bound) or span)
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
        given: Given | None = None,
    ) -> TensorRef:
        shapes = tuple(self.settled(t.shape) for t in inputs)
        use = Use(shapes, arguments, width, lambda s: self.whole(s, span))
        try:
            _require_channels(name, shapes)
            attributes, output = PRIMITIVES[name].infer(use)
        except ShapeError as error:
            attributes, output = {}, shapes[0] if width is None else shapes[0].with_channels(width)
            words = str(error).replace("`", " ").split()
            place = next((o for word in words if (o := origin((given or {}).get(word)))), span)
            mistake: Mistake | None = Mistake(error.code, str(error), place, error.help)
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
        fixed |= {
            a: self.path.domains[a].first
            for a in sorted(self.path.consulted - names - self.foreign)
            if a in self.path.domains and not a.startswith("@")
        }
        chosen = dict(self.path.chosen) | {a: str(v) for a, v in fixed.items()}
        return Variant.model_construct(block=block, chosen=chosen, decisions=decisions, graph=graph, shared=shared)
