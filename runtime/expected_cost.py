"""The expected cost of a network with masks, differentiable in the probabilities of its channels.

Formulas of expected widths (`nasc.compiler.expected`), or latencies between the widths that a table has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nasc.compiler.expr import Expr, Function, Monomial, Size, evaluate
from nasc.dsl.diagnostics import NascError


@dataclass(frozen=True)
class Line:
    """A cost between points: `costs[i]` at the width `widths[i]` of the decision `name`, linear between them."""

    name: str
    widths: tuple[int, ...]
    costs: tuple[float, ...]


class ExpectedCost(nn.Module):
    """The sum of formulas and lines. Takes the expected width of each decision, in the order of `names`, in float64."""

    def __init__(
        self, names: Sequence[str], most: Sequence[int], formulas: Sequence[Size | float], lines: Sequence[Line] = ()
    ) -> None:
        """`most` are the largest widths. Raises `NascError` for a formula that cannot be taken between whole widths."""
        super().__init__()
        self.at = {name: i for i, name in enumerate(names)}
        self.most = dict(zip(names, most, strict=True))
        self.lines = tuple(lines)
        self.functions: dict[Function, int] = {}
        rows: list[tuple[float, list[int]]] = []
        for size in formulas:
            terms = size.terms if isinstance(size, Expr) else (((), size),)
            rows += [(float(coefficient), self._factors(monomial)) for monomial, coefficient in terms]
        longest = max((len(factors) for _, factors in rows), default=0)
        places = [[*factors, *([0] * (longest - len(factors)))] for _, factors in rows]
        self.register_buffer("coefficients", torch.tensor([c for c, _ in rows], dtype=torch.float64), persistent=False)
        self.register_buffer(
            "places", torch.tensor(places, dtype=torch.long).reshape(len(rows), longest), persistent=False
        )
        for number, line in enumerate(self.lines):
            for kind in ("widths", "costs"):
                values = torch.tensor(getattr(line, kind), dtype=torch.float64)
                self.register_buffer(f"{kind}{number}", values, persistent=False)

    def _factors(self, monomial: Monomial) -> list[int]:
        """Where the factors of a product stand: 0 is the number 1, then the functions follow the decisions."""
        found: list[int] = []
        for atom, power in monomial:
            if power < 0:
                raise NascError("this cost divides by a width: masks cannot take it")
            if isinstance(atom, Function):
                place = 1 + len(self.at) + self.functions.setdefault(atom, len(self.functions))
            else:
                place = 1 + self.at[atom]
            found += [place] * power
        return found

    def forward(self, expected: Tensor) -> Tensor:
        """The expected cost."""
        one = expected.new_ones(1)
        functions = [self._function(function, expected).reshape(1) for function in self.functions]
        values = torch.cat([one, expected, *functions])
        total = (self.coefficients * values[self.places].prod(1)).sum()  # type: ignore[operator, index]
        for number, line in enumerate(self.lines):
            total = total + self._line(number, expected[self.at[line.name]])
        return total

    def of(self, widths: Mapping[str, int]) -> float:
        """The cost of widths that are decided: never below what a network of them costs."""
        every = [float(widths[name]) for name in self.at]
        with torch.no_grad():
            return float(self(torch.tensor(every, dtype=torch.float64, device=self.coefficients.device)))  # type: ignore[arg-type]

    def _function(self, function: Function, expected: Tensor) -> Tensor:
        if function.name in ("min", "max"):
            values = torch.stack([self._size(argument, expected) for argument in function.arguments])
            return values.amin() if function.name == "min" else values.amax()
        names = sorted(Expr(((((function, 1),), 1),)).names)
        if len(names) != 1:
            raise NascError(f"the cost has {function}, which masks cannot take between whole widths")
        (name,) = names
        steps = torch.tensor(
            [float(evaluate(Expr(((((function, 1),), 1),)), {name: n})) for n in range(self.most[name] + 1)],
            dtype=torch.float64,
            device=expected.device,
        )
        return _between(
            torch.arange(len(steps), dtype=torch.float64, device=expected.device), steps, expected[self.at[name]]
        )

    def _size(self, size: Size, expected: Tensor) -> Tensor:
        if not isinstance(size, Expr):
            return expected.new_tensor(float(size))
        total = expected.new_zeros(())
        for monomial, coefficient in size.terms:
            product = expected.new_tensor(float(coefficient))
            for atom, power in monomial:
                value = self._function(atom, expected) if isinstance(atom, Function) else expected[self.at[atom]]
                product = product * value**power
            total = total + product
        return total

    def _line(self, number: int, width: Tensor) -> Tensor:
        return _between(getattr(self, f"widths{number}"), getattr(self, f"costs{number}"), width)


def _between(widths: Tensor, values: Tensor, width: Tensor) -> Tensor:
    """The value at a width, linear between points; that of the nearest end outside them."""
    if len(widths) == 1:
        return values[0]
    inside = width.clamp(float(widths[0]), float(widths[-1]))
    upper = torch.searchsorted(widths, inside.detach()).clamp(1, len(widths) - 1)
    low, high = widths[upper - 1], widths[upper]
    share = (inside - low) / (high - low)
    return values[upper - 1] * (1 - share) + values[upper] * share


def line_of(name: str, costs: Mapping[int, float], may_go: bool) -> Line:
    """A line through the costs of widths; at 0 there is none where the operator may go."""
    points = {**({0: 0.0} if may_go else {}), **costs}
    widths = tuple(sorted(points))
    assert all(a < b for a, b in pairwise(widths))
    return Line(name, widths, tuple(points[width] for width in widths))
