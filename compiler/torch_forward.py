"""The statements of a generated class's `forward`: what belongs together on one line, values in few variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set

from nasc.compiler.structure import Step
from nasc.compiler.torch_text import WIDTH

_VARIABLES = ("x", "y", "z", "u", "v", "w")
_INDENT = 8
_FOLLOWERS = frozenset({"norm", "dropout", "drop_path"})
"""Roles of modules that are written around what comes before them, as activations are."""


def forward_lines(
    steps: Sequence[Step],
    write: Callable[[Step, Sequence[str]], str],
    inputs: Mapping[str, str],
    output: str,
    shapes: Mapping[str, str] | None = None,
) -> list[str]:
    """The body of `forward`.

    `write` gives a step's text from its operands' texts; `inputs` are the names of the arguments. `shapes` are written
    behind the statements that make the values.
    """
    return _Forward(steps, write, inputs, output, shapes or {}).lines()


class _Forward:
    def __init__(
        self,
        steps: Sequence[Step],
        write: Callable[[Step, Sequence[str]], str],
        inputs: Mapping[str, str],
        output: str,
        shapes: Mapping[str, str],
    ) -> None:
        self.steps = steps
        self.write = write
        self.output = output
        self.shapes = shapes
        self.texts: dict[str, str] = dict(inputs)
        self.variables: dict[str, str] = dict(inputs)
        self.emitted: list[str] = []
        self.users: dict[str, list[int]] = {}
        for i, step in enumerate(steps):
            for operand in step.operands:
                self.users.setdefault(operand, []).append(i)
        self.users.setdefault(output, []).append(len(steps))
        self.by_value = {step.value: step for step in steps}
        self.last_use = self._last_uses()

    def lines(self) -> list[str]:
        for i, step in enumerate(self.steps):
            text = self._text(step, i)
            self.texts[step.value] = text
            if not self._inlined(step):
                self._assign(step.value, i)
        return [*self.emitted, self._line("return", self.output)]

    def _line(self, opening: str, value: str) -> str:
        line = f"{' ' * _INDENT}{opening} {self.texts[value]}"
        comment = f"  # {self.shapes[value]}" if value in self.shapes else ""
        return line + comment if len(line + comment) <= WIDTH else line

    def _text(self, step: Step, at: int) -> str:
        text = self.write(step, [self.texts[operand] for operand in step.operands])
        if len(text) + _INDENT + len("return ") <= WIDTH:
            return text
        for operand in step.operands:
            if operand not in self.variables:
                others = [self.texts[other] for other in step.operands if other != operand]
                self._assign(operand, at, {word for text in others for word in re.findall(r"\w+", text)})
        return self.write(step, [self.texts[operand] for operand in step.operands])

    def _inlined(self, step: Step) -> bool:
        """Is the step's text written into the one that uses it, instead of into a variable?"""
        users = self.users.get(step.value, [])
        if len(users) != 1 or users[0] == len(self.steps):
            return len(users) == 1
        user = self.steps[users[0]]
        if user.expression is not None:
            return step.expression is None and len(user.operands) <= 3
        return user.swappable or (len(user.calls) == 1 and user.calls[0].role in _FOLLOWERS)

    def _last_uses(self) -> dict[str, int]:
        """For each value, the last statement that mentions it."""
        root = {len(self.steps): len(self.steps)}
        for i in range(len(self.steps) - 1, -1, -1):
            step = self.steps[i]
            root[i] = root[self.users[step.value][0]] if self._inlined(step) else i
        return {value: max(root[i] for i in users) for value, users in self.users.items()}

    def _assign(self, value: str, at: int, mentioned: Set[str] = frozenset()) -> None:
        """Put a value into a variable that holds nothing needed later; `mentioned` are names not to be used."""
        held = mentioned | {name for v, name in self.variables.items() if self.last_use.get(v, -1) > at}
        names = (*_VARIABLES, *(f"v{i}" for i in range(1, len(self.steps) + 1)))
        name = next(n for n in names if n not in held)
        self.emitted.append(self._line(f"{name} =", value))
        self.texts[value] = self.variables[value] = name
