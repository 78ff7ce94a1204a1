"""States of a search as files: nothing lost, nothing gained, each contained in the one before."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.compiler.check import check
from nasc.compiler.contains import contains
from nasc.compiler.count import count_members
from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Network
from nasc.compiler.member import member_from_choices, member_text
from nasc.compiler.methods.relax import relax
from nasc.compiler.network import network_of
from nasc.compiler.reachable import Open, Reachable, reachable_text
from nasc.dsl.format import format_text
from nasc.dsl.loader import Module
from tests.spaces import ROOT, STATES, elaborated, in_space, module_of, space_of

BLOCKS = """nas 1
block named(first stride = 1, act = relu,
            op = one of { irb { kernel {3, 5}  hidden {8, 16} }  irb { kernel 3  hidden 24 .. 40 step 8 }
                          skip_or_project }) -> filters {
  in | op(stride = stride, act = act) -> filters
}
block wide(ratio times, kernel = {3, 5}) -> filters {
  in | conv2d(kernel) -> times * in.channels | relu | conv2d(1) -> filters
}
"""


def space_text(items: str) -> str:
    return BLOCKS + in_space(items).removeprefix("nas 1\n")


SMALL = {
    "sets": """ skip same_shape  default { act {relu, swish} }
 stage a conv x 3 { kernel {3, 5} } -> 4
 stage b one of { irb { expand (0, 6]  se 0 }  fused_irb { hidden {8, 12}  se {0, 1} } } x 2 {
   kernel {5, 3}  stride 2
 } -> 8 { layer 2 { kernel 3  stride 1 } }
 head conv { kernel {1, 3} } -> 8 | global_pool | linear""",
    "conditions": """ skip same_shape
 stage a irb x 2 { kernel 3  hidden 8 .. 32 step 8  se {0, 1}  se_width {4, 8} } -> 4
 stage b mbv3 x 2 { kernel 3  hidden 0 .. 24 step 8  se {0, 1}  act swish } -> 4
 stage c one of { conv { kernel 3 } -> 6 | conv { kernel 1 }  conv { kernel 5 } } x 2 -> 8
 head global_pool | linear""",
    "blocks": """ stage a named x 2 -> 4
 stage b named x 2 { stride 2  skip no } -> 8
 stage c wide x 2 { times (0, 4]  skip same_shape } -> 8
 stage d named { op {identity, skip_or_project} } -> 8
 head global_pool | dropout(0.1) | linear""",
    "lets": """ skip yes
 let w = 8  let act = swish  let own = irb { kernel 3  act act }
 stage a conv x 2 { kernel {3, 5}  act act } -> 4
 stage b own x 3 { hidden 8 .. 40 step w  skip no } -> w { layer 2 .. 3 { skip yes } }
 stage c one of { own { hidden 8 }  conv { kernel 3  act act } } x 2 -> w { layer 1 conv { kernel {1, 3} } }
 head global_pool | linear""",
    "overlaps": """ skip same_shape
 stage a one of { irb { hidden 8 .. 24 step 8 }  irb { hidden 16 .. 40 step 8 } } x 2 { kernel 3 } -> 4
 stage b one of { conv { kernel {3, 5} }  conv { kernel {5, 7} } } x 2 { stride 2 } -> 4 {
   layer 1 -> 8
   layer 2 -> 8
 }
 head conv { kernel {1, 3}  act {relu, swish} } -> 8 | global_pool | linear""",
}
SHIPPED = ["gpunet1", "fbnet_paper", "prunet_table5", "digits", "fashion"]


@dataclass
class Candidate:
    variant: int
    left: dict[str, Domain]

    @property
    def size(self) -> int:
        return prod(d.size for d in self.left.values())


@dataclass
class Search:
    """What a search does to a space, said in the plainest way."""

    space: Space
    module: Module
    network: Network = field(init=False)
    left: dict[str, list[Candidate]] = field(default_factory=dict)
    droppable: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.network = network_of(self.space)
        for layer in [la for s in self.network.stages for la in s.layers] + [self.network.head]:
            assert layer is not None
            self.left[layer.address] = [
                Candidate(i, {d.address: d.domain for d in v.decisions}) for i, v in enumerate(layer.variants)
            ]
            if layer.skippable:
                self.droppable.add(layer.address)

    def move(self, kind: str, choose: random.Random) -> None:
        address = choose.choice(list(self.left))
        candidates = self.left[address]
        if kind == "remove" and len(candidates) > 1:
            del candidates[choose.randrange(len(candidates))]
        elif kind == "narrow" and candidates:
            left = choose.choice(candidates).left
            for name, domain in left.items():
                if domain.size > 1:
                    place, width = choose.randrange(domain.size - 1), choose.choice([1, 2, 2])
                    left[name] = Domain.of([domain.at(i) for i in range(place, place + width)])
        elif kind == "drop" and address in self.droppable:
            self.left[address] = []
            self.droppable.remove(address)
        elif kind == "keep" and address in self.droppable:
            self.droppable.remove(address)

    @property
    def members(self) -> int:
        return prod(
            sum(c.size for c in left) + (address in self.droppable) if left else 1
            for address, left in self.left.items()
        )

    def text(self) -> str:
        layers = {a: tuple(Open(c.variant, narrowed(c)) for c in left) for a, left in self.left.items()}
        state = Reachable(layers, frozenset(self.droppable))
        return reachable_text(self.space, self.network, state, self.module)

    def settle(self, choose: random.Random) -> str:
        """One member, of what is left."""
        choices: dict[str, tuple[int, dict[str, Rational]] | None] = {}
        for address, left in self.left.items():
            if not left or (address in self.droppable and choose.random() < 0.3):
                self.left[address], choices[address] = [], None
                continue
            chosen = choose.choice(left)
            chosen.left = {name: Domain.of([choose.choice(list(d))]) for name, d in chosen.left.items()}
            self.left[address] = [chosen]
            choices[address] = chosen.variant, {name: d.first for name, d in chosen.left.items()}
        self.droppable.clear()
        return member_text(self.space, member_from_choices(self.network, choices), self.module)


def narrowed(candidate: Candidate) -> dict[str, Rational | Domain]:
    return {name: d.first if d.size == 1 else d for name, d in candidate.left.items()}


def search_of(source: str | Path) -> Search:
    module = module_of(source)
    return Search(elaborated(module), module)


def verified(text: str, members: int, before: Space) -> Space:
    """A state's file is canonical, checks clean, and holds so many networks, all of them in the state before."""
    assert format_text(text) == text
    module = module_of(text)
    found = check(module)
    assert not found.diagnostics.found, (found.diagnostics.found, text)
    assert found.space is not None
    assert count_members(found.space) == members, text
    assert contains(before, found.space).yes is True, text
    return found.space


MOVES = ["remove", "remove", "remove", "narrow", "narrow", "drop", "keep"]


def walk(search: Search, kinds: list[str], choose: random.Random, every: int = 1) -> None:
    state = search.space
    for number, kind in enumerate(kinds, start=1):
        search.move(kind, choose)
        if number % every == 0:
            state = verified(search.text(), search.members, state)
    member = search.settle(choose)
    state = verified(search.text(), 1, state)
    assert contains(state, space_of(member)).yes is True


@pytest.mark.parametrize("source", [*SMALL.values(), *SHIPPED], ids=[*SMALL, *SHIPPED])
def test_a_search_that_has_removed_nothing_writes_its_space(source: str) -> None:
    search = search_of(ROOT / "spaces" / f"{source}.nas" if source in SHIPPED else space_text(source))
    space = verified(search.text(), count_members(search.space), search.space)
    assert search.members == count_members(search.space)
    assert contains(space, search.space).yes is True


@pytest.mark.parametrize("name", SMALL)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_every_state_of_a_search_is_a_smaller_space(name: str, data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(MOVES), min_size=1, max_size=16))
    walk(search_of(space_text(SMALL[name])), kinds, random.Random(data.draw(st.integers(0, 99))), every=4)


@pytest.mark.parametrize("name", SHIPPED)
def test_states_of_the_shipped_spaces(name: str) -> None:
    choose = random.Random(7)
    walk(search_of(ROOT / "spaces" / f"{name}.nas"), choose.choices(MOVES, k=90), choose, every=45)


def state_of_gpunet1() -> Search:
    """What the example state says of `gpunet1`: its comment, in the terms of candidates."""
    search = search_of(ROOT / "spaces" / "gpunet1.nas")
    left = search.left
    del left["conv.2"][1:], left["fused1.1"][3], left["irb2.1"][3], left["irb2.2"][2]
    left["irb2.2"][0].left["expand"] = Domain.grid(1152, 1184, 32)
    left["irb2.3"] = [Candidate(1, {"expand": Domain.grid(736, 768, 32)})]
    left["irb2.4"] = []
    search.droppable -= {"irb2.4", "irb2.5"}
    return search


def test_the_state_of_gpunet1_is_the_example() -> None:
    search = state_of_gpunet1()
    text = search.text()
    example = space_of(next(p for p in STATES if p.stem == "gpunet1_epoch_090"))
    found = verified(text, count_members(example), example)
    assert contains(found, example).yes is True
    rows = [" ".join(line.split()) for line in text.splitlines()]
    for row in (
        "layer 2 { kernel 3 }",
        "layer 2 one of { irb { kernel 3 hidden 1152 .. 1184 step 32 se 0 } irb { kernel {3, 5} expand (0, 8] se 1 } }",
        "layer 3 { kernel 3 hidden 736 .. 768 step 32 se 1 }",
        "layer 4 identity",
        "layer 5 { kernel {3, 5} expand (0, 8] se {0, 1} skip no }",
        "stage fused2 fused_irb x 3 { kernel {3, 5} stride 2 act swish expand (0, 8] se {0, 1} } -> 96 {",
    ):
        assert row in rows, row


def test_a_state_is_written_well_within_a_second() -> None:
    search = state_of_gpunet1()
    start = time.process_time()
    search.text()
    assert time.process_time() - start < 1


def test_the_candidates_of_a_pruning_search_are_the_whole_space() -> None:
    """PruNet settles what is a set and leaves its width open; nothing is gone, so the layers stay as they were."""
    search = search_of(ROOT / "spaces" / "gpunet1.nas")
    layers = {
        layer.address: tuple(Open(c.variant, c.values) for c in layer.candidates) for layer in relax(search.network)
    }
    state = Reachable(layers, frozenset(search.droppable))
    written = module_of(reachable_text(search.space, search.network, state, search.module))
    assert written.space == search.module.space


def test_a_whole_stage_can_be_dropped() -> None:
    search = search_of(space_text(SMALL["sets"]))
    for address in ("a.1", "a.2", "a.3"):
        search.left[address] = []
        search.droppable.remove(address)
    text = search.text()
    assert "stage a  identity x 3" in text
    verified(text, search.members, search.space)


def test_an_overlap_that_was_taken_away_does_not_come_back() -> None:
    """The second candidate holds the widths that the first does not: 32 and 40. It keeps to them without the first."""
    search = search_of(space_text(SMALL["overlaps"]))
    search.left["a.1"] = search.left["a.1"][1:]
    assert "hidden 32 .. 40 step 8" in search.text()
    verified(search.text(), search.members, search.space)


def test_a_ratio_without_a_parameter_for_its_width_is_exact() -> None:
    search = search_of(space_text(SMALL["blocks"]))
    for candidate, left in zip(search.left["c.1"], (Domain.grid(8, 16, 8), Domain.grid(24, 24)), strict=True):
        candidate.left["times"] = left
    text = search.text()
    assert "times [8/8, 16/8]" in text and "times 24/8" in text
    verified(text, search.members, search.space)


def test_an_address_that_is_no_layer_is_refused() -> None:
    search = search_of(space_text(SMALL["sets"]))
    with pytest.raises(KeyError, match=r"a\.4"):
        reachable_text(search.space, search.network, Reachable({"a.4": ()}, frozenset()), search.module)
