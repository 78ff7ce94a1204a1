"""Do two graphs compute the same, and which node of one is which node of the other?"""

from __future__ import annotations

from hashlib import sha256

from nasc.compiler.concrete import INPUT, ConcreteNetwork
from nasc.compiler.ir import Graph, Node
from nasc.compiler.weights import joined

_COMMUTATIVE = frozenset({"add", "mul"})


def whole_graph(flat: ConcreteNetwork) -> tuple[Graph, dict[str, str]]:
    """The layers of a network as one graph, and for each of its nodes the path of its tensors in `model.py`."""
    nodes: list[Node] = []
    paths: dict[str, str] = {}
    known = {INPUT: INPUT}
    for stage in flat.stages:
        for number, layer in enumerate(stage.layers):
            where = layer.parameters()
            names = {inner: known[value] for inner, value in layer.values.items() if value in known}
            for node in layer.graph.nodes:
                names[node.name] = joined(layer.path, f"@{node.name}")
                inputs = tuple(names[name] for name in node.inputs)
                nodes.append(node.model_copy(update={"name": names[node.name], "inputs": inputs}))
                if node.name in where:
                    paths[names[node.name]] = where[node.name]
            known[f"{stage.name}.{number}"] = names[layer.graph.output]
        known[stage.name] = known[f"{stage.name}.{len(stage.layers) - 1}"]
    (result,) = flat.results
    return Graph(inputs={INPUT: flat.input}, nodes=tuple(nodes), output=known[result]), paths


def marks(graph: Graph) -> dict[str, str]:
    """A digest of how each tensor is computed from the inputs, whatever nodes are called."""
    found = {name: f"{name} {tensor}" for name, tensor in graph.inputs.items()}
    for node in graph.nodes:
        operands = [found[name] for name in node.inputs]
        if node.op in _COMMUTATIVE:
            operands.sort()
        attributes = sorted((key, str(value)) for key, value in node.attributes.items())
        found[node.name] = sha256(repr((node.op, attributes, str(node.output), operands)).encode()).hexdigest()
    return found


def matched(ours: Graph, theirs: Graph) -> dict[str, str] | None:
    """For each node of `ours` the node of `theirs` that it is; None where the graphs are not the same."""
    our_marks, their_marks = marks(ours), marks(theirs)
    if our_marks[ours.output] != their_marks[theirs.output]:
        return None
    by_name = {node.name: node for node in theirs.nodes}
    found = {ours.output: theirs.output}
    for node in reversed(ours.nodes):
        if node.name not in found:
            continue
        left = list(by_name[found[node.name]].inputs)
        for operand in node.inputs:
            known = found.get(operand)
            same = [name for name in left if their_marks[name] == our_marks[operand] and known in (None, name)]
            if not same:
                return None
            found[operand] = same[0]
            left.remove(same[0])
    return found if len(set(found.values())) == len(found) else None
