"""From a parsed file to a space: every layer's variants, every shape, along the trellis of what members can be.

The public door is `elaborate`. All that is wrong with a space's meaning is found here, as diagnostics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nasc.compiler.build import Builder
from nasc.compiler.domain import Domain
from nasc.compiler.evaluate import Evaluator, World, source_text
from nasc.compiler.expr import Rational, bounds, variable, variables
from nasc.compiler.ir import Decision, Graph, Tensor, Variant
from nasc.compiler.layers import Header, LayerText, depth_domain, layer_texts, read_header
from nasc.compiler.paths import Cell, NeedCells, Path, Shared, TooManyPaths, explore
from nasc.compiler.skipping import Unskippable, cannot_skip
from nasc.compiler.trellis import Edge, Slot, State, Trellis
from nasc.compiler.values import Bound, ChoiceOperator, Mistake, SpaceScope, TensorRef
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, Span, did_you_mean

MAX_STATES = 4096


@dataclass(frozen=True, eq=False)
class Built:
    """What one layer can become from one state: variants by what comes out of them."""

    results: tuple[tuple[Variant, Tensor], ...]
    taken: tuple[frozenset[str], ...]
    declared: Mapping[str, Decision]


@dataclass(eq=False)
class Space:
    """An elaborated space or network: its text, its header and its trellis."""

    name: str
    syntax: syntax.Space
    header: Header
    trellis: Trellis
    world: World


@dataclass(eq=False)
class Elaborator:
    """Walks the layers from state to state; starts again when a shared decision turns out to need splitting."""

    space: syntax.Space
    world: World
    header: Header
    partitions: dict[str, tuple[Cell, ...]] = field(default_factory=dict)
    declared: dict[str, Decision] = field(default_factory=dict)
    memo: dict[tuple[object, ...], list[tuple[dict[str, Cell | None], Built]]] = field(default_factory=dict)
    needed: dict[str, set[str]] = field(default_factory=dict)
    unskippable: list[Unskippable] = field(default_factory=list)

    def run(self) -> Trellis:
        """The trellis of the space. Raises `Mistake`."""
        self.needed = _needed_stages(self.space, self.header)
        for _ in range(256):
            try:
                return self._walk()
            except NeedCells as need:
                self._refine(need)
        raise Mistake("E0330", "too many decisions of this space depend on one another", self.space.name_span)

    def _refine(self, need: NeedCells) -> None:
        old = self.partitions.get(need.address)
        if old is None:
            self.partitions[need.address] = need.cells
            return
        finer: list[Cell] = []
        for cell in old:
            pieces = [
                p
                for c in need.cells
                if isinstance(c, Domain) and isinstance(cell, Domain) and (p := cell.intersect(c)) is not None
            ]
            rest = _without(cell, pieces) if isinstance(cell, Domain) else None
            finer.extend(pieces or [cell])
            if pieces and rest is not None:
                finer.append(rest)
        self.partitions[need.address] = tuple(finer)

    # --------------------------------------------------------------------------------------------- the walk

    def _walk(self) -> Trellis:
        trellis = Trellis([], [], {}, {}, self.partitions)
        start = self._enter(0, State((("", self.header.input),)))
        trellis.starts = [start]
        states: set[State] = {start}
        for position, stage in enumerate(self.header.stages):
            states = self._stage(trellis, stage, states, position)
        if self.header.head is not None:
            self._head(trellis, self.header.head, states)
        trellis.shared = dict(self.declared)
        return trellis

    def _scope(self, state: State) -> SpaceScope:
        stages = {n: _ref(n, t) for n, t in state.tensors if n}
        return SpaceScope(self.header.lets, stages)

    def _stage(self, trellis: Trellis, stage: syntax.Stage, states: set[State], position: int) -> set[State]:
        depth = self._depth(stage, states)
        trellis.depths[stage.name] = depth
        blank = SpaceScope(self.header.lets, {n: _ref(n, t) for s in states for n, t in s.tensors if n})
        for text in layer_texts(stage, self.header, int(depth.last), blank):
            slot = Slot(text.address, stage.name, text.index, skippable=False)
            trellis.slots.append(slot)
            for state in _ordered(states):
                slot.edges[state] = self._edges(slot, text, state, depth)
            states = {e.target for edges in slot.edges.values() for e in edges}
            _limit(states, stage.name_span)
        if self.unskippable:
            rest = sum(s.skippable for s in trellis.slots if s.stage == stage.name)
            raise cannot_skip(self.space, stage, self.world, self.unskippable, rest)
        after = {s: self._enter(position + 1, self._leave(stage, s, position)) for s in states}
        last = trellis.slots[-1]
        last.edges = {
            s: [Edge(e.kind, e.source, after[e.target], e.variant, e.out, e.newly) for e in edges]
            for s, edges in last.edges.items()
        }
        return set(after.values())

    def _enter(self, position: int, state: State) -> State:
        """The state that a stage starts from: `from STAGE` makes that stage's output the tensor at hand."""
        if position >= len(self.header.stages) or (source := self.header.stages[position].source) is None:
            return state
        stage, known = self.header.stages[position], dict(state.tensors)
        if source not in known or not source:
            names = [s.name for s in self.header.stages[:position]]
            raise Mistake(
                "E0351",
                f"no stage before `{stage.name}` is called `{source}`",
                stage.span,
                did_you_mean(source, names),
            )
        known[""] = known[source]
        return State(tuple(sorted(known.items())), state.cells, state.taken)

    def _depth(self, stage: syntax.Stage, states: set[State]) -> Domain:
        state = _ordered(states)[0]
        evaluator = Evaluator(self.world, Path((), self._shared(state)))
        return depth_domain(stage, evaluator, SpaceScope(self.header.lets, {}))

    def _leave(self, stage: syntax.Stage, state: State, position: int) -> State:
        """What is still to be seen after a stage."""
        later = {s.name for s in self.header.stages[position + 1 :]} | {""}
        tensors = {n: t for n, t in state.tensors if n == "" or self.needed.get(n, set()) & later}
        if self.needed.get(stage.name, set()) & later:
            tensors[stage.name] = state.current
        return self._pruned(State(tuple(sorted(tensors.items())), state.cells, state.taken), "")

    def _pruned(self, state: State, width: str) -> State:
        """Forget shared decisions that nothing later can see; `width` is the stage's own."""
        visible = {v for _, t in state.tensors for v in variables(t.channels)} | {width}

        def kept(address: str) -> bool:
            return address in visible or address.split(".")[0] in self._lets

        def open_(address: str, cell: Cell) -> bool:
            return not {address, f"?{address}"} & state.taken and cell != self.partitions[address][0]

        cells = tuple((a, c) for a, c in state.cells if kept(a) or open_(a, c))
        taken = frozenset(a for a in state.taken if kept(a.removeprefix("?")))
        return State(state.tensors, cells, taken, state.done)

    @property
    def _lets(self) -> set[str]:
        return {f"@{name}" for name in self.header.lets}

    def _edges(self, slot: Slot, text: LayerText, state: State, depth: Domain) -> list[Edge]:
        if state.done:
            return [Edge("pass", state, state)]
        if (text.index > 1 and text.index - 1 in depth) or (text.index == 1 and 0 in depth):
            finished = State(state.tensors, state.cells, state.taken, done=True)
            edges = [Edge("stop", state, finished)]
        else:
            edges = []
        for fork in self._forks(state, lambda s: self._build(text, s)):
            edges.extend(self._layer_edges(slot, text, state, fork, self._build(text, fork)))
        if text.index == depth.last:
            edges = [
                Edge(
                    e.kind, e.source, State(e.target.tensors, e.target.cells, e.target.taken), e.variant, e.out, e.newly
                )
                for e in edges
            ]
        return edges

    def _layer_edges(self, slot: Slot, text: LayerText, state: State, fork: State, built: Built) -> list[Edge]:
        outs = {out for _, out in built.results if not out.absent}
        spatial = {o.spatial for o in outs}
        if len(spatial) > 1:
            shown = " and ".join(sorted({str(o) for o in outs}))
            raise Mistake(
                "E0326",
                f"the alternatives of `{slot.address}` give different sizes: {shown}",
                text.span,
                "padding, stride or kernel must make them equal",
            )
        opaque = self._opaque(slot.address, outs)
        width = f"@{text.stage}.width"
        edges: list[Edge] = []
        for (variant, out), taken in zip(built.results, built.taken, strict=True):
            target = out if out.absent or opaque is None else opaque
            name = None if out.absent or opaque is None else f"@{slot.address}.out"
            newly = tuple(sorted(taken - fork.taken))
            moved = self._pruned(_moved(fork, target, newly), width)
            edges.append(Edge("build", state, moved, variant, name, newly))
        if self._may_drop(text, fork, outs, built):
            slot.skippable = True
            kept = [e for e in edges if e.variant is None or e.variant.graph.nodes]
            edges = [*kept, Edge("drop", state, _moved(fork, fork.current, ()))]
        return edges

    def _opaque(self, address: str, outs: set[Tensor]) -> Tensor | None:
        """One size to stand for widths that differ between variants or hang on a layer's own decisions."""
        if not outs:
            return None
        own = any(not v.startswith("@") for o in outs for v in variables(o.channels))
        if len(outs) == 1 and not own:
            return None
        name = f"@{address}.out"
        spans = [self._hull(o) for o in outs]
        low, high = max(1, min(s[0] for s in spans)), max(s[1] for s in spans)
        self.declared[name] = Decision(address=name, domain=Domain.grid(low, max(low, high)), ordered=True)
        return next(iter(outs)).with_channels(variable(name))

    def _hull(self, tensor: Tensor) -> tuple[int, int]:
        low, high = bounds(tensor.channels, self._range)
        return int(low), int(high)

    def _range(self, address: str) -> tuple[Rational, Rational]:
        if address in self._bounds:
            return self._bounds[address]
        domain = self.declared[address].domain
        return domain.first, domain.last

    def _may_drop(self, text: LayerText, state: State, outs: set[Tensor], built: Built) -> bool:
        if text.skip == "no":
            return False
        same = outs == {state.current}
        if not same and text.skip == "yes":
            self.unskippable.append(Unskippable(text, state.current, next(iter(outs), None)))
        return same

    # --------------------------------------------------------------------------------------------- one layer

    def _shared(self, state: State) -> Shared:
        shared: dict[str, Cell | tuple[Cell, ...]] = {a: d.domain for a, d in self.declared.items()}
        shared.update(self.partitions)
        shared.update(dict(state.cells))
        return shared

    def _forks(self, state: State, use: object) -> list[State]:
        """The state, or one for each cell of the shared decisions that its next layer needs to know."""
        try:
            use(state)  # type: ignore[operator]
        except NeedCells as need:
            given = dict(state.cells)
            if need.address not in self.partitions and need.address not in self.declared:
                self.partitions[need.address] = need.cells  # seen for the first time: nothing before depends on it
            if need.address not in self.partitions or need.address in given:
                raise
            forks = [
                State(state.tensors, tuple(sorted({**given, need.address: c}.items())), state.taken, state.done)
                for c in self.partitions[need.address]
            ]
            return [f for fork in forks for f in self._forks(fork, use)]
        return [state]

    def _build(self, text: LayerText, state: State) -> Built:
        current = state.current
        key = (text.key, tuple((n, t) for n, t in state.tensors if n == "" or n in self._mentioned(text)))
        shared = self._shared(state)
        for reads, built in self.memo.get(key, ()):
            if all(shared.get(a) == c for a, c in reads.items()):
                return built

        def run(path: Path) -> tuple[Builder, TensorRef]:
            builder = Builder(self.world, path)
            builder.first_layer = text.index == 1
            scope = self._scope(state)
            out = self._apply(builder, text, _ref("in", current), scope)
            return builder, builder.certain(out, text.span)

        built, reads = self._collect(text.callee, explore, run, shared, state, text.span)
        self.memo.setdefault(key, []).append(
            ({a: c for a in reads if not isinstance(c := shared.get(a), tuple)}, built)
        )
        return built

    def _apply(self, builder: Builder, text: LayerText, current: TensorRef, scope: SpaceScope) -> TensorRef:
        given = {k: Bound(b.value, scope, b.address, b.site, b.of_stage) for k, b in text.given.items()}
        width = text.width and Bound(text.width.value, scope, text.width.address)
        if isinstance(text.callee, syntax.Choice):
            operator = ChoiceOperator(text.callee, scope, "")
            return builder.choice(operator, current, given, width, text.callee.span)
        return builder.apply(text.callee, current, width, scope, "", given)

    def _collect(self, callee, explore, run, shared, state, span):  # type: ignore[no-untyped-def]
        try:
            found = explore(run, shared)
        except TooManyPaths:
            raise Mistake("E0317", "this layer has more than 4096 alternatives", span, "narrow its sets") from None
        results: list[tuple[Variant, Tensor]] = []
        taken: list[frozenset[str]] = []
        declared: dict[str, Decision] = {}
        reads: set[str] = set()
        inputs = {"in": state.current, **{n: t for n, t in state.tensors if n}}
        present = {n: t for n, t in inputs.items() if not t.absent}
        for path, (builder, out) in found:
            reads |= path.reads
            for address, domain in path.domains.items():
                if address.startswith("@") and address not in self.declared:
                    declared[address] = Decision(
                        address=address, domain=domain, ordered=path.ordered.get(address, True)
                    )
            if out.absent:
                if any(r.absent for _, r in results):
                    continue
                results.append((_empty_variant(path), absent_like(out.shape)))
                taken.append(frozenset(f"?{a}" for a in path.reads if a in self.partitions))
                continue
            variant = builder.finish(out, _block_name(callee, path), present)
            if any(v is not None and v.graph == variant.graph and v.decisions == variant.decisions for v, _ in results):
                continue
            results.append((variant, variant.graph.result))
            decided = {f"?{a}" for a in path.reads if a in self.partitions}
            live = {a for a in variant.shared if not a.endswith(".out")} | tied_choices(variant.graph)
            taken.append(frozenset(live | decided))
            for address, domain in path.domains.items():
                self._bounds[address] = (domain.first, domain.last)
            self._bounds.update({a: path.bounds(a) for a in variant.shared})
        for address, decision in declared.items():
            full = self.partitions.get(address)
            if full is None:
                self.declared[address] = decision
        return Built(tuple(results), tuple(taken), declared), reads

    _bounds: dict[str, tuple[Rational, Rational]] = field(default_factory=dict)

    def _mentioned(self, text: LayerText) -> set[str]:
        return {n for n, places in self.needed.items() if text.stage in places}

    # --------------------------------------------------------------------------------------------- the head

    def _head(self, trellis: Trellis, head: syntax.Head, states: set[State]) -> None:
        slot = Slot("head", "head", 0)
        trellis.slots.append(slot)
        for state in _ordered(states):
            edges: list[Edge] = []
            for fork in self._forks(state, lambda s: self._build_head(head, s)):
                built = self._build_head(head, fork)
                edges.extend(self._layer_edges(slot, _head_text(head), state, fork, built))
            slot.edges[state] = edges

    def _build_head(self, head: syntax.Head, state: State) -> Built:
        key = ("head", state.tensors)
        shared = self._shared(state)
        for reads, built in self.memo.get(key, ()):
            if all(shared.get(a) == c for a, c in reads.items()):
                return built

        def run(path: Path) -> tuple[Builder, TensorRef]:
            builder = Builder(self.world, path)
            scope = self._scope(state)
            current = _ref("in", state.current)
            for place, step in enumerate(head.steps):
                current = builder.step(step, current, scope, str(place + 1))
            current = builder.certain(current, head.span)
            _check_output(self.header, current, head.span)
            return builder, current

        built, reads = self._collect(None, explore, run, shared, state, head.span)
        self.memo.setdefault(key, []).append(({a: shared.get(a) for a in reads}, built))  # type: ignore[misc]
        return built


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


def _head_text(head: syntax.Head) -> LayerText:
    call = syntax.Call(name="head", span=head.span, name_span=head.span)
    return LayerText("head", 0, call, {}, None, "no", head.span, ())


def _block_name(callee: syntax.Call | syntax.Choice | None, path: Path) -> str:
    """The block's name, or the chosen candidate's first one."""
    if isinstance(callee, syntax.Choice):
        chosen = path.chosen.get("of", source_text(callee.candidates[0]))
        return chosen.split("{")[0].split("(")[0].split()[0]
    return callee.name if callee is not None else ""


def _ref(name: str, tensor: Tensor) -> TensorRef:
    return TensorRef(None if tensor.absent else name, tensor)


def _moved(state: State, current: Tensor, newly: tuple[str, ...]) -> State:
    tensors = dict(state.tensors)
    tensors[""] = current
    return State(tuple(sorted(tensors.items())), state.cells, state.taken | frozenset(newly))


def _ordered(states: set[State]) -> list[State]:
    return sorted(states, key=repr) if len(states) > 1 else list(states)


def _limit(states: set[State], span: Span) -> None:
    if len(states) > MAX_STATES:
        raise Mistake("E0317", f"more than {MAX_STATES} different situations arise at this stage", span)


def _without(domain: Domain, pieces: list[Domain]) -> Domain | None:
    rest = [v for v in domain if not any(v in p for p in pieces)]
    return Domain.of(rest) if rest else None


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


def _needed_stages(space: syntax.Space, header: Header) -> dict[str, set[str]]:
    """For each stage, the stages after it (and `""` for the output) that name it."""
    names = {s.name for s in header.stages}
    needed: dict[str, set[str]] = {}
    for stage in header.stages:
        mentioned = _references(stage) | ({stage.source} if stage.source else set())
        for name in mentioned & names:
            needed.setdefault(name, set()).add(stage.name)
    lets = set().union(*(_references(v) for v in header.lets.values())) if header.lets else set()
    for name in (lets | _references(header.output)) & names:
        needed.setdefault(name, set()).add("")
    return needed


def _references(node: object) -> set[str]:
    if isinstance(node, syntax.Reference):
        return {node.parts[0]}
    if isinstance(node, syntax.Node):
        children = [getattr(node, n) for n in node.__dataclass_fields__ if not n.endswith("span")]
        return set().union(*map(_references, children))
    return set().union(*map(_references, node)) if isinstance(node, tuple) else set()


def elaborate(space: syntax.Space, blocks: Mapping[str, syntax.Block], diagnostics: Diagnostics) -> Space | None:
    """Give a space its meaning; None where a mistake (added to `diagnostics`) leaves nothing to work with."""
    try:
        header = read_header(space)
        world = World(blocks, header.granularity, header.classes, header.defaults)
        trellis = Elaborator(space, world, header).run()
    except Mistake as mistake:
        diagnostics.found.append(mistake.diagnostic)
        return None
    except RecursionError:
        diagnostics.add("E0308", "blocks or expressions nest too deep", space.name_span)
        return None
    return Space(space.name, space, header, trellis, world)
