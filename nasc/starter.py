"""The commented file that `nasc new` starts a space with: one short remark for each line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nasc.dsl.diagnostics import NascError
from nasc.dsl.format import format_text
from nasc.dsl.parser import parse

Lines = Iterator[tuple[str, str]]
"""Lines of a space, each with its remark."""
WIDTHS = (16, 24, 40, 80, 160, 320)
SMALLEST_MAP = 8
"""Stages halve an image's sides until they are this small."""


@dataclass(frozen=True)
class Starter:
    """What the file is for: images of `channels` x `size` x `size` pixels in so many classes."""

    name: str
    kind: str
    classes: int
    size: int
    channels: int


def starter_text(starter: Starter) -> str:
    """The file, in canonical layout. Raises `NascError` for a name that no space can have."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", starter.name):
        raise NascError(f"`{starter.name}` cannot name a space", help="letters, digits and _, no digit first")
    text = _file(starter)
    if parse(text)[1].errors:
        raise NascError(f"`{starter.name}` is a word of the language and cannot name a space", help="take another name")
    return format_text(text)


def _file(s: Starter) -> str:
    about, lines = KINDS[s.kind]
    body = "\n\n".join("\n".join(map(_line, part)) for part in (_head(s), lines(s)))
    return f"""nas 1  // the edition of the language

// {about}
// A stage line reads: name, block, how many layers, what they are like, channels that come out.
// {{3, 5}} leaves a choice open, 8 .. 32 and (1, 6] a range, the latter of multiples of the channels that come in:
// `nasc search` decides. `nasc doc` lists all blocks.
space {s.name} {{
{body}
}}

search prunet {{  // the method; others are in `nasc compile --help`
  epochs 40  warmup 14  // of all epochs, the first ones train weights only
  batch 64              // images a step
  alpha 0.6             // how much latency weighs against accuracy; larger is faster
  weights rmsprop {{ rate 0.004  decay 1e-5 }}
}}

target cpu {{ engine onnxruntime  precision fp32  batch 1 }}  // what the network is to be fast on: see `nasc engines`
"""


def _line(line: tuple[str, str]) -> str:
    return f"  {line[0]}  // {line[1]}" if line[1] else f"  {line[0]}"


def _head(s: Starter) -> Lines:
    yield f"input image {s.channels} x {s.size} x {s.size}", "channels x height x width; images are resized to it"
    yield f"output classes {s.classes}", "as many as the data has"
    if s.kind != "cnn":  # all its ranges state their steps
        yield "granularity 8", "an interval of widths stands for the multiples of 8 in it"
    yield "skip same_shape", "layers whose input and output are alike may be dropped"


def _mobile(s: Starter) -> Lines:
    open_ = "kernel {3, 5}  expand (1, 6]  se {0, 1}"
    remark = "kernels, inner widths, gates (se) are open"
    yield from _stages(s, lambda width: ("irb", open_), remark)
    yield "head conv { kernel 1 } -> 256 | global_pool | dropout(0.2) | linear", "from features to classes"


def _cnn(s: Starter) -> Lines:
    yield from _stages(s, lambda width: ("basic", f"mid 8 .. {2 * width} step 8"), "residual blocks, open inside")
    yield "head global_pool | linear", "from features to classes"


def _stages(s: Starter, block: Callable[[int], tuple[str, str]], remark: str) -> Lines:
    """A stem, then stages of three layers that halve the sides."""
    side, large = s.size, s.size >= 48
    yield f"stage stem conv {{ kernel 3{'  stride 2' if large else ''} }} -> {WIDTHS[0]}", "always there"
    side = side // 2 if large else side
    name, parameters = block(WIDTHS[0])
    if not large:
        yield f"stage s1 {name} x 2 {{ {parameters} }} -> {WIDTHS[0]}", remark
        remark = ""
    for number, width in enumerate(WIDTHS[1:], 1 if large else 2):
        if side <= SMALLEST_MAP:
            return
        name, parameters = block(width)
        side = (side + 1) // 2
        yield f"stage s{number} {name} x 3 {{ {parameters}  stride 2 }} -> {width}", remark or f"gives {side} x {side}"
        remark = ""


def _vit(s: Starter) -> Lines:
    patch = next(
        (patch for patch in (16, 8, 4, 2) if s.size % patch == 0 and s.size // patch >= 8), max(1, s.size // 10)
    )
    yield f"stage patches patch_embed {{ patch {patch} }} -> 96", f"{s.size // patch} x {s.size // patch} patches"
    yield "stage start class_token", "a token that gathers what is seen"
    yield "stage places position", "where each patch was"
    yield "stage body transformer x 6 { heads {2, 4}  expand [1, 4] }", "heads and inner width of each layer are open"
    yield "head layer_norm | first_token | linear", "from the token to classes"


KINDS: dict[str, tuple[str, Callable[[Starter], Lines]]] = {
    "mobile": ("Inverted residuals as in MobileNet and EfficientNet: good on phones, CPUs and small GPUs.", _mobile),
    "cnn": ("Residual blocks as in ResNet: plain convolutions, good where those are fast.", _cnn),
    "vit": ("A small vision transformer.", _vit),
}
"""What can be started with: its line of description, and its stages."""
