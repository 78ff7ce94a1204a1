"""What nasc's commands make of any bytes as a `.nas` file, and what must hold whatever the bytes are.

Each command is a function of an `Opened` input. A mistake of the file is a `NascError` whose diagnostics have a known
code and a place inside a text; everything else that is raised is a bug of nasc. `tests.test_fuzz_seeds` runs them on
the inputs that once went wrong, `benchmarks.fuzz` on as many new ones as there is time for.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nasc.compiler.check import Checked, check
from nasc.compiler.compile import compile_checked
from nasc.compiler.contains import contains
from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space
from nasc.compiler.lower_svg import draw
from nasc.compiler.member import member_text
from nasc.compiler.network import network_of
from nasc.compiler.opened import load_file
from nasc.compiler.outline import outline
from nasc.compiler.prunodes import prunode_forms
from nasc.compiler.sample import sample_members
from nasc.dsl.codes import CODES
from nasc.dsl.diagnostics import Diagnostic, DiagnosticError, Diagnostics, NascError
from nasc.dsl.format import format_text
from nasc.dsl.parser import parse_file
from nasc.dsl.read import read_text
from nasc.dsl.render import render, to_json

SECONDS = 2.0
"""Processor time that a command may take for one input."""
PLACELESS = frozenset({"E0201", "E0202", "E0203", "E0204", "E0109"})
"""Codes of mistakes that are not at a place of a text: of a file as a whole, and of too many errors."""
MOST_PARAMETERS = 2_000_000
"""Larger networks are compiled without drawing their weights: that takes the time and memory the weights do."""


class Broken(Exception):
    """Something that must hold does not."""


@dataclass
class Opened:
    """One input, and what earlier commands found out about it."""

    path: Path
    checked: Checked | None = None
    members: int = 0
    member_text: str = ""
    member: Checked | None = None

    @property
    def space(self) -> Space:
        assert self.checked is not None and self.checked.space is not None
        return self.checked.space

    @property
    def is_sound(self) -> bool:
        """Whether there is a space to ask further about."""
        return self.checked is not None and not self.checked.diagnostics.errors and self.checked.space is not None


def run_check(opened: Opened) -> None:
    opened.checked = check(load_file(opened.path))
    inspect(opened.checked.diagnostics.found)


def run_format(opened: Opened) -> None:
    text = read_text(opened.path, Diagnostics())
    if text is None or parse_file(opened.path)[1].errors:
        return
    laid_out = format_text(text)  # which makes sure of the same tree, the same comments, and that it is a fixpoint
    assert opened.checked is not None
    if opened.is_sound:
        again = check(load_file(opened.path, laid_out))
        require(not again.diagnostics.errors and again.space is not None, "formatting breaks a sound file")
        assert again.space is not None
        counts = count_members(opened.space), count_members(again.space)
        require(counts[0] == counts[1], f"formatting changes {counts[0]} members into {counts[1]}")


def run_count(opened: Opened) -> None:
    opened.members = count_members(opened.space)
    require(opened.members > 0, "a sound space has no members")


def run_cost(opened: Opened) -> None:
    cost = cost_of(opened.space)
    for span in (cost.params, cost.macs):
        require(0 <= span.min <= span.max, f"the cost is {span}")


def run_show(opened: Opened) -> None:
    require(bool(outline(opened.space)), "no layers are shown")
    draw(opened.space)
    prunode_forms(network_of(opened.space))


def run_sample(opened: Opened) -> None:
    (member,) = sample_members(opened.space, 1, 0)
    assert opened.checked is not None
    opened.member_text = member_text(opened.space, member, opened.checked.module, "")


def run_check_member(opened: Opened) -> None:
    text = opened.member_text
    if not text:
        return
    opened.member = check(load_file(opened.path, text))
    found = opened.member.diagnostics
    require(opened.member.space is not None, f"a member is not sound: {[d.message for d in found.errors]}\n{text}")
    assert opened.member.space is not None
    require(count_members(opened.member.space) == 1, f"a member has members\n{text}")
    whole, one = cost_of(opened.space), cost_of(opened.member.space)
    for metric in ("params", "macs"):
        span, own = getattr(whole, metric), getattr(one, metric)
        require(span.min <= own.min == own.max <= span.max, f"a member's {metric} {own} are not in {span}\n{text}")


def run_contains(opened: Opened) -> None:
    require(contains(opened.space, opened.space).yes is not False, "a space is not contained in itself")
    if opened.member is not None and opened.member.space is not None:
        answer = contains(opened.space, opened.member.space)
        require(answer.yes is not False, f"a member is not contained: {answer.reason}")


def run_compile(opened: Opened) -> None:
    assert opened.checked is not None
    _compile(opened.checked, opened.members)


def run_compile_member(opened: Opened) -> None:
    if opened.member is not None and opened.members > 1:
        _compile(opened.member, 1)


COMMANDS: dict[str, Callable[[Opened], None]] = {
    "check": run_check,
    "format": run_format,
    "count": run_count,
    "cost": run_cost,
    "show": run_show,
    "sample": run_sample,
    "check a member": run_check_member,
    "contains": run_contains,
    "compile": run_compile,
    "compile a member": run_compile_member,
}
FOR_ALL = ("check", "format")
"""The commands for files with errors, too: the others say what `check` says."""


def commands_for(opened: Opened) -> Iterable[str]:
    """The names of the commands to run, in order; what comes after `check` depends on what it found."""
    yield from FOR_ALL
    if opened.is_sound:
        yield from (name for name in COMMANDS if name not in FOR_ALL)


def run(name: str, opened: Opened) -> None:
    """Run a command. Raises what is a bug: `Broken`, or anything that is not a `NascError` with places."""
    try:
        COMMANDS[name](opened)
    except DiagnosticError as error:
        inspect(error.diagnostics)
    except NascError as error:
        require(bool(error.message.strip()), "an error without words")


def inspect(found: Iterable[Diagnostic]) -> None:
    """Raise `Broken` unless every diagnostic has a known code and places inside texts, and can be shown."""
    found = list(found)
    for diagnostic in found:
        require(diagnostic.code in CODES, f"unknown code {diagnostic.code}")
        require(0 < len(diagnostic.message) < 1000, f"{diagnostic.code}: a message of {len(diagnostic.message)}")
        require(diagnostic.span is not None or diagnostic.code in PLACELESS, f"{diagnostic.code} without a place")
        for span in (diagnostic.span, *(label.span for label in diagnostic.labels)):
            require(
                span is None or 0 <= span.start <= span.end <= len(span.source.text),
                f"{diagnostic.code} at {span and (span.start, span.end)}, outside the text",
            )
    require(len(render(found).encode()) < 1 << 20, "diagnostics of more than 1 MiB")
    to_json(found)


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


def allow_long_numbers() -> None:
    """As the commands that print counts do."""
    sys.set_int_max_str_digits(0)


def _compile(checked: Checked, members: int) -> None:
    """Into a folder that is gone afterwards; every Python file must be one."""
    assert checked.space is not None
    if members == 1 and cost_of(checked.space).params.max > MOST_PARAMETERS:
        _lower_large(checked)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = compile_checked(checked, Path(folder), force=True)
        for name in result.files:
            if name.endswith(".py"):
                compile((Path(folder) / name).read_bytes(), name, "exec")


def _lower_large(checked: Checked) -> None:
    from nasc.compiler.lower_torch import model_source

    assert checked.space is not None
    compile(model_source(network_of(checked.space)), "model.py", "exec")
