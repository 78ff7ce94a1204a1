"""Calibrations: fitted to networks whose latencies follow a known rule, stored, and used by every prediction."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from nasc.compiler.build_manifest import manifest_of
from nasc.compiler.manifest import Target
from nasc.compiler.methods.relax import relax
from nasc.compiler.network import network_of
from nasc.compiler.sample import sample_members
from nasc.dsl.diagnostics import NascError
from nasc.runtime.calibration import FEWEST, PLAIN, Calibration, Observed, calibration_of, fit, space_key, store
from nasc.runtime.costs import table_costs
from nasc.runtime.device import Environment
from nasc.runtime.engines import make_engine
from nasc.runtime.engines.base import TimingOptions
from nasc.runtime.latencies import Latencies
from nasc.runtime.measurement import Estimate, Measurement
from nasc.runtime.member_latency import MemberLatency
from nasc.runtime.profile import points_of, profile
from nasc.runtime.progress import SilentProgress
from nasc.runtime.table import LatencyTable
from nasc.runtime.validate import validate
from tests.searches import NARROW
from tests.spaces import module_of, space_of
from tests.tiny_blocks import MACHINE

ENV = Environment(
    device=MACHINE,
    engine="onnxruntime",
    engine_version="1",
    precision="fp32",
    batch=1,
    threads=1,
    timing_mode="pinned",
    protocol_version=1,
)


def networks(count: int, scale: float, edge: float, noise: float = 0.0, seed: int = 0) -> list[Observed]:
    """Networks of 3 to 12 blocks whose latency follows a rule, with relative noise."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        blocks = tuple(draw.uniform(5, 60) for _ in range(draw.randint(3, 12)))
        true = 4.0 + sum(scale * us + edge for us in blocks)
        found.append(Observed(true * (1 + draw.gauss(0, noise)), blocks, 4.0))
    return found


@pytest.mark.parametrize(("scale", "edge"), [(1.0, 0.0), (0.8, 0.0), (0.9, -3.0), (1.1, 2.0)])
def test_the_rule_is_found(scale: float, edge: float) -> None:
    found = fit(networks(30, scale, edge))
    assert found.scale == pytest.approx(scale, rel=1e-6) and found.edge_us == pytest.approx(edge, abs=1e-6)
    assert abs(found.bias) < 1e-9 and found.spread < 1e-9 and found.networks == 30


def test_errors_are_those_of_networks_left_out() -> None:
    """Else a fit to noise would look better than it predicts."""
    known, new = networks(12, 0.8, 1.0, noise=0.05), networks(400, 0.8, 1.0, noise=0.05, seed=1)
    found = fit(known)
    assert found.raw_bias > 0.1 and abs(found.bias) < 0.04
    errors = [one.error(found) for one in new]
    assert found.spread == pytest.approx((sum(e * e for e in errors) / len(errors)) ** 0.5, rel=0.5)


def test_few_networks_give_a_scale_alone() -> None:
    assert fit(networks(FEWEST - 2, 0.8, 0.0)).edge_us == 0.0
    with pytest.raises(ValueError, match="two networks"):
        fit(networks(1, 1.0, 0.0))


def test_networks_that_tell_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="do not grow"):
        fit([Observed(1.0, (100.0,) * n, 4.0) for n in range(1, 6)])


# ------------------------------------------------------------------------------------------------ in a table


def measured_table(path: Path) -> LatencyTable:
    """Every block of NARROW, each of a made-up latency."""
    manifest = manifest_of(network_of(space_of(NARROW)))
    table, draw = LatencyTable(path), random.Random(0)
    for entry in manifest.entries:
        for point in points_of(entry):
            us = draw.uniform(10, 50)
            row = Measurement(status="ok", minimum=us, median=us, mad=0.1, samples=9, identity=4.0)
            table.put(entry.key, point, ENV, row)
    return table


def test_a_correction_belongs_to_its_space(tmp_path: Path) -> None:
    manifest = manifest_of(network_of(space_of(NARROW)))
    other = manifest.model_copy(update={"entries": manifest.entries[:1]})
    with measured_table(tmp_path / "t.db") as table:
        assert calibration_of(table, ENV, manifest) == PLAIN
        first, second = Calibration(scale=0.9, networks=20), Calibration(scale=1.2, networks=20)
        store(table, ENV, manifest, first)
        store(table, ENV, other, second)
        assert calibration_of(table, ENV, manifest) == first and calibration_of(table, ENV, other) == second


def test_a_correction_from_a_stranger_is_checked(tmp_path: Path) -> None:
    manifest = manifest_of(network_of(space_of(NARROW)))
    with measured_table(tmp_path / "t.db") as table:
        table.set_calibration(ENV, {space_key(manifest): {"scale": -1.0}})
        with pytest.raises(NascError, match="cannot be read"):
            calibration_of(table, ENV, manifest)


def test_the_search_and_predictions_use_the_same_correction(tmp_path: Path) -> None:
    space = space_of(NARROW)
    network = network_of(space)
    manifest, layers = manifest_of(network), relax(network)
    with measured_table(tmp_path / "t.db") as table:
        plain = table_costs(layers, manifest, table, ENV)
        store(table, ENV, manifest, Calibration(scale=0.5, edge_us=3.0, networks=20))
        costs = table_costs(layers, manifest, table, ENV)
        key = next(iter(costs.blocks))
        for width, us in costs.blocks[key].items():
            assert us == pytest.approx(0.5 * plain.blocks[key][width] + 3.0)
        predicted = MemberLatency(network, manifest, table, ENV)
        for member in sample_members(space, 5, 0):
            blocks = predicted.blocks(member)
            assert predicted(member).us == pytest.approx(4.0 + sum(0.5 * us + 3.0 for us in blocks))


def test_estimates_stand_where_nothing_was_measured(tmp_path: Path) -> None:
    manifest = manifest_of(network_of(space_of(NARROW)))
    entry = manifest.entries[0]
    with LatencyTable(tmp_path / "t.db") as table:
        table.put_estimate(entry.key, (8,), ENV, Estimate(12.0, 0.5))
        found = Latencies(table, ENV).find(entry, (8,))
        assert found is not None and (found.us, found.error_us, found.empty) == (12.0, 0.5, False)
        row = Measurement(status="ok", minimum=11.0, median=11.0, mad=0.1, samples=9, identity=4.0)
        table.put(entry.key, (8,), ENV, row)
        found = Latencies(table, ENV).find(entry, (8,))
        assert found is not None and found.us == 11.0, "what was measured comes first"


def test_whole_networks_are_measured_and_the_correction_is_stored(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    space, module = space_of(NARROW), module_of(NARROW)
    manifest = manifest_of(network_of(space))
    target = Target(name="cpu", engine="onnxruntime")
    manifest = manifest.model_copy(update={"targets": (target,)})
    engine = make_engine("onnxruntime", TimingOptions(batch_us=200.0, min_rounds=3, max_rounds=5))
    with LatencyTable(tmp_path / "t.db") as table:
        with pytest.raises(NascError, match="have no latency"):
            validate(module, space, manifest, target, table, engine, 2, progress=SilentProgress())
        profile(manifest, table, engine, progress=SilentProgress())
        found = validate(module, space, manifest, target, table, engine, 4, progress=SilentProgress())
        assert len(found.networks) == 4 and all(one.measured_us > 0 for one in found.networks)
        assert calibration_of(table, engine.environment(target), manifest) == found.calibration
