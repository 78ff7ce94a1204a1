"""Layers of several searched widths as parts: what they are, and that nothing is lost on the way there and back."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest

from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.domain import Domain
from nasc.compiler.inherit import _form
from nasc.compiler.ir import Layer
from nasc.compiler.member import member_from_choices, member_text
from nasc.compiler.member_cost import MemberCost
from nasc.compiler.methods.refused import Refused
from nasc.compiler.methods.relax import relax
from nasc.compiler.network import network_of, whole_network_of
from nasc.compiler.parts import divided, in_series, layer_address
from nasc.compiler.reachable import Open, Reachable, reachable_text
from nasc.compiler.sample import sample_members
from nasc.dsl.diagnostics import DiagnosticError
from tests.spaces import SPACES, elaborated, in_space, module_of, space_of
from tests.test_inherit import GPT, VIT


def layers(text: str) -> tuple[Layer, ...]:
    return tuple(layer for stage in network_of(space_of(text)).stages for layer in stage.layers)


def test_attention_and_feed_forward_are_parts() -> None:
    found = {layer.address: layer for layer in layers(VIT) if layer.address.startswith("body")}
    assert list(found) == ["body.1/1", "body.1/2", "body.2/1", "body.2/2"]
    attention, forward = found["body.1/1"].variants[0], found["body.1/2"].variants[0]
    assert [d.address for d in attention.decisions] == ["heads"] and "attend" in {n.op for n in attention.graph.nodes}
    assert [d.address for d in forward.decisions] == ["expand"] and "gelu" in {n.op for n in forward.graph.nodes}
    assert all(layer.input == layer.output for layer in found.values())


def test_a_part_that_may_be_absent_has_nothing_as_its_other_variant() -> None:
    part = next(layer for layer in layers(GPT) if layer.address == "body.2/2")
    there, absent = part.variants
    assert there.graph.nodes and not absent.graph.nodes and absent.chosen == {"expand": "0"}
    assert next(layer for layer in layers(GPT) if layer.address == "body.2/1").variants[1:] == ()


@pytest.mark.parametrize("text", [VIT, GPT])
def test_parts_in_series_are_the_layer(text: str) -> None:
    whole = next(s for s in whole_network_of(space_of(text)).stages if s.name == "body").layers[0]
    parts = divided(whole)
    joined, places = in_series([part.variants[0].graph for part in parts])
    full = max(whole.variants, key=lambda variant: len(variant.graph.nodes))
    assert _form(joined) == _form(full.graph)
    assert sum(len(each) for each in places) == len(joined.nodes)


def test_other_spaces_stay_as_they_are() -> None:
    for path in SPACES:
        try:
            whole = whole_network_of(space_of(path))
        except DiagnosticError:
            continue
        has_two = {
            layer.address
            for stage in whole.stages
            for layer in stage.layers
            for variant in layer.variants
            if sum(d.ordered and d.domain.size > 1 for d in variant.decisions) > 1
        }
        changed = {
            a for s in network_of(space_of(path)).stages for la in s.layers if (a := la.address) != layer_address(a)
        }
        assert {layer_address(address) for address in changed} <= has_two, path.name
        assert changed or path.name != "tiny_vit.nas"


def test_members_cost_what_their_texts_cost() -> None:
    module = module_of(GPT)
    space = elaborated(module)
    cost = MemberCost(network_of(space))
    for member in sample_members(space, 20, 3):
        alone = cost_of(space_of(member_text(space, member, module)))
        assert cost(member, "params") == alone.params.min == alone.params.max


def test_choices_of_parts_make_one_member() -> None:
    module = module_of(VIT)
    space = elaborated(module)
    network = network_of(space)
    widths = {"heads": 3, "expand": 20}
    choices = {
        layer.address: (0, {d.address: widths[d.address] for d in layer.variants[0].decisions})
        for stage in network.stages
        for layer in stage.layers
    }
    member = member_from_choices(network, choices)
    assert member.layers["body.1"] == {"heads": 3, "expand": 20} and not any("/" in a for a in member.layers)
    text = member_text(space, member, module)
    assert "transformer x 2  { heads 3  head_width 3  hidden 20 }" in text
    assert count_members(space_of(text)) == 1


@pytest.mark.parametrize("text", [VIT, GPT])
def test_what_is_left_is_counted_by_part(text: str) -> None:
    """The text of a narrowed state has as many members as the parts' alternatives multiply to."""
    module = module_of(text)
    space = elaborated(module)
    network = network_of(space)
    every = relax(network)
    whole = {la.address: tuple(Open(*c.choice(None)) for c in la.candidates) for la in every}
    narrow = Domain.of([4, 8, 12])
    left = dict(whole)
    left["body.1/1"] = (replace(whole["body.1/1"][0], values={"heads": 2}),)
    left["body.1/2"] = (replace(whole["body.1/2"][0], values={"expand": narrow}),)
    left["body.2/2"] = whole["body.2/2"][-1:]
    written = space_of(reachable_text(space, network, Reachable(left, frozenset()), module))

    def size(address: str, found: tuple[Open, ...]) -> int:
        layer = next(la for la in every if la.address == address).layer
        total = 0
        for each in found:
            open_ = {d.address: d.domain for d in layer.variants[each.variant].decisions} | dict(each.values)
            total += prod(v.size for v in open_.values() if isinstance(v, Domain))
        return total

    assert count_members(written) == prod(size(a, found) for a, found in left.items())


def test_a_supernet_of_too_many_blocks_is_refused() -> None:
    text = in_space(
        " stage a conv { kernel 3 } -> 8\n stage b conv x 600 { kernel {1, 3} } -> 8\n head global_pool | linear"
    )
    with pytest.raises(Refused, match=r"`b.512` .* 1,024 blocks"):
        relax(network_of(space_of(text)))


def test_a_layer_that_may_be_dropped_is_not_divided() -> None:
    text = VIT.replace("expand (0, 2] }", "expand (0, 2]  skip same_shape }")
    assert all(layer_address(layer.address) == layer.address for layer in layers(text))
    with pytest.raises(Refused, match="2 ranges"):
        relax(network_of(space_of(text)))
