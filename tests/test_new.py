"""`nasc new` writes files that explain themselves and work; a shell completes what can be named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nasc.cli import COMMANDS, main
from nasc.commands.new import KINDS as OFFERED
from nasc.compiler.check import check
from nasc.compiler.compile import compile_file
from nasc.compiler.count import count_members
from nasc.dsl.codes import CODES
from nasc.dsl.diagnostics import NascError
from nasc.dsl.format import format_text
from nasc.dsl.loader import load
from nasc.runtime.engines import ENGINES
from nasc.starter import KINDS, Starter, starter_text

SIZES = (8, 28, 32, 96, 97, 224, 1024)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="nasc")


# ------------------------------------------------------------------------------------------------- nasc new


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_a_starter_checks_without_a_warning_in_canonical_layout(kind: str, size: int) -> None:
    text = starter_text(Starter("mine", kind, 5, size, 3))
    checked = check(load("mine.nas", text))
    assert checked.diagnostics.found == [] and checked.space is not None
    assert count_members(checked.space) > 1
    assert format_text(text) == text
    assert f"image 3 x {size} x {size}" in text and "classes 5" in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_of_a_starter_is_explained_or_stands_under_one_that_is(kind: str) -> None:
    text = starter_text(Starter("mine", kind, 5, 32, 3))
    code = [line for line in text.splitlines() if line.strip() and not line.startswith(("//", "}", "space"))]
    bare = [line for line in code if "//" not in line]
    assert [line.split()[0] for line in bare] == ["weights"]
    assert all(len(line) <= 140 for line in text.splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_a_starter_compiles_into_a_search_with_a_target(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.nas"
    path.write_text(starter_text(Starter("mine", kind, 3, 16, 1)))
    compile_file(path, tmp_path / "out")
    assert {"search.py", "supernet.py", "manifest.json"} <= {each.name for each in (tmp_path / "out").iterdir()}


def test_the_command_writes_the_file_and_offers_the_kinds_there_are(tmp_path: Path) -> None:
    """Exercises: command new."""
    assert tuple(KINDS) == OFFERED
    done = run("new", tmp_path / "my-flowers", "--classes", 7, "--size", 64, "--kind", "cnn", "--channels", 1)
    path = tmp_path / "my-flowers.nas"
    assert done.exit_code == 0 and done.stdout == f"{path}\n" and "nasc check" in done.stderr
    assert "space my_flowers {" in path.read_text() and "image 1 x 64 x 64" in path.read_text()
    assert run("check", path).exit_code == 0


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "mine.nas"
    path.write_text("precious")
    for name in ("mine", "mine.nas"):
        refused = run("new", tmp_path / name)
        assert refused.exit_code == 1 and "--force" in refused.stderr and path.read_text() == "precious"
    assert run("new", path, "--force").exit_code == 0 and path.read_text().startswith("nas 1")


def test_a_link_that_leads_nowhere_is_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine.nas").symlink_to(tmp_path / "elsewhere.nas")
    assert run("new", tmp_path / "mine").exit_code == 1
    assert not (tmp_path / "elsewhere.nas").exists()


@pytest.mark.parametrize("name", ["stage", "x", "1st", "ä", "a b", 'a { } import "x.nas"', ""])
def test_names_that_no_space_can_have(name: str) -> None:
    with pytest.raises(NascError, match="cannot name a space"):
        starter_text(Starter(name, "mobile", 5, 32, 3))


@pytest.mark.parametrize("options", [("--size", 4), ("--classes", 1), ("--channels", 0), ("--kind", "gpt")])
def test_what_cannot_be_asked_for_is_a_usage_error(options: tuple[str, int], tmp_path: Path) -> None:
    assert run("new", tmp_path / "mine", *map(str, options)).exit_code == 2
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------- completion


def completed(folder: Path, *words: str, shell: str = "bash") -> list[str]:
    """What click's protocol offers for the last of the words."""
    line = " ".join(("nasc", *words)) if shell != "fish" else "\n".join(("nasc", *words))
    environment = {"_NASC_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    if shell == "fish":
        environment["COMP_CWORD"] = words[-1]
    program = "import os; from nasc.cli import main; main(prog_name='nasc')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one.nas", "other.nas", "one.txt", ".hidden.nas", "inner/deep.nas"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("co",), ["count", "cost", "contains", "compile", "compare", "completion"]),
        (("count", "o"), ["one.nas", "other.nas"]),
        (("check", "one.nas", ""), ["inner/", "one.nas", "other.nas"]),
        (("diff", "one.nas", "inner/"), ["inner/deep.nas"]),
        (("fmt", "."), [".hidden.nas"]),
        (("plan", "nowhere/"), []),
        (("doc", "ir"), ["irb"]),
        (("explain", "e031"), [code for code in sorted(CODES) if code.startswith("E031")]),
        (("compile", "--method", "pr"), ["prunet"]),
        (("profile", "--engine", "on"), [name for name in ENGINES if name.startswith("on")]),
        (("new", "--kind", ""), list(OFFERED)),
        (("unheard", "of"), []),
    ],
)
def test_bash_is_offered_what_fits(folder: Path, words: tuple[str, ...], offered: list[str]) -> None:
    assert completed(folder, *words) == [f"plain,{name}" for name in offered]


@pytest.mark.parametrize(("shell", "sign"), [("zsh", "explain"), ("fish", "plain,explain")])
def test_other_shells_are_told_what_a_command_does(folder: Path, shell: str, sign: str) -> None:
    lines = "\n".join(completed(folder, "expl", shell=shell))
    assert sign in lines and COMMANDS["explain"] in lines


def test_completing_a_command_loads_no_other_part_of_nasc(folder: Path) -> None:
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'numpy', 'pydantic',"
        " 'lark', 'onnx'}), [m for m in sys.modules if m.startswith('nasc.commands.')], file=sys.stderr))\n"
        "from nasc.cli import main; main(prog_name='nasc')"
    )
    environment = {**os.environ, "_NASC_COMPLETE": "bash_complete", "COMP_WORDS": "nasc c", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "[] []\n" and "plain,check" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_nasc(shell: str) -> None:
    """Exercises: command completion."""
    done = run("completion", shell)
    assert done.exit_code == 0 and f"_NASC_COMPLETE={shell}_complete" in done.stdout


def test_without_a_shell_it_is_the_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert run("completion").stdout == run("completion", "fish").stdout
    monkeypatch.setenv("SHELL", "/bin/odd")
    assert run("completion").exit_code == 1


def test_bash_completes_with_the_script(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("shell")
    script = elsewhere / "script.sh"
    script.write_text(run("completion", "bash").stdout)
    # The script calls the command's file, by `env`.
    tool = elsewhere / "nasc"
    tool.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c \"from nasc.cli import main; main(prog_name='nasc')\"\n")
    tool.chmod(0o755)
    asked = (
        f'source "{script}"; compopt() {{ echo "compopt $2"; }}; COMP_WORDS=(nasc count "")\n'
        'COMP_CWORD=2; _nasc_completion nasc; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", asked], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["compopt nospace", "inner/", "one.nas", "other.nas"]
