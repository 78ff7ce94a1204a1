"""Stochastic depth in a generated module: the branch of each residual block goes through a `DropPath`.

Larsson et al. (2017, FractalNet) drop paths; dropping the branches of residual blocks at rates that grow linearly with
the depth is Huang et al.'s stochastic depth (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nasc.compiler.concrete import ConcreteLayer
from nasc.compiler.ir import Graph
from nasc.compiler.primitives.forms import Argument, Call
from nasc.compiler.structure import Step, steps

NAME = "DropPath"
ROLE = "drop_path"
HELPER = f'''class {NAME}(nn.Module):
    """In training, drops a branch for whole images at this rate, and scales it for the others."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = x.new_empty((len(x),) + (1,) * (x.dim() - 1)).bernoulli_(keep)
        return x * (kept / keep)
'''


def drop_rates(layers: Sequence[ConcreteLayer], rate: float) -> dict[str, float]:
    """The drop rate of each residual block, by its path; of no block where `rate` is 0.

    The i-th of n residual blocks is dropped at `rate` · i / (n - 1), a lone one at `rate`: timm's rule for ResNets. Its
    EfficientNets count the blocks without a shortcut too, and divide by their number.
    """
    if not rate:
        return {}
    paths = [layer.path for layer in layers if _residual(steps(layer.graph))]
    last = len(paths) - 1
    return {path: rate * i / last if last else rate for i, path in enumerate(paths)}


def with_drop_path(graph: Graph, rate: float | None) -> tuple[Step, ...]:
    """The steps of a graph, each residual's branch dropped at `rate`; None for the steps as they are."""
    row = steps(graph)
    if rate is None:
        return row
    call = Call(NAME, (Argument("drop_path", rate),), ROLE, helper=HELPER)
    found: list[Step] = []
    for step in row:
        branch = _branch(step, row)
        if branch is not None:
            dropped = f"{branch}/dropped"
            found.append(Step(dropped, (branch,), (call,), ("",), attribute=ROLE))
            step = replace(step, operands=tuple(dropped if name == branch else name for name in step.operands))
        found.append(step)
    return tuple(found)


def _residual(row: Sequence[Step]) -> bool:
    return any(_branch(step, row) is not None for step in row)


def _branch(step: Step, row: Sequence[Step]) -> str | None:
    """The operand of a sum that is computed from the other one, or from what the other one is a projection of."""
    if step.expression is None or step.expression.side != "shortcut" or len(step.operands) != 2:
        return None
    by_value = {each.value: each for each in row}
    for branch, other in (step.operands, step.operands[::-1]):
        shortcut = by_value.get(other)
        projected = shortcut is not None and shortcut.attribute.startswith("shortcut")
        source = shortcut.operands[0] if shortcut is not None and projected else other
        if source in _ancestors(branch, by_value):
            return branch
    return None


def _ancestors(value: str, by_value: dict[str, Step]) -> set[str]:
    """All that a value is computed from."""
    found: set[str] = set()
    ahead = [value]
    while ahead:
        step = by_value.get(ahead.pop())
        for name in step.operands if step is not None else ():
            if name not in found:
                found.add(name)
                ahead.append(name)
    return found
