"""Values, properties, operators and pipelines over several lines, where one is too short or a person broke it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import compress

from nasc.dsl import syntax
from nasc.dsl.comments import Trivia
from nasc.dsl.diagnostics import Source
from nasc.dsl.format_table import CANDIDATES, LOOSE, WIDTH, Cells, Entry, render, tabulate
from nasc.dsl.format_values import (
    print_after,
    print_argument,
    print_braces,
    print_callee,
    print_join,
    print_operator,
    print_property,
    print_step,
    print_value,
)

Lines = list[str]


class Hints:
    """What a person decided about a text's lines: braces that open with a line break stay open, lists stay broken
    where they are. A tree that no text stands behind has no hints."""

    def __init__(self, written: bool) -> None:
        self.written = written
        self._trivia: dict[Source, Trivia] = {}

    def _of(self, node: syntax.Node) -> Trivia:
        source = node.span.source
        if source not in self._trivia:
            self._trivia[source] = Trivia(source)
        return self._trivia[source]

    def starts_line(self, node: syntax.Node) -> bool:
        return self.written and self._of(node).starts_line(node.span.start)

    def is_apart(self, node: syntax.Node) -> bool:
        """Whether a blank line stands before the node."""
        return self.written and self._of(node).is_apart(node.span.start)

    def opens(self, items: Sequence[syntax.Node]) -> bool:
        """Whether the braces around the items must be on lines of their own: they were, or hold a comment."""
        if not self.written or not items:
            return False
        first, last = items[0].span, items[-1].span
        return self.starts_line(items[0]) or self._of(items[0]).has_comment(first.start, last.end)

    def holds_comment(self, node: syntax.Node) -> bool:
        """Whether there is nothing but a comment in the braces that end the node."""
        return self.written and self._of(node).has_lone_comment(node.span.end)


class Layout:
    """Lays out phrases. Every method returns lines of which the first begins at `column`, the others at column 0.

    `indent` is where the closing brace of a phrase stands, `tail` the width of what will follow on the last line.
    """

    def __init__(self, written: bool) -> None:
        self.hints = Hints(written)

    # --------------------------------------------------------------------------------------------- values

    def value(self, value: syntax.Value, indent: int, column: int, tail: int = 0, force: bool = False) -> Lines:
        flat = print_value(value)
        if not force and not self.is_open(value) and column + len(flat) + tail <= WIDTH:
            return [flat]
        match value:
            case syntax.Call() if value.properties:
                return [f"{print_callee(value)} {{", *self.properties(value.properties, indent + 2), " " * indent + "}"]
            case syntax.Call() if value.arguments and not value.braced:
                return hang(f"{value.name}(", map(print_argument, value.arguments), ")", column, tail)
            case syntax.Choice():
                opening = f"{value.quantifier} of {{"
                return [opening, *self.candidates(value, indent + 2), " " * indent + "}" + print_join(value)]
            case syntax.ValueSet():
                return hang("{", map(print_value, value.members), "}", column, tail)
            case _:
                return [flat]

    def is_open(self, value: object) -> bool:
        """Whether a value must not be printed on one line."""
        match value:
            case syntax.Call():
                return self.opens(value.properties)
            case syntax.Choice():
                return self.hints.opens(value.candidates) or any(
                    self.is_open(step.operator) for candidate in value.candidates for step in candidate.steps
                )
            case _:
                return False

    def opens(self, properties: Sequence[syntax.Property]) -> bool:
        return self.hints.opens(properties) or any(self.is_open(item.value) for item in properties)

    # --------------------------------------------------------------------------------------------- properties

    def braces(
        self, properties: Sequence[syntax.Property], indent: int, column: int, tail: int = 0, force: bool = False
    ) -> Lines:
        """Properties with their braces, on one line if they may be."""
        flat = print_braces(properties)
        if properties and (force or self.opens(properties) or column + len(flat) + tail > WIDTH):
            return ["{", *self.properties(properties, indent + 2), " " * indent + "}"]
        return [flat]

    def properties(self, properties: Sequence[syntax.Property], indent: int) -> Lines:
        """Properties without braces: a person's lines, filled where one is too long."""
        lines: Lines = []
        group: list[syntax.Property] = []
        for item in properties:
            if group and self.hints.starts_line(item):
                lines += self._group(group, indent)
                group = []
            group.append(item)
        return lines + self._group(group, indent)

    def _group(self, group: Sequence[syntax.Property], indent: int) -> Lines:
        margin = " " * indent
        flat = margin + "  ".join(map(print_property, group))
        if len(flat) <= WIDTH and not any(self.is_open(item.value) for item in group):
            return [flat]
        lines: Lines = []
        alone = True  # the last line takes nothing more
        for item in group:
            unit = self._property(item, indent)
            composite = len(unit) > 1 or isinstance(item.value, syntax.Call | syntax.Choice)
            if alone or composite or len(lines[-1]) + 2 + len(unit[0]) > WIDTH:
                lines += [margin + unit[0], *unit[1:]]
            else:
                lines[-1] += f"  {unit[0]}"
            alone = composite
        return lines

    def _property(self, item: syntax.Property, indent: int) -> Lines:
        return prefixed(f"{item.name} ", lambda column: self.value(item.value, indent, column), indent)

    # --------------------------------------------------------------------------------------------- operators

    def candidates(self, choice: syntax.Choice, indent: int) -> Lines:
        """A choice's candidates as a table, but for those that need several lines."""
        entries = [_entry(candidate) for candidate in choice.candidates]
        name = max(len(entry.lead[0]) for entry in entries)
        entries = [replace(entry, lead=(entry.lead[0].ljust(name),)) for entry in entries]
        flat = [
            not self._is_broken(candidate) and len(render([entry], CANDIDATES, indent, LOOSE)[0]) <= WIDTH
            for candidate, entry in zip(choice.candidates, entries, strict=True)
        ]
        table = iter(tabulate(list(compress(entries, flat)), CANDIDATES, indent))
        lines: Lines = []
        for candidate, is_flat in zip(choice.candidates, flat, strict=True):
            lines += [next(table)] if is_flat else self._wide(candidate, indent)
        return lines

    def _is_broken(self, candidate: syntax.Candidate) -> bool:
        return any(self.hints.starts_line(step) for step in candidate.steps[1:]) or any(
            self.is_open(step.operator) for step in candidate.steps
        )

    def _wide(self, candidate: syntax.Candidate, indent: int) -> Lines:
        first, *others = candidate.steps
        lines = self.step(first, indent, indent)
        return self.chain([" " * indent + lines[0], *lines[1:]], others, indent + 2)

    def step(self, step: syntax.Step, indent: int, column: int) -> Lines:
        after = print_after(step)
        if isinstance(step.operator, syntax.Group):
            return [print_operator(step.operator) + after]
        lines = self.value(step.operator, indent, column, len(after))
        return [*lines[:-1], lines[-1] + after]

    def chain(self, lines: Lines, steps: Iterable[syntax.Step], bar: int) -> Lines:
        """Append `| step | step` to lines; `bar` is the column of a `|` that starts a line."""
        lines = list(lines)
        for step in steps:
            flat = f" | {print_step(step)}"
            fits = len(lines[-1]) + len(flat) <= WIDTH and not self.is_open(step.operator)
            if fits and not self.hints.starts_line(step):
                lines[-1] += flat
            else:
                unit = self.step(step, bar + 2, bar + 2)
                lines += [" " * bar + "| " + unit[0], *unit[1:]]
        return lines


def cells(properties: Iterable[syntax.Property]) -> Cells:
    """The properties as cells of a table."""
    return tuple((item.name, print_property(item)) for item in properties)


def _entry(candidate: syntax.Candidate) -> Entry:
    """A candidate as a line of a table: name, properties, further steps, the last arrow."""
    first, last = candidate.steps[0], candidate.steps[-1]
    inside: Cells | None = None
    lead = print_operator(first.operator)
    if isinstance(first.operator, syntax.Call) and first.operator.braced:
        lead, inside = print_callee(first.operator), cells(first.operator.properties)
    rest = ""
    if len(candidate.steps) > 1:
        middle = "".join(f" | {print_step(step)}" for step in candidate.steps[1:-1])
        rest = f"{print_after(first)}{middle} | {print_operator(last.operator)}".lstrip()
    arrow = "" if last.width is None else f"-> {print_value(last.width)}"
    suffix = print_after(last).removeprefix(f" {arrow}" if arrow else "").lstrip()
    return Entry((lead,), "", inside, rest, arrow, suffix)


def prefixed(prefix: str, lay_out: Callable[[int], Lines], indent: int) -> Lines:
    """Lay a phrase out behind a prefix that starts at `indent`."""
    first, *others = lay_out(indent + len(prefix))
    return [prefix + first, *others]


def hang(opening: str, items: Iterable[str], closing: str, column: int, tail: int = 0) -> Lines:
    """Fill lines with `items`; those after the first start below the first item."""
    margin = column + len(opening)
    texts = list(items)
    lines = [opening]
    used = margin  # columns of the last line
    for index, text in enumerate(texts):
        room = len(closing) + tail if index == len(texts) - 1 else 1
        if index and used + 1 + len(text) + room > WIDTH:
            lines.append(" " * margin)
            used = margin
        elif index:
            lines[-1] += " "
            used += 1
        comma = "," if index < len(texts) - 1 else closing
        lines[-1] += text + comma
        used += len(text) + len(comma)
    return lines
