"""Mutation: children are members, differ from their parent in one place, and lead everywhere."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.compiler.contains import contains
from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space
from nasc.compiler.member import Member, member_text
from nasc.compiler.mutate import Mutator
from nasc.compiler.sample import sample_members
from nasc.dsl.diagnostics import NascError
from tests.searches import NARROW, WIDE
from tests.spaces import ROOT, in_space, module_of, space_of

# A kernel that layers share, a set of depths, an operator for which the kernel means nothing.
TIED = in_space("""  let k = {5, 3}
  stage stem conv { kernel 3 }  -> {8, 16}
  stage a    one of { conv { kernel k } irb { kernel 3 expand 1 } } x 2  -> 16
  stage b    one of { conv { kernel k } irb { kernel 3 expand 2 } } x {1, 3}  -> 8 .. 16 step 8
  head global_pool | linear""")
# Any of several operators, none of them too: what comes after may be absent.
ANY = in_space("""  skip same_shape
  let w = 8 .. 16 step 8
  stage stem conv { kernel 3  stride 2 }  -> w
  stage a    one of { conv { kernel 1 } irb { kernel 3  expand {1, 2} } }  -> w
  stage b    any of { irb { kernel {3, 5}  expand 2 .. 3 }  conv { kernel 1 } } by add  -> 16
  stage c    conv { kernel 3 }  -> 16
  head global_pool | linear""")
SMALL = {"shared width": WIDE, "shared kernel": TIED, "any of": ANY}


def key(member: Member) -> Hashable:
    layers = {at: made if made is None else tuple(sorted(made.items())) for at, made in member.layers.items()}
    return tuple(sorted(layers.items(), key=repr)), tuple(sorted(member.shared.items()))


def differing(one: Member, other: Member) -> tuple[set[str], set[str]]:
    """The layers that differ in their own decisions, and the shared decisions that both have and that differ."""

    def own(member: Member, address: str) -> object:
        made = member.layers[address]
        return made if made is None else {a: value for a, value in made.items() if not a.startswith("@")}

    layers = {address for address in one.layers if own(one, address) != own(other, address)}
    return layers, {a for a in one.shared.keys() & other.shared.keys() if one.shared[a] != other.shared[a]}


@pytest.mark.parametrize("text", SMALL.values(), ids=SMALL)
def test_every_member_and_nothing_else_is_reached(text: str) -> None:
    space = space_of(text)
    every = {key(member) for member in sample_members(space, 20 * count_members(space), 0)}
    assert len(every) == count_members(space)
    mutator, (first,) = Mutator(space), sample_members(space, 1, 1)
    reached, waiting = {key(first)}, [first]
    while waiting:
        member = waiting.pop()
        for seed in range(25):
            child = mutator.mutated(member, seed)
            assert key(child) != key(member)
            if key(child) not in reached:
                reached.add(key(child))
                waiting.append(child)
    assert reached == every


@given(st.integers(0, 1 << 32))
@settings(max_examples=25, deadline=None)
def test_a_child_differs_in_one_layer(seed: int) -> None:
    space = space_of(NARROW)
    mutator, (member,) = Mutator(space), sample_members(space, 1, seed)
    child = mutator.mutated(member, seed)
    layers, shared = differing(member, child)
    assert len(layers) == 1 and not shared
    assert child == Mutator(space).mutated(member, seed)
    found = space_of(member_text(space, child, module_of(NARROW)))
    assert count_members(found) == 1 and contains(space, found).yes


@given(st.integers(0, 1 << 32))
@settings(max_examples=40, deadline=None)
def test_a_child_differs_in_one_layer_or_one_shared_decision(seed: int) -> None:
    """But for a depth, which takes layers with it, and an operator that is there or not."""
    space = space_of(TIED)
    mutator, (member,) = Mutator(space), sample_members(space, 1, seed)
    child = mutator.mutated(member, seed)
    layers, shared = differing(member, child)
    deeper = {"b.2", "b.3"}
    assert len(layers - deeper) + len(shared) + bool(layers & deeper) == 1
    if layers & deeper and any((m.layers["b.2"] is None) != (m.layers["b.3"] is None) for m in (member, child)):
        raise AssertionError("a depth of two is none of the space's")
    found = space_of(member_text(space, child, module_of(TIED)))
    assert count_members(found) == 1


@pytest.mark.parametrize("name", ["figs_fbnet", "gpunet1"])
def test_children_in_large_spaces_are_members(name: str) -> None:
    path = ROOT / "spaces" / f"{name}.nas"
    space, module = space_of(path), module_of(path)
    mutator, (member,) = Mutator(space), sample_members(space, 1, 3)
    for seed in range(5):
        member = mutator.mutated(member, seed)
        assert count_members(space_of(member_text(space, member, module))) == 1


def test_mutation_takes_only_what_is_accepted() -> None:
    space = space_of(NARROW)
    mutator, (member,) = Mutator(space), sample_members(space, 1, 0)
    for seed in range(20):
        assert mutator.mutated(member, seed, accept=_drops_low).layers["low.1"] is None
    with pytest.raises(NascError, match="none of 50 mutations"):
        mutator.mutated(member, 0, accept=lambda _: False, attempts=50)


def _drops_low(member: Member) -> bool:
    return member.layers["low.1"] is None


def test_one_member_cannot_be_mutated() -> None:
    space: Space = space_of(in_space("  stage a conv { kernel 3 } -> 8\n  head global_pool | linear"))
    with pytest.raises(NascError, match="nothing to mutate"):
        Mutator(space)
