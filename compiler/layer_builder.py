"""One layer, from one state: every path through its text, gathered into variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nasc.compiler.build import Builder
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Decision, Graph, Tensor, Variant
from nasc.compiler.layers import Header, LayerText
from nasc.compiler.overlap import without_overlaps
from nasc.compiler.paths import Cell, Path, Shared, TooManyPaths, explore
from nasc.compiler.placing import placed
from nasc.compiler.trellis import State
from nasc.compiler.values import Bound, ChoiceOperator, Mistake, SpaceScope, TensorRef
from nasc.compiler.world import World, source_text
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span

MOST_PATHS = 1_200
"""Alternatives of all layers together that are built one by one, ranges counting once: about a second's work."""


@dataclass(frozen=True, eq=False)
class Built:
    """What one layer can become from one state: variants with what comes out, and the shared decisions each takes."""

    results: tuple[tuple[Variant, Tensor], ...]
    taken: tuple[frozenset[str], ...]


@dataclass(eq=False)
class Knowledge:
    """What is known of shared decisions so far: their domains, and the cells of those that must be split."""

    partitions: dict[str, tuple[Cell, ...]] = field(default_factory=dict)
    declared: dict[str, Decision] = field(default_factory=dict)
    bounds: dict[str, tuple[Rational, Rational]] = field(default_factory=dict)

    def of(self, state: State) -> Shared:
        """What a path that starts from a state may look up."""
        shared: dict[str, Cell | tuple[Cell, ...]] = {a: d.domain for a, d in self.declared.items()}
        shared.update(self.partitions)
        shared.update(dict(state.cells))
        return shared

    def learn(self, path: Path) -> None:
        """Keep the domains of the shared decisions that a path has declared."""
        for address, domain in path.domains.items():
            if address.startswith("@") and address not in self.declared and address not in self.partitions:
                ordered = path.ordered.get(address, True)
                self.declared[address] = Decision(address=address, domain=domain, ordered=ordered)


Run = Callable[[Path], tuple[Builder, TensorRef]]
Remembered = dict[tuple[str, ...], dict[tuple[object, ...], Built]]
"""What was built, by the shared decisions that were asked for and by what they were."""


@dataclass(eq=False)
class LayerBuilder:
    """Builds layers, each distinct one once: layers written alike, with inputs alike, share their variants."""

    world: World
    header: Header
    needed: Mapping[str, set[str]]
    known: Knowledge
    memo: dict[tuple[object, ...], Remembered] = field(default_factory=dict)
    paths: int = 0
    """How many have been built so far."""

    def layer(self, text: LayerText, state: State) -> Built:
        """A layer of a stage. Raises `Mistake`, and `NeedCells` where a shared decision must be split first."""
        mentioned = {n for n, places in self.needed.items() if text.stage in places}
        key = (text.key, tuple((n, t) for n, t in state.tensors if n == "" or n in mentioned))

        def run(path: Path) -> tuple[Builder, TensorRef]:
            builder = Builder(self.world, path)
            builder.first_layer = text.index == 1
            out = apply_layer(builder, text, tensor_ref("in", state.current), scope_of(self.header, state))
            return builder, builder.certain(out, text.span)

        return self._remembered(key, state, run, text.callee, text.span)

    def head(self, head: syntax.Head, state: State) -> Built:
        """The head: its steps one after another, and a check of what comes out."""

        def run(path: Path) -> tuple[Builder, TensorRef]:
            builder = Builder(self.world, path)
            scope = scope_of(self.header, state)
            current = tensor_ref("in", state.current)
            for place, step in enumerate(head.steps):
                current = builder.step(step, current, scope, str(place + 1))
            current = builder.certain(current, head.span)
            if not current.absent:
                builder.sound(current)
            _check_output(self.header, current, head.span)
            return builder, current

        return self._remembered(("head", state.tensors), state, run, None, head.span)

    def _remembered(
        self,
        key: tuple[object, ...],
        state: State,
        run: Run,
        callee: syntax.Call | syntax.Choice | None,
        span: Span,
    ) -> Built:
        """What was built before from the same text, inputs and shared decisions, or built now."""
        shared = self.known.of(state)
        for asked, builts in self.memo.get(key, {}).items():
            if (remembered := builts.get(tuple(shared.get(a) for a in asked))) is not None:
                return remembered
        try:
            found = explore(run, shared)
            built = self._gathered(found, callee, state)
        except TooManyPaths:
            raise Mistake("E0317", "this layer has more than 2048 alternatives", span, "narrow its sets") from None
        except Mistake as mistake:
            raise placed(mistake, span, self.world.blocks) from None
        self.paths += len(found)
        if self.paths > MOST_PATHS:
            what = f"up to here the layers have more than {MOST_PATHS:,} different alternatives"
            raise Mistake("E0317", what, span, "narrow a width that others are ratios of, or its step; narrow sets")
        reads = {a for path, _ in found for a in path.reads}
        known = {a: c for a in sorted(reads) if not isinstance(c := shared.get(a), tuple)}
        self.memo.setdefault(key, {}).setdefault(tuple(known), {})[tuple(known.values())] = built
        return built

    def _gathered(
        self,
        found: list[tuple[Path, tuple[Builder, TensorRef]]],
        callee: syntax.Call | syntax.Choice | None,
        state: State,
    ) -> Built:
        """The variants of all paths, what several of them build only once."""
        inputs = {n or "in": t for n, t in state.tensors if not t.absent}
        variants: list[Variant] = []
        paths: list[Path] = []
        nothing: tuple[Path, Tensor] | None = None
        for path, (builder, out) in found:
            self.known.learn(path)
            if out.absent:
                nothing = nothing or (path, absent_like(out.shape))
                continue
            variants.append(builder.finish(out, _block_name(callee, path), inputs))
            paths.append(path)
            self._note_bounds(path, variants[-1])
        results: list[tuple[Variant, Tensor]] = []
        taken: list[frozenset[str]] = []
        for path, pieces in zip(paths, without_overlaps(variants), strict=True):
            for piece in pieces:
                results.append((piece, piece.graph.result))
                live = {a for a in piece.shared if not a.endswith(".out")} | tied_choices(piece.graph)
                taken.append(frozenset(live | self._decided(path)))
        if nothing is not None:
            results.append((_empty_variant(nothing[0]), nothing[1]))
            taken.append(self._decided(nothing[0]))
        return Built(tuple(results), tuple(taken))

    def _decided(self, path: Path) -> frozenset[str]:
        return frozenset(f"?{a}" for a in path.reads if a in self.known.partitions)

    def _note_bounds(self, path: Path, variant: Variant) -> None:
        for address, domain in path.domains.items():
            self.known.bounds[address] = (domain.first, domain.last)
        self.known.bounds.update({a: path.bounds(a) for a in variant.shared})


def apply_layer(builder: Builder, text: LayerText, current: TensorRef, scope: SpaceScope) -> TensorRef:
    """Build a layer along the path of a builder, from what comes in."""
    given = {k: Bound(b.value, scope, b.address, b.site, b.of_stage) for k, b in text.given.items()}
    width = text.width and Bound(text.width.value, scope, text.width.address)
    if isinstance(text.callee, syntax.Choice):
        operator = ChoiceOperator(text.callee, scope, "")
        return builder.choice(operator, current, given, width, text.callee.span)
    return builder.apply(text.callee, current, width, scope, "", given)


def scope_of(header: Header, state: State) -> SpaceScope:
    """What space-level values see from a state."""
    return SpaceScope(header.lets, {n: tensor_ref(n, t) for n, t in state.tensors if n})


def absent_like(shape: Tensor) -> Tensor:
    """An absent tensor that keeps its sizes."""
    return Tensor(channels=0, height=shape.height, width=shape.width, tokens=shape.tokens)


def tied_choices(graph: Graph) -> set[str]:
    """The addresses of nested choices that are shared with other places (a `let`)."""
    return {
        a for n in graph.nodes if n.branches and isinstance(a := n.attributes["address"], str) and a.startswith("@")
    }


def _empty_variant(path: Path) -> Variant:
    graph = Graph.model_construct(inputs={}, nodes=(), output="")
    chosen = dict(path.chosen) | {a: str(d.first) for a, d in path.domains.items() if d.size == 1}
    return Variant.model_construct(block="nothing", chosen=chosen, decisions=(), graph=graph, shared={})


def _block_name(callee: syntax.Call | syntax.Choice | None, path: Path) -> str:
    """The block's name, or the chosen candidate's first one."""
    if isinstance(callee, syntax.Choice):
        chosen = path.chosen.get("of", source_text(callee.candidates[0]))
        return chosen.split("{")[0].split("(")[0].split()[0]
    return callee.name if callee is not None else ""


def tensor_ref(name: str, tensor: Tensor) -> TensorRef:
    """A tensor under a name, or an absent one."""
    return TensorRef(None if tensor.absent else name, tensor)


def _check_output(header: Header, result: TensorRef, span: Span) -> None:
    shape = result.shape
    if result.absent:
        return
    if header.output.kind == "classes":
        right = not shape.spatial and shape.channels == header.classes
        if not right:
            raise Mistake(
                "E0318",
                f"the head gives {shape} where {header.classes} classes are wanted",
                span,
                "end it with `global_pool | linear`",
            )
    elif header.output.kind == "tokens" and (shape.tokens is None or shape.channels != header.classes):
        raise Mistake("E0318", f"the head gives {shape} where {header.classes} values per token are wanted", span)
    elif header.output.kind == "depth":
        value = header.output.values[0]
        wanted = (
            tuple(int(s.text) for s in value.sizes if isinstance(s, syntax.Number))
            if isinstance(value, syntax.Shape)
            else ()
        )
        if (shape.channels, *shape.spatial) != wanted:
            raise Mistake("E0318", f"the head gives {shape} where {' x '.join(map(str, wanted))} is wanted", span)
