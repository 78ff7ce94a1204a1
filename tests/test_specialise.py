"""Decisions replaced by numbers, and the rule of absence."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasc.compiler.expr import add, divide, multiply, substitute, variable
from nasc.compiler.ir import Branch, Graph, Node, Tensor
from nasc.compiler.specialise import AbsentOutput, specialise
from tests.tiny_blocks import conv, conv_relu, image, node

H = variable("hidden")


def test_sizes_attributes_and_inputs_become_numbers() -> None:
    graph = Graph(
        inputs={"in": image(variable("w"))},
        nodes=(
            node("a", "conv2d", ["in"], image(multiply(2, H)), kernel=(H, 3), groups=divide(H, 2), bias=True),
            node("b", "bn", ["a"], image(multiply(2, H)), eps=Fraction(1, 1000)),
        ),
        output="b",
    )
    found = specialise(graph, {"hidden": 6, "w": 3})
    assert found.inputs == {"in": image(3)}
    assert found.nodes[0].attributes == {"kernel": (6, 3), "groups": 3, "bias": True}
    assert found.nodes[0].attributes["bias"] is True
    assert found.nodes[1].attributes == {"eps": Fraction(1, 1000)}
    assert [n.output for n in found.nodes] == [image(12), image(12)]
    assert graph.inputs["in"].channels == variable("w"), "the source graph is left alone"


def test_words_in_attributes_stay_words() -> None:
    loaded = Graph.model_validate_json(
        '{"inputs": {"in": {"channels": "hidden", "height": 1, "width": 1}}, "output": "a", "nodes": [{"name": "a", '
        '"op": "relu", "inputs": ["in"], "attributes": {"mode": {"text": "hidden"}}, '
        '"output": {"channels": "hidden", "height": 1, "width": 1}}]}'
    )
    assert specialise(loaded, {"hidden": 4}).nodes[0].attributes == {"mode": "hidden"}


def test_decisions_without_a_value_stay_symbolic() -> None:
    graph = conv_relu(add(H, variable("other")))
    assert specialise(graph, {"hidden": 3}).nodes[0].output.channels == add(3, variable("other"))


@pytest.mark.parametrize("op", ["add", "mul", "concat", "add_prefix"])
def test_joins_leave_absent_operands_out(op: str) -> None:
    both = image(8) if op != "concat" else image(add(8, H))
    graph = Graph(
        inputs={"in": image(8)},
        nodes=(
            conv("gone", "in", image(H)),
            node("join", op, ["in", "gone"], both),
            node("act", "relu", ["join"], both),
        ),
        output="act",
    )
    found = specialise(graph, {"hidden": 0})
    assert [(n.name, n.inputs, n.output.channels) for n in found.nodes] == [("act", ("in",), 8)]


def test_concat_of_three_keeps_two_and_counts_their_channels() -> None:
    graph = Graph(
        inputs={"in": image(8)},
        nodes=(
            conv("a", "in", image(5)),
            conv("narrow", "in", image(H)),
            conv("b", "narrow", image(6)),  # absent with `narrow`, though six channels are declared
            node("all", "concat", ["a", "b", "in"], image(19)),
            node("bn", "bn", ["all"], image(19)),
            conv("out", "bn", image(4)),
        ),
        output="out",
    )
    found = {n.name: n for n in specialise(graph, {"hidden": 0}).nodes}
    assert found["all"].inputs == ("a", "in")
    assert [found[n].output.channels for n in ("all", "bn", "out")] == [13, 13, 4]
    assert set(found) == {"a", "all", "bn", "out"}


def test_squeeze_excite_of_width_zero_leaves_nothing_behind() -> None:
    vector = Tensor(channels=8, height=1, width=1)
    graph = Graph(
        inputs={"in": image(8)},
        nodes=(
            conv("body", "in", image(8)),
            node("pool", "global_pool", ["body"], vector),
            conv("squeeze", "pool", Tensor(channels=H, height=1, width=1), kernel=1),
            node("act", "relu", ["squeeze"], Tensor(channels=H, height=1, width=1)),
            conv("excite", "act", vector, kernel=1),
            node("gate", "sigmoid", ["excite"], vector),
            node("scaled", "mul", ["body", "gate"], image(8)),
        ),
        output="scaled",
    )
    found = specialise(graph, {"hidden": 0})
    assert ([n.name for n in found.nodes], found.output) == (["body"], "body")
    assert len(specialise(graph, {"hidden": 2}).nodes) == 7


def test_residual_of_an_absent_branch_is_a_dropped_layer() -> None:
    base = conv_relu(H)
    graph = Graph(inputs=base.inputs, nodes=(*base.nodes, node("sum", "add", ["in", "back"], image(4))), output="sum")
    found = specialise(graph, {"hidden": 0})
    assert (found.nodes, found.output, found.inputs) == ((), "in", {"in": image(4)})


def test_absent_output_and_absent_input() -> None:
    with pytest.raises(AbsentOutput):
        specialise(conv_relu(H), {"hidden": 0})
    graph = Graph(
        inputs={"in": image(4), "side": image(H)},
        nodes=(node("sum", "add", ["in", "side"], image(4)), node("act", "relu", ["sum"], image(4))),
        output="act",
    )
    assert specialise(graph, {"hidden": 0}).inputs == {"in": image(4)}


def test_absent_nodes_may_hold_sizes_that_have_no_value_at_zero() -> None:
    graph = conv_relu(H)
    depthwise = graph.nodes[1].model_copy(update={"op": "conv2d", "attributes": {"groups": divide(1, H)}})
    whole = Graph(
        inputs=graph.inputs,
        nodes=(graph.nodes[0], depthwise, graph.nodes[2], node("sum", "add", ["in", "back"], image(4))),
        output="sum",
    )
    assert specialise(whole, {"hidden": 0}).output == "in"


def test_token_numbers_have_no_channels_and_are_present() -> None:
    ids = Tensor(channels=0, tokens=7, ids=True)
    out = Tensor(channels=H, tokens=7)
    graph = Graph(inputs={"in": ids}, nodes=(node("e", "embedding", ["in"], out, vocabulary=10),), output="e")
    assert specialise(graph, {"hidden": 4}).result == Tensor(channels=4, tokens=7)


def test_graphs_that_cannot_be_specialised() -> None:
    choice = Node(name="c", op="one_of", inputs=("in",), output=image(4), branches=(Branch(name="a", variants=()),))
    with pytest.raises(ValueError, match="still open"):
        specialise(Graph(inputs={"in": image(4)}, nodes=(choice,), output="c"), {})
    with pytest.raises(ValueError, match="ghost"):
        specialise(Graph(inputs={"in": image(4)}, nodes=(node("a", "relu", ["ghost"], image(4)),), output="a"), {})
    with pytest.raises(ValueError, match="ghost"):
        specialise(Graph(inputs={"in": image(4)}, nodes=(), output="ghost"), {})


NAMES = ("a", "b", "c")


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random graphs of convolutions, relus, sums and concatenations over three widths."""
    shapes = {"in": image(4)}
    nodes: list[Node] = []
    for i in range(draw(st.integers(1, 9))):
        op = draw(st.sampled_from(["conv2d", "relu", "add", "concat"]))
        first = draw(st.sampled_from(sorted(shapes)))
        others = [n for n in sorted(shapes) if op == "concat" or shapes[n] == shapes[first]]
        inputs = [first] + ([draw(st.sampled_from(others))] if op in ("add", "concat") else [])
        channels = shapes[first].channels
        if op == "conv2d":
            channels = draw(st.sampled_from([variable(n) for n in NAMES] + [5]))
        elif op == "concat":
            channels = add(channels, shapes[inputs[1]].channels)
        shapes[f"n{i}"] = image(channels)
        nodes.append(
            conv(f"n{i}", first, image(channels)) if op == "conv2d" else node(f"n{i}", op, inputs, image(channels))
        )
    return Graph(inputs={"in": image(4)}, nodes=tuple(nodes), output=nodes[-1].name)


def channels_by_the_rule(graph: Graph, name: str, values: dict[str, int]) -> int:
    """Channels of a tensor, read off the rule of absence from the output back; 0 is absent."""
    found = next((n for n in graph.nodes if n.name == name), None)
    if found is None:
        return 4
    operands = [channels_by_the_rule(graph, source, values) for source in found.inputs]
    if found.op == "concat":
        return sum(operands)
    if found.op == "conv2d":
        width = substitute(found.output.channels, dict(values))
        return width if operands[0] and isinstance(width, int) else 0
    return max(operands)


@given(graphs(), st.fixed_dictionaries({n: st.integers(0, 2) for n in NAMES}))
def test_the_rule_of_absence_on_random_graphs(graph: Graph, values: dict[str, int]) -> None:
    expected = channels_by_the_rule(graph, graph.output, values)
    if not expected:
        with pytest.raises(AbsentOutput):
            specialise(graph, values)
        return
    found = specialise(graph, values)
    assert found.result.channels == expected
    known = dict(found.inputs)
    for n in found.nodes:
        assert n.output.channels == channels_by_the_rule(graph, n.name, values) > 0
        assert all(source in known for source in n.inputs)
        assert n.op not in ("add", "concat") or len(n.inputs) == 2
        known[n.name] = n.output
    read = {found.output}.union(*(n.inputs for n in found.nodes))
    assert all(n.name in read for n in found.nodes), "nothing is built that nobody reads"
    assert specialise(found, values) == found


@given(graphs(), st.fixed_dictionaries({n: st.integers(1, 3) for n in NAMES}))
def test_deciding_in_two_steps_is_deciding_at_once(graph: Graph, values: dict[str, int]) -> None:
    first = {"a": values["a"]}
    assert specialise(specialise(graph, first), values) == specialise(graph, values)
