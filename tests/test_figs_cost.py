"""The expected cost: by hand, by the sum over all networks, and exactly `nasc cost` where all is decided."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch

from nasc.compiler.cost import Metric, cost_of
from nasc.compiler.expected import cost_formulas, kept_cost
from nasc.compiler.expr import divide, function, multiply, variable
from nasc.compiler.masked_member import Kept, keep
from nasc.compiler.masks import MaskedNetwork
from nasc.dsl.diagnostics import NascError
from nasc.runtime.expected_cost import ExpectedCost, Line, line_of
from nasc.runtime.masks import MaskBank
from nasc.runtime.supernet import seed_noise
from tests.masked import REFUSED, Relaxed, probabilities, relaxed, shipped, written
from tests.spaces import SPACES, space_of

METRICS: tuple[Metric, ...] = ("params", "macs")
OPEN = [path.stem for path in SPACES if path.stem not in REFUSED]
CHAIN = """nas 1
space chain {
  input  image 3 x 1 x 1
  output classes 10

  stage a  conv { kernel 1  norm identity  bias no } -> 1 .. 8
  stage b  conv { kernel 1  norm identity  bias no } -> 1 .. 16
  head     global_pool | linear
}
"""


def price_of(masks: MaskedNetwork, metric: Metric) -> ExpectedCost:
    most = [each.widths[-1] for each in masks.opens.values()]
    return ExpectedCost(list(masks.opens), most, cost_formulas(masks, metric))


def at(masks: MaskedNetwork, metric: Metric, widths: Mapping[str, float]) -> float:
    expected = torch.tensor([float(widths[name]) for name in masks.opens], dtype=torch.float64)
    return float(price_of(masks, metric)(expected))


def cost(given: Relaxed, widths: Mapping[str, int], metric: Metric) -> int:
    """`nasc cost` of the written network."""
    ranked = {name: tuple(range(each.widths[-1])) for name, each in given.masks.opens.items()}
    found = getattr(cost_of(space_of(written(given, Kept(widths, ranked)))), metric)
    assert found.min == found.max
    return int(found.min)


# ------------------------------------------------------------------------------------------------ by hand


def test_the_chain_of_the_design() -> None:
    """3-8-16-10 has 24 + 128 + 160 = 312 weights; eq. 6 summed over both masks would say 440."""
    masks = relaxed(CHAIN).masks
    first, second = list(masks.opens)
    assert at(masks, "macs", {first: 8, second: 16}) == 312
    assert at(masks, "params", {first: 8, second: 16}) == 312 + 10
    expected = torch.tensor([8.0, 16.0], dtype=torch.float64, requires_grad=True)
    price_of(masks, "macs")(expected).backward()
    assert expected.grad is not None and expected.grad.tolist() == [3 + 16, 8 + 10]  # eq. 6's brackets
    assert (expected.grad * expected).sum().item() == 440
    for a, b in ((2.5, 7.25), (0.125, 16.0)):
        assert at(masks, "macs", {first: a, second: b}) == pytest.approx(3 * a + a * b + b * 10)


def test_a_channel_weighs_what_it_costs() -> None:
    """The gradient in a logit is the channel's bracket times pi (1 - pi)."""
    masks = relaxed(CHAIN).masks
    bank = MaskBank(masks)
    with torch.no_grad():
        bank.logits.normal_(generator=torch.Generator().manual_seed(0))
    price_of(masks, "macs")(bank.expected()).backward()
    pi = bank.probabilities().detach().double()
    a, b = pi[:8].sum(), pi[8:].sum()
    bracket = torch.cat([(3 + b).expand(8), (a + 10).expand(16)])
    assert bank.logits.grad is not None
    torch.testing.assert_close(bank.logits.grad.double(), bracket * pi * (1 - pi), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["digits", "figs_resnet50", "figs_fbnet", "gpunet1"])
@pytest.mark.parametrize("metric", METRICS)
def test_the_gradient_by_finite_differences(name: str, metric: Metric) -> None:
    masks = shipped(name).masks
    price = price_of(masks, metric)
    draw = torch.Generator().manual_seed(3)
    most = torch.tensor([each.widths[-1] for each in masks.opens.values()], dtype=torch.float64)
    expected = (most * (0.1 + 0.8 * torch.rand(len(most), generator=draw).double())).requires_grad_()
    price(expected).backward()
    for i in range(0, len(most), max(1, len(most) // 12)):
        step = torch.zeros_like(most)
        step[i] = 1e-4
        with torch.no_grad():
            difference = (price(expected + step) - price(expected - step)) / 2e-4
        assert expected.grad is not None
        assert difference.item() == pytest.approx(expected.grad[i].item(), rel=1e-4)


# ------------------------------------------------------------------------------------------------ expectations


SMALL = """nas 1
space small {
  input   image 2 x 4 x 4
  output  classes 3

  stage a  conv { kernel 3  stride 2 }        -> 1 .. 3
  stage b  irb  { kernel 3  hidden 1 .. 3  shortcut identity }  -> 1 .. 2
  head     global_pool | linear
}
"""


def widths_of(pi: Sequence[float]) -> list[float]:
    """The chance of each number of channels."""
    found = [1.0]
    for p in pi:
        found = [a * (1 - p) + b * p for a, b in zip([*found, 0.0], [0.0, *found], strict=True)]
    return found


@pytest.mark.parametrize("metric", METRICS)
def test_the_expected_cost_is_the_mean_of_the_networks_costs(metric: Metric) -> None:
    """Of all networks of a space whose widths are decided apart, each as often as the masks would draw it."""
    given = relaxed(SMALL)
    opens = given.masks.opens
    draw = random.Random(1)
    pi = {name: [1.0, *(draw.random() for _ in range(each.widths[-1] - 1))] for name, each in opens.items()}
    chances = {name: widths_of(found) for name, found in pi.items()}
    mean = 0.0
    for widths in itertools.product(*(range(1, each.widths[-1] + 1) for each in opens.values())):
        chosen = dict(zip(opens, widths, strict=True))
        mean += math.prod(chances[name][n] for name, n in chosen.items()) * cost(given, chosen, metric)
    expected = at(given.masks, metric, {name: sum(found) for name, found in pi.items()})
    assert expected == pytest.approx(mean, rel=1e-12)


def test_drawn_masks_cost_as_much_on_average() -> None:
    """Monte Carlo over what the bank itself draws, cold enough to be 0 or 1."""
    masks = relaxed(CHAIN).masks
    bank, price = MaskBank(masks), price_of(masks, "macs")
    with torch.no_grad():
        bank.logits.normal_(generator=torch.Generator().manual_seed(2))
    costs = []
    with torch.no_grad():
        for seed in range(3000):
            seed_noise(seed)
            bank.draw()
            a, b = (bank[name].round().sum().item() for name in masks.opens)
            costs.append(3 * a + a * b + b * 10)
        expected = price(bank.expected()).item()
    error = np.std(costs) / math.sqrt(len(costs))
    assert abs(np.mean(costs) - expected) < 3 * error and error < 0.01 * expected


# ------------------------------------------------------------------------------------------------ exactly


@pytest.mark.parametrize("name", OPEN)
def test_decided_masks_cost_what_the_written_network_does(name: str) -> None:
    """Probabilities of 0 and 1, no operator gone: to the last weight and multiplication."""
    given = shipped(name)
    opens = given.masks.opens
    for seed in (None, 0):
        draw = random.Random(seed)
        chosen = {
            n: each.widths[-1] if seed is None else draw.choice([w for w in each.widths if w])
            for n, each in opens.items()
        }
        pi = {n: [1.0] * w + [0.0] * (opens[n].widths[-1] - w) for n, w in chosen.items()}
        for found in pi.values():
            draw.shuffle(found)
        kept = keep(given.masks, pi)
        assert kept.widths == chosen
        priced = [at(given.masks, metric, {n: sum(found) for n, found in pi.items()}) for metric in METRICS]
        exact = cost_of(space_of(written(given, kept)))
        assert priced == [exact.params.min, exact.macs.min] == [exact.params.max, exact.macs.max]


@pytest.mark.parametrize("name", OPEN)
def test_what_is_kept_costs_what_the_written_network_does(name: str) -> None:
    """Also where operators are gone: then the formulas, which still have what hangs on them, say no less."""
    given = shipped(name)
    kept = keep(given.masks, probabilities(given.masks, 2, gone=0.5))
    exact = cost_of(space_of(written(given, kept)))
    assert kept_cost(given.masks, kept.widths, "params") == exact.params.min <= at(given.masks, "params", kept.widths)
    assert kept_cost(given.masks, kept.widths, "macs") == exact.macs.min <= at(given.masks, "macs", kept.widths)


@pytest.mark.parametrize("name", ["digits", "figs_fbnet", "figs_resnet50"])
def test_a_narrower_network_is_never_dearer(name: str) -> None:
    masks = shipped(name).masks
    pi = {n: sum(found) for n, found in probabilities(masks, 0).items()}
    for metric in METRICS:
        whole = at(masks, metric, pi)
        assert whole > 0
        for n in list(pi)[:10]:
            assert at(masks, metric, {**pi, n: pi[n] / 2}) < whole


# ------------------------------------------------------------------------------------------------ functions and lines


def test_functions_of_widths_are_exact_at_whole_ones() -> None:
    x, y = variable("x"), variable("y")
    sizes = [function("min", x, 5), function("max", multiply(2, x), y), multiply(y, function("min", x, y)), 7]
    price = ExpectedCost(["x", "y"], [8, 9], sizes)
    for a, b in itertools.product(range(9), range(10)):
        found = price(torch.tensor([a, b], dtype=torch.float64)).item()
        assert found == min(a, 5) + max(2 * a, b) + b * min(a, b) + 7


def test_a_cost_that_divides_by_a_width_is_refused() -> None:
    with pytest.raises(NascError, match="divides by a width"):
        ExpectedCost(["x"], [8], [divide(12, variable("x"))])


@pytest.mark.parametrize("may_go", [False, True])
def test_latency_is_linear_between_the_widths_of_the_table(may_go: bool) -> None:
    table = {8: 11.0, 16: 12.5, 32: 31.0, 40: 30.0}
    line = line_of("w", table, may_go)
    price = ExpectedCost(["v", "w"], [4, 40], (100.0,), [line, Line("v", (0, 1), (0.0, 5.0))])
    assert set(line.widths) == {*table, *([0] if may_go else [])}
    for width in (*np.linspace(0, 45, 91), *table):
        inside = np.interp(width, line.widths, line.costs)
        found = price(torch.tensor([0.5, width], dtype=torch.float64)).item()
        assert found == pytest.approx(100 + 2.5 + inside)
    for width, latency in table.items():
        assert price(torch.tensor([0.0, width], dtype=torch.float64)).item() == 100 + latency
    width = torch.tensor([0.0, 20.0], dtype=torch.float64, requires_grad=True)
    price(width).backward()
    assert width.grad is not None and width.grad.tolist() == [5.0, pytest.approx((31 - 12.5) / 16)]


def test_an_operator_that_is_there_or_not() -> None:
    """Of two points, and of one that stays."""
    assert line_of("p", {1: 9.0}, True) == Line("p", (0, 1), (0.0, 9.0))
    price = ExpectedCost(["p"], [1], (), [line_of("p", {1: 9.0}, False)])
    assert price(torch.tensor([0.25], dtype=torch.float64)).item() == 9.0
