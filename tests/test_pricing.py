"""Many members priced and drawn together: the same as one by one, exactly, and as brute force."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

import nasc
from nasc.compiler.build_manifest import manifest_of
from nasc.compiler.domain import Domain
from nasc.compiler.elaborate import Space
from nasc.compiler.expr import Size, add, evaluate, function, multiply, variable
from nasc.compiler.member import Member
from nasc.compiler.member_cost import MemberCost
from nasc.compiler.network import network_of
from nasc.compiler.pricing import Pricer
from nasc.compiler.pricing_codes import Codes, Coding, Column
from nasc.compiler.pricing_formula import Polynomial, formula
from nasc.compiler.pricing_sample import CodeSampler, draw_where
from nasc.compiler.sample import sample_members
from nasc.dsl.diagnostics import DiagnosticError, NascError
from nasc.runtime.bounds import Bounds
from nasc.runtime.calibration import Calibration, store
from nasc.runtime.measurement import Measurement
from nasc.runtime.member_latency import MemberLatency
from nasc.runtime.pricing import TableLatency
from nasc.runtime.sample_within import sample_within
from nasc.runtime.table import LatencyTable
from tests.brute_force import members as brute_force
from tests.searches import NARROW, points
from tests.spaces import ROOT, elaborated, in_space, module_of, space_of
from tests.test_count import SMALL, TAIL
from tests.test_validate import ENV

SHIPPED = ["digits", "fashion", "gpunet1", "fbnet", "tiny_vit", "tiny_gpt", "figs_resnet50", "detection"]
TIED_DEPTH = """
 let k = {1, 3}
 stage a conv { kernel k } -> 8
 stage b conv x 0 .. 2 { kernel k } -> 8
 stage c irb x {1, 3} { kernel k  expand [1, 2] } -> 8"""


ODD = "block odd(n) -> filters { in | conv2d(1) -> n | conv2d(3) -> n when n > 2 | conv2d(1) -> filters }"
OWN = {
    "a tie that splits one layer in two": """
 let s = 1 .. 5
 stage a conv { kernel {1, 3} } -> 8
 head odd { n s } -> 8 | global_pool | linear""",
    "tied kernels in stages of several depths": TIED_DEPTH,
    "a tie of which one value is none": """
 let s = 0 .. 3
 stage a conv { kernel {1, 3} } -> 8
 head irb { kernel 3  hidden 8 .. 10  se 1  se_width s } -> 8 | global_pool | linear""",
}


@pytest.mark.parametrize("name", SHIPPED)
def test_prices_are_those_of_members_one_by_one(name: str) -> None:
    space = space_of(ROOT / "spaces" / f"{name}.nas")
    network = network_of(space)
    coding, costs = Coding(network), MemberCost(network)
    members = sample_members(space, 12, 3)
    codes = coding.encode(members)
    drawn = CodeSampler(space, coding).draw(12, 3)
    assert coding.members(codes) == members
    assert same(coding.encode(coding.members(drawn)), drawn)
    for each, own in ((codes, members), (drawn, coding.members(drawn))):
        prices = Pricer(coding).price(each)
        assert prices.latency_us is None
        assert prices.params.tolist() == [costs(member, "params") for member in own]
        assert prices.macs.tolist() == [costs(member, "macs") for member in own]


def same(one: Codes, other: Codes) -> bool:
    return np.array_equal(one.choices, other.choices) and np.array_equal(one.values, other.values)


def lowered() -> list[str]:
    """The names of small spaces that have a network."""
    found = []
    for name, items in SMALL.items():
        try:
            network_of(space_of(in_space(items + "\n" + TAIL)))
        except DiagnosticError:
            continue
        found.append(name)
    return found


@pytest.mark.parametrize("name", [*lowered(), *OWN])
def test_draws_are_all_members_equally_often_at_the_prices_of_brute_force(name: str) -> None:
    items = {**SMALL, **OWN}[name]
    module = module_of(in_space(items if " head " in items else f"{items}\n{TAIL}").replace("nas 1", f"nas 1\n{ODD}"))
    space, found = elaborated(module), brute_force(module)
    network = network_of(space)
    coding, costs = Coding(network), MemberCost(network)
    codes = CodeSampler(space, coding).draw(40 * len(found), 1)
    prices = Pricer(coding).price(codes)
    rows = np.concatenate([codes.choices, codes.values]).T.tolist()
    often = Counter(map(tuple, rows))
    assert len(often) == len(found)
    assert chisquare(list(often.values())).pvalue > 1e-4
    each = dict(zip(map(tuple, rows), zip(prices.params.tolist(), prices.macs.tolist(), strict=True), strict=True))
    assert Counter(each.values()) == Counter(found.values())
    few = codes.take(np.arange(50))
    assert same(coding.encode(coding.members(few)), few)
    assert prices.params[:50].tolist() == [costs(member, "params") for member in coding.members(few)]


def test_equal_seeds_give_equal_members() -> None:
    space = space_of(NARROW)
    sampler = CodeSampler(space, Coding(network_of(space)))
    assert same(sampler.draw(50, 7), sampler.draw(50, 7))
    assert not same(sampler.draw(50, 7), sampler.draw(50, 8))
    assert len(sampler.draw(0, 7)) == 0


LARGE = "stage b irb { kernel 3  hidden 9000000 .. 9999999 } -> 10000000"
MANY = "stage b conv x 30 { kernel {1, 3} } -> 9000000"


@pytest.mark.parametrize(("stages", "side"), [(LARGE, 2048), (MANY, 64)], ids=["a product", "a sum of products"])
def test_numbers_beyond_64_bits_are_exact(stages: str, side: int) -> None:
    items = f" stage a conv {{ kernel 3 }} -> 10000000\n {stages}\n{TAIL}"
    space = space_of(in_space(items).replace("4 x 8 x 8", f"4 x {side} x {side}"))
    network = network_of(space)
    coding, costs = Coding(network), MemberCost(network)
    members = sample_members(space, 20, 0)
    macs = Pricer(coding).cost(coding.encode(members), "macs").tolist()
    assert max(macs) > 2**63
    assert macs == [costs(member, "macs") for member in members]


def test_a_member_of_another_space_is_refused() -> None:
    space = space_of(ROOT / "spaces" / "digits.nas")
    coding = Coding(network_of(space))
    (member,) = sample_members(space, 1, 0)
    layers = {a: d for a, d in member.layers.items()}
    with pytest.raises(NascError, match="no alternative with these decisions"):
        coding.encode([Member({**layers, "low.1": {"kernel": "3", "expand": 17}})])
    tied = Coding(network_of(space_of(in_space(SMALL["a tie of widths"] + "\n" + TAIL))))
    with pytest.raises(NascError, match=r"`@w` cannot be 7: it is one of"):
        tied.encode([Member({}, {"@w": 7})])


# ------------------------------------------------------------------------------------------------- formulas

DOMAINS = st.one_of(
    st.builds(lambda a, n, s: Domain.grid(a, a + n * s, s), st.integers(0, 50), st.integers(0, 9), st.integers(1, 8)),
    st.lists(st.integers(1, 10**6), min_size=1, max_size=5).map(Domain.of),
    st.lists(st.fractions(1, 9, max_denominator=4), min_size=1, max_size=4).map(Domain.of),
)
NAMES = ("a", "b", "@c")


@st.composite
def whole_sizes(draw: st.DrawFn) -> Size:
    """Sums of products that are whole wherever their decisions are, and functions of those."""
    total: Size = draw(st.integers(-5, 5))
    for _ in range(draw(st.integers(0, 4))):
        term: Size = draw(st.sampled_from([-7, 1, 2, 9, 10**7, 10**17]))
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=3)):
            size: Size = variable(name)
            if draw(st.booleans()):
                size = function("floor", multiply(size, Fraction(1, draw(st.sampled_from([2, 3])))))
            term = multiply(term, size)
        total = add(total, term)
    return total


@given(whole_sizes(), st.lists(DOMAINS, min_size=3, max_size=3), st.integers(0, 9))
def test_a_formula_is_what_the_size_is_at_every_member(size: Size, domains: list[Domain], seed: int) -> None:
    columns = {name: Column(row, domain) for row, (name, domain) in enumerate(zip(NAMES, domains, strict=True))}
    rng = random.Random(seed)
    values = np.array([[rng.randrange(d.size) for _ in range(6)] for d in domains])
    found, most = formula(size, columns)
    exact = [
        evaluate(size, {n: d.at(i) for n, d, i in zip(NAMES, domains, member, strict=True)})
        for member in values.T.tolist()
    ]
    assert found(values).tolist() == [int(value) for value in exact]
    assert max(map(abs, exact)) <= most


def test_halves_that_add_up_are_polynomials() -> None:
    a = Column(0, Domain.grid(2, 8, 2))
    size = multiply(Fraction(1, 2), add(multiply(variable("a"), variable("a")), variable("a")))
    found, most = formula(size, {"a": a})
    assert isinstance(found, Polynomial)
    assert found(np.array([[0, 1, 2, 3]])).tolist() == [3, 10, 21, 36]
    assert most == 36


def test_indices_lead_back_to_values() -> None:
    for domain in (Domain.grid(3, 30, 3), Domain.of([1, 2, 10]), Domain.grid(Fraction(1, 2), 3, Fraction(1, 2))):
        assert [domain.index(value) for value in domain] == list(range(domain.size))


# ------------------------------------------------------------------------------------------------- latency


def measured(path: Path, space: Space, without: str = "") -> LatencyTable:
    """A table with a latency of every point of a space's blocks but one, some of them empty."""
    table = LatencyTable(path)
    rng = random.Random(1)
    for entry in manifest_of(network_of(space)).entries:
        for point in points(entry):
            status: Any = "empty" if rng.random() < 0.1 else "ok"
            row = Measurement(status=status, median=4 + 100 * rng.random(), identity=4.0)
            if entry.block != without:
                table.put(entry.key, point, ENV, row)
    return table


@pytest.mark.parametrize("name", ["digits", "fbnet", "tiny_vit"])
@pytest.mark.parametrize("corrected", [False, True])
def test_latencies_are_those_of_members_one_by_one(name: str, corrected: bool, tmp_path: Path) -> None:
    space = space_of(ROOT / "spaces" / f"{name}.nas")
    network = network_of(space)
    manifest, coding = manifest_of(network), Coding(network)
    with measured(tmp_path / "t.db", space) as table:
        if corrected:
            store(table, ENV, manifest, Calibration(scale=0.8, edge_us=-9.0))
        predict = MemberLatency(network, manifest, table, ENV)
        codes = CodeSampler(space, coding).draw(60, 0)
        found = Pricer(coding, TableLatency(coding, predict)).price(codes).latency_us
        assert found is not None
        assert found.tolist() == pytest.approx([predict(m).us for m in coding.members(codes)], rel=1e-12)


def test_a_member_of_which_nothing_is_left_takes_no_time(tmp_path: Path) -> None:
    space = space_of(in_space(f" stage a conv {{ kernel {{1, 3}} }} -> 8\n{TAIL}"))
    network = network_of(space)
    manifest, coding = manifest_of(network), Coding(network)
    with LatencyTable(tmp_path / "t.db") as table:
        for entry in manifest.entries:
            table.put(entry.key, (), ENV, Measurement(status="empty", median=0.0, identity=4.0))
        predict = MemberLatency(network, manifest, table, ENV)
        codes = CodeSampler(space, coding).draw(5, 0)
        assert (
            TableLatency(coding, predict)(codes).tolist() == [0.0] * 5 == [predict(m).us for m in coding.members(codes)]
        )


def test_a_block_without_a_latency_is_named(tmp_path: Path) -> None:
    space = space_of(ROOT / "spaces" / "fbnet.nas")
    network = network_of(space)
    coding = Coding(network)
    with measured(tmp_path / "t.db", space, without="irb") as table:
        latency = TableLatency(coding, MemberLatency(network, manifest_of(network), table, ENV))
        with pytest.raises(NascError, match=r"blocks have no latency in .*irb"):
            latency(CodeSampler(space, coding).draw(50, 0))


# ------------------------------------------------------------------------------------------------- within bounds


def test_members_within_bounds_are_all_such_members(tmp_path: Path) -> None:
    space = space_of(NARROW)
    network = network_of(space)
    manifest, costs = manifest_of(network), MemberCost(network)
    every = {repr(m): m for m in sample_members(space, 3000, 0)}.values()
    with measured(tmp_path / "t.db", space) as table:
        predict = MemberLatency(network, manifest, table, ENV)
        middle = sorted(costs(m, "macs") for m in every)[len(every) // 2]
        slow = sorted(predict(m).us for m in every)[len(every) // 2]
        wanted, times = {"macs": Bounds(0, middle)}, (predict, Bounds(slow, inf))
        found = sample_within(space, 3000, 0, wanted, times, attempts=30_000)  # type: ignore[arg-type]
    inside = {repr(m) for m in every if costs(m, "macs") <= middle and predict(m).us >= slow}
    assert {repr(m) for m in found} == inside and 0 < len(inside) < len(every)


def test_giving_up_says_how_many_were_found() -> None:
    space = space_of(NARROW)
    sampler = CodeSampler(space, Coding(network_of(space)))
    asked: list[int] = []

    def one_of_each_hundred(codes: Codes) -> Any:
        asked.append(len(codes))
        return np.arange(len(codes)) % 100 == 0

    with pytest.raises(NascError, match="only 16 of 1500 members drawn meet the condition, 17 are wanted"):
        draw_where(sampler, one_of_each_hundred, 17, 0, 1500)
    assert sum(asked) == 1500
    assert len(draw_where(sampler, one_of_each_hundred, 16, 0, 1500)) == 16


def test_a_space_without_a_network_is_sampled_member_by_member() -> None:
    space = nasc.load(in_space(SMALL["widths of 0 between"] + "\n" + TAIL))
    with pytest.raises(DiagnosticError):
        network_of(space_of(in_space(SMALL["widths of 0 between"] + "\n" + TAIL)))
    most = space.cost()["params"]["max"]
    assert all(m.cost()["params"] < most for m in space.sample(3, params=f"..{most - 1}"))
