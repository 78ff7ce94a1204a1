"""Sampled members: one network each, inside their space, drawn uniformly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from nasc.compiler.contains import contains
from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.member import member_from_choices, member_text
from nasc.compiler.network import network_of
from nasc.compiler.sample import sample_members
from nasc.dsl.diagnostics import NascError
from tests.spaces import ROOT, SPACES, STATES, elaborated, in_space, module_of, space_of
from tests.test_member_written import assert_round_trip

SMALL = in_space(
    """
 skip same_shape
 stage a conv x 2 { kernel {3, 5} } -> 4
 stage b one of { irb { expand (0, 4] }  fused_irb { hidden {8, 12} } } { kernel 3  stride 2  se {0, 1} } -> 8
 head global_pool | linear
"""
)


@pytest.mark.parametrize("path", [*SPACES, *STATES], ids=lambda p: p.stem)
def test_a_sampled_member_is_a_canonical_file_with_one_member(path: Path) -> None:
    module = module_of(path)
    space = elaborated(module)
    written = cost_of(space_of(assert_round_trip(module, space, seed=3)))
    cost = cost_of(space)
    assert cost.params.min <= written.params.min <= cost.params.max
    assert cost.macs.min <= written.macs.min <= cost.macs.max


@pytest.mark.parametrize(
    "name", ["gpunet1", "gpunet1_table1", "fbnet", "fbnet_paper", "figs_resnet50", "prunet_table5"]
)
def test_a_sampled_member_is_contained(name: str) -> None:
    module = module_of(ROOT / "spaces" / f"{name}.nas")
    space = elaborated(module)
    for member in sample_members(space, 5, seed=11):
        assert contains(space, space_of(member_text(space, member, module))).yes is True


def test_members_are_drawn_uniformly() -> None:
    module = module_of(SMALL)
    space = elaborated(module)
    total = count_members(space)
    assert total == (2 + 1) ** 2 * (2 * 2 + 2 * 2)
    draws = sample_members(space, 200 * total, seed=5)
    seen = Counter(repr((sorted(m.layers.items()), sorted(m.shared.items()))) for m in draws)
    assert len(seen) == total
    # chi-square with total - 1 degrees of freedom: mean 71, standard deviation 12
    chi = sum((n - 200) ** 2 / 200 for n in seen.values())
    assert chi < 71 + 5 * 12


def test_rejection_that_finds_nothing_says_so() -> None:
    with pytest.raises(NascError, match="0 of 20"):
        sample_members(space_of(SMALL), 1, 0, accept=lambda m: False, attempts=20)


def test_the_same_seed_draws_the_same_members() -> None:
    module = module_of(ROOT / "spaces" / "figs_oneshot.nas")
    texts = [
        [member_text(s, m, module) for m in sample_members(s, 2, seed=7)]
        for s in (elaborated(module), elaborated(module))
    ]
    assert texts[0] == texts[1]


def test_a_search_s_choices_become_a_member() -> None:
    module = module_of(SMALL)
    space = elaborated(module)
    network = network_of(space)
    member = member_from_choices(network, {"a.1": None, "a.2": (1, {}), "b.1": (1, {"1.expand": 8})})
    text = member_text(space, member, module, note="Written by a test.")
    assert "// Written by a test." in text
    written = space_of(text)
    assert count_members(written) == 1
    assert contains(space, written).yes
    assert "hidden 8" in text and "kernel 5" in text and " x 2" not in text
