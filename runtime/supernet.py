"""The modules that a generated SuperNet is built from: Prunodes and stochastic layers.

Sources are sections, equations and the algorithm of PruNet, "Tiered Pruning for Efficient Differentiable
Inference-aware Neural Architecture Search".
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from nasc.compiler.expr import make_divisible as divisible
from nasc.runtime.prefix import (
    PrefixBatchNorm1d,
    PrefixBatchNorm2d,
    PrefixChannelNorm,
    PrefixChannelScale,
    PrefixConv2d,
    PrefixLayerNorm,
    PrefixLayerScale,
    PrefixLinear,
    PrefixSequential,
    PrefixTokenBatchNorm,
    add_prefix,
    keep_statistics,
    masked,
    prefix,
)

__all__ = [
    "PrefixBatchNorm1d",
    "PrefixBatchNorm2d",
    "PrefixChannelNorm",
    "PrefixChannelScale",
    "PrefixConv2d",
    "PrefixLayerNorm",
    "PrefixLayerScale",
    "PrefixLinear",
    "PrefixSequential",
    "PrefixTokenBatchNorm",
    "Prunode",
    "StochasticLayer",
    "add_prefix",
    "divisible",
    "keep_statistics",
    "masked",
    "prefix",
]


Price = float | tuple[float, ...]
"""A cost, or several of which the largest is to count in the end, such as the latencies at several targets."""


class Prunode(nn.Module):
    """A block with a hidden width under search: two candidates that share all weights, a small and a large one (3.2.1).

    `block(x, widths)` gives the block's output for each hidden width asked for; the two differ in nothing but how many
    of the hidden channels they use. Output and cost are averages weighted by Gumbel-Softmax over 0 for the small and
    `theta` for the large candidate. Batch norm after the hidden channels is shared too, so it sees both in turn.
    """

    def __init__(self, block: nn.Module, widths: Sequence[int]) -> None:
        """`widths`: the hidden widths that may be chosen, ascending, at least two."""
        super().__init__()
        self.block = block
        self.widths = tuple(widths)
        self.theta = nn.Parameter(torch.zeros(()))
        self.small, self.large = self.widths[0], self.widths[-1]
        self.costs: dict[int, Price] = {}
        """The block's cost at each of its widths; until it is set, the cost is 0."""

    def forward(self, x: Tensor, tau: float, recompute: bool = False) -> tuple[Tensor, Tensor]:
        """The mixed output of N×C×H×W, and the expected cost; once settled, the output and cost of that one width.

        `recompute`: keep nothing of the block for the backward pass, which then computes it again.
        """
        if self.small == self.large:
            (output,) = _outputs(self.block, recompute, x, (self.small,))
            return output, self.theta.new_tensor(self.costs.get(self.small, 0.0))
        outputs = _outputs(self.block, recompute, x, (self.small, self.large))
        weights = gumbel_softmax(torch.stack([torch.zeros_like(self.theta), self.theta]), tau)
        costs = weights.new_tensor(_pair(self.costs.get(self.small, 0.0), self.costs.get(self.large, 0.0)))
        # Not a matrix product: mixed precision would round it.
        return weights[0] * outputs[0] + weights[1] * outputs[1], (weights * costs).sum(-1)

    def chosen(self) -> int:
        """The more probable of the two widths; the small one where they are even."""
        return self.large if self.theta.item() > 0 else self.small

    def settle(self, width: int) -> None:
        """Be the candidate of one width from now on. Raises ValueError for a width that is none of `widths`."""
        if width not in self.widths:
            raise ValueError(f"{width} is none of the widths {self.widths}")
        self.small = self.large = width


class StochasticLayer(nn.Module):
    """Candidates of which one is to stay, and the skip that may take the layer's place (3.2.2, 3.2.3).

    Candidates are known by their number; `alive` are those not yet removed. The skip is no candidate at first: it comes
    in with `replace_by_skip`. `theta` holds an architecture weight per candidate, 1/N at first, and the skip's last.
    """

    def __init__(self, address: str, candidates: Sequence[nn.Module], *, skippable: bool = False) -> None:
        super().__init__()
        self.address = address
        self.skippable = skippable
        self.count = len(candidates)
        self.candidates = nn.ModuleDict({str(i): candidate for i, candidate in enumerate(candidates)})
        self.theta = nn.Parameter(torch.full((self.count + 1,), 1.0 / self.count))
        self.skip, self.skip_gone = False, False
        self.recompute = False
        """Whether the backward pass computes the candidates again, which then need less memory."""
        self.phi, self.lambda_, self.tau = 1.0, 1.0, 1.0
        self.costs: dict[int, Price] = {}
        """The cost of each candidate that is no Prunode, and of the skip."""
        self.cost = torch.zeros(())
        """The expected cost of the last forward pass, eq. 5."""

    @property
    def alive(self) -> list[int]:
        """The numbers of the candidates that are left; the skip's number is `count`."""
        return [int(name) for name in self.candidates] + ([self.count] if self.skip else [])

    def forward(self, x: Tensor) -> Tensor:
        """Eq. 3: N×C×H×W to the candidates' outputs weighted by Gumbel-Softmax coefficients; sets `cost`."""
        alive = self.alive
        if len(alive) == 1:
            output, self.cost = self._candidate(alive[0], x)
            return output
        weights = gumbel_softmax(self.theta[alive], self.tau)
        results = [self._candidate(number, x) for number in alive]
        scales = self._scales(alive)
        self.cost = torch.stack([weight * cost for weight, (_, cost) in zip(weights, results, strict=True)]).sum(0)
        terms = [weight * scale * y for weight, scale, (y, _) in zip(weights, scales, results, strict=True)]
        # Not stacked: that would copy each of them and lose the channels-last layout.
        return reduce(torch.add, terms)

    def _scales(self, alive: list[int]) -> list[float]:
        """phi for the skip and lambda for the block while both are there, else 1."""
        if not self.skip:
            return [1.0] * len(alive)
        return [self.phi if number == self.count else self.lambda_ for number in alive]

    def _candidate(self, number: int, x: Tensor) -> tuple[Tensor, Tensor]:
        if number == self.count:
            return x, self.theta.new_tensor(self.costs.get(number, 0.0))
        candidate = self.candidates[str(number)]
        if isinstance(candidate, Prunode):
            output, cost = candidate(x, self.tau, self.recompute)
            return output, cost
        return _outputs(candidate, self.recompute, x), self.theta.new_tensor(self.costs.get(number, 0.0))

    def probabilities(self) -> dict[int, float]:
        """How probable each of those alive is: softmax(theta), whatever tau (the most probable after Gumbel noise)."""
        alive = self.alive
        return dict(zip(alive, self.theta.detach()[alive].softmax(0).tolist(), strict=True))

    def remove(self, number: int) -> nn.Module | None:
        """Take a candidate, or the skip, out; returns the candidate's module. The last one cannot be removed."""
        if len(self.alive) == 1:
            raise ValueError(f"{self.address}: the last candidate stays")
        if number == self.count:
            self.skip, self.skip_gone = False, True
            return None
        return self.candidates.pop(str(number))

    def replace_by_skip(self, number: int | None = None, weight: float | None = None) -> nn.Module | None:
        """Put the skip in the place of a candidate; its architecture weight is `weight`, or that of the one left.

        Without a number nothing is removed: the layer had one candidate from the start.
        """
        removed = self.remove(number) if number is not None else None
        (left,) = self.alive
        self.skip = True
        with torch.no_grad():
            self.theta[self.count] = self.theta[left] if weight is None else weight
        return removed

    def restore(self, alive: Sequence[int], skip_gone: bool) -> None:
        """Leave those of `alive`. Raises ValueError for what a fresh layer does not have."""
        if not alive or not set(alive) <= set(range(self.count + self.skippable)):
            raise ValueError(f"`{self.address}` has no candidates {alive}")
        self.skip, self.skip_gone = self.count in alive, skip_gone
        for number in set(range(self.count)) - set(alive):
            del self.candidates[str(number)]

    def settle(self, number: int) -> None:
        """Leave one candidate alone, or the skip. Raises ValueError where it is not there, or not any more."""
        kept = number == self.count
        if not (self.skippable and not self.skip_gone if kept else str(number) in self.candidates):
            raise ValueError(f"{self.address} has no candidate {number}")
        self.skip = kept
        for name in list(self.candidates):
            if int(name) != number:
                del self.candidates[name]

    def chosen(self) -> int:
        """The most probable of those alive; where several are even, the first, and a block before the skip."""
        found = self.probabilities()
        return max(found, key=lambda number: (found[number], -number))

    def prunodes(self) -> dict[int, Prunode]:
        """The candidates that are left and have a width under search."""
        return {int(name): module for name, module in self.candidates.items() if isinstance(module, Prunode)}


def _pair(small: Price, large: Price) -> list[Any]:
    """The costs of two candidates beside each other, on the last axis."""
    if isinstance(small, tuple) and isinstance(large, tuple):
        return [list(each) for each in zip(small, large, strict=True)]
    return [small, large]


def _outputs(block: nn.Module, recompute: bool, *inputs: Any) -> Any:
    """What a block makes of its inputs. If `recompute`, it is computed again in the backward pass, with the same random
    numbers; batch norm's running statistics count the first time alone."""
    if not (recompute and torch.is_grad_enabled()):
        return block(*inputs)
    return checkpoint(
        block, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), keep_statistics(block, True))
    )


_NOISE = torch.Generator()


def seed_noise(seed: int) -> None:
    """Choose the noise of the next forward pass. It has a generator of its own: what else a network draws (dropout) may
    depend on the images, which differ between the processes of one search."""
    _NOISE.manual_seed(seed)


def gumbel_softmax(theta: Tensor, tau: float) -> Tensor:
    """Eq. 4: coefficients of architecture weights (n), drawn with the generator of `seed_noise`. They sum to 1."""
    # Drawn on the CPU, so that a run on a GPU sees the same noise.
    noise = -torch.empty(theta.shape).exponential_(generator=_NOISE).log()
    return functional.softmax((theta + noise.to(theta.device)) / tau, dim=0)


def logistic_noise(like: Tensor) -> Tensor:
    """Numbers of the logistic distribution (location 0, scale 1), drawn with the generator of `seed_noise`."""
    uniform = torch.rand(like.shape, generator=_NOISE).clamp_(1e-7, 1 - 1e-7)
    return torch.logit(uniform).to(like.device, like.dtype)


def drawn_number() -> int:
    """A number below 2^63, drawn with the generator of `seed_noise`."""
    return int(torch.randint(2**63 - 1, (), generator=_NOISE))


def stochastic_layers(supernet: nn.Module) -> dict[str, StochasticLayer]:
    """The stochastic layers by address, in order."""
    return {module.address: module for module in supernet.modules() if isinstance(module, StochasticLayer)}
