"""From a parsed file to a space: every layer's variants, every shape, along the trellis of what members can be.

The public door is `elaborate`. All that is wrong with a space's meaning is found here, as diagnostics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nasc.compiler.build import Builder
from nasc.compiler.domain import Domain
from nasc.compiler.expr import Rational, bounds, variable, variables
from nasc.compiler.ir import Decision, Tensor
from nasc.compiler.layer_builder import Built, Knowledge, LayerBuilder, tensor_ref
from nasc.compiler.layers import Header, LayerText, depth_domain, layer_texts, read_header
from nasc.compiler.paths import Cell, NeedCells, Path
from nasc.compiler.skipping import Unskippable, cannot_skip
from nasc.compiler.trellis import Edge, Slot, State, Trellis
from nasc.compiler.values import Mistake, SpaceScope
from nasc.compiler.world import World
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, Span, did_you_mean
from nasc.dsl.walk import mentions

MAX_STATES = 4096
MAX_SITUATIONS = 10_000
"""States of all layers together: each is elaborated, some more than once."""

FOLLOWING = frozenset(
    {"E0317", "E0318", "E0319", "E0320", "E0321", "E0324", "E0325", "E0326", "E0327", "E0328"}
    | {"E0334", "E0337", "E0347", "E0351"}
)
"""Mistakes of shapes, and of limits of the whole space: not reported behind another one, which may be their cause."""


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
    needed: Mapping[str, set[str]]
    known: Knowledge = field(default_factory=Knowledge)
    unskippable: list[Unskippable] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    layers: LayerBuilder = field(init=False)

    def __post_init__(self) -> None:
        self.layers = LayerBuilder(self.world, self.header, self.needed, self.known)
        self.situations = 0

    def run(self) -> Trellis:
        """The trellis of the space. Raises `Mistake`."""
        for _ in range(256):
            try:
                return self._walk()
            except NeedCells as need:
                self._refine(need)
        raise Mistake("E0330", "too many decisions of this space depend on one another", self.space.name_span)

    def _refine(self, need: NeedCells) -> None:
        old = self.known.partitions.get(need.address)
        if old is None:
            self.known.partitions[need.address] = need.cells
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
        self.known.partitions[need.address] = tuple(finer)

    # --------------------------------------------------------------------------------------------- the walk

    def _walk(self) -> Trellis:
        output = self.header.output
        features = frozenset(mentions(output)) if output.kind == "features" else frozenset[str]()
        trellis = Trellis([], [], {}, {}, self.known.partitions, features)
        start = self._enter(0, State((("", self.header.input),)))
        trellis.starts = [start]
        states: set[State] = {start}
        self.mistakes = []
        for position, stage in enumerate(self.header.stages):
            try:
                states = self._stage(trellis, stage, states, position)
            except Mistake as mistake:
                self._report(mistake)
                states = self._assumed(stage, states, position)
        if self.header.head is not None and not self.mistakes:
            self._head(trellis, self.header.head, states)
        trellis.shared = dict(self.known.declared)
        return trellis

    def _report(self, mistake: Mistake) -> None:
        """Keep a mistake; after the first one, only those that a wrongly assumed shape cannot have caused."""
        if not self.mistakes or mistake.diagnostic.code not in FOLLOWING:
            self.mistakes.append(mistake)

    def _assumed(self, stage: syntax.Stage, states: set[State], position: int) -> set[State]:
        """What may come out of a stage that is wrong, so that the stages after it are looked at too."""
        state = _ordered(states)[0]
        width = stage.width
        channels = int(width.value) if isinstance(width, syntax.Number) else state.current.channels
        assumed = State((*((n, t) for n, t in state.tensors if n), ("", state.current.with_channels(channels))))
        return {self._enter(position + 1, self._leave(stage, assumed, position))}

    def _stage(self, trellis: Trellis, stage: syntax.Stage, states: set[State], position: int) -> set[State]:
        depth = self._depth(stage, states)
        trellis.depths[stage.name] = depth
        blank = SpaceScope(self.header.lets, {n: tensor_ref(n, t) for s in states for n, t in s.tensors if n})
        for text in layer_texts(stage, self.header, int(depth.last), blank):
            slot = Slot(text.address, stage.name, text.index, skippable=False)
            trellis.slots.append(slot)
            self.situations += len(states)
            if self.situations > MAX_SITUATIONS:
                raise Mistake("E0317", f"more than {MAX_SITUATIONS:,} different situations arise here", stage.name_span)
            for state in _ordered(states):
                slot.edges[state] = self._edges(slot, text, state, depth)
            states = {e.target for edges in slot.edges.values() for e in edges}
            _limit(states, stage.name_span)
        if self.unskippable:
            rest = sum(s.skippable for s in trellis.slots if s.stage == stage.name)
            found, self.unskippable = self.unskippable, []
            raise cannot_skip(self.space, stage, self.world, found, rest)
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
        evaluator = Builder(self.world, Path((), self.known.of(state)))
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
            return not {address, f"?{address}"} & state.taken and cell != self.known.partitions[address][0]

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
        for fork, built in self._forks(state, lambda s: self.layers.layer(text, s)):
            edges.extend(self._layer_edges(slot, text, state, fork, built))
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
        if self._may_drop(text, fork, outs):
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
        self.known.declared[name] = Decision(address=name, domain=Domain.grid(low, max(low, high)), ordered=True)
        return next(iter(outs)).with_channels(variable(name))

    def _hull(self, tensor: Tensor) -> tuple[int, int]:
        low, high = bounds(tensor.channels, self._range)
        return int(low), int(high)

    def _range(self, address: str) -> tuple[Rational, Rational]:
        if address in self.known.bounds:
            return self.known.bounds[address]
        domain = self.known.declared[address].domain
        return domain.first, domain.last

    def _may_drop(self, text: LayerText, state: State, outs: set[Tensor]) -> bool:
        if text.skip == "no":
            return False
        same = outs == {state.current}
        if not same and text.skip == "yes":
            self.unskippable.append(Unskippable(text, state.current, next(iter(outs), None)))
        return same

    # --------------------------------------------------------------------------------------------- one layer

    def _forks(self, state: State, build: Callable[[State], Built]) -> list[tuple[State, Built]]:
        """What a layer can become from a state, or from each cell of the shared decisions that it needs to know."""
        try:
            return [(state, build(state))]
        except NeedCells as need:
            given = dict(state.cells)
            partitions = self.known.partitions
            if need.address not in partitions and need.address not in self.known.declared:
                partitions[need.address] = need.cells  # seen for the first time: nothing before depends on it
            if need.address not in partitions or need.address in given:
                raise
            forks = [
                State(state.tensors, tuple(sorted({**given, need.address: c}.items())), state.taken, state.done)
                for c in partitions[need.address]
            ]
            return [found for fork in forks for found in self._forks(fork, build)]

    # --------------------------------------------------------------------------------------------- the head

    def _head(self, trellis: Trellis, head: syntax.Head, states: set[State]) -> None:
        slot = Slot("head", "head", 0)
        trellis.slots.append(slot)
        for state in _ordered(states):
            edges: list[Edge] = []
            for fork, built in self._forks(state, lambda s: self.layers.head(head, s)):
                edges.extend(self._layer_edges(slot, _head_text(head), state, fork, built))
            slot.edges[state] = edges


def _head_text(head: syntax.Head) -> LayerText:
    call = syntax.Call(name="head", span=head.span, name_span=head.span)
    return LayerText("head", 0, call, {}, None, "no", head.span, ())


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


def _needed_stages(space: syntax.Space, header: Header) -> dict[str, set[str]]:
    """For each stage, the stages after it (and `""` for the output) that name it."""
    names = {s.name for s in header.stages}
    needed: dict[str, set[str]] = {}
    for stage in header.stages:
        mentioned = mentions(stage) | ({stage.source} if stage.source else set())
        for name in mentioned & names:
            needed.setdefault(name, set()).add(stage.name)
    lets = set().union(*(mentions(v) for v in header.lets.values())) if header.lets else set()
    for name in (lets | mentions(header.output)) & names:
        needed.setdefault(name, set()).add("")
    return needed


def elaborate(space: syntax.Space, blocks: Mapping[str, syntax.Block], diagnostics: Diagnostics) -> Space | None:
    """Give a space its meaning; None where a mistake (added to `diagnostics`) leaves nothing to work with."""
    try:
        header = read_header(space)
        world = World(blocks, header.granularity, header.classes, header.defaults)
        elaborator = Elaborator(space, world, header, _needed_stages(space, header))
        trellis = elaborator.run()
        if elaborator.mistakes:
            diagnostics.found.extend(m.diagnostic for m in elaborator.mistakes)
            return None
    except Mistake as mistake:
        diagnostics.found.append(mistake.diagnostic)
        return None
    except RecursionError:
        diagnostics.add("E0308", "blocks or expressions nest too deep", space.name_span)
        return None
    return Space(space.name, space, header, trellis, world)
