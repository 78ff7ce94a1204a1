"""Counts and costs of small spaces against brute force, and the rules of counting one by one."""

from __future__ import annotations

from itertools import product

import pytest

from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from tests.brute_force import members
from tests.spaces import elaborated, in_space, module_of, space_of

TAIL = " head global_pool | linear"
SMALL = {
    "kernels and widths": """
 stage a conv x 2 { kernel {1, 3} } -> 8 .. 24 step 8
 stage b conv { kernel 3  stride 2 } -> {8, 10, 13}""",
    "a ratio's interval": """
 stage a conv { kernel 1 } -> 8
 stage b irb x 2 { kernel {3, 5}  expand (0, 2]  se {0, 1} } -> 16""",
    "a ratio over a searched width": """
 stage a conv { kernel 1 } -> 8 .. 24 step 8
 stage b irb { kernel 3  expand [1, 2] } -> 16""",
    "a ratio over the width of the layer before": """
 stage b irb x 2 { kernel 3  expand [1, 2]  stride 2 } -> {8, 16}""",
    "skips": """
 skip same_shape
 stage a conv { kernel 3 } -> 8
 stage b conv x 3 { kernel {1, 3}  act relu6 } -> 8
 stage c irb x 2 { kernel {3, 5}  expand 2  stride 2 } -> 16""",
    "a searched depth": """
 stage a conv { kernel 3 } -> 8
 stage b irb x 1 .. 3 { kernel {3, 5}  expand 1 } -> {8, 16}""",
    "depths as a set, one of them 0": """
 stage a conv { kernel 3 } -> 8
 stage b conv x {0, 2} { kernel {1, 3} } -> 8
 stage c conv x 0 .. 2 { kernel {1, 3} } -> 8""",
    "a tie of widths": """
 let w = 8 .. 32 step 8
 stage a conv { kernel {1, 3} } -> w
 stage b irb x 2 { kernel 3  hidden {8, 16} } -> w
 stage c conv { kernel 1 } -> w""",
    "a tie of kernels": """
 let k = {1, 3, 5}
 stage a conv x 2 { kernel k } -> 8
 stage b conv { kernel k } -> 8 .. 10""",
    "one of": """
 stage a one of {
   conv { kernel {1, 3} }  irb { kernel 3  expand {1, 2} }  irb { kernel 5  hidden 8 .. 24 step 8 }
 } -> 8
 stage b one of { conv  irb { expand 2 } } x 2 { kernel {3, 5} } -> 8""",
    "one of in one of": """
 stage a one of { one of { conv { kernel {1, 3} }  irb { kernel 3  expand 1 } }  conv { kernel 5 } } -> {8, 16}""",
    "alternatives that overlap": """
 stage a conv { kernel {3, 3, 5} } -> 8
 stage b one of { irb { hidden 8 .. 24 step 8 }  irb { hidden {16, 32} }  irb { hidden 40 } } { kernel 3 } -> 8""",
    "any of, added": """
 stage a any of {
   conv { kernel {1, 3} }  irb { kernel 3  expand {1, 2} }  max_pool { kernel 3 } | conv2d(1) -> 8
 } by add -> 8""",
    "any of, side by side": """
 stage a any of { conv { kernel {1, 3} }  conv { kernel 5 } } by concat -> 8 .. 10
 stage b conv { kernel 1 } -> 8""",
    "widths of 0 inside": """
 stage a conv { kernel 3 } -> 8
 stage b irb x 2 { kernel {3, 5}  hidden 0 .. 16 step 8 } -> 8""",
    "a squeeze of width 0": """
 stage a irb { kernel 3  hidden {8, 16}  se 1  se_width 0 .. 3  se_act {relu, swish} } -> 8""",
    "widths of 0 between": """
 stage a conv { kernel {1, 3} } -> 0 .. 16 step 8
 stage b irb { kernel {3, 5}  hidden {0, 8} } -> 8""",
    "projections where widths differ": """
 stage a conv { kernel 3 } -> {8, 16}
 stage b basic x 2 { mid {4, 8} } -> {8, 16}
 stage c basic { stride 2 } -> 8""",
    "residuals where widths meet": """
 stage a irb x 2 { kernel 3  hidden {8, 16} } -> 4 .. 6""",
    "rows": """
 stage a conv x 3 { kernel {1, 3}  act relu } -> 8 { layer 2 { kernel 5 } -> {8, 9}  layer 3 irb { expand {1, 2} } }""",
    "an earlier stage beside": """
 let w = {8, 16}
 stage a conv { kernel {1, 3} } -> w
 stage b conv { kernel 3  stride 2 } -> 8
 stage c up { kernel {3, 5}  lateral a } -> w""",
}


@pytest.mark.parametrize("name", SMALL)
def test_counts_and_costs_are_those_of_all_members(name: str) -> None:
    module = module_of(in_space(SMALL[name] + "\n" + TAIL))
    space, found = elaborated(module), members(module)
    assert 4 <= len(found) <= 600
    assert count_members(space) == len(found)
    cost = cost_of(space)
    params, macs = ([c[i] for c in found.values()] for i in (0, 1))
    assert (cost.params.min, cost.params.max) == (min(params), max(params))
    assert (cost.macs.min, cost.macs.max) == (min(macs), max(macs))


def count(items: str) -> int:
    return count_members(space_of(in_space(f"{items}\n{TAIL}")))


def test_a_range_costs_nothing() -> None:
    widths = 10**7 - 1
    stages = "\n".join(f" stage s{i} conv {{ kernel 3 }} -> 1 .. {widths}" for i in range(40))
    assert count(stages) == widths**40


def test_an_interval_counts_multiples_of_the_granularity() -> None:
    assert count(" stage a conv { kernel 3 } -> 24\n stage b irb { kernel 3  expand (0, 8] } -> 8") == 24
    assert count(" stage a conv { kernel 3 } -> 24\n stage b irb { kernel 3  expand [1/3, 8) } -> 8") == 23
    assert count(" stage a conv { kernel 3 } -> 20\n stage b irb { kernel 3  expand (0, 1] } -> 8") == 2
    assert count(" stage a conv { kernel 3 } -> [8, 64]") == 8
    assert count(" stage a conv { kernel 3 } -> (8, 64)") == 6


def test_dropping_one_of_two_equal_layers_makes_two_members() -> None:
    assert count(" skip same_shape\n stage a conv { kernel 3 } -> 8\n stage b conv x 2 { kernel 3 } -> 8") == 4


def test_two_ranges_that_happen_to_meet_are_no_equal_shapes() -> None:
    ranges = " skip same_shape\n stage a conv { kernel 3 } -> 8 .. 9\n stage b conv { kernel 3 } -> 8 .. 9"
    assert count(ranges) == 4
    tied = " skip same_shape\n let w = 8 .. 9\n stage a conv { kernel 3 } -> w\n stage b conv { kernel 3 } -> w"
    assert count(tied) == 2 * 2


def test_fbnet_at_equal_memory_has_the_members_that_prunet_counts() -> None:
    """Table 3: 17 layers of 8 candidates and 2 of 2; and with each of them a skip (reference.md)."""
    block = "one of { irb { expand {1, 3, 6} }  irb { expand 1  groups 2 } }"

    def layers(skip: str) -> str:
        return (
            f" stage a conv {{ kernel 1 }} -> 8\n stage b conv x 2 {{ kernel {{1, 3}}  skip {skip} }} -> 8\n"
            f" stage c {block} x 17 {{ kernel {{3, 5}}  skip {skip} }} -> 8"
        )

    assert count(layers("no")) == 2**2 * 8**17 == 9007199254740992
    assert count(layers("yes")) == 3**2 * 9**17 == 150094635296999121


@pytest.mark.parametrize("outputs", [("p",), ("q",), ("p", "q"), ("q", "r"), ("p", "q", "r")])
def test_a_member_has_every_feature(outputs: tuple[str, ...]) -> None:
    """Of all ways to fill in the widths, those in which each named stage has channels."""
    form = (
        "space s {{ input image 3 x 4 x 4  output features {}\n stage p conv {{ kernel {{1, 3}} }} -> {}\n"
        " stage r conv from p {{ kernel 3 }} -> {}\n stage q conv from p {{ kernel {{1, 3}} }} -> {} }}"
    )
    names = ", ".join(outputs)
    found = 0
    for p, r, q in product((0, 8), (0, 2, 4), (0, 8, 16)):
        there = {"p": bool(p), "r": bool(p and r), "q": bool(p and q)}
        wanted = (2 if p else 1) * (2 if p and q else 1) if all(there[name] for name in outputs) else 0
        assert count_members(elaborated(module_of(form.format(names, p, r, q)))) == wanted
        found += wanted
    space = elaborated(module_of(form.format(names, "{0, 8}", "{0, 2, 4}", "{0, 8, 16}")))
    assert count_members(space) == found
