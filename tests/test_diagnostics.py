"""Diagnostics as text and as JSON, and the catalogue of codes."""

import json
import re
from pathlib import Path

import pytest

from nasc.dsl.codes import CODES, FILES, SYNTAX, as_markdown
from nasc.dsl.diagnostics import Diagnostic, DiagnosticError, Diagnostics, Label, Source, Span, did_you_mean
from nasc.dsl.loader import load
from nasc.dsl.parser import parse
from nasc.dsl.render import render, to_json

ROOT = Path(__file__).resolve().parent.parent
STAGE = "\n" * 8 + "  stage irb2 irb x 5 { kernel {3, 5}  stride 2  skip yes }  -> 288\n"


def span(source: Source, part: str) -> Span:
    start = source.text.index(part)
    return Span(source, start, start + len(part))


def one(text: str, part: str, note: str = "", labels: tuple[tuple[str, str], ...] = (), help: str | None = None) -> str:
    source = Source("a.nas", text)
    marks = tuple(Label(span(source, where), said) for where, said in labels)
    return render([Diagnostic("E0999", "wrong", span(source, part), note, marks, help)])


# --------------------------------------------------------------------------------------------------- text


def test_the_example_of_the_language_page() -> None:
    source = Source("spaces/mine.nas", STAGE)
    diagnostic = Diagnostic(
        "E0312",
        "these layers cannot be skipped",
        span(source, "skip yes"),
        "a skipped layer must keep its shape",
        (Label(span(source, "stride 2"), "160 x 18 x 18 becomes 288 x 9 x 9 here"),),
        "`skip same_shape` lets only the 4 layers with equal shapes be dropped",
    )
    assert (
        render([diagnostic])
        == """\
error[E0312]: these layers cannot be skipped
  --> spaces/mine.nas:9:49
   |
 9 |   stage irb2 irb x 5 { kernel {3, 5}  stride 2  skip yes }  -> 288
   |                                       ^^^^^^^^  ^^^^^^^^ a skipped layer must keep its shape
   |                                       |
   |                                       160 x 18 x 18 becomes 288 x 9 x 9 here
   = help: `skip same_shape` lets only the 4 layers with equal shapes be dropped
"""
    )


def test_labels_on_several_lines_of_several_sources() -> None:
    main = Source("a.nas", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten end\n")
    other = Source("b.nas", "there")
    labels = (
        Label(span(main, "one"), "A"),
        Label(span(main, "nine"), "B"),
        Label(span(other, "ere"), "C"),
        Label(span(main, "ten"), "D"),
    )
    assert (
        render([Diagnostic("W0001", "look", span(main, "end"), "", labels)])
        == """\
warning[W0001]: look
   --> a.nas:10:5
    |
  1 | one
    | ^^^ A
   ...
  9 | nine
    | ^^^^ B
 10 | ten end
    | ^^^ ^^^
    | |
    | D
   ::: b.nas:1:3
    |
  1 | there
    |   ^^^ C
"""
    )


def test_tabs_wide_letters_and_controls_keep_the_carets_in_place() -> None:
    shown = one("\tab 漢字 \x1b[31m \u202e x", "x", "here").splitlines()
    assert shown[3] == " 1 |     ab 漢字 \\x1b[31m \\u202e x"
    # Each of the two Chinese letters takes two cells of a terminal.
    assert shown[4] == "   | " + " " * (shown[3].index("x", 30) - 5 + 2) + "^ here"


def test_nothing_that_a_terminal_obeys_comes_through() -> None:
    source = Source("evil\x1b]0;\x07.nas", "a")
    shown = render([Diagnostic("E0999", "x\x1by", Span(source, 0, 1), "n\r", (), "h\x9bi")])
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_long_line_is_cut_around_the_mark() -> None:
    lines = one("a" * 300 + " HERE " + "b" * 300, "HERE", "note").splitlines()
    assert lines[1] == "  --> a.nas:1:302"
    assert lines[3].startswith(" 1 | ...a") and lines[3].endswith("b...") and len(lines[3]) < 160
    assert lines[4].index("^") == lines[3].index("HERE")
    assert lines[4].endswith("^^^^ note")


def test_marks_far_apart_in_a_long_line_are_shown_apart() -> None:
    lines = one("L" + "a" * 500 + "P" + "b" * 500, "P", "primary", (("L", "label"),)).splitlines()
    assert [line.split("^ ")[1] for line in lines if "^" in line] == ["label", "primary"]
    assert all(len(line) < 160 for line in lines)


def test_a_mark_over_a_whole_long_line_is_cut() -> None:
    lines = one("P" * 100_000, "P" * 100_000, "note").splitlines()
    assert all(len(line) < 200 for line in lines)


def test_a_mark_over_several_lines_shows_its_first() -> None:
    assert one("one two {\n} three", "two {\n}", "note").endswith(" 1 | one two {\n   |     ^^^^^ note\n")


def test_a_place_at_the_end_of_the_text_has_a_caret() -> None:
    source = Source("a.nas", "abc")
    assert render([Diagnostic("E0999", "wrong", Span(source, 3, 3), "more")]).endswith("abc\n   |    ^ more\n")
    empty = Source("a.nas", "")
    assert render([Diagnostic("E0999", "wrong", Span(empty, 0, 0))]).endswith(" 1 |\n   | ^\n")


def test_a_diagnostic_without_a_place() -> None:
    assert render([Diagnostic("E0201", "there is no file `x`", None, help="look\nagain")]) == (
        "error[E0201]: there is no file `x`\n  = help: look\n          again\n"
    )


def test_several_are_divided_by_a_blank_line_and_none_are_nothing() -> None:
    diagnostic = Diagnostic("E0999", "wrong", None)
    assert render([diagnostic, diagnostic]) == "error[E0999]: wrong\n\nerror[E0999]: wrong\n"
    assert render([]) == ""


def test_color_only_adds_color() -> None:
    _, diagnostics = parse("space s {\n stage a f { k = 3 }\n stage b f { k 3")
    colored = render(diagnostics.found, color=True)
    assert colored != render(diagnostics.found)
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render(diagnostics.found)


# --------------------------------------------------------------------------------------------------- JSON


def test_json_has_lines_and_columns() -> None:
    source = Source("a.nas", "ab\ncd ef\n")
    labels = (Label(span(source, "ab"), "first"),)
    (entry,) = json.loads(json.dumps(to_json([Diagnostic("W0001", "m", span(source, "ef\n"), "n", labels, "h")])))
    assert entry == {
        "code": "W0001", "severity": "warning", "message": "m", "note": "n", "help": "h",
        "file": "a.nas", "line": 2, "column": 4, "end_line": 3, "end_column": 1,
        "labels": [{"text": "first", "file": "a.nas", "line": 1, "column": 1, "end_line": 1, "end_column": 3}],
    }  # fmt: skip


def test_json_without_a_place_has_the_same_keys() -> None:
    source = Source("a.nas", "x")
    (without, with_place) = to_json([Diagnostic("E1", "m", None), Diagnostic("E1", "m", Span(source, 0, 1))])
    assert without.keys() == with_place.keys()
    assert without["file"] is None and without["line"] is None


# --------------------------------------------------------------------------------------------------- the list


def test_the_same_code_at_the_same_place_is_kept_once() -> None:
    diagnostics = Diagnostics()
    source = Source("a.nas", "ab")
    for end in (1, 1, 2):
        diagnostics.add("E0999", "wrong", Span(source, 0, end))
    assert len(diagnostics.found) == 2


def test_warnings_are_not_raised() -> None:
    diagnostics = Diagnostics()
    diagnostics.add("W0001", "careful", None)
    diagnostics.raise_errors()
    diagnostics.add("E0999", "wrong", None)
    with pytest.raises(DiagnosticError, match="E0999: wrong"):
        diagnostics.raise_errors()


def test_suggestions_are_near() -> None:
    assert did_you_mean("strid", ["kernel", "stride"]) == "did you mean `stride`?"
    assert did_you_mean("zzz", ["kernel", "stride"]) is None


# --------------------------------------------------------------------------------------------------- the catalogue


@pytest.mark.parametrize("code", [code for code, info in {**SYNTAX, **FILES}.items() if info.example])
def test_each_example_gives_its_code(code: str, tmp_path: Path) -> None:
    info = CODES[code]
    module = load(tmp_path / "a.nas", info.example, primitives=frozenset({"relu"}))
    assert [diagnostic.code for diagnostic in module.diagnostics.found] == [code]


def test_the_catalogue_and_the_program_know_the_same_codes() -> None:
    modules = [path for path in (ROOT / "dsl").glob("*.py") if not path.name.startswith("code")]
    used = {code for path in modules for code in re.findall(r'"([EW]\d{4})"', path.read_text(encoding="utf-8"))}
    assert used == set(SYNTAX) | set(FILES)


def test_the_page_of_codes_has_every_code_in_order() -> None:
    page = as_markdown()
    assert re.findall(r"^## ([EW]\d{4}): .+$", page, re.M) == sorted(CODES)
    assert page.endswith("\n") and not page.endswith("\n\n")
