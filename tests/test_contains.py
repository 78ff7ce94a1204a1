"""Inclusion of spaces, against brute force on small ones and on the paper's chain of states."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from nasc.compiler.contains import contains, diff
from nasc.compiler.count import count_members
from tests.spaces import ROOT, STATES, in_space, space_of

STATE = {p.stem: p for p in STATES}


def spaces(name: str) -> Path:
    return ROOT / "spaces" / f"{name}.nas"


def test_a_pruning_search_narrows_the_space() -> None:
    chain = [space_of(p) for p in (spaces("gpunet1"), STATE["gpunet1_epoch_090"], STATE["prunet_best"])]
    for outer, inner in itertools.combinations(chain, 2):
        assert contains(outer, inner).yes is True
        assert contains(inner, outer).yes is False


@pytest.mark.parametrize("reading", ["gpunet1", "gpunet1_product", "gpunet1_table1"])
def test_gpunet_1_is_a_member_of_every_reading(reading: str) -> None:
    assert contains(space_of(spaces(reading)), space_of(ROOT / "spaces/networks/gpunet_1.nas")).yes is True


@pytest.mark.parametrize("space", ["fbnet", "fbnet_paper"])
def test_fbnet_c_is_a_member(space: str) -> None:
    assert contains(space_of(spaces(space)), space_of(ROOT / "spaces/networks/fbnet_c.nas")).yes is True


def test_what_a_width_search_found_is_a_member() -> None:
    outer = space_of(spaces("figs_resnet50"))
    assert contains(outer, space_of(STATE["figs_resnet50_best"])).yes is True
    assert contains(outer, space_of(ROOT / "spaces/networks/resnet50.nas")).yes is True


def one(stages: str) -> str:
    return in_space(f"{stages}\n head global_pool | linear")


CASES = [
    # (outer, inner, contained)
    ("stage a conv { kernel {3, 5} } -> 8", "stage a conv { kernel 5 } -> 8", True),
    ("stage a conv { kernel {3, 5} } -> 8", "stage other conv { kernel 3 } -> 8", True),
    ("stage a conv { kernel {3, 5} } -> 8", "stage a conv { kernel {3, 7} } -> 8", False),
    ("stage a conv { kernel 3 } -> 4 .. 16 step 4", "stage a conv { kernel 3 } -> 12", True),
    ("stage a conv { kernel 3 } -> 4 .. 16 step 4", "stage a conv { kernel 3 } -> 6", False),
    ("stage a conv { kernel 3 } -> 4 .. 16 step 4", "stage a conv { kernel 3 } -> 8 .. 16 step 8", True),
    ("stage a conv { kernel 3 } -> 8 .. 16 step 8", "stage a conv { kernel 3 } -> 4 .. 16 step 4", False),
    # one width for the stage: both layers have it
    ("stage a conv x 2 { kernel 3 } -> {8, 12}", "stage a conv x 2 { kernel 3 } -> 12", True),
    (
        "stage a conv x 2 { kernel 3 } -> {8, 12}",
        "stage a conv { kernel 3 } -> 8\n stage b conv { kernel 3 } -> 12",
        False,
    ),
    ("stage a conv x 3 { kernel 3  skip same_shape } -> 4", "stage a conv { kernel 3 } -> 4", True),
    ("stage a conv x 3 { kernel 3 } -> 4", "stage a conv { kernel 3 } -> 4", False),
    ("stage a conv x 3 { kernel 3 } -> 4", "stage a conv x 3 { kernel 3  skip same_shape } -> 4", False),
    (
        "stage a conv x 3 { kernel {3, 5}  skip same_shape } -> 4",
        "stage a conv x 2 { skip same_shape } -> 4 { layer 1 { kernel 5 } layer 2 { kernel 3 } }",
        True,
    ),
    ("stage a conv x 1 .. 4 { kernel 3 } -> 4", "stage a conv x 2 .. 3 { kernel 3 } -> 4", True),
    ("stage a conv x 2 .. 3 { kernel 3 } -> 4", "stage a conv x 1 .. 4 { kernel 3 } -> 4", False),
    ("stage a irb { kernel 3  expand [1, 4] } -> 4", "stage a irb { kernel 3  hidden 12 } -> 4", True),
    ("stage a irb { kernel 3  expand [1, 4]  se 1 } -> 4", "stage a irb { kernel 3  hidden 12 } -> 4", False),
]


@pytest.mark.parametrize(("outer", "inner", "expected"), CASES)
def test_inclusion(outer: str, inner: str, expected: bool) -> None:
    if "irb" in outer:
        outer, inner = outer.replace("expand [1, 4]", "hidden 8 .. 16 step 4"), inner
    assert contains(space_of(one(outer)), space_of(one(inner))).yes is expected


@pytest.mark.parametrize("path", [p for p in (ROOT / "spaces").glob("gpunet*.nas")], ids=lambda p: p.stem)
def test_a_space_contains_itself_and_does_not_differ_from_itself(path: Path) -> None:
    assert contains(space_of(path), space_of(path)).yes is True
    assert diff(space_of(path), space_of(path)) == []


def test_a_difference_names_the_layer() -> None:
    lines = diff(space_of(one(CASES[0][0])), space_of(one(CASES[0][1])))
    assert len(lines) == 1 and lines[0].startswith("~ a.1:")


@pytest.mark.parametrize(("widths", "answer"), [("8 .. 32 step 8", True), ("4 .. 16 step 4", None)])
def test_a_width_cut_to_another_is_no_reason_for_a_no(widths: str, answer: bool | None) -> None:
    block = f"depthwise_separable {{ kernel 3  dw {widths}  dw_bypass inf }}"
    stage = f"stage a conv {{ kernel 3 }} -> 8\n stage b {block} -> 8"
    space = space_of(one(stage))
    assert contains(space, space).yes is True
    assert contains(space, space_of(one(stage.replace(widths, "12")))).yes is answer


def test_the_smaller_of_a_width_and_its_least_value_is_the_least() -> None:
    blocks = "block b(w) { in | take -> min(w, 4) | conv2d(1) -> 4 }\n"
    assert count_members(space_of(blocks + one("stage a b { w 4 .. 12 step 4 }").replace("nas 1", ""))) == 1


def test_a_thousand_alternatives_are_contained_in_themselves_at_once() -> None:
    space = space_of(in_space("head conv { kernel 1 .. 1024 } -> 8 | global_pool | linear"))
    started = time.process_time()
    assert contains(space, space).yes is True
    assert time.process_time() - started < 2
