"""Pictures of spaces: nothing overlaps or sticks out, all that is open is written, and markup cannot get in."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nasc.compiler.check import check
from nasc.compiler.elaborate import Space
from nasc.compiler.lower_svg import draw, length
from nasc.compiler.outline import outline
from nasc.compiler.picture import amount, picture
from nasc.dsl.loader import load
from tests.spaces import ROOT

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = ("gpunet1", "detection", "vit", "figs_resnet50", "networks/mobilenet_v3_large", "nss_expanded")
PYRAMID = """nas 1
block merge(tensor below) -> filters { in | add(below) | conv2d(1) -> filters }
space pyramid {
  input   image 3 x 16 x 16
  output  features top, wide
  granularity 8
  skip same_shape
  let w = {16, 32}
  stage low  conv x 3 { kernel {3, 5}  stride 2 } -> w
  stage top  conv x 2 .. 4 { kernel 3  skip no } -> 24
  stage wide merge from low { below low } -> 8 .. 24 step 8
}
"""


def space(name: str) -> Space:
    return opened((ROOT / "spaces" / f"{name}.nas").read_text(encoding="utf-8"), ROOT / "spaces" / f"{name}.nas")


def opened(text: str, path: Path = Path("s.nas")) -> Space:
    checked = check(load(path, text))
    assert checked.space is not None, checked.diagnostics.found
    return checked.space


def rectangles(root: ElementTree.Element, kind: str) -> list[tuple[float, float, float, float]]:
    found = [r for r in root.iter(f"{SVG}rect") if r.get("class", "").split()[0:1] == [kind]]
    return [tuple(float(r.get(n, "")) for n in ("x", "y", "width", "height")) for r in found]  # type: ignore[misc]


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


@pytest.mark.parametrize("name", DRAWN)
def test_boxes_lie_in_their_stages_and_nothing_overlaps(name: str) -> None:
    root = ElementTree.fromstring(draw(space(name)))
    stages, boxes = rectangles(root, "stage"), rectangles(root, "box")
    fronts = [box for box in boxes if (box[0] - 3, box[1] - 3, *box[2:]) not in boxes]
    assert stages and fronts
    assert not any(overlap(a, b) for a, b in [*combinations(stages, 2), *combinations(fronts, 2)])
    for x, y, wide, high in boxes:
        assert sum(s[0] <= x and s[1] <= y and x + wide <= s[0] + s[2] and y + high <= s[1] + s[3] for s in stages) == 1


@pytest.mark.parametrize("name", DRAWN)
def test_text_stays_on_the_page_and_lines_of_text_do_not_meet(name: str) -> None:
    root = ElementTree.fromstring(draw(space(name)))
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    places = []
    for text in root.iter(f"{SVG}text"):
        x, y, wide = float(text.get("x", "")), float(text.get("y", "")), length("".join(text.itertext()))
        start = x - {"end": wide, "middle": wide / 2}.get(text.get("class", ""), 0)
        assert start >= 0 and start + wide <= width + 12 and 0 < y <= height
        places.append((start, y - 9, wide, 11))
    assert not [pair for pair in combinations(places, 2) if overlap(*pair)]


def test_all_that_is_written_of_layers_is_in_the_picture() -> None:
    words = " ".join(" ".join(ElementTree.fromstring(draw(space("gpunet1"))).itertext()).split())
    for phrase in ("1.1e41 members", "kernel {3, 5}", "expand (0, 8]", "se {0, 1}", "irb2", "96 × 35 × 35", "× 4"):
        assert phrase in words
    assert "24 ways" in words and "65 ways" in words and "dashed: may be dropped" in words


def test_equal_neighbours_are_one_box_and_strides_stand_where_they_count() -> None:
    low, top, wide = picture(opened(PYRAMID)).groups
    assert [box.layers for box in low.boxes] == [("low.1",), ("low.2", "low.3")]
    assert "stride 2" in low.boxes[0].phrases and "stride 2" not in low.boxes[1].phrases
    assert low.boxes[1].optional and not low.boxes[0].optional and low.boxes[1].ways == "3 ways"
    assert [(box.layers, box.optional) for box in top.boxes][-1] == (("top.3", "top.4"), True)
    assert top.depth == "2 .. 4" and top.output and not low.output
    assert (wide.source, wide.uses, wide.output) == ("low", ("low",), True)
    assert wide.boxes[0].input == "16–32 × 8 × 8" and wide.boxes[0].output == "8–24 × 8 × 8"


def test_what_comes_out_of_a_stage_is_its_own_where_the_next_starts_elsewhere() -> None:
    found = opened(PYRAMID)
    assert picture(found).groups[1].boxes[-1].output == "24 × 8 × 8"
    assert [row.output for row in outline(found)][-2] == "24 x 8 x 8"


def test_lines_from_earlier_stages_start_and_end_at_boxes() -> None:
    root = ElementTree.fromstring(draw(opened(PYRAMID)))
    boxes = rectangles(root, "box")
    right = max(box[0] + box[2] for box in boxes if (box[0] - 3, box[1] - 3, *box[2:]) not in boxes)
    sides = [d for p in root.iter(f"{SVG}path") if (d := p.get("d", "")).startswith(f"M{right:g} ")]
    assert len(sides) == 2  # `from low` enters from above, `below low` from the right
    assert sum(d.endswith(f"H{right:g}") for d in sides) == 1
    for d in sides:
        start = float(re.match(r"M\S+ ([\d.]+)H", d)[1])  # type: ignore[index]
        assert any(y <= start <= y + high for _, y, _, high in boxes)


def test_text_is_text_in_a_font_that_is_anywhere_and_nothing_is_loaded() -> None:
    svg = draw(space("gpunet1"))
    assert "sans-serif" in svg and "href" not in svg and "url(" in svg and "@import" not in svg
    assert len(svg) < 20_000
    assert set(re.findall(r"url\(([^)]*)\)", svg)) == {"#tip"}


def test_signs_of_markup_in_a_file_are_text() -> None:
    text = PYRAMID.replace("kernel {3, 5}", "kernel {3, 5}  act relu").replace("w = {16, 32}", "w = {16, 32}")
    block = "block odd(note = relu) -> filters { in | conv2d(1) -> filters | note when in.channels < 99 }\n"
    text = text.replace("space pyramid", block + "space pyramid")
    assert ElementTree.fromstring(draw(opened(text))).tag == f"{SVG}svg"


@pytest.mark.parametrize(
    ("count", "text"),
    [(7, "7"), (999_999, "999,999"), (1_000_000, "1.0e6"), (10**23, "1.0e23"), (9_99 * 10**40, "9.9e42")],
)
def test_counts_are_cut_not_rounded(count: int, text: str) -> None:
    assert amount(count) == text


def test_a_count_of_thousands_of_digits_is_written_too() -> None:
    assert amount(10**9000) == "1.0e9000"
