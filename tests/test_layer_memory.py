"""A check that remembers layers of earlier texts finds exactly what one that remembers nothing finds."""

import random
import re
from pathlib import Path

import pytest

from nasc.compiler import layer_memory
from nasc.compiler.check import Checked, check
from nasc.compiler.layer_memory import LayerMemory
from nasc.compiler.opened import load_file
from nasc.dsl import syntax
from nasc.dsl.walk import walk

SPACES = Path(__file__).parent.parent / "spaces"
TEXT = """nas 1
block gated(kernel, act = relu, ratio expand, hidden = divisible(expand * in.channels, 8)) -> filters {
  in | conv2d(1) -> hidden | act | conv2d(kernel, groups = hidden) -> hidden | bn { eps 1e-3 }
     | conv2d(1) -> filters | residual
}
space memory {
  input image 3 x 32 x 32
  output classes 10
  granularity 8
  default { act swish }
  let wide = {16, 24}
  let unit = gated { kernel {3, 5}  expand (0, 2] }
  stage stem conv { kernel 3  stride 2 } -> 16
  stage a unit x 2 -> wide
  stage b gated x 3 { kernel 3  expand 1  skip same_shape } -> {16, 24, 32} { layer 2 { kernel 5 } }
  stage c gated x 2 .. 3 { kernel {3, 5}  expand {1, 2} } -> 24
  stage d gated { kernel 3  expand (0, 4]  act {relu, hard_swish} } -> 16
  head global_pool | linear
}
search prunet { seed 1 }
"""
EDITS = [
    ("default { act swish }", "default { act relu }"),
    ("{16, 24}", "{16, 32}"),
    ("-> {16, 24, 32}", "-> {24, 32}"),
    ("kernel {3, 5}  expand (0, 2]", "kernel 3  expand (0, 2]"),
    ("bn { eps 1e-3 }", "bn { eps 1e-5 }"),
    ("| residual\n", "// | residual\n"),
    ("granularity 8", "granularity 16"),
    ("layer 2 { kernel 5 }", "layer 3 { kernel 7 }"),
    ("expand 1  skip", "expand 0  skip"),
    ("classes 10", "classes 100"),
    ("stage d gated { kernel 3", "stage d gated { kernel 3/2"),
    ("x 3 { kernel 3  expand 1", "x 3 { kernel 3  hidden wide"),
    ("x 2 -> wide", "x 2 from stem -> wide"),
    ("{ kernel 3  stride 2 } -> 16", "{ kernel 3  stride 2  norm identity } -> 24"),
]


def found(checked: Checked) -> tuple[object, ...]:
    """All that a check has found, comparable: what is wrong, the trellis, and which values are looked at."""
    wrong = [
        (d.code, d.message, d.note, d.help, d.span and (d.span.start, d.span.end)) for d in checked.diagnostics.found
    ]
    space = checked.space
    if space is None:
        return (wrong,)
    trellis = space.trellis
    slots = [
        (
            s.address,
            s.skippable,
            [[(e.kind, e.source, e.target, e.variant, e.out, e.newly) for e in edges] for edges in s.edges.values()],
        )
        for s in trellis.slots
    ]
    given = [node for node in walk(space.syntax) if isinstance(node, syntax.Property)]
    used = [i for i, node in enumerate(given) if id(node) in space.world.used]
    return wrong, slots, list(trellis.shared.items()), trellis.partitions, trellis.depths, used


def same(text: str, memory: LayerMemory, path: Path = SPACES / "memory.nas") -> None:
    assert found(check(load_file(path, text), memory)) == found(check(load_file(path, text)))


def test_an_edit_and_its_undoing() -> None:
    memory = LayerMemory()
    same(TEXT, memory)
    for before, after in EDITS:
        assert TEXT.count(before) == 1
        same(TEXT.replace(before, after), memory)
        same(TEXT, memory)


def test_edits_upon_edits() -> None:
    memory, text = LayerMemory(), TEXT
    for before, after in EDITS:
        text = text.replace(before, after)
        same(text, memory)


def test_an_unchanged_text_builds_nothing() -> None:
    memory = LayerMemory()
    module = load_file(SPACES / "memory.nas", TEXT)
    check(module, memory)
    first = memory.count
    assert first > 8
    check(load_file(SPACES / "memory.nas", f"// One more line.\n{TEXT}"), memory)
    assert memory.count == first


def test_a_change_of_one_stage_builds_that_stage_alone() -> None:
    memory = LayerMemory()
    check(load_file(SPACES / "memory.nas", TEXT), memory)
    first = memory.count
    check(
        load_file(SPACES / "memory.nas", TEXT.replace("stage d gated { kernel 3", "stage d gated { kernel 5")), memory
    )
    assert memory.count == first + 1


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_memory, "MOST", 5)
    memory = LayerMemory()
    for before, after in EDITS:
        same(TEXT.replace(before, after), memory)
        assert sum(map(len, memory.kept.values())) == memory.count <= 5


@pytest.mark.parametrize("name", ["digits", "fashion", "tiny_gpt", "tiny_vit", "detection", "figs_resnet50"])
def test_random_edits_of_spaces(name: str) -> None:
    """Numbers and words of a text are replaced by others of it, one after another, now and then all undone."""
    path = SPACES / f"{name}.nas"
    whole = text = path.read_text()
    draw, memory = random.Random(name), LayerMemory()
    for _ in range(8):
        same(text, memory, path)
        words = list(re.finditer(r"\b(?:\d+|[a-z_]+)\b", text))
        old, new = draw.choice(words), draw.choice(words)
        if old[0].isdigit() == new[0].isdigit():
            text = text[: old.start()] + new[0] + text[old.end() :]
        if draw.random() < 0.3:
            text = whole
