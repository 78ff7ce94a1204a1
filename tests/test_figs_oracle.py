"""FiGS finds the best network where that is known: widths, operators, and both.

As in tests/test_search_oracle.py the search is the real one over a made-up SuperNet: here each operator lowers the
loss by a number that grows, ever more slowly, with how many of its channels are there. FiGS's loss is a sum over
operators, so the best network is that of each operator by itself, found by trying all of its widths. Sabotage shows
that the check can fail.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from nasc.compiler.full_layer import Open
from nasc.compiler.masks import MaskedNetwork
from nasc.compiler.methods.figs import FigsOptions
from nasc.runtime.data_splits import DataSplits
from nasc.runtime.expected_cost import ExpectedCost, Line
from nasc.runtime.masks import ChannelMask, MaskBank
from nasc.runtime.methods.figs import Figs
from nasc.runtime.progress import SilentProgress
from nasc.runtime.search_context import Settings
from nasc.runtime.search_run import SearchRun
from tests.masked import relaxed
from tests.spaces import in_space

STEP = 16
WIDTHS = f"hidden {STEP} .. 160 step {STEP}"
TIERS = {
    "widths": f"stage s irb x 3 {{ kernel 3  {WIDTHS} }} -> 4",
    "operators": "skip same_shape\n stage s irb x 3 { kernel {3, 5}  hidden 32 } -> 4",
    "all": f"skip same_shape\n stage s irb x 3 {{ kernel {{3, 5}}  {WIDTHS} }} -> 4",
}
SEEDS, ENOUGH = 6, 6
SABOTAGED_SEEDS, TOO_MANY = 2, 1
IMAGES = 12
LAMBDA = 1e-3
BEND = 0.25
"""How fast a gain flattens out: a width of this part of the range has 1 - 1/e of it."""
BASE = 60.0
"""More than all gains together: a loss is above 0."""

Table = dict[str, dict[int, float]]
"""A number for each operator's decision at each width; 0 at 0."""


@dataclass(frozen=True)
class Problem:
    """`gains` of each operator, and its `costs`, by width."""

    masks: MaskedNetwork
    gains: Table
    costs: Table
    alpha: float = LAMBDA

    def best(self) -> dict[str, int]:
        """The widths of least loss, of all; none of those of a layer is there where none pays and it may go."""
        return {n: min(self.gains[n], key=lambda w: self.loss(n, w)) for n in self.gains}

    def loss(self, name: str, width: int) -> float:
        return self.alpha * self.costs[name][width] - self.gains[name][width]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# ------------------------------------------------------------------------------------------------ problems


def problem(tier: str, seed: int) -> Problem:
    """A random problem in which it is clear which operators pay."""
    draw = random.Random(f"{tier} {seed}")
    masks = relaxed(in_space(f"{TIERS[tier]}\n head global_pool | linear")).masks
    gains: Table = {}
    costs: Table = {}
    for name, each in masks.opens.items():
        gains[name], costs[name] = drawn(each, draw)
    return Problem(masks, gains, costs)


def drawn(each: Open, draw: random.Random) -> tuple[dict[int, float], dict[int, float]]:
    """A gain that flattens out and a cost that does not: the best width is where both rise as fast."""
    widths = sorted({0, *each.widths})
    most = widths[-1]
    price = draw.uniform(300, 600) * LAMBDA
    pays = 0 not in each.widths or draw.random() < 0.5
    if each.presence:
        gain = price * (draw.uniform(2, 4) if pays else draw.uniform(0, 0.4))
        return {0: 0.0, 1: gain}, {0: 0.0, 1: price / LAMBDA}
    best = draw.uniform(0.3, 0.85) if pays else -0.4
    top = price * BEND * math.exp(best / BEND)
    gains = {w: top * (1 - math.exp(-w / most / BEND)) for w in widths}
    return gains, {w: price / LAMBDA * w / most for w in widths}


class Operator(nn.Module):
    """Lowers the loss by its gain at the number of its channels that are there, linear between widths."""

    def __init__(self, name: str, size: int, gains: dict[int, float]) -> None:
        super().__init__()
        self.mask = ChannelMask(size, name)
        self.size = size
        self.widths = torch.tensor(sorted(gains), dtype=torch.float32)
        self.gains = torch.tensor([gains[w] for w in sorted(gains)], dtype=torch.float32)

    def forward(self, signal: Tensor) -> Tensor:
        width = self.mask(torch.ones(1, self.size)).sum()
        upper = int(torch.searchsorted(self.widths, width.detach()).clamp(1, len(self.widths) - 1))
        low, high = self.widths[upper - 1], self.widths[upper]
        share = (width - low) / (high - low)
        return signal - (self.gains[upper - 1] * (1 - share) + self.gains[upper] * share)


class GainNet(nn.Module):
    """The SuperNet of a problem, from images N x 1 x 1 x 1 of zeros to two logits whose cross-entropy with 0 is the
    loss. Its one weight changes nothing."""

    def __init__(self, given: Problem) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        opens = given.masks.opens
        self.operators = nn.Sequential(*(Operator(n, opens[n].widths[-1], given.gains[n]) for n in given.gains))

    def forward(self, images: Tensor) -> Tensor:
        signal = self.operators(images.flatten() + BASE + 0 * self.weight)
        logit = -torch.log(torch.expm1(signal))
        return torch.stack([logit, torch.zeros_like(logit)], 1)


def method_of(given: Problem, options: FigsOptions) -> Figs:
    opens = given.masks.opens
    lines = [Line(n, tuple(given.costs[n]), tuple(given.costs[n].values())) for n in opens]
    cost = ExpectedCost(list(opens), [each.widths[-1] for each in opens.values()], (100.0,), lines)
    return Figs(GainNet(given), given.masks, cost, options)


def options_of(given: Problem, seed: int, rate: float = 0.15) -> FigsOptions:
    architecture = {"kind": "adam", "rate": rate, "epsilon": 1e-8}
    chosen = {"epochs": 12, "batch": 1, "cost": "macs", "tau": 0.1, "lambda": abs(given.alpha), "seed": seed}
    options = FigsOptions.model_validate({**chosen, "architecture": architecture})
    return options.model_copy(update={"alpha": (given.alpha,)})  # sabotage may be what the options refuse


def found_by(given: Problem, seed: int, rate: float = 0.15) -> dict[str, int]:
    """What the search itself ends in, from start to end."""
    zeros = TensorDataset(torch.zeros(IMAGES, 1, 1, 1), torch.zeros(IMAGES, dtype=torch.int64))
    data = DataSplits("zeros", 2, (1, 1, 1), (0.0,), (1.0,), zeros, zeros)
    options = options_of(given, seed, rate)
    figs = method_of(given, options)
    run = SearchRun(figs, data, options, torch.device("cpu"), SilentProgress(), Settings(data="zeros"))
    while not run.ended:
        run.run_epoch()
    return dict(figs.kept().widths)


def is_right(given: Problem, found: dict[str, int]) -> bool:
    """The best operators, and their widths to within one step of the grid; where none may stay, any one does."""
    best = given.best()
    return all((found[n] > 0) == (w > 0) and abs(found[n] - w) <= STEP for n, w in best.items())


def solved(tier: str, seed: int, sabotage: Callable[[Problem], Problem] = lambda p: p, rate: float = 0.15) -> bool:
    true = problem(tier, seed)
    return is_right(true, found_by(sabotage(true), seed, rate))


# ------------------------------------------------------------------------------------------------ the search


@pytest.mark.parametrize("tier", TIERS)
def test_the_search_ends_in_the_best_network(tier: str) -> None:
    wrong = [seed for seed in range(SEEDS) if not solved(tier, seed)]
    assert SEEDS - len(wrong) >= ENOUGH, f"wrong for the seeds {wrong}"


def flipped(true: Problem) -> Problem:
    return replace(true, alpha=-true.alpha)


def other_metric(true: Problem) -> Problem:
    """The costs of the operators in another order."""
    rows = list(true.costs.values())
    scale = [0.15 if i % 2 else 4.0 for i in range(len(rows))]
    costs = {n: {w: c * s for w, c in row.items()} for n, row, s in zip(true.costs, rows, scale, strict=True)}
    return replace(true, costs=costs)


SABOTAGE: dict[str, tuple[Callable[[Problem], Problem], float]] = {
    "lambda's sign flipped": (flipped, 0.15),
    "logits frozen": (lambda true: true, 1e-12),
    "cost of another metric": (other_metric, 0.15),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_sabotage_is_noticed(name: str) -> None:
    sabotage, rate = SABOTAGE[name]
    right = [seed for seed in range(SABOTAGED_SEEDS) if solved("all", seed, sabotage, rate)]
    assert len(right) < TOO_MANY, f"right all the same for the seeds {right}"


@pytest.mark.parametrize(
    "what", ["masks not applied", "masks without a gradient", "ones for ever", "cost without a gradient"]
)
def test_sabotaged_code_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if what == "masks not applied":
        monkeypatch.setattr(ChannelMask, "factor", lambda self: None)
    elif what == "masks without a gradient":
        apply = MaskBank.mask
        monkeypatch.setattr(MaskBank, "mask", lambda self, key: apply(self, key).detach())
    elif what == "ones for ever":
        monkeypatch.setattr(Figs, "begin", lambda self: None)
    else:
        expected = MaskBank.expected
        monkeypatch.setattr(MaskBank, "expected", lambda self, moved=0.0: expected(self, moved).detach())
    right = [seed for seed in range(SABOTAGED_SEEDS) if solved("all", seed)]
    assert len(right) < TOO_MANY, f"right all the same for the seeds {right}"


# ------------------------------------------------------------------------------------------------ the oracle


@pytest.mark.parametrize("seed", range(3))
def test_the_supernet_computes_the_problem(seed: int) -> None:
    """One network settled in the masks: its cross-entropy is the table's, and so is its cost."""
    given = problem("all", seed)
    draw = random.Random(seed)
    figs = method_of(given, options_of(given, seed))
    widths = {n: draw.choice(sorted(row)) for n, row in given.gains.items()}
    with torch.no_grad():
        for n, place in figs.bank.places.items():
            size = place.stop - place.start
            figs.bank.logits[place] = torch.tensor([50.0] * widths[n] + [-50.0] * (size - widths[n]))
    figs.bank.mode = "likely"
    logits = figs.supernet.eval()(torch.zeros(4, 1, 1, 1))
    entropy = nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.int64))
    assert entropy.item() == pytest.approx(BASE - sum(given.gains[n][w] for n, w in widths.items()), rel=1e-4)
    total = 100 * LAMBDA + BASE + sum(given.loss(n, w) for n, w in widths.items())
    assert figs.loss(entropy).item() == pytest.approx(total, rel=1e-4)


def test_problems_are_worth_solving() -> None:
    """Operators of all kinds: some that go, some that stay, and widths inside the range."""
    for tier in ("operators", "all"):
        best = [w for seed in range(SEEDS) for w in problem(tier, seed).best().values()]
        assert best.count(0) > SEEDS and len(best) - best.count(0) > SEEDS
    inside = {w for seed in range(SEEDS) for w in problem("widths", seed).best().values()}
    assert len(inside) >= 4 and max(inside) < 160
