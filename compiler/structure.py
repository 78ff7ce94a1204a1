"""How a graph reads as a PyTorch module: its submodules, their names, and what is applied to what.

The names depend on the graph alone, so weights, ONNX initializers and generated classes agree without sharing more.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from nasc.compiler.ir import Graph
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.forms import Call, Expression


@dataclass(frozen=True)
class Step:
    """One value of a module's `forward`: submodules applied to an operand, or an expression of several operands.

    More than one call makes a `nn.Sequential`. `owners` are the nodes whose stored tensors the calls hold ("" for a
    call that holds none). `attribute` is empty for an expression and for activations, which are named by their users.
    """

    value: str
    operands: tuple[str, ...]
    calls: tuple[Call, ...] = ()
    owners: tuple[str, ...] = ()
    expression: Expression | None = None
    attribute: str = ""

    @property
    def swappable(self) -> bool:
        return len(self.calls) == 1 and self.calls[0].swappable


def steps(graph: Graph) -> tuple[Step, ...]:
    """The steps of a graph in order, with their attributes named."""
    return _named(_with_sides(_single_steps(graph), graph))


def chain(graph: Graph) -> tuple[Step, ...] | None:
    """The single calls of a graph that is nothing but modules one after another, or None for any other graph."""
    found = _single_steps(graph)
    before = "in"
    for step in found:
        if step.expression is not None or step.operands != (before,):
            return None
        before = step.value
    return tuple(found) if before == graph.output else None


def parameter_paths(graph: Graph, sequential: bool = False) -> dict[str, str]:
    """For each node, where its stored tensors lie in the module made from the graph: `norm1`, `gate.1`, ….

    A graph of one call is that call itself (an empty path); with `sequential`, a chain is a `nn.Sequential` (`0`, …).
    """
    row = chain(graph)
    if row is not None and sequential:
        return {step.owners[0]: str(i) for i, step in enumerate(row) if step.owners[0]}
    if row is not None and len(row) == 1:
        return {row[0].owners[0]: ""}
    paths: dict[str, str] = {}
    for step in steps(graph):
        for i, owner in enumerate(step.owners):
            if owner:
                paths[owner] = f"{step.attribute}.{i}" if len(step.calls) > 1 else step.attribute
    return paths


def used_inputs(graph: Graph) -> tuple[str, ...]:
    """The inputs that a graph reads, the layer before first."""
    read = {name for node in graph.nodes for name in node.inputs} | {graph.output}
    return tuple(sorted((name for name in graph.inputs if name in read), key=lambda name: name != "in"))


def _single_steps(graph: Graph) -> list[Step]:
    found: list[Step] = []
    for node in graph.nodes:
        form = PRIMITIVES[node.op].torch(node, [graph.tensor(name) for name in node.inputs])
        if isinstance(form, Expression):
            found.append(Step(node.name, node.inputs, expression=form))
            continue
        operands = node.inputs
        for i, call in enumerate(form, start=1):
            last = i == len(form)
            value = node.name if last else f"{node.name}/{i}"
            found.append(Step(value, operands, (call,), (node.name if last else "",)))
            operands = (value,)
    return found


@dataclass
class _Sides:
    """Finds the runs of modules that lead to a join beside the main path."""

    by_value: dict[str, Step]
    uses: Counter[str]
    depth: dict[str, int] = field(default_factory=dict)

    def run(self, value: str) -> tuple[list[Step], str]:
        """The modules that lead to a value and to nothing else, and what they start from."""
        found: list[Step] = []
        while value in self.by_value and self.uses[value] == 1 and self.by_value[value].calls:
            found.insert(0, self.by_value[value])
            value = found[0].operands[0]
        return found, value

    def of(self, join: Step) -> list[list[Step]]:
        runs = [self.run(operand) for operand in join.operands]
        assert join.expression is not None
        if join.expression.side == "gate":
            return [run for run, source in runs if len(run) > 1 and source in join.operands]
        if join.expression.side:
            longest = max(range(len(runs)), key=lambda i: self.depth.get(join.operands[i], 0))
            return [run for i, (run, _) in enumerate(runs) if len(run) > 1 and i != longest]
        return []


def _with_sides(single: list[Step], graph: Graph) -> list[Step]:
    """Each run of modules beside the main path as one step."""
    uses = Counter(operand for step in single for operand in step.operands)
    uses[graph.output] += 1
    sides = _Sides({step.value: step for step in single}, uses)
    merged: dict[str, Step] = {}
    gone: set[str] = set()
    for step in single:
        sides.depth[step.value] = 1 + max(sides.depth.get(operand, 0) for operand in step.operands)
        for run in sides.of(step) if step.expression is not None else ():
            assert step.expression is not None
            calls, owners = tuple(s.calls[0] for s in run), tuple(s.owners[0] for s in run)
            merged[run[-1].value] = Step(run[-1].value, run[0].operands, calls, owners, attribute=step.expression.side)
            gone.update(s.value for s in run[:-1])
    return [merged.get(step.value, step) for step in single if step.value not in gone]


def _named(found: list[Step]) -> tuple[Step, ...]:
    """Attributes by role, numbered where a role occurs more than once."""
    told = _told_roles(found)
    roles = [_role(step, told) for step in found]
    total, seen = Counter(roles), Counter[str]()
    named: list[Step] = []
    for step, role in zip(found, roles, strict=True):
        seen[role] += 1
        attribute = f"{role}{seen[role]}" if role and total[role] > 1 else role
        named.append(Step(step.value, step.operands, step.calls, step.owners, step.expression, attribute))
    return tuple(named)


def _told_roles(found: list[Step]) -> dict[str, str]:
    """By value, what modules are called by the expression that alone reads them, or that they alone read."""
    users: dict[str, list[Step]] = {}
    for step in found:
        for operand in step.operands:
            users.setdefault(operand, []).append(step)
    told: dict[str, str] = {}
    for step in found:
        if step.expression is None:
            continue
        roles = zip(step.operands, step.expression.operands, strict=False)
        told |= {operand: role for operand, role in roles if users[operand] == [step]}
        readers = users.get(step.value, [])
        if step.expression.reader and len(readers) == 1:
            told[readers[0].value] = step.expression.reader
    return told


def _role(step: Step, told: dict[str, str]) -> str:
    if step.attribute:
        return step.attribute
    if not step.calls or step.swappable:
        return ""
    return told.get(step.value, step.calls[0].role)
