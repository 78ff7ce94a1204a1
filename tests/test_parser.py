"""The parser: every file of the project, every kind of phrase, every syntax error, and hostile text."""

import os
import re
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasc.dsl import grammar_cache, syntax
from nasc.dsl.diagnostics import DiagnosticError, Diagnostics, Source
from nasc.dsl.parser import parse, parse_file, parse_setting
from nasc.dsl.render import render, to_json
from nasc.dsl.tokens import tokens

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*ROOT.glob("spaces/**/*.nas"), *ROOT.glob("dsl/library/*.nas"), *ROOT.glob("tests/data/states/*.nas")])
RESERVED = re.findall(
    r"\w+",
    "all and any block by default first from head import in input layer let nas network not of one or output ratio "
    "search space stage step target tensor when x",
)


def ok(text: str) -> syntax.File:
    file, diagnostics = parse(text)
    assert not diagnostics.found, render(diagnostics.found)
    return file


def space(body: str) -> syntax.Space:
    (item,) = ok(f"space s {{\n{body}\n}}").items
    assert isinstance(item, syntax.Space)
    return item


def block(body: str) -> syntax.Block:
    (item,) = ok(f"block b {{\n{body}\n}}").items
    assert isinstance(item, syntax.Block)
    return item


def errors(text: str) -> list[tuple[str, int, int]]:
    """Code, line and column of everything found."""
    _, diagnostics = parse(text)
    return [(d.code, *d.span.source.position(d.span.start)) for d in diagnostics.found if d.span]


# --------------------------------------------------------------------------------------------------- whole files


def test_there_are_files_to_parse() -> None:
    assert len(FILES) >= 33


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_of_the_project_parses(path: Path) -> None:
    file, diagnostics = parse_file(path)
    assert not diagnostics.found, render(diagnostics.found)
    text = path.read_text(encoding="utf-8")
    code = re.sub(r"//.*", "", text)  # none of these files has `//` in quotes
    spaces = [item for item in file.items if isinstance(item, syntax.Space)]
    stages = [item for each in spaces for item in each.items if isinstance(item, syntax.Stage)]
    assert file.version == 1
    assert len(stages) == len(re.findall(r"\bstage\b", code))
    assert sum(len(stage.rows) for stage in stages) == len(re.findall(r"\blayer\b(?=\s+\d)", code))
    assert len([item for item in file.items if isinstance(item, syntax.Block)]) == len(re.findall(r"\bblock\b", code))
    assert [comment.text for comment in file.comments] == [
        match.removeprefix(" ").rstrip() for match in re.findall(r"//(.*)", text)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_line_breaks_are_blanks(path: Path) -> None:
    """The tokens of a file, each on its own line or all on one, give the tree of the file."""
    text = path.read_text(encoding="utf-8")
    source = Source("x", text)
    found = tokens(source, "start", Diagnostics())
    tree = ok(text)
    assert ok(" ".join(found)) == tree
    joined = "\n\t".join(found).replace("\n\t(", " (")
    assert ok(joined) == tree


def test_the_grammar_has_no_conflicts_and_no_collisions() -> None:
    pytest.importorskip("interegular")
    grammar_cache.build(grammar_cache.GRAMMAR.read_text(encoding="utf-8"), strict=True)


def test_the_words_of_the_grammar_are_the_reserved_words() -> None:
    """All 30 are excluded from names, and none is forgotten in that list."""
    parser = grammar_cache.parser()
    words = {str(t.pattern.value) for t in parser.terminals if str(t.pattern.value).isalpha()}
    assert words == set(RESERVED)
    name = next(t.pattern.value for t in parser.terminals if t.name == "NAME")
    assert not [word for word in RESERVED if re.fullmatch(name, word)]
    assert all(re.fullmatch(name, f"{word}s") for word in RESERVED)


# --------------------------------------------------------------------------------------------------- phrases


def test_a_stage_has_all_its_parts() -> None:
    (stage,) = space(
        "stage s irb x 2 .. 4 from t { kernel {3, 5}, se 1 } -> 64 { layer 2 .. 3 conv { act relu } -> 8; layer 1 {} };"
    ).items
    assert isinstance(stage, syntax.Stage)
    assert (stage.name, stage.source) == ("s", "t")
    assert isinstance(stage.callee, syntax.Call)
    assert (stage.callee.name, stage.callee.called, stage.callee.braced) == ("irb", False, False)
    assert isinstance(stage.count, syntax.Range)
    assert [prop.name for prop in stage.properties] == ["kernel", "se"]
    assert isinstance(stage.width, syntax.Number) and stage.width.value == 64
    first, second = stage.rows
    assert (first.first, first.last, second.first, second.last) == (2, 3, 1, 1)
    assert isinstance(first.callee, syntax.Call) and first.callee.name == "conv"
    assert second.callee is None and second.width is None and second.properties == ()


@pytest.mark.parametrize(
    ("text", "low_open", "high_open"), [("(0, 8]", True, False), ("[0, 8)", False, True), ("(0, 8)", True, True)]
)
def test_intervals_know_their_open_ends(text: str, low_open: bool, high_open: bool) -> None:
    value = parse_setting(text)
    assert isinstance(value, syntax.Interval)
    assert (value.open_low, value.open_high) == (low_open, high_open)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", Fraction(1, 1000)), ("0.1", Fraction(1, 10)), ("-3", Fraction(-3)), ("-1.5e2", Fraction(-150))],
)
def test_numbers_are_exact_and_keep_their_spelling(text: str, value: Fraction) -> None:
    number = parse_setting(text)
    assert isinstance(number, syntax.Number)
    assert (number.value, number.text) == (value, text)


def test_operators_bind_as_in_arithmetic() -> None:
    def shape(node: object) -> object:
        if isinstance(node, syntax.Operation):
            return (node.operator, shape(node.left), shape(node.right))
        return ".".join(node.parts) if isinstance(node, syntax.Reference) else node

    assert shape(parse_setting("a - b - c * d")) == ("-", ("-", "a", "b"), ("*", "c", "d"))
    assert shape(parse_setting("(a - (b - c)) / in.channels")) == ("/", ("-", "a", ("-", "b", "c")), "in.channels")
    assert shape(parse_setting("a or not b and c <= d")) == ("or", "a", ("and", ("not", None, "b"), ("<=", "c", "d")))


def test_calls_keep_their_form() -> None:
    configured = parse_setting("bn { eps 1e-3 }")
    applied = parse_setting("f(1, stride = 2, 1 x n)")
    empty = parse_setting("f()")
    assert isinstance(configured, syntax.Call) and isinstance(applied, syntax.Call) and isinstance(empty, syntax.Call)
    assert (configured.braced, configured.called) == (True, False)
    assert [argument.name for argument in applied.arguments] == [None, "stride", None]
    assert isinstance(applied.arguments[2].value, syntax.Shape)
    assert (empty.called, empty.braced, empty.arguments) == (True, False, ())


def test_a_block_has_all_its_parts() -> None:
    file = ok(
        "// not this\n\n// what it\n//   does\nblock b(first stride = 1, ratio e, tensor t = nothing,) -> w {\n"
        "  y = in | f -> 3 when e > 1; y | (g | h) when t.channels == 0 | all of { g  h | f } by add }"
    )
    (item,) = file.items
    assert isinstance(item, syntax.Block)
    assert item.doc == "what it\n  does"
    assert item.width == "w"
    assert [(p.name, p.kind, p.default is None) for p in item.parameters] == [
        ("stride", "first", False), ("e", "ratio", True), ("t", "tensor", False)
    ]  # fmt: skip
    assign, result = item.statements
    assert isinstance(assign, syntax.Assignment) and isinstance(result, syntax.Pipeline)
    assert isinstance(assign.value, syntax.Pipeline)
    assert isinstance(assign.value.steps[0].width, syntax.Number) and assign.value.steps[0].when is not None
    group, choice = (step.operator for step in result.steps)
    assert isinstance(group, syntax.Group) and len(group.steps) == 2
    assert isinstance(choice, syntax.Choice)
    assert (choice.quantifier, choice.join, [len(c.steps) for c in choice.candidates]) == ("all", "add", [1, 2])


def test_a_statement_without_steps_is_its_source() -> None:
    assert block("concat(a, b)").statements == (parse_setting("concat(a, b)"),)
    assert block("in").statements == (parse_setting("in"),)


def test_spans_cover_the_phrases() -> None:
    text = "space s {\n  stage a irb { kernel 3 } -> (8 + 8) * 2\n  let v = one of { f  g { k 1 } }\n}\n"
    (item,) = ok(text).items
    assert isinstance(item, syntax.Space)
    stage, let = item.items
    assert isinstance(stage, syntax.Stage) and isinstance(let, syntax.Let) and stage.width is not None

    def cut(node: syntax.Node) -> str:
        return text[node.span.start : node.span.end]

    assert cut(item) == text.rstrip()
    assert cut(stage) == "stage a irb { kernel 3 } -> (8 + 8) * 2"
    assert text[stage.name_span.start : stage.name_span.end] == "a"
    assert (cut(stage.properties[0]), cut(stage.width)) == ("kernel 3", "(8 + 8) * 2")
    assert isinstance(let.value, syntax.Choice)
    assert [cut(candidate) for candidate in let.value.candidates] == ["f", "g { k 1 }"]


def test_line_ends_and_byte_order_marks_do_not_matter() -> None:
    text = 'nas 1\n// c\nimport "a.nas"\n'
    assert ok("\ufeff" + text.replace("\n", "\r\n")) == ok(text) == ok(text.replace("\n", "\r"))
    assert errors("\ufeffnas 1\r\n}\r\n") == [("E0102", 2, 1)]


def test_slashes_in_quotes_are_no_comment() -> None:
    file = ok('import "a//b.nas" // c')
    assert [comment.text for comment in file.comments] == ["c"]


# --------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("word", RESERVED)
@pytest.mark.parametrize(
    "text",
    [
        "space s {{ stage {} conv }}", "space s {{ stage a {} }}", "space s {{ let {} = 1 }}", "space {} {{ }}",
        "block {} {{ in }}", "block b({}) {{ in }}", "target t {{ {} 3 }}",
        "block b {{ in | {} }}", "target {} {{ }}",
    ],
)  # fmt: skip
def test_reserved_words_cannot_be_names(word: str, text: str) -> None:
    _, diagnostics = parse(text.format(word))
    allowed = word == "target" and text == "target t {{ {} 3 }}"  # what a search is to reach is called that, too
    assert bool(diagnostics.errors) is not allowed


def test_a_reserved_word_as_a_name_is_one_error_and_hides_nothing() -> None:
    text = "space s {\n  stage head irb { first 3 }\n  let x = 2 3\n}\n"
    assert errors(text) == [("E0104", 2, 9), ("E0104", 2, 20), ("E0104", 3, 7), ("E0102", 3, 13)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("space s {\n stage a f { k 3 -> 4\n stage b f\n}", [("E0103", 2, 18)]),
        ("space s {\n stage a f { k 3\n stage b f { k 3 }\n}", [("E0103", 3, 2)]),
        ("space s {\n stage a f { k = 3 }\n let w 4\n stage b f { k {3 5} }\n}",
         [("E0102", 2, 16), ("E0102", 3, 8), ("E0102", 4, 19)]),
        ("space s {\n stage a f { k", [("E0103", 2, 15)]),
        ("space s {\n input image 3x32x32\n}", [("E0102", 2, 14)]),
        ("space s {\n stage a f { k [3, 5, 7] }\n}", [("E0102", 2, 21)]),
        ("space s {\n let a = §§ 3\n let b = @\n}", [("E0101", 2, 10), ("E0101", 3, 10)]),
        ('import "a\nspace s { }', [("E0101", 1, 8)]),
        ("spcae s { }\nblock b { in }", [("E0102", 1, 1)]),
        ("block b {\n in | relu\n (f | g)\n}", [("E0108", 2, 7)]),
        ("block b {\n in | relu // (\n (f | g)\n}", [("E0108", 2, 7)]),
        ("nas 2", [("E0107", 1, 5)]),
        ("nas one", [("E0102", 1, 5)]),
        ("\0\0 \x1b", [("E0101", 1, 1), ("E0101", 1, 4)]),
        ("}{}{", [("E0102", 1, 1)]),
        ("space s {\n stage a f -> 3 { layer { k 3 } }\n stage b f { k 1 2 }\n head | g\n}",
         [("E0102", 2, 25), ("E0102", 3, 18), ("E0102", 4, 7)]),
        ("block b { in | | relu }\nblock c { in\nblock d { in }", [("E0102", 1, 16), ("E0103", 3, 1)]),
    ],
)  # fmt: skip
def test_each_mistake_is_reported_once_at_its_place(text: str, expected: list[tuple[str, int, int]]) -> None:
    assert errors(text) == expected


def test_what_is_right_around_a_mistake_is_kept() -> None:
    stages = " stage p f { k = 3 }\n stage q\n stage r f -> 8\n"
    file, diagnostics = parse(f"block a {{ in }}\nspace s {{\n{stages}}}\nblock z {{ in }}")
    assert len(diagnostics.errors) == 2
    names = [item.name for item in file.items if isinstance(item, syntax.Block | syntax.Space)]
    assert names == ["a", "s", "z"]
    (item,) = (item for item in file.items if isinstance(item, syntax.Space))
    assert [stage.name for stage in item.items if isinstance(stage, syntax.Stage)] == ["p", "r"]


def test_errors_speak_the_users_words() -> None:
    _, diagnostics = parse("space s {\n stage a f { k = 3 }\n stage b f { k 3 } } }\nspcae t {")
    shown = render(diagnostics.found)
    assert not re.search(r"Token|ANON|[A-Z]{4,}", shown)
    assert "did you mean `space`?" in shown


@pytest.mark.parametrize("text", ["", "3 4", "x", "{", "a |", "space s { }", "3 }", "//", "-a"])
def test_a_setting_is_one_value(text: str) -> None:
    with pytest.raises(DiagnosticError):
        parse_setting(text)


# --------------------------------------------------------------------------------------------------- hostile text


def code_of(text: str) -> str:
    start = time.perf_counter()
    _, diagnostics = parse(text)
    assert time.perf_counter() - start < 20  # linear: far from what a quadratic step would take
    render(diagnostics.found)
    return diagnostics.found[-1].code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("space s { let a = " + "(" * 50_000, "E0105"),
        ("space s { let a = " + "{" * 50_000 + "}" * 50_000, "E0105"),
        ("space s { let a = " + "1 + " * 7_000 + "1 }", "E0105"),
        ("space s { let a = " + "not " * 14_000 + "1 }", "E0105"),
        ("space s { let a = 1e999999999 }", "E0106"),
        ("space s { let a = " + "9" * 500_000 + " }", "E0106"),
        ("1 " * 21_000, "E0204"),
        ("a" * (1 << 20) + "a", "E0204"),
        ("@" * 100_000, "E0101"),
        ("}" * 14_000, "E0102"),
        ('"' * 14_001, "E0101"),
        ('"\n' * 21_000, "E0204"),
        ("@ " * 21_000, "E0204"),
        ("{ " * 60 + "} " * 14_000, "E0102"),
    ],
    ids=lambda value: value[:24],
)
def test_absurd_text_is_refused_quickly(text: str, code: str) -> None:
    assert code_of(text) == code


def test_errors_come_to_an_end() -> None:
    _, diagnostics = parse("space s {\n" + " stage a f { k = 3 }\n" * 1_000 + "}")
    assert diagnostics.found[-1].code == "E0109"
    assert len(diagnostics.found) <= 52


def test_the_deepest_tree_allowed_can_be_walked() -> None:
    depth = 60
    value = parse_setting("f(" * depth + "1" + ")" * depth)
    assert repr(value).count("Call(") == depth


def survives(text: str) -> None:
    file, diagnostics = parse(text, "t.nas")
    assert isinstance(file, syntax.File)
    assert render(diagnostics.found).count("error[") >= len(diagnostics.errors)
    for entry in to_json(diagnostics.found):
        assert entry["code"].startswith("E01")


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_diagnostics_and_no_exception(text: str) -> None:
    survives(text)


WORDS = [*RESERVED, *re.split(" ", '{ } ( ) [ ] -> = | , ; . .. + - * / < == a b relu 1 0.5 1e-3 "t" \n // é 3x3 §')]


@given(st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_any_words_give_diagnostics_and_no_exception(text: str) -> None:
    survives(text)


EXAMPLE = (ROOT / "tests/data/states/gpunet1_epoch_090.nas").read_text(encoding="utf-8")


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_file_gives_diagnostics_and_no_exception(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(EXAMPLE)))
    end = data.draw(st.integers(start, min(len(EXAMPLE), start + 30)))
    survives(EXAMPLE[:start] + " ".join(data.draw(st.lists(st.sampled_from(WORDS), max_size=4))) + EXAMPLE[end:])


# --------------------------------------------------------------------------------------------------- files and cache


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def code(path: Path) -> str:
        (found,) = parse_file(path)[1].found
        return found.code

    (tmp_path / "latin.nas").write_bytes(b"nas 1\n// \xe9\n")
    (tmp_path / "large.nas").write_bytes(b" " * ((1 << 20) + 1))
    assert code(tmp_path / "none.nas") == "E0201"
    assert code(tmp_path) == "E0202"
    assert code(tmp_path / "latin.nas") == "E0203"
    assert code(tmp_path / "large.nas") == "E0204"
    assert code(Path("a\0b.nas")) == "E0202"
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.nas")
        assert code(tmp_path / "pipe.nas") == "E0202"


def in_fresh_process(cache: Path) -> None:
    script = "from nasc.dsl.parser import parse; f, d = parse('nas 1'); assert f.version == 1 and not d.found"
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and not result.stderr, result.stderr


def test_the_cache_is_written_used_and_mended(tmp_path: Path) -> None:
    in_fresh_process(tmp_path)
    (pickle,) = tmp_path.rglob("*.pickle")
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".grammar")]
    good = pickle.read_bytes()
    for damaged in (b"", b"garbage", good[: len(good) // 2]):
        pickle.write_bytes(damaged)
        in_fresh_process(tmp_path)
        assert len(pickle.read_bytes()) > len(good) // 2


def test_a_cache_that_others_may_write_is_not_read(tmp_path: Path) -> None:
    in_fresh_process(tmp_path)
    (pickle,) = tmp_path.rglob("*.pickle")
    before = pickle.stat().st_ino
    pickle.chmod(0o666)
    in_fresh_process(tmp_path)
    assert pickle.stat().st_ino != before and not pickle.stat().st_mode & 0o022


def test_a_cache_directory_that_cannot_be_made_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    in_fresh_process(tmp_path / "file")
