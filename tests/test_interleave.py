"""The timing protocol on scripted machines: drift is divided out, disturbed rounds are dropped, and it always ends."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from nasc.runtime.engines import TimingOptions
from nasc.runtime.engines import interleave as protocol
from nasc.runtime.engines.interleave import Batch, Interleaved, Subject, interleave, repeats_for, time_batch

Machine = Callable[[int, float], Batch]
"""What a batch of a block of some microseconds shows, given how many batches ran before."""


@pytest.fixture
def on_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Interleaved]]:
    def run(machine: Machine, *latencies: float, reference: float | None = None, **options: float) -> Interleaved:
        names: list[Callable[[], object]] = []
        batches = iter(range(10**6))

        def pretend(run: Callable[[], object], repeats: int) -> Batch:
            return machine(next(batches), run())  # type: ignore[arg-type]

        monkeypatch.setattr(protocol, "time_batch", pretend)
        for latency in (*latencies, 25.0, 2.0):
            names.append(lambda us=latency: us)
        *subjects, canary, identity = (Subject(name, 1) for name in names)
        return interleave(subjects, canary, identity, TimingOptions(**options), reference)

    yield run


def steady(number: int, us: float) -> Batch:
    return Batch(us, us * 0.98, 1.0)


def test_a_steady_machine_needs_the_fewest_rounds(on_machine: Callable[..., Interleaved]) -> None:
    found = on_machine(steady, 10.0, 300.0)
    assert [(s.median, s.minimum, s.samples, s.quality) for s in found.subjects] == [
        (10.0, 9.8, 5, "good"),
        (300.0, pytest.approx(294.0), 5, "good"),
    ]
    assert (found.identity.median, found.canary_us, found.reference_us) == (2.0, 25.0, 25.0)


def test_a_machine_that_slows_down_is_corrected_by_the_canary(on_machine: Callable[..., Interleaved]) -> None:
    def warming(number: int, us: float) -> Batch:
        slow = us * (1 + 0.01 * (number // 4))  # a block, another, the canary and Identity: four batches a round
        return Batch(slow, slow, 1.0)

    found = on_machine(warming, 10.0, 300.0, reference=25.0)
    assert [s.median for s in found.subjects] == [pytest.approx(10.0), pytest.approx(300.0)]


def test_latencies_are_relative_to_the_reference(on_machine: Callable[..., Interleaved]) -> None:
    found = on_machine(steady, 10.0, reference=12.5)
    assert (found.subjects[0].median, found.reference_us, found.canary_us) == (5.0, 12.5, 25.0)


def test_rounds_with_a_slow_canary_are_dropped(on_machine: Callable[..., Interleaved]) -> None:
    def bursts(number: int, us: float) -> Batch:
        disturbed = (number // 3) % 4 == 3
        return Batch(us * (1.5 if disturbed else 1.0), us, 1.0)

    found = on_machine(bursts, 10.0)
    assert (found.subjects[0].median, found.subjects[0].dropped, found.subjects[0].quality) == (10.0, 1, "good")


def test_batches_that_lost_the_cpu_are_dropped(on_machine: Callable[..., Interleaved]) -> None:
    lost = iter([2.0, 1.2] + [1.0] * 100)

    def sliced(number: int, us: float) -> Batch:
        ratio = next(lost) if us == 10.0 else 1.0
        return Batch(us * ratio, us, ratio)

    (found,) = on_machine(sliced, 10.0).subjects
    assert (found.median, found.dropped, found.samples, found.quality) == (10.0, 2, 5, "good")


def test_a_hopeless_machine_ends_at_the_cap_and_says_so(on_machine: Callable[..., Interleaved]) -> None:
    (found,) = on_machine(lambda n, us: Batch(us, us, 3.0), 10.0, max_rounds=12).subjects
    assert (found.quality, found.samples, found.dropped, found.median) == ("noisy", 12, 12, 10.0)


def test_a_restless_block_is_unsettled(on_machine: Callable[..., Interleaved]) -> None:
    noise = random.Random(0)

    def restless(number: int, us: float) -> Batch:
        us *= noise.uniform(0.5, 1.5) if us == 10.0 else 1.0
        return Batch(us, us, 1.0)

    (found,) = on_machine(restless, 10.0, max_rounds=20).subjects
    assert (found.quality, found.samples) == ("unsettled", 20)


def test_settled_blocks_stop_while_others_go_on(on_machine: Callable[..., Interleaved]) -> None:
    noise = random.Random(0)

    def machine(number: int, us: float) -> Batch:
        us *= noise.uniform(0.9, 1.1) if us == 10.0 else 1.0
        return Batch(us, us, 1.0)

    restless, calm = on_machine(machine, 10.0, 300.0).subjects
    assert calm.samples == 5 < restless.samples


def test_no_block_takes_longer_than_a_point_may() -> None:
    def slow() -> None:
        protocol.time.sleep(0.03)

    subject = Subject(slow, 1)
    quick = [Subject(lambda: None, 1000) for _ in range(2)]
    found = interleave([subject], *quick, TimingOptions(point_seconds=0.1, max_rounds=40))
    assert len(subject.rounds) <= 3
    assert found.subjects[0].quality == "noisy"


def test_the_order_of_a_round_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def pretend(run: Callable[[], object], repeats: int) -> Batch:
        run()
        return Batch(1.0, 1.0, 1.0)

    monkeypatch.setattr(protocol, "time_batch", pretend)
    subjects = [Subject(lambda n=name: seen.append(n), 1) for name in "abcdef"]
    interleave(subjects[:4], subjects[4], subjects[5], TimingOptions())
    rounds = ["".join(seen[i : i + 6]) for i in range(0, len(seen), 6)]
    assert len(rounds) == 5 and all(sorted(r) == list("abcdef") for r in rounds)
    assert len(set(rounds)) > 1


def test_a_batch_is_timed_run_by_run() -> None:
    durations = iter([0.001, 0.02, 0.001, 0.001, 0.001])
    batch = time_batch(lambda: protocol.time.sleep(next(durations)), 5)
    assert 900 < batch.minimum_us <= batch.median_us < 10_000
    assert batch.wall_over_cpu > 1.05, "a sleeping thread has no CPU"


def test_repeats_fill_a_batch() -> None:
    options = TimingOptions(batch_us=2000)
    assert [repeats_for(us, options) for us in (20.0, 30.0, 2000.0, 9000.0, 0.0)] == [100, 67, 1, 1, 20_000]
