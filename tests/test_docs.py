"""What README.md shows works: commands parse and name files that are there, code runs, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

import nasc
from nasc.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = [line for page in PAGES for line in re.findall(r"^\$ nasc (.+)$", page.read_text("utf-8"), re.MULTILINE)]


@pytest.mark.parametrize("line", SHOWN)
def test_a_shown_command_parses_and_reads_files_that_exist(line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)
    command = main.get_command(click.Context(main), name)
    assert command is not None
    command.make_context(name, arguments)
    assert all((ROOT / word).is_file() for word in arguments if word.startswith("spaces/"))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_in_help_parse(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None and command.epilog is not None
    shown = re.findall(r"^ *nasc (.+)$", command.epilog, re.MULTILINE)
    assert shown
    for line in shown:
        words = shlex.split(line)
        assert words[0] == name
        command.make_context(name, words[1:])


def test_the_example_space_is_a_space_in_canonical_layout() -> None:
    from nasc.dsl.format import format_text

    (text,) = re.findall(r"```nas\n(.*?)```", README, re.DOTALL)
    assert nasc.load(text).count() > 1
    assert format_text(text) == text


def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})
    assert "network digits {" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def anchors(page: Path) -> set[str]:
    """The names that a page's headings can be linked by."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_meet_one(page: Path) -> None:
    for target, name in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        assert name in anchors(page.parent / target if target else page), f"{target}#{name}"


def test_make_knows_the_commands_of_the_readme() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE)) <= targets
