"""Plans within a budget: never more than it, the same every time, and estimates whose stated errors hold."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.cli import main
from nasc.compiler.domain import Domain
from nasc.compiler.manifest import Entry, Target
from nasc.dsl.diagnostics import NascError
from nasc.runtime.budget import BAR, HELD_LEAST, Budget, Key, Plan
from nasc.runtime.measurement import Estimate, Measurement
from nasc.runtime.profile import points_of, profile
from nasc.runtime.profile_budget import profile_within
from nasc.runtime.progress import SilentProgress
from nasc.runtime.table import LatencyTable
from tests.tiny_blocks import PretendEngine, entry, manifest, pretended_environment, tiny_onnx

ENV = pretended_environment()

Truth = Callable[[int, int], float]
"""Microseconds of a block, by its number, at a width."""


def blocks(count: int, widths: int, step: int = 8) -> list[Entry]:
    """So many blocks of different sizes, each with so many widths."""
    return [entry(f"b{i}", Domain.grid(step, step * widths, step), side=8 + 4 * i) for i in range(count)]


def row(us: float, error: float = 0.002) -> Measurement:
    """A measurement of 9 rounds with a standard error of a part of it."""
    mad = error * us * 3 / (1.2533 * 1.4826)
    return Measurement(status="ok", minimum=us, median=us, mad=mad, samples=9, quality="good")


def measured(entries: Sequence[Entry], truth: Truth, noise: float = 0.0, seed: int = 0) -> dict[Key, Measurement]:
    """Every point, with relative noise."""
    draw = random.Random(seed)
    return {
        (e.key, point): row(truth(i, int(point[0])) * math.exp(draw.gauss(0, noise)), max(noise / 3, 1e-3))
        for i, e in enumerate(entries)
        for point in points_of(e)
    }


def run(plan: Plan, rows: Mapping[Key, Measurement], stop: int | None = None) -> list[Key]:
    """Tell the plan what it asks for, until its end or for so many batches; what it asked for, in its order."""
    asked: list[Key] = []
    results: dict[Key, Measurement] = {}
    while batch := plan.next(results):
        keys = [(e.key, point) for e, point in batch]
        asked += keys
        results = {key: rows[key] for key in keys}
        stop = None if stop is None else stop - 1
        if stop == 0:
            break
    return asked


def wrong(estimates: Mapping[Key, Estimate], rows: Mapping[Key, Measurement]) -> list[float]:
    return [abs(e.median / (rows[key].median or math.nan) - 1) for key, e in estimates.items()]


def linear(block: int, width: int) -> float:
    """What `conv_relu` takes on a device that does so many MACs a microsecond and no more."""
    return 3.0 + 2 * 9 * 4 * width * (8 + 4 * block) ** 2 / 5e3


def stepped(block: int, width: int) -> float:
    """The same on vectors of 16 channels, with a cache that is too small from a width on."""
    padded = linear(block, math.ceil(width / 16) * 16)
    return padded * (1.15 if width * (8 + 4 * block) ** 2 > 30_000 else 1.0)


# ------------------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("15%", Budget(share=0.15)),
        ("0.5 %", Budget(share=0.005)),
        ("200", Budget(points=200)),
        ("90s", Budget(seconds=90)),
        ("1.5 min", Budget(seconds=90)),
        ("2h", Budget(seconds=7200)),
        ("error 3%", Budget(error=0.03)),
        ("15%, error 3%, 10min", Budget(share=0.15, error=0.03, seconds=600)),
    ],
)
def test_what_a_budget_says(text: str, budget: Budget) -> None:
    found = Budget.parse(text)
    for name in ("points", "share", "seconds", "error"):
        assert getattr(found, name) == pytest.approx(getattr(budget, name))


@pytest.mark.parametrize(
    "text", ["", "x", "0", "-3", "101%", "error 3", "error", "1.5", "15%,", "15%, 20%", "1e3", "nan%", "٣", "9" * 30]
)
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(NascError):
        Budget.parse(text)


@settings(deadline=None, max_examples=25)
@given(
    count=st.integers(1, 4), widths=st.integers(1, 20), points=st.integers(1, 90), seed=st.integers(0, 5),
    share=st.none() | st.sampled_from([0.05, 0.15, 0.5, 1.0]),
)  # fmt: skip
def test_a_budget_is_kept_and_used(count: int, widths: int, points: int, seed: int, share: float | None) -> None:
    entries = blocks(count, widths)
    rows = measured(entries, stepped, 0.01)
    plan = Plan(entries, Budget(points=points, share=share), seed=seed)
    asked = run(plan, rows)
    assert len(asked) == len(set(asked)) == plan.measured
    assert len(asked) == min(points, len(rows), math.floor((share or 1.0) * len(rows) + 1e-9))
    assert asked == run(Plan(entries, Budget(points=points, share=share), seed=seed), rows)
    estimates = plan.estimates()
    assert estimates.keys() == (rows.keys() - asked if asked else set())
    assert all(e.median > 0 and 0 < e.error < math.inf for e in estimates.values())


def test_everything_is_measured_where_nothing_is_saved() -> None:
    entries = blocks(2, 10)
    plan = Plan(entries, Budget())
    assert len(run(plan, measured(entries, linear))) == 20
    assert plan.estimates() == {}


def test_seconds_are_kept_to() -> None:
    entries = blocks(4, 60)
    rows = measured(entries, linear)
    plan, results, seconds = Plan(entries, Budget(seconds=50)), {}, 0.0
    while batch := plan.next(results, seconds):
        seconds += len(batch)
        results = {(e.key, p): rows[e.key, p] for e, p in batch}
    assert 40 <= seconds <= 50


# ------------------------------------------------------------------------------------------------- estimates


@settings(deadline=None, max_examples=10)
@given(st.floats(0.5, 50), st.floats(1e2, 1e5), st.integers(0, 9))
def test_a_linear_latency_is_found_exactly(call: float, speed: float, seed: int) -> None:
    entries = blocks(3, 30)
    rows = measured(entries, lambda block, width: call + width * (8 + 4 * block) ** 2 / speed)
    plan = Plan(entries, Budget(share=0.3), seed=seed)
    run(plan, rows)
    assert max(wrong(plan.estimates(), rows)) < 0.01


def test_steps_are_found_and_bars_hold() -> None:
    """Widths of 8 on vectors of 16, a cache, and noise of one per cent; a second run is what is estimated."""
    entries = blocks(6, 40)
    within, middle, stated = [], [], []
    for seed in range(6):
        told, again = (measured(entries, stepped, 0.01, seed=2 * seed + i) for i in (0, 1))
        plan = Plan(entries, Budget(share=0.2), seed=seed)
        run(plan, told)
        estimates = plan.estimates()
        bars = [abs(e.median - (again[key].median or 0)) <= BAR * e.error for key, e in estimates.items()]
        within.append(statistics.mean(bars))
        middle.append(statistics.median(wrong(estimates, again)))
        assert plan.stated is not None
        stated.append(plan.stated.median)
    assert statistics.mean(within) > 0.85, within
    assert statistics.mean(middle) < 0.02
    assert statistics.mean(stated) == pytest.approx(statistics.mean(middle), rel=0.6)
    widest = max(e.error / e.median for e in estimates.values())
    assert widest < 0.2, "bars that always hold because they are wide are of no use"


def test_blocks_learn_from_each_other() -> None:
    """Fewer points than would draw every block's curve."""
    entries = blocks(12, 40)
    rows = measured(entries, linear, 0.002)
    plan = Plan(entries, Budget(points=30))
    run(plan, rows)
    assert statistics.median(wrong(plan.estimates(), rows)) < 0.01


def test_what_is_held_back_is_not_learned_from() -> None:
    """Held-back points that all take half as long again must be predicted by a third too short."""
    entries = blocks(4, 40)
    rows = measured(entries, linear)
    plan = Plan(entries, Budget(points=60))
    held = {plan.grid.keys[number] for number in plan._held}
    assert len(held) >= HELD_LEAST
    run(plan, {key: row(1.5 * (m.median or 0)) if key in held else m for key, m in rows.items()})
    assert plan.stated is not None
    assert plan.stated.points == len(held)
    assert plan.stated.median == pytest.approx(1 / 3, abs=0.02)
    assert plan.stated.stretch > 3


def test_a_target_error_ends_a_plan_early_where_it_is_met_and_only_there() -> None:
    entries = blocks(4, 60)
    easy, hard = measured(entries, linear, 0.002), measured(entries, linear, 0.5)
    plan = Plan(entries, Budget(error=0.02))
    assert len(run(plan, easy)) < 100
    assert plan.stated is not None and plan.stated.median <= plan.stated.bound <= 0.02
    assert len(run(Plan(entries, Budget(error=0.02)), hard)) == 240


# ------------------------------------------------------------------------------------------------- what goes wrong


def test_a_plan_goes_on_with_what_a_killed_run_left() -> None:
    entries = blocks(4, 40)
    rows = measured(entries, stepped, 0.01)
    whole = Plan(entries, Budget(share=0.3), seed=3)
    first = run(whole, rows, stop=3)
    again = Plan(entries, Budget(share=0.3), known={key: rows[key] for key in first}, seed=3)
    assert again._held == whole._held
    second = run(again, rows)
    assert not set(first) & set(second)
    assert len(first) + len(second) == 48
    assert again.stated is not None and again.stated.points == len(whole._held)


def test_points_beside_a_failure_get_no_estimate() -> None:
    """A block whose upper half cannot be built."""
    entries = blocks(3, 40)
    rows = measured(entries, linear)
    broken = {key for key in rows if key[0] == entries[1].key and key[1][0] > 160}
    plan = Plan(entries, Budget(share=0.3))
    asked = run(plan, {k: Measurement.failure("build_failed", "no") if k in broken else m for k, m in rows.items()})
    estimates = plan.estimates()
    assert not estimates.keys() & set(asked)
    beside = sum(key in broken for key in estimates)
    assert beside <= 4, "only where the nearest measured point is beyond the edge"
    assert {key for key in rows if key[0] != entries[1].key} <= estimates.keys() | set(asked)


def test_all_failed_nothing_known_and_rows_of_others() -> None:
    entries = blocks(2, 10)
    failed = {key: Measurement.failure("timeout", "slow") for key in measured(entries, linear)}
    plan = Plan(entries, Budget(points=12))
    assert len(run(plan, failed)) == 12
    assert plan.estimates() == {} and plan.stated is None
    stranger = Plan(entries, Budget(points=12), known={("other", (8,)): row(5.0)})
    assert len(run(stranger, measured(entries, linear))) == 12
    assert Plan([], Budget()).next({}) == []


def test_an_empty_point_is_neither_failed_nor_learned_from() -> None:
    entries = [entry("b", Domain.grid(0, 160, 8))]
    rows = measured(entries, lambda block, width: linear(block, width)) | {("key-b", (0,)): Measurement.empty()}
    plan = Plan(entries, Budget(points=10))
    asked = run(plan, rows)
    assert plan.estimates().keys() | set(asked) == rows.keys()


def test_points_that_another_run_measures_are_not_asked_for_again() -> None:
    entries = blocks(2, 20)
    rows = measured(entries, linear)
    plan = Plan(entries, Budget(points=20))
    claimed = {(e.key, p) for e, p in plan.next({})[:3]}
    asked = run(plan, rows)
    assert not claimed & set(asked)
    assert claimed <= plan.estimates().keys()


# ------------------------------------------------------------------------------------------------- into a table


def test_profiling_within_a_budget_fills_the_table(tmp_path: Path) -> None:
    """Measured rows and estimates are all points, once; a second run goes on and writes estimates anew."""
    entries = blocks(2, 20)
    what = manifest(*entries, targets=[Target(engine="pretend")])
    options: dict[str, Any] = {"progress": SilentProgress(), "build": tiny_onnx}
    with LatencyTable(tmp_path / "t.db") as table:
        for share, there in ((0.5, 0), (0.75, 20)):
            engine = PretendEngine()
            report = profile_within(what, table, engine, Budget(share=share), **options)
            assert (report.points, report.present) == (40, there)
            assert report.measured == engine.asked == 40 * share - there
            assert report.estimated == report.left == 40 * (1 - share)
            assert len(report.stated) == 1
            for e in entries:
                rows, estimates = table.points(e.key, ENV), table.estimates(e.key, ENV)
                assert not rows.keys() & estimates.keys()
                assert rows.keys() | estimates.keys() == set(points_of(e))
        full = profile(what, table, PretendEngine(), **options)
        assert full.measured == 10
        assert not any(table.estimates(e.key, ENV) for e in entries)


@pytest.mark.parametrize(
    ("options", "said"), [(["3 apples"], "is not a budget"), (["20", "--limit", "5"], "--budget and --limit both say")]
)
def test_budgets_that_the_command_refuses(options: list[str], said: str, tmp_path: Path) -> None:
    digits = Path(__file__).parent.parent / "spaces" / "digits.nas"
    assert CliRunner().invoke(main, ["compile", str(digits), "-o", str(tmp_path / "digits")]).exit_code == 0
    table = tmp_path / "t.db"
    done = CliRunner().invoke(main, ["profile", str(tmp_path / "digits"), "--table", str(table), "--budget", *options])
    assert done.exit_code != 0 and said in done.output + str(done.exception)
    assert not table.exists()
