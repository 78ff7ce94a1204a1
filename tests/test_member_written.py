"""Members written as files: of every space that checks, each builds the network that was drawn."""

from __future__ import annotations

from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.compiler.check import check
from nasc.compiler.contains import contains, diff
from nasc.compiler.cost import cost_of
from nasc.compiler.cost_ends import ends_of
from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space
from nasc.compiler.member import member_text
from nasc.compiler.primitives import NAMES
from nasc.dsl.diagnostics import NascError
from nasc.dsl.format import format_text
from nasc.dsl.loader import Module, load
from tests import fuzz_lets, fuzz_sensible
from tests.built import drawn
from tests.spaces import in_space, module_of, space_of


def assert_round_trip(module: Module, space: Space, seed: int) -> str:
    """Draw a member, write it, and read what was written: a checked file of one member, of the same operators."""
    found = drawn(space, seed)
    text = member_text(space, found.member, module)
    assert format_text(text) == text
    checked = check(load("member.nas", text, NAMES))
    assert not checked.diagnostics.errors, (text, checked.diagnostics.errors)
    assert checked.space is not None and count_members(checked.space) == 1
    written = drawn(checked.space, 0)
    assert written.operators == found.operators, text
    assert written.cost == found.cost
    cost = cost_of(checked.space)
    assert (cost.params.min, cost.macs.min) == (cost.params.max, cost.macs.max) == found.cost
    assert contains(space, checked.space).yes is not False, text
    return text


def checked_space(text: str) -> tuple[Module, Space] | None:
    """A space that checks, if the text is one; not where the widths of a layer's alternatives have to be told apart."""
    module = load("space.nas", text, NAMES)
    checked = check(module) if module.space is not None and not module.diagnostics.errors else None
    if checked is None or checked.space is None or checked.diagnostics.errors or not count_members(checked.space):
        return None
    return None if any(a.endswith(".out") for a in checked.space.trellis.partitions) else (module, checked.space)


@cache
def some_spaces(kind: str) -> list[tuple[Module, Space]]:
    program = {"lets": fuzz_lets.program, "sensible": fuzz_sensible.program}[kind]
    found = (checked_space(program(Random(f"{kind}{i}"))) for i in range(130))
    return [one for one in found if one is not None]


@pytest.mark.parametrize("kind", ["lets", "sensible"])
def test_members_of_made_up_spaces_are_built_as_they_were_drawn(kind: str) -> None:
    spaces = some_spaces(kind)
    assert len(spaces) > 10
    for module, space in spaces:
        assert_round_trip(module, space, seed=1)


# ------------------------------------------------------------------------------------------------- by example

CASES = {
    "let op = one of { conv { kernel 3 }  irb { kernel {3, 5}  expand 2 } }\n stage s op x 2 -> 8": "x 2",
    "let op = {conv, fused}\n stage s op { kernel 3 } -> 8": "kernel 3",
    "let one_op = conv { kernel {3, 5} }\n let op = one_op { act relu6 }\n stage s op -> 8": "act relu6",
    "stage s one of { conv avg_pool } { kernel 3 } -> 8": "kernel 3",
    "stage s one of { one of { conv fused } avg_pool } { kernel {3, 5} } -> 8": "kernel",
    "stage s any of { conv fused } by add { kernel {3, 5} } -> 8": "kernel",
    "stage s one of { conv when w > 8  fused } { kernel 3 } -> 8\n let w = 8 .. 16 step 8": "stage s",
    "let w = 8 .. 24 step 8\n stage s conv { kernel 3 } -> 2*w\n stage t conv { kernel 3 } -> w": "-> ",
    "let w = {8, 16}\n let v = w + 4\n stage s conv { kernel 3 } -> max(v, 16)": "-> ",
    "let k = {3, 5}\n stage s conv { kernel k x 1 } -> 8": " x 1",
    "let w = 1 .. 8\n stage s conv { kernel 3 } -> 16 - w": "-> ",
    "let act1 = {relu, swish}\n stage s own { ops act1 } -> 8": "ops ",
    "stage s own { ops own2 } -> 8": "power",
    "let op = own2\n stage s own { ops op } -> 8": "power",
}  # fmt: skip
BLOCKS = """
block fused(kernel, first stride = 1) -> filters { in | conv2d(kernel, stride) -> filters | relu }
block own(ops = relu) -> filters { in | conv2d(1) -> filters | ops }
block own2(power = {1, 2}) {
  a = in | relu
  in | relu | residual(a) when power > 1
}
"""


@pytest.mark.parametrize("items", CASES)
def test_members_of_tricky_spaces(items: str) -> None:
    text = in_space(f" {items}\n head global_pool | linear").replace("nas 1\n", f"nas 1\n{BLOCKS}")
    module = module_of(text)
    space = space_of(text)
    written = {assert_round_trip(module, space, seed) for seed in range(8)}
    assert len(written) > 1 and all(CASES[items] in one for one in written if "avg_pool" not in one)
    first, second = (space_of(one) for one in sorted(written)[:2])
    assert not diff(first, first)
    assert contains(first, second).yes is False


def test_a_width_that_falls_is_read_off() -> None:
    space = space_of(in_space(" let w = 1 .. 8\n stage s conv { kernel 3 } -> 16 - w\n head global_pool | linear"))

    def fixed(width: int) -> Space:
        return space_of(in_space(f" stage s conv {{ kernel 3 }} -> {width}\n head global_pool | linear"))

    assert [contains(space, fixed(width)).yes for width in (7, 8, 15, 16)] == [False, True, True, False]


# ------------------------------------------------------------------------------------------------- costs


def all_costs(space: Space, tries: int) -> set[tuple[int, int]]:
    """The costs of members drawn, of all of them where there are few: as likely as not to be missed 1 in 10^5."""
    return {drawn(space, seed).cost for seed in range(tries)}


@pytest.mark.parametrize("kind", ["lets", "sensible"])
def test_the_least_and_the_largest_cost_are_members(kind: str) -> None:
    few = [(space, n) for _, space in some_spaces(kind) if 2 <= (n := count_members(space)) <= 6]
    assert few
    for space, count in few:
        assert_range(space, all_costs(space, 14 * count))


def assert_range(space: Space, costs: set[tuple[int, int]]) -> None:
    cost = cost_of(space)
    for place, found in enumerate((cost.params, cost.macs)):
        each = {one[place] for one in costs}
        assert (found.min, found.max) == (min(each), max(each))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from(["w", "20 - w", "24 - 2*w", "v", "24 - v", "w + v", "max(w, v)"]), min_size=1, max_size=3),
    st.sampled_from(["w", "v", "w + 2", "20 - w"]),
)  # fmt: skip
def test_costs_of_widths_that_grow_and_fall(widths: list[str], value: str) -> None:
    """Oracle: every pair of values, put into the text."""
    stages = "\n".join(f" stage s{i} conv {{ kernel 3 }} -> {width}" for i, width in enumerate(widths))
    rest = f"{stages}\n stage z own {{ mid {value} }} -> 4\n head global_pool | linear"
    own = "block own(mid) -> filters { in | conv2d(1) -> mid | relu | conv2d(3) -> filters }\n"

    def made(w: str, v: str) -> Space:
        return space_of(in_space(f" let w = {w}\n let v = {v}\n{rest}").replace("nas 1\n", f"nas 1\n{own}"))

    each = [cost_of(made(str(w), str(v))) for w in (2, 5, 8, 11) for v in (3, 7)]
    assert_range(made("2 .. 11 step 3", "{3, 7}"), {(c.params.min, c.macs.min) for c in each})


def test_widths_that_grow_and_fall_with_too_many_values() -> None:
    items = " let w = 1 .. 5000\n stage a conv { kernel 1 } -> w\n stage b conv { kernel 1 } -> 6000 - w"
    with pytest.raises(NascError, match="some widths grow with `w` and others fall"):
        cost_of(space_of(in_space(f"{items}\n head global_pool | linear")))


def test_what_only_falls_is_not_tried_value_by_value() -> None:
    items = " let w = 1 .. 5000\n stage b conv { kernel 1 } -> 6000 - w\n head global_pool | linear"
    assert len(list(ends_of(space_of(in_space(items)), largest=True))) == 1
    cost = cost_of(space_of(in_space(items)))
    assert (cost.params.min, cost.params.max) == tuple(n * (4 + 2 + 3) + 3 for n in (1000, 5999))


def test_operators_of_other_widths_cannot_be_added_in_any_member() -> None:
    stage = "stage s any of { fused -> 8  conv { kernel 1 } -> 16 } by add { kernel 3 }"
    text = in_space(f" {stage}\n head global_pool | linear").replace("nas 1\n", f"nas 1\n{BLOCKS}")
    assert [e.code for e in check(load("space.nas", text, NAMES)).diagnostics.errors] == ["E0326"]
    assert checked_space(text.replace("by add", "by concat")) is not None
