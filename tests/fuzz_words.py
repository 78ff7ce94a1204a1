"""Words, numbers and phrases that fuzzed `.nas` texts are made of, and the texts they start from."""

# ruff: noqa: E501, SIM905
from __future__ import annotations

import functools
import re
from pathlib import Path

from nasc.compiler.primitives import NAMES as OPERATORS
from nasc.dsl.loader import standard_library

ROOT = Path(__file__).parent.parent
FOLDERS = ("spaces", "spaces/networks", "dsl/library", "tests/data/states", "tests/fuzz_seeds")
LONGEST = 4000
"""Bytes of a file to start from: longer ones are all of one thing."""
SLOW = frozenset({"shared_cells.nas", "figs_oneshot.nas", "figs_oneshot_add.nas"})
"""Cell spaces that take some seconds to elaborate as they are: not started from."""

SIZES = "0 1 2 3 4 5 7 8 12 16 24 31 32 48 64 96 128 224 256".split()
"""Numbers as networks have them."""
ABSURD = (
    *"00 007 1000 1024 4096 65535 65536 65537 1000000 16777216 2147483648 4294967296 1e9 1e12 1e18 1e19 1e99".split(),
    *"99999999999999999999 0.5 1.5 0.1 1e-3 1e-99 1/3 5/2 7/8 1/0 0/0 0-1 0-64 1-3 1e99*1e99 1e100*1e100*1e100".split(),
)
"""Numbers as they have not: huge, negative, fractions, not a number at all."""
CONSTANTS = "yes no inf same same_shape nothing identity add mul concat by_itself".split()
FACTS = "in in.channels in.height in.width in.tokens a.channels b.height in.nothing in.channels.channels".split()
KEYWORDS = (
    "all any block by default first from head import in input layer let nas network not of one or output ratio search "
    "space stage step target tensor when x and"
).split()
FOREIGN = "class lambda self None torch __import__ __class__ exec _ é ß 名 Ⅷ ﬁ \u202e \u200b".split(" ")
FUNCTIONS = "max min round floor ceil divisible".split()
SIGNS = "{ } ( ) [ ] -> .. | , ; = . + - * / == != < <= > >=".split()
PHRASES = (
    *("{}", "{1}", "{1, 1}", "{0, 1}", "{3, 5, 7}", "{relu, swish}", "{1 .. 4, 9}", "{{1, 2}, 3}", "{(0, 8], 3}"),
    *("(0, 8]", "[0, 8]", "(0, 8)", "[8, 0]", "(0, 1e9]", "(0, 1/3]", "[8, 8)", "(0, inf]", "[in.channels, 64]"),
    *("1 .. 64", "8 .. 64 step 8", "1 .. 1e6", "1 .. 8 step 1/3", "9 .. 1", "1 .. 2 step 0", "0 .. 64 step 16"),
    *("3 x 3", "1 x 7", "0 x 0", "3 x 3 x 3", "{1, 2} x 3", '"text"', '""', "-1", "-1e99", "not 1", "1 == 1"),
    *("one of { conv { kernel 3 } identity }", "one of { relu swish }", "one of { identity }", "one of { nothing }"),
    *("any of { identity conv { kernel 3 } -> 8 } by add", "any of { conv { kernel 3 } irb { kernel 5  expand 2 } } by concat"),
    *("all of { conv { kernel 3 } -> 8  conv { kernel 5 } -> 8 } by add", "all of { nothing nothing } by concat"),
    *("max(1, 2)", "divisible(9, 8)", "divisible(9, 0)", "min()", "round(1/2)", "floor(in.channels / 3)", "f(1)"),
    *("bn { eps 1e-3 }", "conv { kernel 3 }", "conv2d(3)", "conv2d(3, 2, 1, 1, 1, yes)", "relu()", "bn { eps {1, 2} }"),
    *("when 1", "when 0", "when in.channels > 8", "when se", "-> 8", "-> 0", "-> {8, 16}", "-> in.channels", "| relu"),
    *("| residual", "| residual_prefix", "| (conv2d(1) -> 8 | bn) when 1", "| take -> 4", "| shuffle(2)", "| tokens"),
    *("| upsample(2)", "| add(in)", "| concat(in)", "skip yes", "skip same_shape", "granularity 8", "stride 2", "se {0, 1}"),
    *("layer 1 { kernel 3 }", "layer 2 identity", "layer 1 .. 9 -> 8", "x 0", "x 1 .. 3", "x {1, 3}", "x 1e9", "from stem"),
    *("let w = {8, 16}", "let w = w", "let w = v", "default { act relu }", "default conv { kernel 3 }", "// a comment\n"),
    *("stage z conv { kernel 3 } -> 8\n", "head global_pool | linear\n", "head linear", "search prunet { epochs 1 }\n"),
    *("search fbnet { }\n", "search random { }\n", "target t { engine eager }\n", "output features stem", "input tokens 8"),
    *('import "cells.nas"\n', 'import "x.nas"\n', "block b { in | b }\n", "block b(tensor t) { add(in, t) }\n", "nas 1\n"),
)  # fmt: skip
TOKEN = re.compile(
    r'//[^\n]*|"[^"\n]*"|[^\W\d]\w*|\d+\.\d+(?:[eE][+-]?\d+)?|\d+(?:[eE][+-]?\d+)?|->|\.\.|[=!<>]=|\s+|.', re.DOTALL
)


def pieces(text: str) -> list[str]:
    """The words, signs, blanks and comments of a text, which put together again are the text."""
    return TOKEN.findall(text)


@functools.cache
def texts() -> tuple[str, ...]:
    """The shipped files, and inputs that once were found to go wrong."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.nas")) if path.name not in SLOW]
    return tuple(p.read_bytes().decode("utf-8", "replace") for p in paths if p.stat().st_size < LONGEST)


@functools.cache
def names() -> tuple[str, ...]:
    """Names with a meaning: those of the shipped files, blocks, operators, functions and constants."""
    used = {piece for text in texts() for piece in pieces(text) if piece.isidentifier()}
    return tuple(sorted(used | set(standard_library()) | OPERATORS | {*FUNCTIONS, *CONSTANTS} - {*KEYWORDS}))
