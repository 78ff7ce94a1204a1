"""`nasc widen`: a space around a network that holds it, opened as far as was asked, and searched again."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.api import load
from nasc.cli import main
from nasc.compiler.compile import compile_file
from nasc.compiler.contains import contains
from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space
from nasc.compiler.layers import layer_texts
from nasc.compiler.member import member_text
from nasc.compiler.open_widths import Opening, Reach, parse_shares
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.sample import sample_members
from nasc.compiler.values import SpaceScope
from nasc.compiler.widen import Widened, widen
from nasc.dsl import syntax
from nasc.dsl.diagnostics import DiagnosticError, NascError
from nasc.dsl.format import format_text
from tests.searches import compiled, run
from tests.spaces import NETWORKS, ROOT

HALF = Opening()
ONE = Opening(Fraction(1), Fraction(1), 8)
TIED = {"resnet18", "mobilenet_v1", "gpunet_0", "mobilenet_v4_small", "regnety_008", "fastdepth", "convnext_tiny"}
"""Networks whose stages' widths are opened too; with all it takes half a minute."""

SMALL = """nas 1

// What the file is.

// A block of its own, which squeezes.
block squeezed(kernel = 3, inner = filters / 2) -> filters {
  in | conv2d(1) -> inner | bn | relu | conv2d(kernel) -> filters | bn
}

// The network.
network small {
  input   image 4 x 16 x 16
  output  classes 3

  stage stem  conv                { kernel 3  stride 2 }  -> 16
  // Two layers that add.
  stage low   basic    x 2        { mid 24 }              -> 16
  stage mid   irb      x 3        { kernel 3  stride 2 }  -> 32 {
    layer 1      { expand 4   }  // sixty-four
    layer 2 .. 3 { hidden 100 }
  }
  stage last  squeezed                                    -> 48
  head  conv { kernel 1 } -> 64 | global_pool | linear
}

search prunet { epochs 2  warmup 1  batch 32 }

target cpu { engine onnxruntime }
"""
WIDENED = """nas 1

// What the file is.

// A block of its own, which squeezes.
block squeezed(kernel = 3, inner = filters / 2) -> filters {
  in | conv2d(1) -> inner | bn | relu | conv2d(kernel) -> filters | bn
}

// The network.
space small {
  input   image 4 x 16 x 16
  output  classes 3

  stage stem  conv           { kernel 3  stride 2         }  -> 16
  // Two layers that add.
  stage low   basic     x 2  { mid 16 .. 32 step 8        }  -> 16
  // sixty-four
  stage mid   irb       x 3  { kernel 3  stride 2         }  -> 32 {
    layer 1      { hidden 32 .. 96 step 8  }
    layer 2 .. 3 { hidden 52 .. 148 step 4 }
  }
  stage last  squeezed       { inner 16 .. 32 step 8      }  -> 48
  head        conv           { kernel 1                   } -> 64 | global_pool | linear
}

search prunet { epochs 2  warmup 1  batch 32 }

target cpu { engine onnxruntime }
"""


def opened(text: str) -> Space:
    return space_of(open_file("test.nas", text))


def widened(text: str, opening: Opening = HALF, *only: str, outputs: bool = False, note: str = "") -> Widened:
    return widen(open_file("test.nas", text), opening, only, outputs, note)


@cache
def inner_widened(path: Path) -> Widened:
    """A shipped network with all of its inner widths opened by a half."""
    return widened(path.read_text())


@cache
def members(name: str) -> list[str]:
    """Three members of a shipped space, as text."""
    checked = open_file(ROOT / "spaces" / f"{name}.nas")
    space = space_of(checked)
    return [member_text(space, m, checked.module) for m in sample_members(space, 3, seed=8)]


def written(space: Space) -> dict[str, syntax.Value]:
    """Every value that the layers of a space are given, rows applied, and the stages' arrows."""
    header, depths = space.header, space.trellis.depths
    found: dict[str, syntax.Value] = {}
    for stage in header.stages:
        for text in layer_texts(stage, header, int(depths[stage.name].last), SpaceScope(header.lets, {})):
            found |= {f"{text.address}.{key}": bound.value for key, bound in text.given.items()}
            if text.width is not None:
                found[f"{text.address} ->"] = text.width.value
    lets = {name: let.value for name, let in header.lets.items()}
    return {key: lets.get(v.parts[0], v) if isinstance(v, syntax.Reference) else v for key, v in found.items()}


def number(value: object) -> Fraction:
    assert isinstance(value, syntax.Number)
    return value.value


def check_widened(text: str, made: Widened, opening: Opening) -> None:
    """The result holds the network, and each range is one around what was written, on the grid it must be on."""
    before, after = opened(text), opened(made.text)
    assert contains(after, before).yes is True
    assert format_text(made.text) == made.text
    assert (count_members(after) > 1) == (made.opened > 0) == ("\nspace " in made.text)
    small, large = cost_of(after), cost_of(before)
    assert small.params.min <= large.params.min <= small.params.max
    old, new = written(before), written(after)
    ranges = {key: value for key, value in new.items() if isinstance(value, syntax.Range)}
    for key, value in ranges.items():
        first, last = number(value.first), number(value.last)
        step = number(value.step) if value.step is not None else Fraction(1)
        assert 0 < first < last and first % step == last % step == 0
        if isinstance(width := old.get(key), syntax.Number):
            wide = width.value
            assert max(step, opening.low * wide) <= first <= wide <= last <= opening.high * wide
            assert wide % step == 0
            if not made.notes:
                assert step == opening.granularity
                assert first - step < opening.low * wide or first == step
                assert last + step > opening.high * wide
    for key, value in old.items():
        if not isinstance(value, syntax.Call | syntax.Choice):
            assert key in ranges or new.get(key) == value or key.endswith(".expand")


def test_comments_sections_and_all_that_is_not_opened_stay() -> None:
    made = widened(SMALL)
    assert made.text == format_text(WIDENED)
    assert made.opened == 6
    assert made.notes == ("no multiples of 8, so that their steps are smaller: mid.2.hidden (100, step 4), "
                          "mid.3.hidden (100, step 4)",)  # fmt: skip
    assert count_members(opened(made.text)) == 3**2 * 9 * 25**2 * 3
    check_widened(SMALL, made, HALF)


def test_the_note_is_a_comment_above_the_rest() -> None:
    lines = widened(SMALL, note="Where it is from.\nblock x { }").text.splitlines()
    assert lines[2:4] == ["// Where it is from.", "// block x { }"]


@pytest.mark.parametrize("path", NETWORKS, ids=lambda p: p.stem)
def test_every_shipped_network(path: Path) -> None:
    text, made = path.read_text(), inner_widened(path)
    check_widened(text, made, HALF)
    assert made.opened or path.stem in ("fastdepth", "mobilenet_v1")
    if path.stem in TIED:
        more = widened(text, outputs=True)
        check_widened(text, more, HALF)
        assert more.opened > made.opened


@pytest.mark.parametrize("path", NETWORKS, ids=lambda p: p.stem)
def test_opened_to_itself_it_is_the_same_text(path: Path) -> None:
    text = path.read_text()
    made = widened(text, ONE, outputs=True, note="not written")
    assert (made.text, made.opened) == (text, 0)


@pytest.mark.parametrize("name", ["digits", "fashion", "gpunet1", "tiny_vit"])
def test_members_of_spaces(name: str) -> None:
    for text in members(name):
        made = widened(text)
        check_widened(text, made, HALF)
        assert made.opened
        same = widened(text, ONE)
        assert same.text == text and count_members(opened(same.text)) == 1


@given(
    name=st.sampled_from(["digits", "fashion", "tiny_vit", "tiny_gpt"]),
    low=st.fractions(Fraction(1, 10), 1, max_denominator=20),
    high=st.fractions(1, 4, max_denominator=20),
    granularity=st.integers(1, 40),
    outputs=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_any_range_and_granularity(name: str, low: Fraction, high: Fraction, granularity: int, outputs: bool) -> None:
    opening = Opening(low, high, granularity)
    text = members(name)[0]
    check_widened(text, widened(text, opening, outputs=outputs), opening)


@given(st.integers(1, 5000), st.integers(1, 64), st.fractions(Fraction(1, 10), 1), st.fractions(1, 3))
def test_a_range_is_the_grid_between_its_ends(width: int, granularity: int, low: Fraction, high: Fraction) -> None:
    opening = Opening(low, high, granularity)
    step = opening.step(width, 1)
    assert list(opening.around(width, Reach())) == [
        w for w in range(step, math.floor(high * width) + 1, step) if w >= low * width
    ]


# ------------------------------------------------------------------------------------------------- what is opened


def test_only_what_is_named_is_opened() -> None:
    ranges = {
        (): 6,
        ("low",): 2,
        ("mid.3",): 1,
        ("mid.3", "last"): 2,
        ("hidden",): 3,
        ("hidden", "mid.1"): 1,
        ("mid", "low", "mid"): 5,
    }
    for only, count in ranges.items():
        made = widened(SMALL, HALF, *only)
        check_widened(SMALL, made, HALF)
        assert made.opened == count, only
    text = " ".join(widened(SMALL, HALF, "mid.3").text.split())
    assert "layer 2 { hidden 100 } layer 3 { hidden 52 .. 148 step 4 }" in text


@pytest.mark.parametrize("name", ["mi", "mid.4", "kernel", "", "low.1.mid"])
def test_what_is_not_there_cannot_be_named(name: str) -> None:
    with pytest.raises(NascError, match="no stage, layer or inner width"):
        widened(SMALL, HALF, name)


def test_stages_that_are_added_stay_one_decision() -> None:
    made = widened(SMALL, outputs=True)
    check_widened(SMALL, made, HALF)
    assert "let stem_width = 8 .. 24 step 8" in made.text
    assert made.text.count("-> stem_width") == 2
    assert "-> 16 .. 48 step 8" in made.text and "-> 24 .. 72 step 8" in made.text
    # `inner` of `last` stays half of its arrow unless it is opened: of 24 .. 72 it is opened on its own.
    assert count_members(opened(made.text)) == 3**2 * 9 * 25**2 * 3 * 3 * 5 * 7


def test_the_name_of_a_tied_width_is_a_new_one() -> None:
    text = SMALL.replace("  stage stem ", "  let stem_width = 24\n  stage stem ").replace("mid 24", "mid stem_width")
    made = widened(text, HALF, "stem", "low.1", "low", outputs=True)
    check_widened(text, made, HALF)
    names = re.findall(r"let (\w+) =", made.text)
    assert len(names) == len(set(names)) and "stem_width_" in names


def test_channels_in_groups_take_a_coarser_grid() -> None:
    text = (ROOT / "spaces" / "networks" / "regnetx_032.nas").read_text()
    made = widened(text)
    assert "mid 48 .. 144 step 48" in made.text  # groups of 48 channels
    assert made.notes[0].startswith("with steps above 8, as their blocks need: s1.1.mid (96, step 48)")


def test_a_width_that_opens_to_one_side_only_is_said() -> None:
    text = (ROOT / "spaces" / "networks" / "netadapt_v2_table8.nas").read_text()
    made = widened(text, HALF, "r56", "r28.3")
    assert len(made.notes) == 1 and "one side only" in made.notes[0] and "r56.1.hidden (48)" in made.notes[0]
    assert "hidden 24 .. 48 step 8" in made.text and "dw 48 .. 72 step 8" in made.text


def test_what_stands_inside_operators_is_opened() -> None:
    text = SMALL.replace(
        "stage last  squeezed                                    -> 48",
        "stage last  one of { squeezed { inner 20 } } -> 48\n"
        "  stage more  all of { irb { kernel 3  hidden 16 }  irb { kernel 5  hidden 24 } } by add -> 48",
    )
    made = widened(text, HALF, "last", "more")
    check_widened(text, made, HALF)
    assert "inner 12 .. 28 step 4" in made.text
    assert "hidden 8 .. 24 step 8" in made.text and "hidden 16 .. 32 step 8" in made.text
    assert count_members(opened(made.text)) == 5 * 3 * 3


def test_imported_blocks_are_copied_in(tmp_path: Path) -> None:
    block, rest = SMALL.split("// The network.")
    (tmp_path / "own.nas").write_text(block)
    (tmp_path / "net.nas").write_text(f'nas 1\nimport "own.nas"\n// The network.{rest}')
    made = widen(open_file(tmp_path / "net.nas"), HALF)
    assert "import" not in made.text and "block squeezed" in made.text
    assert contains(opened(made.text), opened(SMALL)).yes


# ------------------------------------------------------------------------------------------------- mistakes


def test_a_space_is_not_widened() -> None:
    with pytest.raises(NascError, match=r"`digits` has 2,831,400 members"):
        widen(open_file(ROOT / "spaces" / "digits.nas"), HALF)


@pytest.mark.parametrize("text", ["", "1", "0.5", "0.5-1.5", "a..b", "-1..2", "0.5...2", "1e9..2", "½..2", "0.5..1.5x"])
def test_a_range_that_is_none(text: str) -> None:
    with pytest.raises(NascError, match="is not a range"):
        parse_shares(text)


@pytest.mark.parametrize(("low", "high", "granularity"), [(0, 1, 8), (2, 3, 8), (Fraction(1, 2), Fraction(3, 4), 8)])
def test_a_range_must_hold_one(low: Fraction, high: Fraction, granularity: int) -> None:
    with pytest.raises(NascError, match="cannot be opened from"):
        Opening(Fraction(low), Fraction(high), granularity)


# ------------------------------------------------------------------------------------------------- command, search


def nasc(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="nasc")


def test_the_command(tmp_path: Path) -> None:
    """Exercises: command widen."""
    net, out = tmp_path / "net.nas", tmp_path / "out.nas"
    net.write_text(SMALL)
    printed = nasc("widen", net, "--range", "0.5..2", "--granularity", "16", "--only", "low")
    assert printed.exit_code == 0
    assert "// Widened from net.nas: 0.5..2 times its widths, in multiples of 16.\n" in printed.stdout
    assert "mid 16 .. 48 step 8" in printed.stdout
    assert "no multiples of 16" in printed.stderr and printed.stderr.endswith("opened 2 widths; members: 25\n")
    assert nasc("widen", net, "-o", out).stdout == f"{out}\n"
    assert nasc("contains", out, net).exit_code == 0
    again = nasc("widen", net, "-o", out, "--range", "0.9..1.1")
    assert again.exit_code == 1 and "is there already" in again.stderr
    assert nasc("widen", net, "-o", out, "--force", "--only", "low.1").exit_code == 0
    assert nasc("count", out).stdout == "3\n"
    for wrong in (("--range", "2..3"), ("--range", "x"), ("--only", "nowhere"), ("--granularity", "0")):
        said = nasc("widen", net, *wrong)
        assert said.exit_code != 0 and said.stderr and not said.stdout and "Traceback" not in said.stderr
    assert nasc("widen", out).exit_code == 1


def test_the_api() -> None:
    network = load(SMALL)
    space = network.widen("0.5..2", 16, only=["low"])
    assert space.count() == 25 and space.contains(network).yes
    assert network.widen(outputs=True).text == widened(SMALL, outputs=True).text


TWO_RANGES = {"netadapt_v2_table8", "netadapt_v2_table9"}
"""Networks whose layers have several inner widths that are given: a method that takes one needs to be told which."""


@pytest.mark.parametrize("path", NETWORKS, ids=lambda p: p.stem)
def test_what_is_made_can_be_searched(path: Path, tmp_path: Path) -> None:
    """A chain of a widened network's layers compiles for PruNet."""
    made, file = inner_widened(path), tmp_path / "space.nas"
    file.write_text(made.text)
    if not made.opened or path.stem == "netadapt_v2_table10":
        pytest.skip("no inner width to open, or an output without labels")
    if path.stem in TWO_RANGES:
        with pytest.raises(DiagnosticError, match="has 2 ranges"):
            compile_file(file, tmp_path / "out", method="prunet")
        file.write_text(widened(path.read_text(), HALF, "hidden").text)
    compile_file(file, tmp_path / "out", method="prunet")


def test_search_after_search(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    few = {"epochs": 2, "warmup": 1, "batch": 32}
    text = (ROOT / "spaces" / "digits.nas").read_text()
    found: list[str] = []
    for turn in range(2):
        with compiled(text, tmp_path / str(turn), "prunet") as job:
            run(job, tmp_path / str(turn) / "run", options=few)
        best = tmp_path / str(turn) / "run" / "best.nas"
        found.append(best.read_text())
        assert count_members(opened(found[-1])) == 1
        assert contains(opened(text), opened(found[-1])).yes
        made = widen(open_file(best), HALF)
        check_widened(found[-1], made, HALF)
        assert made.opened
        text = made.text
