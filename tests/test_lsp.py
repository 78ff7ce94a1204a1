"""The language server as an editor meets it: sessions over stdio with pygls's client, and its parts under odd texts."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient
from pygls.workspace import PositionCodec

from nasc.cli import main
from nasc.compiler.cost import cost_of, layer_costs
from nasc.compiler.lower_torch import model_source
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.primitives import FORMS, OPERATORS
from nasc.dsl.format import format_text
from nasc.dsl.grammar_cache import GRAMMAR
from nasc.lsp.completion import complete
from nasc.lsp.document import OpenDocuments
from nasc.lsp.hover import hover
from nasc.lsp.layout import LEGEND, semantic_tokens
from nasc.lsp.positions import Lines
from nasc.lsp.server import make_server
from nasc.lsp.words import ACTIVATIONS
from tests.lsp_session import PLACE, Session, edited, position, slice_of

ROOT = Path(__file__).resolve().parents[1]
EDITOR = ROOT / "editors" / "vscode"
TEXT = """nas 1

// A gate of its own.
block gated(kernel, act = relu) -> filters {
  deep = in | conv2d(kernel) -> filters | bn | act
  mul(deep, deep | conv2d(1) -> filters | sigmoid)
}

space small {
  input       image 3 x 32 x 32
  output      classes 10
  granularity 8
  default     { act swish }
  let w = 16
  stage stem  conv       { kernel 3 }                         -> w
  stage body  irb x 2    { kernel 3  hidden 32  act relu }    -> w
  stage tail  gated      { kernel 3 }                         -> w {
    layer 1 { act gelu }
  }
  head  global_pool | linear
}

search prunet { seed 1 }
"""
BEGIN = TEXT[: TEXT.index("  head")]
OPEN = TEXT.replace("kernel 3  hidden 32", "kernel {3, 5}  hidden {32, 64}").replace("let w = 16", "let w = {16, 24}")


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    running = Session()
    yield running
    code, stderr = running.end()
    assert (code, stderr) == (0, "")


@pytest.fixture
def file(tmp_path: Path) -> str:
    return (tmp_path / "small.nas").as_uri()


def mark(text: str, before: str, after: str) -> str:
    """The text with a mark between two pieces that stand side by side in it, once."""
    assert text.count(before + after) == 1, before + after
    return text.replace(before + after, before + PLACE + after)


# ------------------------------------------------------------------------------------------------- diagnostics


def test_a_session_finds_a_mistake_and_mends_it(session: Session, file: str) -> None:
    """Exercises: command lsp."""
    wrong = TEXT.replace("hidden 32", "hiden 32")
    (found,) = session.checked(file, wrong)
    assert (found.code, found.source, found.severity) == ("E0305", "nasc", types.DiagnosticSeverity.Error)
    assert slice_of(wrong, found.range) == "hiden"
    assert isinstance(found.data, dict) and "parameter" in found.data["explanation"]
    (action,) = actions(session, file, [found])
    assert action.title == "Change `hiden` to `hidden`" and action.edit is not None
    assert edited(wrong, (action.edit.changes or {})[file]) == TEXT
    assert session.checked(file, TEXT) == []


def actions(session: Session, file: str, found: list[types.Diagnostic]) -> list[types.CodeAction]:
    context = types.CodeActionContext(found)
    params = types.CodeActionParams(types.TextDocumentIdentifier(file), found[0].range, context)
    answer = session.run(session.client.text_document_code_action_async(params)) or ()
    return [action for action in answer if isinstance(action, types.CodeAction)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("stage tail  gated", "stage tail  gatd"),
        ("conv2d(kernel) ->", "conv2d(kernl) ->"),
        ("conv2d(1) ->", "conv2d(kernell = 1) ->"),
        ("search prunet", "search prune"),
        ("act swish", "act swsh"),
        ("{ seed 1 }", "{ sed 1 }"),
        ("let w = 16", "let w = 16\n  let unused = 3"),
        ("kernel 3  hidden 32", "kernel 3  kernel 3  hidden 32"),
        ("kernel 3  hidden", "kernel {3, 3}  hidden"),
        ("space small", "network small"),
        ("layer 1 { act gelu }", "layer 1 { act gelu"),
    ],
)
def test_quick_fixes_leave_fewer_mistakes(session: Session, file: str, old: str, new: str) -> None:
    source = OPEN if new == "network small" else TEXT
    wrong = source.replace(old, new, 1)
    found = session.checked(file, wrong)
    action = actions(session, file, found)[0]
    assert action.edit is not None
    mended = edited(wrong, (action.edit.changes or {})[file])
    assert len(session.checked(file, mended)) < len(found)


def test_only_the_newest_text_is_reported(session: Session, file: str) -> None:
    for number in range(5):
        session.show(file, TEXT.replace("hidden", f"hidden{number}"))
    session.show(file, TEXT)
    assert session.diagnostics(file) == []
    assert session.found.empty()


def test_a_place_in_the_same_text_is_related(session: Session, file: str) -> None:
    wrong = TEXT.replace("stage tail", "stage body")
    found = next(d for d in session.checked(file, wrong) if d.code == "E0352")
    (related,) = found.related_information or ()
    assert related.location.uri == file
    assert related.location.range.start.line < found.range.start.line


def test_unsaved_imports_are_seen(session: Session, tmp_path: Path) -> None:
    (tmp_path / "cells.nas").write_text("block cell(kernel) -> filters {\n  in | nonsense\n}\n")
    cells, main_ = (tmp_path / "cells.nas").as_uri(), (tmp_path / "main.nas").as_uri()
    text = 'import "cells.nas"\n' + TEXT.removeprefix("nas 1\n").replace("gated  ", "cell  ", 1).replace(
        "    layer 1 { act gelu }", "    layer 1 { kernel 5 }"
    )
    wrong = next(d for d in session.checked(main_, text) if d.code == "E0350")
    assert slice_of(text, wrong.range) == 'import "cells.nas"'
    (related,) = wrong.related_information or ()
    assert related.location.uri == cells and related.location.range.start.line == 1
    session.show(cells, "block cell(kernel) -> filters {\n  in | conv2d(kernel) -> filters\n}\n")
    assert "E0350" not in {d.code for d in session.diagnostics(main_)}
    session.close(cells)
    assert "E0350" in {d.code for d in session.diagnostics(main_)}
    session.close(main_)


# ------------------------------------------------------------------------------------------------- hover


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("stage bo", "dy  irb", ["| body.2 | irb | 16 x 32 x 32 | 16 x 32 x 32 |", "MACs"]),
        ("lay", "er 1", ["| tail.1 | gated |"]),
        ("  ir", "b x 2", ["block irb(kernel, ratio expand", "Inverted residual"]),
        ("tail  ga", "ted", ["A gate of its own."]),
        ("hidden 32  a", "ct relu", ["`act` of `irb`", "overrides `act swish` of `default`"]),
        ("layer 1 { a", "ct gelu", ["`act` of `gated`; default `relu`"]),
        ("let ", "w = 16", ["let w = 16", "used 3 times"]),
        ("filters | b", "n | act", ["bn(eps = 1/100000", "Batch normalisation"]),
        ("space sm", "all", ["1 members", "parameters"]),
        ("gran", "ularity", ["grid of intervals"]),
        ("search pru", "net", ["tiered pruning"]),
        ("{ se", "ed 1", ["of weights, order of images"]),
        ("he", "ad  global", ["end of the network"]),
    ],
)
def test_hover(session: Session, file: str, before: str, after: str, wanted: list[str]) -> None:
    assert session.checked(file, TEXT) == []
    told = session.hover(file, mark(TEXT, before, after))
    for piece in wanted:
        assert piece in told


def test_hover_tells_the_costs_that_the_command_prints(session: Session, file: str) -> None:
    session.checked(file, TEXT)
    cost = cost_of(space_of(open_file("small.nas", TEXT)))
    told = session.hover(file, mark(TEXT, "space sm", "all"))
    assert f"{cost.params.min:,}" in told and f"{cost.macs.min:,}" in told


def test_hover_on_a_mistake_explains_it(session: Session, file: str) -> None:
    wrong = TEXT.replace("hidden 32", "hiden 32")
    session.checked(file, wrong)
    place = session.run(
        session.client.text_document_hover_async(
            types.HoverParams(types.TextDocumentIdentifier(file), position(mark(wrong, "hi", "den 32")))
        )
    )
    assert place is not None and isinstance(place.contents, types.MarkupContent)
    assert "E0305: an unknown parameter" in place.contents.value and "Mend:" in place.contents.value


@pytest.mark.parametrize("path", sorted((ROOT / "spaces" / "networks").glob("*.nas"))[:6], ids=lambda p: p.stem)
def test_layers_of_a_network_cost_its_whole(path: Path) -> None:
    space = space_of(open_file(path))
    layers, whole = layer_costs(space), cost_of(space)
    assert sum(c.params.min for c in layers.values()) == sum(c.params.max for c in layers.values()) == whole.params.min
    assert sum(c.macs.min for c in layers.values()) == sum(c.macs.max for c in layers.values()) == whole.macs.min


@pytest.mark.parametrize("name", ["gpunet1", "fbnet", "digits"])
def test_layers_of_a_space_bound_its_costs(name: str) -> None:
    space = space_of(open_file(ROOT / "spaces" / f"{name}.nas"))
    layers, whole = layer_costs(space), cost_of(space)
    assert sum(c.macs.min for c in layers.values()) <= whole.macs.min
    assert sum(c.macs.max for c in layers.values()) >= whole.macs.max


# ------------------------------------------------------------------------------------------------- completion


@pytest.mark.parametrize(
    ("typed", "there", "absent"),
    [
        ("  ", {"stage", "head", "let", "granularity"}, {"block", "relu"}),
        ("  sta", {"stage"}, {"block"}),
        ("  input ", {"image", "tokens"}, {"classes"}),
        ("  output ", {"classes", "depth", "features"}, {"image"}),
        ("  output features ", {"stem", "body", "tail"}, {"relu"}),
        ("  skip ", {"no", "yes", "same_shape"}, {"relu"}),
        ("  stage more ", {"irb", "gated", "one of"}, {"stage"}),
        ("  stage more irb ", {"x", "from"}, {"stage", "relu"}),
        ("  stage more irb from ", {"stem", "body", "tail"}, {"irb"}),
        ("  stage more irb { kernel 3 ", {"expand", "stride", "skip"}, {"kernel", "conv", "relu"}),
        ("  stage more irb { act ", {"relu", "swish"}, {"kernel", "bn"}),
        ("  stage more irb { se_act ", {"relu", "swish"}, {"kernel"}),
        ("  stage more irb { se ", {"yes", "no"}, {"relu"}),
        ("  stage more irb { norm ", {"bn", "layer_norm", "identity"}, {"relu"}),
        ("  stage more irb { act {relu, ", {"swish"}, {"kernel"}),
        ("  stage more irb { skip ", {"same_shape"}, {"relu"}),
        ("  stage more irb { norm bn { ", {"eps", "momentum"}, {"kernel"}),
        ("  stage more irb { kernel 3 } -> ", {"w"}, {"kernel"}),
        ("  stage more irb { kernel 3 } -> 8 { ", {"layer"}, {"kernel"}),
        ("  stage more irb { kernel 3 } -> 8 { layer 1 { ", {"kernel", "act"}, {"layer"}),
        ("  stage more one of { irb { ", {"kernel", "expand"}, {"irb"}),
        ("  stage more one of { ", {"irb", "conv"}, {"kernel"}),
        ("  stage more up { lateral ", {"stem", "body"}, {"relu"}),
        ("  head ", {"global_pool", "linear", "conv"}, {"stage"}),
        ("  head global_pool | ", {"linear", "dropout"}, {"stage"}),
        ("  default ", {"irb", "gated"}, {"kernel"}),
        ("  default irb { ", {"kernel", "expand"}, {"patch"}),
        ("  let other = ", {"irb", "w", "one of"}, {"stage"}),
        ("}\n", {"search", "target", "block"}, {"stage"}),
        ("}\nsearch ", {"prunet", "fbnet", "random"}, {"irb"}),
        ("}\nsearch prunet { ", {"alpha", "batch", "weights"}, {"kernel"}),
        ("}\nsearch prunet { cost ", {"latency", "macs", "params"}, {"kernel"}),
        ("}\nsearch prunet { weights ", {"rmsprop", "adam"}, {"kernel"}),
        ("}\nsearch prunet { weights rmsprop { ", {"rate", "decay"}, {"alpha"}),
        ("}\ntarget here { engine ", {"onnxruntime", "tensorrt"}, {"irb"}),
        ("}\ntarget here { ", {"engine", "precision"}, {"alpha"}),
        ("}\nblock own(kernel, act = relu) -> filters { in | ", {"conv2d", "irb", "act"}, {"own"}),
        ("}\nblock own(kernel, act = relu) -> filters { in.", {"channels", "height"}, {"conv2d"}),
        ("}\nblock own(kernel) -> filters { in | conv2d(", {"stride =", "kernel"}, {"irb"}),
        ("}\nblock own(kernel) -> filters { in | bn when ", {"kernel", "filters", "in"}, {"irb"}),
        ("  // a comment ", set(), {"stage"}),
    ],
)
def test_completion(session: Session, file: str, typed: str, there: set[str], absent: set[str]) -> None:
    """Nothing stands behind what is typed, so every one of these texts is half written."""
    found = session.complete(file, BEGIN + typed + PLACE)
    assert there <= set(found)
    assert not absent & set(found)
    assert len(found) == len(set(found))


def test_completion_in_the_midst_of_a_text_with_mistakes(session: Session, file: str) -> None:
    broken = TEXT.replace("stage stem  conv       { kernel 3 }", "stage stem  conv  { kernel").replace("16\n", "=\n", 1)
    found = session.complete(file, mark(broken, "hidden 32  ", "act relu"))
    assert {"expand", "stride"} <= set(found)


def test_completion_of_imports(session: Session, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "cells.nas").write_text("nas 1\n")
    assert session.complete((tmp_path / "main.nas").as_uri(), f'import "{PLACE}') == ["deep/cells.nas"]


def test_a_half_written_file_still_has_hovers(session: Session, file: str) -> None:
    assert session.checked(file, TEXT) == []
    half = TEXT.replace("  head  global_pool", "  stage new irb { kernel\n  head  global_pool")
    assert "body.2" in session.hover(file, mark(half, "stage bo", "dy  irb"))
    assert "Inverted residual" in session.hover(file, mark(half, "new i", "rb { kernel\n"))


# ------------------------------------------------------------------------------------------------- names


def definitions(session: Session, file: str, marked: str) -> list[types.Location]:
    place = session.at(file, marked)
    params = types.DefinitionParams(place.text_document, place.position)
    found = session.run(session.client.text_document_definition_async(params))
    return [one for one in found or () if isinstance(one, types.Location)] if isinstance(found, list | tuple) else []


def test_definitions_here_in_the_library_and_in_imports(session: Session, tmp_path: Path) -> None:
    cells = tmp_path / "cells.nas"
    cells.write_text("block cell(kernel) -> filters {\n  in | conv2d(kernel) -> filters\n}\n")
    file = (tmp_path / "main.nas").as_uri()
    text = TEXT.replace("nas 1\n", 'nas 1\nimport "cells.nas"\n').replace("stage body  irb", "stage body  cell")
    (here,) = definitions(session, file, mark(text, "tail  ga", "ted"))
    assert here.uri == file and slice_of(text, here.range) == "gated"
    (let,) = definitions(session, file, mark(text, "}                         -> w {".replace(" {", ""), " {"))
    assert slice_of(text, let.range) == "w"
    (imported,) = definitions(session, file, mark(text, "body  ce", "ll"))
    assert imported.uri == cells.as_uri() and imported.range.start == types.Position(0, 6)
    (library,) = definitions(session, file, mark(text, "stem  co", "nv"))
    path = Path(library.uri.removeprefix("file://"))
    assert slice_of(path.read_text(), library.range) == "conv"
    (whole,) = definitions(session, file, mark(text, "cells", ".nas"))
    assert whole.uri == cells.as_uri()
    assert definitions(session, file, mark(text, "filters | b", "n | act")) == []


def test_references_tell_stages_from_blocks_of_the_same_name(session: Session, file: str) -> None:
    text = TEXT.replace("stage stem  conv ", "stage conv  conv ").replace("x 2    {", "x 2 from conv {")
    place = session.at(file, mark(text, "from co", "nv"))
    context = types.ReferenceContext(include_declaration=True)
    params = types.ReferenceParams(context, place.text_document, place.position)
    found = session.run(session.client.text_document_references_async(params)) or ()
    assert [text.split("\n")[r.range.start.line][r.range.start.character - 6 :][:10] for r in found] == [
        "stage conv",
        " from conv",
    ]


@pytest.mark.parametrize(
    ("before", "after", "old"),
    [
        ("let ", "w = 16", "w"),
        ("block ga", "ted(", "gated"),
        ("tail  ga", "ted", "gated"),
        ("gated(ke", "rnel, act", "kernel"),
        ("mul(de", "ep, deep", "deep"),
        ("-> fil", "ters {", "filters"),
        ("stage bo", "dy", "body"),
        ("space sm", "all", "small"),
    ],
)
def test_renaming_changes_names_only(session: Session, file: str, before: str, after: str, old: str) -> None:
    """The code that is compiled stays the same, but for names of stages and blocks in it."""
    renamed = session.rename(file, mark(TEXT, before, after), "renamed")
    assert renamed != TEXT and renamed.replace("renamed", old) == TEXT
    code, was = code_of(renamed), code_of(TEXT)
    assert code == was or code.lower().replace("renamed", old) == was.lower()


def code_of(text: str) -> str:
    return model_source(network_of(space_of(open_file("small.nas", text))))


@pytest.mark.parametrize(
    ("before", "after", "name", "why"),
    [
        ("stem  co", "nv", "other", "not defined in this file"),
        ("filters | b", "n | act", "other", "no name here"),
        ("let ", "w = 16", "stage", "is no name"),
        ("let ", "w = 16", "w w", "is no name"),
        ("let ", "w = 16", "irb", "taken already"),
        ("stage bo", "dy", "tail", "taken already"),
        ("gated(ke", "rnel, act", "filters", "taken already"),
        ("filters | bn | a", "ct\n", "other", "also gives a value to `conv`"),
        ("body  irb x 2    { ke", "rnel", "other", "not defined in this file"),
    ],
)
def test_renaming_is_refused(session: Session, file: str, before: str, after: str, name: str, why: str) -> None:
    with pytest.raises(JsonRpcException, match=why):
        session.rename(file, mark(TEXT, before, after), name)


def test_a_value_for_two_blocks_keeps_its_name(session: Session, file: str) -> None:
    text = TEXT.replace("stage tail  gated ", "stage tail  one of { gated irb { hidden 8 } } ")
    with pytest.raises(JsonRpcException, match="also gives a value to `irb`"):
        session.rename(file, mark(text, "gated(ke", "rnel, act"), "size")


# ------------------------------------------------------------------------------------------------- layout


@pytest.mark.parametrize("text", [TEXT, OPEN, TEXT.rstrip("\n"), TEXT + "\n\n", "\n\n" + TEXT, TEXT.replace("  ", " ")])
def test_formatting_is_that_of_the_command(session: Session, file: str, text: str) -> None:
    assert edited(text, formatting(session, file, text)) == format_text(text)


def formatting(session: Session, file: str, text: str) -> Any:
    session.show(file, text)
    options = types.FormattingOptions(tab_size=2, insert_spaces=True)
    params = types.DocumentFormattingParams(types.TextDocumentIdentifier(file), options)
    return session.run(session.client.text_document_formatting_async(params)) or ()


def test_a_text_with_syntax_errors_is_not_formatted(session: Session, file: str) -> None:
    assert not formatting(session, file, TEXT.replace("head", "heat {"))


def test_symbols_and_folds(session: Session, file: str) -> None:
    session.show(file, TEXT)
    document = types.TextDocumentIdentifier(file)
    found = session.run(session.client.text_document_document_symbol_async(types.DocumentSymbolParams(document)))
    symbols = [s for s in found or () if isinstance(s, types.DocumentSymbol)]
    assert [s.name for s in symbols] == ["gated", "small", "search prunet"]
    assert [s.name for s in symbols[1].children or ()] == ["w", "stem", "body", "tail", "head"]
    folds = session.run(session.client.text_document_folding_range_async(types.FoldingRangeParams(document))) or ()
    lines = TEXT.split("\n")
    assert [lines[f.start_line].split()[0] for f in folds] == ["block", "space", "stage"]
    assert all(lines[f.end_line + 1].strip() == "}" for f in folds)


def test_semantic_tokens_are_the_names() -> None:
    desk = OpenDocuments()
    data = semantic_tokens(desk.put("file:///a.nas", TEXT, 1).version)
    line = column = 0
    found: set[tuple[str, str]] = set()
    for down, right, length, kind, _ in zip(*(data[i::5] for i in range(5)), strict=True):
        line, column = line + down, right if down else column + right
        found.add((TEXT.split("\n")[line][column : column + length], LEGEND.token_types[kind]))
    assert {("gated", "class"), ("kernel", "parameter"), ("bn", "function"), ("body", "namespace")} <= found
    assert {("deep", "variable"), ("small", "type"), ("seed", "property")} <= found


# ------------------------------------------------------------------------------------------------- odd texts


@pytest.mark.parametrize(
    "text",
    [
        *("", "\x00\x01\x02", "{" * 500, "stage " * 300, '"', "/", "nas 99", "space", "😀 → ×", "\f\v\u2028 x"),
        *("\ufeffnas 1\r\nspace a {\r\n", "space a { stage s " + "one of { " * 80, "nas 1\nblock b { b }\n"),
        'import "../../etc/passwd"',
    ],
)
def test_malformed_texts_leave_the_server_well(session: Session, file: str, text: str) -> None:
    session.checked(file, text)
    session.hover(file, text + PLACE)
    session.complete(file, text + PLACE)
    formatting(session, file, text)
    assert session.checked(file, TEXT) == []


def test_places_beyond_the_text_and_unknown_texts_are_answered(session: Session, file: str) -> None:
    session.checked(file, TEXT)
    far = types.Position(10_000, 10_000)
    here, nowhere = types.TextDocumentIdentifier(file), types.TextDocumentIdentifier("file:///nowhere.nas")
    session.run(session.client.text_document_hover_async(types.HoverParams(here, far)))
    session.run(session.client.text_document_completion_async(types.CompletionParams(here, far)))
    assert session.run(session.client.text_document_hover_async(types.HoverParams(nowhere, far))) is None
    assert session.checked(file, TEXT) == []


def test_columns_count_utf16_units_and_lines_end_with_either_sign(session: Session, file: str) -> None:
    text = 'nas 1\r\n\rimport "😀😀.nas" import "é.nas"\r\n'
    found = session.checked(file, text)
    line = text.split("\n")[1].lstrip("\r")
    lines = [
        types.Range(types.Position(0, d.range.start.character), types.Position(0, d.range.end.character)) for d in found
    ]
    assert [slice_of(line, place) for place in lines] == ['import "😀😀.nas"', 'import "é.nas"']
    assert {d.range.start.line for d in found} == {2}


@pytest.mark.parametrize("name", ["cells.nas", "gpunet1.nas", "vit.nas"])
def test_every_prefix_of_a_file_can_be_asked_about(name: str) -> None:
    text = (ROOT / "spaces" / name).read_text()
    desk = OpenDocuments()
    for end in range(0, len(text), 37):
        document = desk.put("file:///a.nas", text[:end], end)
        place = document.version.lines.position(end)
        complete(document, place)
        hover(document, place)
        semantic_tokens(document.version)


@given(st.text(st.sampled_from("ab😀é\n"), max_size=30), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_places_agree_with_those_of_the_library(text: str, encoding: str) -> None:
    lines, codec = Lines(text, encoding), PositionCodec(types.PositionEncodingKind(encoding))
    for offset in range(len(text) + 1):
        place = lines.position(offset)
        before = text[:offset].rpartition("\n")[2]
        assert (place.line, place.character) == (text.count("\n", 0, offset), codec.client_num_units(before))
        assert lines.offset(place) == offset


def test_a_fault_in_a_check_is_shown_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server()
    published: list[types.PublishDiagnosticsParams] = []
    monkeypatch.setattr(server, "text_document_publish_diagnostics", published.append)
    document = server.desk.put("file:///a.nas", TEXT, 1)
    monkeypatch.setattr(document, "look", lambda version: 1 // 0)
    asyncio.run(server._check(document))
    monkeypatch.undo()
    assert "bug in nasc: ZeroDivisionError" in published[0].diagnostics[0].message
    monkeypatch.setattr(server, "text_document_publish_diagnostics", published.append)
    asyncio.run(server._check(document))
    assert published[1].diagnostics == []
    server.shutdown()


# ------------------------------------------------------------------------------------------------- the process


def test_exit_without_shutdown_is_an_error() -> None:
    code, _ = Session("--stdio").end(politely=False)
    assert code == 1


def test_the_end_of_the_input_ends_the_server() -> None:
    command = [sys.executable, "-m", "nasc", "lsp"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_rubbish_on_the_input_is_survived_without_output_of_our_own() -> None:
    command = [sys.executable, "-m", "nasc", "lsp"]
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "no/such", "params": {}}).encode()
    message = b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    sent = b"Content-Length: 3\r\n\r\n{{{" + message
    done = subprocess.run(command, input=sent, capture_output=True, timeout=30, check=False)
    assert b"Content-Length" in done.stdout and done.stdout.count(b"Content-Length") >= 1
    assert done.stdout.startswith(b"Content-")


def test_tcp() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "nasc", "lsp", "--tcp", str(port)], stderr=subprocess.DEVNULL)
    try:
        asyncio.run(asyncio.wait_for(_tcp(port), 30))
        assert server.wait(timeout=20) == 0
    finally:
        server.kill()
        server.wait()


async def _tcp(port: int) -> None:
    client = LanguageClient("tests", "1")
    until = time.monotonic() + 20
    while True:
        try:
            await client.start_tcp("127.0.0.1", port)
            break
        except OSError:
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
    found = await client.initialize_async(types.InitializeParams(capabilities=types.ClientCapabilities()))
    assert found.capabilities.hover_provider
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()


def test_without_pygls_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in ("pygls", "lsprotocol") or n.startswith("nasc.lsp")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pygls", None)
    monkeypatch.setitem(sys.modules, "lsprotocol", None)
    done = CliRunner().invoke(main, ["lsp"])
    assert done.exit_code == 1 and "nasc[lsp]" in done.output and "Traceback" not in done.output


def test_stdio_and_tcp_together_are_refused() -> None:
    assert CliRunner().invoke(main, ["lsp", "--stdio", "--tcp", "2087"]).exit_code == 1


def test_the_server_needs_no_torch() -> None:
    code = "import sys, nasc.lsp.server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------------------------------- VS Code


def grammar_words(name: str) -> set[str]:
    """The words of a pattern of the TextMate grammar: `\\b(?:a|b)\\b`."""
    grammar = json.loads((EDITOR / "syntaxes" / "nas.tmLanguage.json").read_text())
    found: str = grammar["repository"][name]["match"]
    assert found.startswith("\\b(?:") and found.endswith(")\\b")
    return set(found[5:-3].split("|"))


def test_the_editor_colours_every_word_of_the_language() -> None:
    name = next(line for line in GRAMMAR.read_text().split("\n") if line.startswith("NAME:"))
    reserved = set(name[name.index("(?!(?:") + 6 : name.index(")\\b)")].split("|"))
    assert len(reserved) == 30
    assert grammar_words("keywords") == reserved
    assert grammar_words("activations") == set(ACTIVATIONS)
    assert grammar_words("operators") == set(OPERATORS) - set(ACTIVATIONS) | FORMS


def test_the_extension_names_files_that_are_there() -> None:
    package = json.loads((EDITOR / "package.json").read_text())
    contributes = package["contributes"]
    paths = [package["main"], contributes["languages"][0]["configuration"], contributes["grammars"][0]["path"]]
    assert all((EDITOR / path).is_file() for path in paths)
    assert contributes["languages"][0]["extensions"] == [".nas"]
    assert contributes["grammars"][0]["scopeName"] == json.loads((EDITOR / paths[2]).read_text())["scopeName"]
