"""PruNet against its paper: the printed numbers that need no GPU, Algorithm 1 as it is printed, and each rule and
option of what the search decides. Trajectories worked out by hand are in `test_prunode.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nasc.compiler.compile import method_options
from nasc.compiler.count import count_members, layer_factors
from nasc.compiler.lower_supernet import supernet_source
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.relax import relax
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file
from nasc.runtime.costs import Costs
from nasc.runtime.methods.loss import total_loss
from nasc.runtime.methods.masks import Masks, MaskSettings
from nasc.runtime.methods.prunet import Prunet
from nasc.runtime.supernet import StochasticLayer
from tests.spaces import ROOT, in_space, space_of
from tests.synthetic import Problem, Table, relaxed, search_run


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# ------------------------------------------------------------------------------------------------ space sizes


def text_of(name: str) -> str:
    return (ROOT / "spaces" / f"{name}.nas").read_text()


def edited(text: str, **changes: str) -> str:
    """The space with a property said otherwise: `skip` in one place, `expand` in each stage."""
    olds = {"skip": "skip        same_shape", "expand": "expand (0, 8]"}
    for name, new in changes.items():
        assert olds[name] in text
        text = text.replace(olds[name], f"{name} {new}")
    return text


PRODUCT = 3**2 * 24 * 65 * 64 * 97**2 * 96 * 161 * 160 * 289**4 * 288 * 449**4
"""As section 3.1 prints it, about 1.7e39."""


def test_the_printed_product() -> None:
    """It is the space of 17 (F)IRBs, factor by factor: 4 · 8 · input channels / 32, and 1 where shapes are equal."""
    space = space_of(text_of("gpunet1_product"))
    factors = sorted(ways + skip for _, ways, skip in layer_factors(space) if ways + skip > 1)
    assert factors == sorted([3, 3, 24, 65, 64, 97, 97, 96, 161, 160, *[289] * 4, 288, *[449] * 4])
    assert count_members(space) == PRODUCT and f"{PRODUCT:.1e}" == "1.7e+39"


READINGS = {
    "gpunet1_product": (17, 1707170371551722769733494667243369267200),
    "gpunet1": (18, 110966074150861980032677153370819002368000),
    "gpunet1_table1": (19, 49823767293737029034672041863497732063232000),
}


@pytest.mark.parametrize("name", READINGS)
def test_three_readings_of_the_space(name: str) -> None:
    """The product, section 4.1.1 (and Table 6, whose longest networks have 18), and Table 1 do not agree."""
    space = space_of(text_of(name))
    layers = [layer for stage in network_of(space).stages for layer in stage.layers]
    irbs = sum("irb" in layer.variants[0].block for layer in layers)
    assert (irbs, count_members(space)) == READINGS[name]


TABLE_3 = {
    "FBNet": ("9.0e+15", {"skip": "no", "expand": "{4, 8}"}),
    "1st opt": ("7.1e+38", {"skip": "no"}),
    "all opts": ("1.7e+39", {}),
}


@pytest.mark.parametrize("name", TABLE_3)
def test_space_sizes_of_table_3(name: str) -> None:
    """FBNet has no skips, and for the memory of four Prunodes eight blocks a layer; the first optimisation makes them
    Prunodes, all three add skips. (The second changes no space.)"""
    printed, changes = TABLE_3[name]
    assert f"{count_members(space_of(edited(text_of('gpunet1_product'), **changes))):.1e}" == printed


def test_table_3_counts_skips_where_none_can_be() -> None:
    """ "3rd opt", FBNet with skips: the printed 1.5e17 has one in each of 19 layers. Five change the shape: 8.3e16."""
    count = count_members(space_of(edited(text_of("gpunet1_product"), expand="{4, 8}")))
    assert count == 3**2 * 9**12 * 8**5 and f"{count:.1e}" == "8.3e+16"
    assert f"{3**2 * 9**17:.1e}" == "1.5e+17"


def test_how_many_times_more() -> None:
    """Section 3.1: about 1.9e23 times the members at the same memory."""
    assert f"{PRODUCT / (2**2 * 8**17):.1e}" == "1.9e+23"


# ------------------------------------------------------------------------------------------------ eq. 2

LATENCIES = {2.0: 0.48, 1.2: 0.56, 1.0: 0.66, 0.8: 0.77, 0.6: 0.91, 0.4: 1.07, 0.2: 1.28}
"""Table 2: PruNet-0 to -6, milliseconds, by the alpha that each was found with."""
LOSSES = {
    2.0: (6.6316, 6.5968, 6.6241),
    1.2: (4.1876, 4.2139, 4.2039),
    1.0: (3.6015, 3.6074, 3.6138),
    0.8: (2.9932, 2.9762, 2.9692),
    0.6: (2.3394, 2.3160, 2.3723),
    0.4: (1.7201, 1.7296, 1.6946),
    0.2: (1.0573, 1.0687, 1.0531),
}
"""Table 6: total losses for lambda 0.85, 0.55, 0.4; the least of each alpha is PruNet's."""
BETA = 0.6


def test_losses_and_latencies_agree_by_eq_2() -> None:
    """What is left of Table 6's losses for the cross-entropy falls steadily as alpha falls, as networks grow."""
    implied = [min(LOSSES[a]) - total_loss(0.0, 1000 * LATENCIES[a], a, BETA) for a in LATENCIES]
    assert implied == sorted(implied, reverse=True) and len(set(implied)) == 7
    assert (implied[0], implied[-1]) == pytest.approx((0.635, 0.402), abs=5e-4)


def test_without_the_logarithm_they_do_not() -> None:
    """Table 6's caption leaves it out: in microseconds nothing would be left, in milliseconds more with larger nets."""
    micro = [min(LOSSES[a]) - a * (1000 * LATENCIES[a]) ** BETA for a in LATENCIES]
    milli = [min(LOSSES[a]) - a * LATENCIES[a] ** BETA for a in LATENCIES]
    assert max(micro) < 0
    assert max(milli) > 5


# ------------------------------------------------------------------------------------------------ constants


def section(name: str) -> PrunetOptions:
    _, found = method_options(open_file(ROOT / "spaces" / f"{name}.nas"), "prunet")
    assert isinstance(found, PrunetOptions)
    return found


def test_the_shipped_space_is_searched_as_printed() -> None:
    found = section("gpunet1")
    assert set(found.alpha) == set(LATENCIES) and set(found.lambda_) == {0.4, 0.55, 0.85}
    assert (found.beta, found.phi, found.epochs, found.warmup, found.batch) == (0.6, 1.1, 200, 70, 256)
    assert (found.threshold.first, found.threshold.last, found.split) == (0.15, 0.55, 0.8)
    assert (found.weights.kind, found.architecture.kind) == ("rmsprop", "adam")
    assert MaskSettings(found.small, found.large, found.c, found.max_distance, found.momentum) == MaskSettings()
    assert MaskSettings() == MaskSettings(0.5, 1.0, 0.8, 0.6, 0.4)
    nodes = [c for layer in relax(network_of(space_of(text_of("gpunet1")))) for c in layer.candidates if c.widths]
    assert len(nodes) == 18 * 4
    assert all(c.widths[0] == 32 and set(map(lambda w: w % 32, c.widths)) == {0} for c in nodes)
    table_5 = section("prunet_table5")
    assert (table_5.threshold.first, table_5.threshold.last) == (0.133, 0.55)
    assert set(table_5.alpha) == {0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 2.0, 3.0}


# ------------------------------------------------------------------------------------------------ Algorithm 1


@dataclass
class Printed:
    """Algorithm 1 line by line. `weight` is the architecture weight, which the optimiser changes between calls."""

    max_channels: int
    granularity: int = 32
    c: float = 0.8
    max_distance: float = 0.6
    momentum: float = 0.4
    weight: float = 0.0
    update: float = 0.0
    s: float = 0.5
    l: float = 1.0  # noqa: E741
    small_mask: int = 0
    large_mask: int = 0

    def update_masks(self, progress: float) -> None:
        if (self.l - self.s) * self.max_channels > self.granularity:
            self.update = self.update * self.momentum + self.weight
            distance = self.max_distance * (1 - progress) ** 2
            self.s = self.s + self.update
            if self.s > 0:
                self.weight = 0.0
                self.s = min(self.s, 1 - self.c * distance)
            else:
                self.s = 0.0
            self.l = self.s + distance
            self.small_mask = self.clip(self.round(self.s), self.granularity, self.max_channels - self.granularity)
            self.large_mask = self.clip(self.round(self.l), self.small_mask + self.granularity, self.max_channels)

    def round(self, part: float) -> int:
        return math.floor(part * self.max_channels / self.granularity + 0.5) * self.granularity

    @staticmethod
    def clip(value: int, low: int, high: int) -> int:
        return min(max(value, low), high)


STEPS = st.lists(st.floats(-0.5, 0.5) | st.sampled_from([-0.1, 0.0, 0.1]), min_size=1, max_size=60)


@settings(deadline=None)
@given(cells=st.integers(2, 112), changes=STEPS, last=st.floats(0.3, 1))
@example(cells=6, changes=[-0.3, -0.3, -0.3, 0.1, 0.1, 0.5, 0.5], last=0.4)
@example(cells=112, changes=[0.5] * 20, last=1.0)
def test_masks_are_algorithm_1(cells: int, changes: list[float], last: float) -> None:
    """Against the printed lines, for weights that an optimiser moves from where the algorithm left them."""
    printed, masks, weight = Printed(32 * cells), Masks(range(32, 32 * cells + 1, 32)), 0.0
    for i, change in enumerate(changes):
        progress = last * i / len(changes)
        moved = masks.moving
        weight = masks.step(weight + change, progress)
        printed.weight += change
        printed.update_masks(progress)
        assert (weight, masks.s, masks.l, masks.update) == (printed.weight, printed.s, printed.l, printed.update)
        assert not moved or (masks.small, masks.large) == (printed.small_mask, printed.large_mask)


def test_the_weight_stays_in_the_corner() -> None:
    masks = Masks(range(32, 513, 32))
    assert masks.step(-0.5, 0.0) == -0.5 and masks.s == 0.0  # exactly 0 is the corner, too
    assert masks.step(0.1, 0.0) == 0.1  # 0.4 · -0.5 + 0.1 is still below 0
    assert masks.step(0.3, 0.0) == 0.0 and masks.s == pytest.approx(0.4 * -0.1 + 0.3)


def test_momentum_carries_on_without_a_preference() -> None:
    masks = Masks(range(32, 513, 32))
    for weight, s in ((-0.1, 0.4), (0.0, 0.36), (0.0, 0.344)):
        masks.step(weight, 0.0)
        assert masks.s == pytest.approx(s)


@pytest.mark.parametrize(("progress", "most"), [(0.0, 0.52), (0.5, 0.88), (1.0, 1.0)])
def test_the_small_mask_stays_below_what_the_distance_allows(progress: float, most: float) -> None:
    masks = Masks(range(32, 513, 32))
    masks.step(3.0, progress)
    assert masks.s == pytest.approx(most) and masks.l == pytest.approx(most + 0.6 * (1 - progress) ** 2)


def test_widths_with_one_value_are_no_prunodes() -> None:
    text = " stage s irb { kernel {3, 5}  hidden 32 .. 32 step 32 } -> 4\n head global_pool | linear"
    network = network_of(space_of(in_space(text)))
    layers = relax(network)
    assert [candidate.widths for candidate in layers[0].candidates] == [(), ()]
    assert "Prunode(" not in supernet_source(network, layers, find_method("prunet"))


# ------------------------------------------------------------------------------------------------ rules and options

TEXT = """
 stage wide irb       { kernel 3       hidden 32 .. 256 step 32 }          -> 4
 stage four irb       { kernel {3, 5}  hidden 32  se {0, 1}  skip no }  -> 4
 stage two  irb       { kernel {3, 5}  hidden 32  skip same_shape }        -> 4
 stage lone fused_irb { kernel 3       hidden 32  skip same_shape }        -> 4
 head global_pool | linear"""


def problem() -> Problem:
    layers = relaxed(in_space(TEXT))
    table: Table = {}
    for layer in layers:
        for number, candidate in enumerate(layer.candidates):
            table[layer.address, number] = {width: 10.0 + width for width in candidate.widths or (0,)}
    adds = {key: {width: -0.001 * cost for width, cost in costs.items()} for key, costs in table.items()}
    return Problem(layers, 3.0, adds, Costs("macs", 100.0, table), 1.0)


def options(**changes: Any) -> PrunetOptions:
    return PrunetOptions(**{"epochs": 12, "warmup": 2, "batch": 1, "threshold": {"first": 0.2, "last": 0.6}, **changes})


def prunet(**changes: Any) -> Prunet:
    method = search_run(problem(), options(**changes)).method
    assert isinstance(method, Prunet)
    return method


def with_theta(method: Prunet, address: str, *theta: float) -> StochasticLayer:
    """One layer's weights, and the others at rest."""
    for name, layer in method.layers.items():
        with torch.no_grad():
            layer.theta[: len(theta)] = torch.tensor(theta) if name == address else 1.0
    return method.layers[address]


@pytest.mark.parametrize(("address", "count"), [("wide.1", 1), ("four.1", 4), ("two.1", 2), ("lone.1", 1)])
def test_weights_start_at_one_part_in_n(address: str, count: int) -> None:
    layer = prunet().layers[address]
    assert layer.theta.tolist() == [1 / count] * (count + 1)
    assert layer.probabilities() == pytest.approx({number: 1 / count for number in range(count)})


def test_the_threshold_of_each_epoch() -> None:
    """Eq. 6 at the end of epochs counted from 1: no step at the end of the warm-up, all of it at the last."""
    method = prunet()
    assert [method.threshold(epoch) for epoch in (2, 3, 7, 12)] == pytest.approx([0.2, 0.24, 0.4, 0.6])


def test_prune_by_probability_or_weight() -> None:
    theta = (1.5, 1.3, 1.1, 1.6)  # probabilities 0.28, 0.23, 0.19, 0.31
    for by, alive in (("probability", [0, 1, 3]), ("weight", [0, 1, 2, 3])):
        method = prunet(prune_by=by)
        layer = with_theta(method, "four.1", *theta)
        method.end_epoch(2)
        assert layer.alive == alive
    layer = with_theta(method, "four.1", 0.5, 0.19, 0.3, 0.1)
    method.end_epoch(2)
    assert layer.alive == [0, 2]


def test_removal_of_the_weakest_or_of_all_together() -> None:
    theta = (math.log(0.43), *[math.log(0.19)] * 3)
    for removal, alive in (("weakest", [0, 1, 2]), ("together", [0])):
        method = prunet(removal=removal)
        layer = with_theta(method, "four.1", *theta)
        decided = method.end_epoch(2)
        assert layer.alive == alive and len(decided.removed) == 4 - len(alive) and decided.renewed == []
        assert decided.events == [f"four.1: candidate {n} is gone" for n in (3, 2, 1)[: 4 - len(alive)]]


def test_the_most_probable_stays_whatever_the_threshold() -> None:
    method = prunet(removal="together", threshold={"first": 0.2, "last": 0.99})
    layer = with_theta(method, "four.1", 0.1, 0.3, 0.2, 0.1)
    method.end_epoch(12)
    assert layer.alive == [1]


@pytest.mark.parametrize(("chosen", "weight"), [("equal", 2.0), ("initial", 0.5)])
def test_the_first_weight_of_the_skip(chosen: str, weight: float) -> None:
    method = prunet(skip_weight=chosen)
    layer = with_theta(method, "two.1", 2.0, 0.0)
    method.end_epoch(2)
    assert layer.alive == [0, 2] and layer.theta[2].item() == weight


def test_phi_and_lambda_come_with_the_skip_and_go_with_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasc.runtime.supernet.gumbel_softmax", lambda theta, tau: torch.full((len(theta),), 0.5))
    x, block = torch.ones(1), 1 - 0.010  # what the block makes of it
    for goes, rest in ((2, block), (0, 1.0)):
        method = prunet(phi=1.5, **{"lambda": 0.25})
        layer = with_theta(method, "two.1", 2.0, 0.0)
        assert layer(x).item() == pytest.approx(block)
        method.end_epoch(2)
        assert layer(x).item() == pytest.approx(0.5 * 0.25 * block + 0.5 * 1.5 * 1.0)
        with_theta(method, "two.1", *(5.0 if number != goes else 0.0 for number in range(3)))
        method.end_epoch(3)
        assert layer(x).item() == pytest.approx(rest) and len(layer.alive) == 1


def test_a_single_block_gets_its_skip_when_the_warm_up_ends() -> None:
    method = prunet()
    assert method.layers["lone.1"].alive == [0]
    method.begin()
    assert method.layers["lone.1"].alive == [0, 1] and method.layers["two.1"].alive == [0, 1]


def progresses(**changes: Any) -> Iterator[float]:
    """What Algorithm 1 is told in a search of 2 epochs of 10 warm-up steps and 3 of 8 and 2."""
    run = search_run(problem(), options(epochs=5, **changes))
    seen: list[float] = []
    run.method.after_step = lambda progress: seen.append(progress) or []  # type: ignore[method-assign, func-returns-value]
    while not run.ended:
        run.run_epoch()
    return iter(seen)


def test_progress_of_the_masks() -> None:
    """From 0 to 1 in even steps, over the steps after which masks move; or with the warm-up behind it."""
    assert list(progresses()) == pytest.approx([i / 29 for i in range(30)])
    assert list(progresses(mask_steps="architecture")) == pytest.approx([i / 5 for i in range(6)])
    assert list(progresses(progress_from="start")) == pytest.approx([i / 49 for i in range(20, 50)])
    with pytest.raises(ValueError, match="progress_from start needs mask_steps every"):
        options(progress_from="start", mask_steps="architecture")


@pytest.mark.parametrize("reset", [True, False])
def test_adam_forgets_a_reset_weight_or_not(reset: bool) -> None:
    """With masks moved after architecture steps only, each is followed by a reset."""
    run = search_run(problem(), options(warmup=0, epochs=3, mask_steps="architecture", reset_moments=reset))
    run.run_epoch()
    ((_, node),) = run.method.prunodes()
    assert node.theta.item() == 0.0
    held = run.optimizers[True].state.get(node.theta)
    if reset:
        assert held is None
    else:
        assert held is not None and held["step"] == 2 and held["exp_avg"].item() != 0
    others = [layer.theta for layer in run.method.layers.values() if len(layer.alive) > 1]
    assert others and all(run.optimizers[True].state[theta]["step"] == 2 for theta in others)


@pytest.mark.parametrize("skip_moments", ["fresh", "kept"])
def test_the_skip_starts_with_fresh_moments_or_not(skip_moments: str) -> None:
    """The epoch after which the skip comes in: Adam's state of the layer's weights is gone, or as it was."""
    # Above 1/2 from the first epoch on: each layer of two blocks is given its skip at once.
    threshold = {"first": 0.9, "last": 0.9}
    run = search_run(problem(), options(warmup=0, epochs=3, threshold=threshold, skip_moments=skip_moments))
    run.run_epoch()
    layers = [layer for layer in run.method.layers.values() if layer.skip]
    assert layers
    for layer in layers:
        assert (layer.theta in run.optimizers[True].state) == (skip_moments == "kept")


def test_a_search_goes_on_when_all_is_decided() -> None:
    """No architecture weight is left that anything depends on; the weights are still trained."""
    blocks = relaxed(in_space(" stage s irb { kernel {3, 5}  hidden 32 } -> 4\n head global_pool | linear"))
    table: Table = {("s.1", 0): {0: 10.0}, ("s.1", 1): {0: 20.0}}
    run = search_run(Problem(blocks, 3.0, table, Costs("macs", 100.0, table), 1.0), options())
    run.method.layers["s.1"].settle(1)
    while not run.ended:
        record = run.run_epoch()
    assert record["phase"] == "search" and record["cross_entropy"] == pytest.approx(23.0)
