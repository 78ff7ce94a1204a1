"""The formatter: golden layouts, comments in nasty places, and properties over random trees."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasc.dsl import format as formatter
from nasc.dsl import syntax
from nasc.dsl.check_tokens import MAXIMUM_TOKENS
from nasc.dsl.diagnostics import DiagnosticError, NascError
from nasc.dsl.format import FormatError, format_text, print_file, print_value
from nasc.dsl.parser import parse, parse_setting
from tests.strategies import BUILT, NOWHERE, files

ROOT = Path(__file__).parents[1]
FOLDERS = ("dsl/library", "spaces", "spaces/networks", "tests/data/states")
SHIPPED = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.nas"))

GPUNET1 = """\
nas 1

// PruNet's search space around GPUNet-1, read as section 4.1.1 words it: one more layer per stage than GPUNet-1
// (18 IRBs, as Table 6's longest networks have).
// Assumed: stage 1 has no residual, as in NVIDIA's GPUNet; padding of the strided fused blocks as there (0 for a
// 3x3 kernel), one more for a 5x5 so that both kernels give one shape.
space gpunet1 {
  input       image 3 x 288 x 288
  output      classes 1000
  granularity 32                 // an interval stands for the multiples of 32 in it
  skip        same_shape         // a layer with equal input and output shapes may be dropped
  default     { norm bn { eps 1e-3 } }

  stage stem    conv           { kernel 3       stride 2  act swish }                            -> 24
  stage conv    conv      x 2  { kernel {3, 5}            act relu  }                            -> 24
  stage fused1  fused_irb x 3  { kernel {3, 5}  stride 2  act swish  expand (0, 8]  se {0, 1} }  -> 64  {
    layer 1 one of { fused_irb { kernel 3  padding 0 }  fused_irb { kernel 5  padding 1 } }
  }
  stage fused2  fused_irb x 3  { kernel {3, 5}  stride 2  act swish  expand (0, 8]  se {0, 1} }  -> 96  {
    layer 1 one of { fused_irb { kernel 3  padding 0 }  fused_irb { kernel 5  padding 1 } }
  }
  stage irb1    irb       x 2  { kernel {3, 5}  stride 2  act swish  expand (0, 8]  se {0, 1} }  -> 160
  stage irb2    irb       x 5  { kernel {3, 5}            act relu   expand (0, 8]  se {0, 1} }  -> 288
  stage irb3    irb       x 5  { kernel {3, 5}  stride 2  act relu   expand (0, 8]  se {0, 1} }  -> 448
  head          conv           { kernel 1                 act relu  } -> 1280 | global_pool | dropout(0.2) | linear
}

search prunet {
  epochs 200  warmup 70
  alpha {0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 2.0}  beta 0.6      // a set: one run each
  phi 1.1  lambda {0.4, 0.55, 0.85}
  threshold 0.15 .. 0.55                                   // a range: from the first epoch after warm-up to the last
  weights rmsprop { rate 0.002  decay 1e-5 }
}

target v100 { engine tensorrt  precision fp16  batch 1 }
"""


def comments(text: str) -> list[str]:
    return [comment.text for comment in parse(text)[0].comments]


def tree(text: str) -> syntax.File:
    file, diagnostics = parse(text)
    assert not diagnostics.errors, diagnostics.errors
    return replace(file, version=1)


# ------------------------------------------------------------------------------------------------- whole files


def test_the_language_pages_example_is_canonical() -> None:
    assert format_text(GPUNET1) == GPUNET1


def test_the_example_comes_out_of_a_text_without_any_layout() -> None:
    text = re.sub(r" {2,}", " ", GPUNET1).replace("\n ", "\n")
    aligned_comments = re.sub(r" +(// (?:an? |a layer))", r"  \1", GPUNET1)
    assert re.sub(r" +(// (?:an? |a layer))", r"  \1", format_text(text)) == aligned_comments


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files(path: Path) -> None:
    text = path.read_text()
    result = format_text(text, path.name)
    assert tree(result) == tree(text)
    assert comments(result) == comments(text)
    assert format_text(result) == result
    assert max(map(len, result.split("\n"))) <= 120
    assert not re.search(r"[ \t]+$|\n\n\n|\n\n\Z|[,;]$(?<!,)", result, re.MULTILINE)


def test_there_are_files_to_format() -> None:
    assert len(SHIPPED) >= 33


# ------------------------------------------------------------------------------------------------- rules

SEEDS = f"seed {{{', '.join(map(str, range(60, 100)))}}}"
RULES = {
    "header, commas, semicolons and needless braces": (
        "space s { input image 3 x 8 x 8; output classes 10; default {a 1, b 2,}; stage stem conv {} -> 8; }",
        """
        nas 1

        space s {
          input   image 3 x 8 x 8
          output  classes 10
          default { a 1  b 2 }
          stage stem  conv  -> 8
        }
        """,
    ),
    "blank lines: at most one, none at the ends": (
        "nas 1\nspace s {\n\n\n  skip no\n\n\n  let a = 1\n  let bcd = 2\n\n}\nsearch p {}",
        """
        nas 1

        space s {
          skip no

          let a   = 1
          let bcd = 2
        }

        search p {}
        """,
    ),
    "parentheses that change nothing": (
        "block b { c = ((1 + 2)) * (3 * 4) - (5 - (6)) d = (in | a) e = (in | a) | b }",
        """
        nas 1

        block b {
          c = (1 + 2) * (3 * 4) - (5 - 6)
          d = in | a
          e = (in | a) | b
        }
        """,
    ),
    "a blank line ends a table": (
        "network n {\n stage a conv -> 8\n stage bcd conv -> 16\n\n stage ef irb x 2 -> 8\n}",
        """
        nas 1

        network n {
          stage a    conv  -> 8
          stage bcd  conv  -> 16

          stage ef  irb x 2  -> 8
        }
        """,
    ),
    "braces that start alike share columns, exclusive properties one column": (
        "space s { stage a b { k 3 long 1 } -> 8 stage a b { k {3, 5} c 10 z 1 } -> 16 stage a b { z 1 } }",
        """
        nas 1

        space s {
          stage a  b  { k 3       long 1 }       -> 8
          stage a  b  { k {3, 5}  c 10    z 1 }  -> 16
          stage a  b  { z 1 }
        }
        """,
    ),
    "contradicting orders are not aligned": (
        "space s { stage a b { k 3 c 1 d 2 } stage a b { k 30 d 1 c 2 } }",
        """
        nas 1

        space s {
          stage a  b  { k 3  c 1  d 2 }
          stage a  b  { k 30  d 1  c 2 }
        }
        """,
    ),
    "one short row stands behind its stage, several below it": (
        "space s { stage a b x 2 -> 8 { layer 2 .. 2 { c 1 } } stage a b -> 160 { layer 1 c layer 2 .. 3 { d 1 } } }",
        """
        nas 1

        space s {
          stage a  b x 2  -> 8   { layer 2 { c 1 } }
          stage a  b      -> 160 {
            layer 1      c
            layer 2 .. 3 { d 1 }
          }
        }
        """,
    ),
    "from has a column, an inputless head none": (
        "space s { stage abc d from ef { k 1 } -> w stage g long_name x 2 { k 1 } -> w head a(1) | b }",
        """
        nas 1

        space s {
          stage abc  d             from ef  { k 1 }  -> w
          stage g    long_name x 2          { k 1 }  -> w
          head       a(1) | b
        }
        """,
    ),
    "open braces stay open, with their lines": (
        "search p {\n a 1 b 2\n c q { d 1 } }\nsearch p { a 1 \n b 2 }",
        """
        nas 1

        search p {
          a 1  b 2
          c q { d 1 }
        }

        search p { a 1  b 2 }
        """,
    ),
    "long properties: composite ones take a line each": (
        f"network n {{ stage a cell {{ p 1 q 2 b c {{ {'long_name 10 ' * 7} }} w 1 v 2 }} -> 8 }}",
        """
        nas 1

        network n {
          stage a  cell {
            p 1  q 2
            b c { long_name 10  long_name 10  long_name 10  long_name 10  long_name 10  long_name 10  long_name 10 }
            w 1  v 2
          } -> 8
        }
        """,
    ),
    "a long choice: a candidate a line, as a table": (
        "space s { stage a one of { irb { kernel {3, 5} expand 1 } -> 160 | some_block_name { kernel 3 } -> 8 "
        "take -> 1 .. full  fused_irb { kernel 3 } -> 24 } x 2 { stride 2 } -> 8 }",
        """
        nas 1

        space s {
          stage a  one of {
            irb       { kernel {3, 5}  expand 1 } -> 160 | some_block_name { kernel 3 }  -> 8
            take                                                                         -> 1 .. full
            fused_irb { kernel 3      }                                                  -> 24
          } x 2 { stride 2 } -> 8
        }
        """,
    ),
    "long sets, parameters and pipelines fill lines": (
        f"block b({', '.join(f'parameter_{i} = {i}' for i in range(9))}) -> w {{ "
        f"in | {' | '.join(f'module({i})' for i in range(12))} }} search p {{ {SEEDS} }}",
        """
        nas 1

        block b(parameter_0 = 0, parameter_1 = 1, parameter_2 = 2, parameter_3 = 3, parameter_4 = 4, parameter_5 = 5,
                parameter_6 = 6, parameter_7 = 7, parameter_8 = 8) -> w {
          in | module(0) | module(1) | module(2) | module(3) | module(4) | module(5) | module(6) | module(7) | module(8)
             | module(9) | module(10) | module(11)
        }

        search p {
          seed {60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87,
                88, 89, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99}
        }
        """,  # noqa: E501
    ),
    "a person's lines of a pipeline and of parameters": (
        "block b(a,\n c = 1) {\n long = in | a |\n b\n | c\n x2 = other | d\n relu\n | e }",
        """
        nas 1

        block b(a,
                c = 1) {
          long = in    | a
                       | b
                       | c
          x2   = other | d
          relu
               | e
        }
        """,
    ),
    "strings are never touched": (
        'import "a // b  c.nas" import "{,;"',
        """
        nas 1

        import "a // b  c.nas"
        import "{,;"
        """,
    ),
}


def dedent(text: str) -> str:
    return text.replace("\n        ", "\n").strip() + "\n"


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str) -> None:
    source, expected = RULES[rule]
    assert format_text(source) == dedent(expected)


# ------------------------------------------------------------------------------------------------- comments


def test_comments_in_nasty_places() -> None:
    source = """\
// above the header
nas 1 // header

// loose

// doc of b
block b(kernel, // the kernel
   // own line
   ops = one of { // candidates
     a { k 1 } // a
     // before c
     c
     // last candidate
   }, act = relu // last
   ) -> filters { // opens
  // first in block
  deep = in | conv(1, // in args
     2) -> 3   // after deep

  // between


  longer = deep | relu; // semicolon
  longer | a // one
    // own in pipeline
    | b
  // last in block
}
block empty {
  // nothing here
}
search p { // opened
  // only this
}
search q { a 1, b 2, // ab
   c {3, // in set { not a brace "
   5} d e { // inside d
   } }
network n {
  stage a conv { kernel 3 } -> 24 // a
  // about bb
  stage bb // odd
   fused_irb x 3 { kernel {3,5}, stride 2, } -> 1280 { // rows
    layer 1 { a 1 } // r1
    // r2
    layer 2 .. 3 one of { u { a 1 } v }
    // end of rows
  } // after bb
  stage c conv {} // dropped braces
  head // h
     conv { kernel 1 } -> 3 // conv
     | linear // linear
  // last

}
// end
"""
    assert (
        format_text(source)
        == """\
// above the header
nas 1  // header

// loose

// doc of b
block b(kernel,  // the kernel
        // own line
        ops = one of {  // candidates
          a { k 1 }  // a
          // before c
          c
          // last candidate
        },
        // last
        act = relu) -> filters {  // opens
  // first in block
  // in args
  deep = in | conv(1, 2) -> 3  // after deep

  // between

  longer = deep | relu  // semicolon
  longer | a            // one
         // own in pipeline
         | b
  // last in block
}

block empty {
  // nothing here
}

search p {  // opened
  // only this
}

search q {
  a 1  b 2  // ab
  // in set { not a brace "
  // inside d
  c {3, 5}  d e {}
}

network n {
  stage a   conv           { kernel 3      }            -> 24  // a
  // about bb
  // odd
  stage bb  fused_irb x 3  { kernel {3, 5}  stride 2 }  -> 1280 {  // rows
    layer 1      { a 1 }  // r1
    // r2
    layer 2 .. 3 one of { u { a 1 }  v }
    // end of rows
  }  // after bb
  stage c   conv  // dropped braces
  // h
  head      conv { kernel 1 } -> 3  // conv
          | linear  // linear
  // last
}
// end
"""
    )


def test_trailing_comments_share_a_column_that_is_free() -> None:
    source = """\
nas 1

space s {{
  let a = 1{}// one
  let b = 1000{}// two
  let c = 2
  let d = 3         // far
}}
"""
    assert format_text(source.format(" ", " " * 6)) == source.format(" " * 5, " " * 2)


def test_windows_line_ends_and_tabs() -> None:
    assert format_text("nas 1\r\n\r\nsearch p {\r\n\ta 1\t// one\r\n}\r\n") == "nas 1\n\nsearch p {\n  a 1  // one\n}\n"


@pytest.mark.parametrize("text", ["", "// only a comment", "nas 1\n// c"])
def test_files_without_items(text: str) -> None:
    result = format_text(text)
    assert result.startswith("nas 1\n")
    assert comments(result) == comments(text)


# ------------------------------------------------------------------------------------------------- checks


def test_a_syntax_error_is_reported() -> None:
    with pytest.raises(DiagnosticError, match="E01"):
        format_text("space s { stage")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: [line.split("//")[0] for line in lines],
        lambda lines: [line.replace("3", "5") for line in lines],
        lambda lines: [line.replace("}", "") for line in lines],
        lambda lines: [line.replace("// one", "// two", 1) for line in lines],
        lambda lines: [line.replace("  ", "   ") for line in lines],
    ],
    ids=["lost comment", "other meaning", "broken", "other comment", "no fixpoint"],
)
def test_a_bad_result_is_never_returned(spoil: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    weave = formatter.weave
    calls = iter([True])  # the first print alone is spoilt

    def spoilt(*args: Any, **options: Any) -> list[str]:
        lines = weave(*args, **options)
        return spoil(lines) if next(calls, False) else lines

    monkeypatch.setattr(formatter, "weave", spoilt)
    with pytest.raises(FormatError):
        format_text("search p {\n  a 3  // one\n}\n")


def test_a_text_that_would_become_too_long_to_be_read_is_not_written() -> None:
    line = "  a 3\n"
    largest = f"search p {{\n{line * ((MAXIMUM_TOKENS - 4) // 2)}}}\n"
    with pytest.raises(NascError, match="more than nasc reads"):
        format_text(largest)  # the header makes it two words longer
    assert format_text(largest.replace(line, "", 1))


# ------------------------------------------------------------------------------------------------- trees


@pytest.mark.parametrize(
    "text",
    [
        "160/24",
        "(1 + 2) / 4",
        "in.channels / 4",
        "not (a and b) or c",
        "(not a) == b",
        "a - (b - c)",
        "-1e-3",
        "1.50",
        "{3, 5}",
        "{0 .. 8 step 2, [1, 6)}",
        "(0, 8]",
        "3 x 224 x 224",
        '"a  // b"',
        "f(1, k = 2)",
        "f()",
        "f(in | a, one of { b })",
        "bn { eps 1e-3 }",
        "bn {}",
        "one of { a { k 1 } | take -> 1 .. full  b(2) when x2 > 1 } by add",
        "((a | b) | (c | d) -> 8)",
    ],
)
def test_print_value(text: str) -> None:
    assert print_value(parse_setting(text)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("3", "3"), ("-3/2", "-1.5"), ("1/1000", "0.001"), ("160/24", "20/3"), ("5000000", "5000000"), ("3/25", "0.12")],
)
def test_numbers_without_a_spelling(value: str, text: str) -> None:
    number = syntax.Number(span=NOWHERE, value=Fraction(value), text="")
    assert print_value(number) == text


def test_a_spelling_that_is_not_the_value_is_ignored() -> None:
    assert print_value(syntax.Number(span=NOWHERE, value=Fraction(3), text="5")) == "3"


def test_a_built_tree_is_spaced_by_kind() -> None:
    file = tree("network n { input image 3 x 8 x 8 let a = 1 let b = 2 stage c conv -> a head linear }")
    built = syntax.File(span=NOWHERE, source=BUILT, version=None, items=file.items)
    assert print_file(built, note="Written by a test.\nTwice.") == dedent(
        """
        nas 1

        // Written by a test.
        // Twice.
        network n {
          input image 3 x 8 x 8

          let a = 1
          let b = 2

          stage c  conv  -> a
          head     linear
        }
        """
    )


def test_a_copied_block_keeps_its_documentation_and_its_lines() -> None:
    library = (ROOT / "dsl/library/cnn.nas").read_text()
    file = tree(library)
    block = next(item for item in file.items if isinstance(item, syntax.Block) and item.name == "mbv3")
    start = library.index("// MobileNetV3's block.")
    text = library[start : library.index("\n}\n", start) + 3]
    built = syntax.File(span=NOWHERE, source=BUILT, version=1, items=(block,))
    assert print_file(built) == f"nas 1\n\n{text}"
    assert print_file(built, note="copied").startswith("nas 1\n\n// copied\n\n// MobileNetV3's block.")


def test_a_parsed_file_is_printed_with_its_comments() -> None:
    file, _ = parse("search p { // c\n a 1 }")
    assert print_file(file) == "nas 1\n\nsearch p {  // c\n  a 1\n}\n"


def test_a_changed_tree_is_not_mixed_with_the_text_it_was() -> None:
    file, _ = parse("search p {\n a 1 // c\n}\n// d\ntarget t {}")
    assert print_file(replace(file, items=file.items[1:])) == "nas 1\n\ntarget t {}\n"


def test_a_node_that_stands_twice_in_a_tree() -> None:
    block = tree("block b(a, c = 1) { in | d }").items[0]
    assert isinstance(block, syntax.Block)
    twice = replace(block, parameters=block.parameters[1:] * 2, statements=block.statements * 2)
    built = syntax.File(span=NOWHERE, source=BUILT, version=1, items=(twice, twice))
    text = "block b(c = 1, c = 1) {\n  in | d\n  in | d\n}\n"
    assert print_file(built) == f"nas 1\n\n{text}\n{text}"


RANDOM = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
GAPS = re.compile(r'"[^"\n]*"|\s+')
INSERTED = [" // c%d {\n", "\n\n// c%d\n", "\n // c%d }\n\n\n", " // c%d\n// d%d\n", "\n", "\n\n"]


def gaps(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in GAPS.finditer(text) if match[0][0] != '"']


@RANDOM
@given(files)
def test_a_printed_tree_parses_to_itself(file: syntax.File) -> None:
    text = print_file(file)
    assert tree(text) == file
    assert format_text(text) == text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


@RANDOM
@given(files, st.randoms(use_true_random=False))
def test_comments_survive_between_any_two_tokens(file: syntax.File, random: Any) -> None:
    text = print_file(file)
    places = random.sample(gaps(text), min(len(gaps(text)), 6))
    for number, (start, end) in enumerate(sorted(places, reverse=True)):
        text = text[:start] + random.choice(INSERTED).replace("%d", str(number)) + text[end:]
    result = format_text(text)
    assert tree(result) == file
    assert comments(result) == comments(text)


@RANDOM
@given(files, st.randoms(use_true_random=False))
def test_blanks_within_lines_do_not_matter(file: syntax.File, random: Any) -> None:
    text = scrambled = print_file(file)
    for start, end in reversed(gaps(text)):
        blanks = random.choice([" ", "   ", "\t", " , "[:1]])
        breaks = "\n" * text.count("\n", start, end)
        scrambled = scrambled[:start] + blanks + breaks + blanks + scrambled[end:]
    assert format_text(scrambled) == text
