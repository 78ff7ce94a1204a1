"""What `check` says: nothing about valid files, everything at once about others, in the words of the language page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nasc.compiler.check import CASCADES, Checked, check
from nasc.compiler.primitives import NAMES
from nasc.dsl.codes import CODES, as_markdown
from nasc.dsl.diagnostics import Diagnostic
from nasc.dsl.loader import load, standard_library
from nasc.dsl.render import render
from tests.spaces import NETWORKS, ROOT, SPACES, STATES

HEAD = "  head global_pool | linear\n}\n"
TOP = "space a {\n  input image 3 x 32 x 32\n  output classes 10\n"


def checked(text: str, path: Path | str = "a.nas") -> Checked:
    return check(load(path, text, primitives=NAMES))


def found(text: str) -> list[Diagnostic]:
    return checked(text).diagnostics.found


def codes(text: str) -> list[str]:
    return [d.code for d in found(text)]


def place(diagnostic: Diagnostic) -> str:
    span = diagnostic.span
    assert span is not None
    return span.source.text[span.start : span.end]


# --------------------------------------------------------------------------------------------------- valid files

VALID = [*SPACES, *NETWORKS, *STATES, ROOT / "spaces" / "cells.nas"]


@pytest.mark.parametrize("path", VALID, ids=lambda p: p.stem)
def test_valid_files_have_no_diagnostics(path: Path) -> None:
    result = check(load(path, primitives=NAMES))
    assert result.diagnostics.found == []
    assert (result.space is None) == (path.stem == "cells")


def test_the_library_itself_is_sound() -> None:
    """As if it were a user's own file: no unknown name, nothing decided in a body, nothing unused."""
    for path in sorted((ROOT / "dsl" / "library").glob("*.nas")):
        others = "".join(p.read_text(encoding="utf-8") for p in path.parent.glob("*.nas") if p != path).replace(
            "nas 1", ""
        )
        assert checked(path.read_text(encoding="utf-8") + others).diagnostics.found == []
    assert len(standard_library()) > 15


# --------------------------------------------------------------------------------------------------- the rendering


def test_layers_that_cannot_be_skipped_look_as_on_the_language_page() -> None:
    text = """\
space mine {
  input       image 3 x 288 x 288
  output      classes 1000
  granularity 32

  // Eight times smaller, and twice more in the stage that is wrong.
  stage stem conv  x 4 { kernel 3  stride 16  padding 1 }          -> 160

  stage irb2 irb x 5 { kernel {3, 5}  stride 2  skip yes  expand 4 }  -> 288
  head  conv { kernel 1 } -> 1280 | global_pool | linear
}
"""
    result = checked(text, "spaces/mine.nas").diagnostics.found
    assert (
        render(result)
        == """\
error[E0312]: these layers cannot be skipped
  --> spaces/mine.nas:9:49
   |
 9 |   stage irb2 irb x 5 { kernel {3, 5}  stride 2  skip yes  expand 4 }  -> 288
   |                                       ^^^^^^^^  ^^^^^^^^ a skipped layer must keep its shape
   |                                       |
   |                                       160 x 18 x 18 becomes 288 x 9 x 9 here
   = help: `skip same_shape` lets only the 4 layers with equal shapes be dropped
"""
    )


def test_layers_whose_width_changes_point_at_the_width() -> None:
    (mistake,) = found(TOP + "  stage s conv x 3 { kernel 3  skip yes } -> 8\n" + HEAD)
    (label,) = mistake.labels
    assert label.span.source.text[label.span.start : label.span.end] == "8"
    assert label.text == "3 x 32 x 32 becomes 8 x 32 x 32 here"
    assert mistake.help == "`skip same_shape` lets only the 2 layers with equal shapes be dropped"


def test_a_space_wide_skip_is_shown_where_it_stands() -> None:
    (mistake,) = found(TOP + "  skip yes\n  stage s conv { kernel 3 } -> 8\n" + HEAD)
    assert (mistake.code, place(mistake)) == ("E0312", "skip yes")


# --------------------------------------------------------------------------------------------------- all at once


def test_mistakes_in_several_places_come_together() -> None:
    text = f"""\
block b(kernel, kernel) {{
  in | conv2d(kernel, strde = 2) -> 8
}}

{TOP}  stage s cnov {{ kernel 3 }} -> 8
  stage t conv {{ kernl 3 }} -> 8
  stage t conv from q {{ kernel 3 }} -> w
  stage u conv {{ kernel 3  act rleu }} -> 8
{HEAD}
search prunnet {{ epochs 3 }}
"""
    result = found(text)
    assert [d.code for d in result] == [
        "E0352", "E0305", "E0350", "E0305", "E0351", "E0352", "E0356", "E0356", "E0362"
    ]  # fmt: skip
    helps = [d.help for d in result]
    for name in ("stride", "conv", "kernel", "relu", "prunet"):
        assert f"did you mean `{name}`?" in helps
    lines = [d.span.source.position(d.span.start)[0] for d in result if d.span]
    assert lines == sorted(lines)


def test_a_syntax_error_brings_no_unknown_names_along() -> None:
    text = f"block b( {{ in }}\n{TOP}  stage s b {{ kernel 3 }} -> 8\n  stage t b from s\n{HEAD}"
    result = codes(text)
    assert result and all(code.startswith("E01") for code in result)
    assert set(CODES) >= CASCADES


def test_an_import_that_fails_brings_no_unknown_blocks_along(tmp_path: Path) -> None:
    text = f'import "gone.nas"\n{TOP}  stage s special {{ kernel 3 }} -> 8\n{HEAD}'
    assert [d.code for d in checked(text, tmp_path / "a.nas").diagnostics.found] == ["E0201"]


def test_shapes_are_looked_at_only_where_the_names_are_right() -> None:
    wrong_shape = "  stage s conv { kernel 33  padding 0 } -> 8\n"
    assert codes(TOP + wrong_shape + HEAD) == ["E0321"]
    assert codes(TOP + wrong_shape + "  stage t cnov -> 8\n" + HEAD) == ["E0350"]


def test_warnings_come_last_and_spoil_nothing() -> None:
    text = (
        TOP
        + "  let w = 3\n  stage s conv { kernel {3, 3} } -> 8\n  stage t irb { kernel 3  expand 1  hidden 8 } -> 8\n"
    )
    assert codes(text + HEAD) == ["E0311", "W0402", "W0401"]
    warned = checked(TOP + "  let w = 3\n  stage s conv { kernel 3 } -> 8\n" + HEAD)
    assert warned.space is not None and not warned.diagnostics.errors


def test_a_file_of_blocks_alone_is_a_library() -> None:
    assert codes("block b { in | relu }\nblock c { in | b }\n") == []
    assert codes("block b { in | rleu }\n") == ["E0350"]
    assert codes("") == []


def test_unused_imports_and_blocks_are_told(tmp_path: Path) -> None:
    (tmp_path / "more.nas").write_text("block mine { in | relu }\nblock other { in | mine }\n")
    text = f'import "more.nas"\n{TOP}  stage s %s\n{HEAD}'
    for stage, expected in (("mine", []), ("other", []), ("relu", ["W0402"])):
        result = checked(text % stage, tmp_path / "a.nas").diagnostics.found
        assert [d.code for d in result] == expected


# --------------------------------------------------------------------------------------------------- after elaboration

OPEN = {
    "stage s conv { kernel {3, 5} } -> 8": ("`s.1.kernel` is open", "kernel {3, 5}"),
    "stage s conv { kernel 3 } -> {8, 16}": ("`s.width` is open", "{8, 16}"),
    "stage s conv x 2 { kernel 3 } -> 8 { layer 2 -> 8 .. 9 }": ("`s.2.width` is open", "8 .. 9"),
    "stage s conv x 2 .. 3 { kernel 3 } -> 8": ("the depth of stage `s` is open", "2 .. 3"),
    "skip same_shape stage s conv x 2 { kernel 3 } -> 8": ("whether layer s.2 is dropped is open", "conv"),
    "let w = {8, 16} stage s conv { kernel 3 } -> w": ("`w` is open", "let w = {8, 16}"),
    "stage s irb { kernel 3 hidden 8 .. 9 } -> 8": ("`hidden` is open", "hidden 8 .. 9"),
    "stage s one of { conv irb { expand 1 } } { kernel 3 } -> 8": (
        "`s.1.of` is open",
        "one of { conv irb { expand 1 } }",
    ),
}


@pytest.mark.parametrize("stage", OPEN)
def test_an_open_decision_of_a_network_is_named(stage: str) -> None:
    (mistake,) = found(TOP.replace("space", "network") + f"  {stage}\n" + HEAD)
    words, where = OPEN[stage]
    (label,) = mistake.labels
    assert mistake.code == "E0370"
    assert (label.text, label.span.source.text[label.span.start : label.span.end]) == (words, where)


def test_a_huge_number_of_members_is_told_shortly() -> None:
    stages = "".join(f"  stage s{i} conv {{ kernel 3 }} -> 1 .. 1000\n" for i in range(200))
    (mistake,) = found(TOP.replace("space", "network") + stages + HEAD)
    assert mistake.message == "a network has one member, and this has about 10^600"


@pytest.mark.parametrize(
    ("stages", "silencing"),
    [
        ("stage s irb { kernel 3  expand 4  hidden 8 } -> 8", "hidden 8"),
        ("stage s irb { kernel 3  hidden 8 } -> 8 { layer 1 { expand 4 } }", "hidden 8"),
        ("default { hidden 8 } stage s irb { kernel 3  expand 4 } -> 8", "hidden 8"),
        ("stage s one of { irb { hidden 8 } } { kernel 3  expand 4 } -> 8", None),
        ("stage s irb { kernel 3  expand 4  se_width 4 } -> 8", None),
    ],
)
def test_what_has_no_effect_is_an_error(stages: str, silencing: str | None) -> None:
    (mistake,) = found(TOP + f"  {stages}\n" + HEAD)
    assert mistake.code == "E0311" and place(mistake) in ("expand 4", "se_width 4")
    shown = [label.span.source.text[label.span.start : label.span.end] for label in mistake.labels]
    assert shown == ([silencing] if silencing else [])


def test_what_has_an_effect_in_some_member_is_none() -> None:
    assert codes(TOP + "  stage s irb { kernel 3  expand 4  se {0, 1}  se_width 4 } -> 8\n" + HEAD) == []
    assert codes(TOP + "  stage s one of { conv  irb } { kernel 3  expand 4 } -> 8\n" + HEAD) == []


# --------------------------------------------------------------------------------------------------- the catalogue


@pytest.mark.parametrize("code", [code for code, info in CODES.items() if info.example and code[:3] in ("E03", "W04")])
def test_each_example_of_the_catalogue_gives_its_code(code: str) -> None:
    assert codes(CODES[code].example or "") == [code]


def test_the_catalogue_has_the_codes_that_are_raised_and_no_others() -> None:
    paths = [
        p for folder in ("dsl", "compiler") for p in (ROOT / folder).rglob("*.py") if not p.name.startswith("code")
    ]
    raised = {code for path in paths for code in re.findall(r'"([EW]\d{4})"', path.read_text(encoding="utf-8"))}
    assert raised == set(CODES)


def test_the_page_of_errors_is_fresh() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert page == as_markdown(), "write `nasc.dsl.codes.as_markdown()` into docs/errors.md"


def test_mistakes_of_meaning_in_several_stages_come_together() -> None:
    text = """space several {
      input   image 3 x 32 x 32
      output  classes 10
      granularity 32
      stage stem  conv       { kernel 3 }                                       -> 16
      stage a     irb x 3    { kernel {3, 5}  stride 2  expand (0, 1] }         -> 32
      stage b     fused_irb  { kernel 3  expand 4  skip yes }                   -> 64
      stage c     irb        { kernel 3  hidden 8 .. 20 step 8 }                -> 64
      head  global_pool | linear
    }"""
    assert [d.code for d in check(load("several.nas", text)).diagnostics.found] == ["E0337", "E0312", "E0339"]
