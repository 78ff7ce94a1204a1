"""The line `nas 1`: what it freezes stays, files without it are of the first edition, later editions are refused."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from nasc import __version__
from nasc.cli import main
from nasc.dsl.format import format_text
from nasc.dsl.loader import load, standard_library
from nasc.dsl.parser import parse

RECORD = Path(__file__).with_name("golden") / "library_nas1.txt"
BLOCK = "block b {\n  in\n}\n"


def codes(text: str) -> list[str]:
    return [diagnostic.code for diagnostic in parse(text)[1].found]


@pytest.mark.parametrize("before", ["", "\n\n", "// nas 1\n", "// a\n\n  // b\n\t", "\ufeff", "\r\n"])
def test_a_later_edition_is_the_one_mistake_of_its_file(before: str) -> None:
    file, found = parse(f"{before}nas 2\nspace a <<~~ {{ $ new grammar\nstage stage stage\n")
    (diagnostic,) = found.found
    assert diagnostic.code == "E0107" and not file.items
    assert "`nas 2`" in diagnostic.message and "`nas 1`" in diagnostic.message
    assert diagnostic.help == f"it takes a nasc newer than {__version__}"
    assert (
        diagnostic.span is not None and diagnostic.span.source.text[diagnostic.span.start : diagnostic.span.end] == "2"
    )


@pytest.mark.parametrize("number", ["0", "10", "002", "9" * 100])
def test_editions_that_are_not_there(number: str) -> None:
    assert codes(f"nas {number}\n{BLOCK}") == ["E0107"]


@pytest.mark.parametrize("line", ["", "nas 1\n", "nas\n\n1\n", "nas 01 "])
def test_a_file_without_the_line_is_of_the_first_edition_and_fmt_writes_it(line: str) -> None:
    assert codes(line + BLOCK) == []
    assert format_text(line + BLOCK) == f"nas 1\n\n{BLOCK}"


@pytest.mark.parametrize("text", ["nas", "nas x", "nas 1.5", f"nas {'9' * 5000}", "nas -1", f"{BLOCK}nas 2\n"])
def test_what_is_no_such_line_is_a_mistake_like_others(text: str) -> None:
    assert codes(text) and "E0107" not in codes(text)


def test_an_import_of_a_later_edition_is_refused_at_its_own_line(tmp_path: Path) -> None:
    (tmp_path / "new.nas").write_text("nas 3\nunheard of")
    (diagnostic,) = load(tmp_path / "main.nas", 'nas 1\nimport "new.nas"\n').diagnostics.found
    assert diagnostic.code == "E0107" and diagnostic.span is not None
    assert diagnostic.span.source.name.endswith("new.nas")


def test_fmt_leaves_a_later_edition_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new.nas"
    path.write_text("nas 2\nspace   a {}")
    done = CliRunner().invoke(main, ["fmt", str(path)])
    assert done.exit_code == 1 and "E0107" in done.stderr
    assert path.read_text() == "nas 2\nspace   a {}"


def fingerprints() -> dict[str, str]:
    """A hash of each library block's words, without comments and layout."""
    found = {}
    for name, block in standard_library().items():
        text = block.span.source.text[block.span.start : block.span.end]
        words = " ".join(re.sub(r"//[^\n]*", "", text).split())
        found[name] = hashlib.sha256(words.encode()).hexdigest()[:16]
    return found


def test_the_blocks_of_the_first_edition_are_what_they_were() -> None:
    """A block may be added to an edition. One that is recorded may not change, for the files that use it would.

    Where only the spelling changed (all networks are the same), its new fingerprint is recorded.
    """
    recorded = dict(line.split() for line in RECORD.read_text().splitlines())
    now = fingerprints()
    assert {name: now.get(name) for name in recorded} == recorded
