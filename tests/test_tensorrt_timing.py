"""How TensorRT is timed: which queries count, by numbers alone; and the order of calls, with a GPU that is pretended.

No model runs on a GPU here.
"""

from __future__ import annotations

import inspect
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasc.compiler.manifest import Target
from nasc.runtime.device import Device
from nasc.runtime.engines import TimingOptions, tensorrt_cuda
from nasc.runtime.engines.base import NotBuilt
from nasc.runtime.engines.tensorrt import TensorRt
from nasc.runtime.engines.tensorrt_cuda import IN_FLIGHT, CudaError, queries_of, this_gpu
from nasc.runtime.engines.tensorrt_timing import Protocol, latency_row, sampled

HALF_MS = [(0.5 * n, 0.5) for n in range(100_000)]
"""Queries of half a millisecond, one after another."""


def test_queries_count_after_the_warm_up_until_the_duration_is_over() -> None:
    taken: list[float] = []

    def noted() -> Iterator[tuple[float, float]]:
        for start, compute in HALF_MS:
            taken.append(start)
            yield start, compute

    counted = sampled(noted())
    assert len(counted) == 6000, "three seconds of them"
    assert taken[-1] == 3199.5, "and none is made for nothing"


def test_slow_queries_are_ten_at_least() -> None:
    assert len(sampled((1000.0 * n, 1000.0) for n in range(100))) == 10, "the first began in the warm-up"
    assert len(sampled((400.0 * n, 400.0) for n in range(100))) == 10


def test_the_limit_ends_what_would_take_for_ever() -> None:
    protocol = Protocol(limit_ms=5000.0)
    assert len(sampled(((2000.0 * n, 2000.0) for n in range(100)), protocol)) == 2
    assert sampled([(0.0, 9000.0), (9000.0, 9000.0)], protocol) == []


@given(
    times=st.lists(st.floats(0.01, 50), min_size=1, max_size=200),
    warm_up=st.floats(0, 500),
    duration=st.floats(0, 500),
    iterations=st.integers(1, 20),
)
def test_what_counts_is_what_trtexec_counts(
    times: list[float], warm_up: float, duration: float, iterations: int
) -> None:
    """Against the rule written out over the whole recording."""
    starts = [sum(times[:n]) for n in range(len(times))]
    counted = sampled(zip(starts, times, strict=True), Protocol(warm_up, duration, iterations))
    after = [n for n, start in enumerate(starts) if start >= warm_up]
    enough = [
        n
        for n in range(len(times))
        if starts[n] + times[n] >= warm_up + duration and sum(m <= n for m in after) >= iterations
    ]
    last = enough[0] if enough else len(times) - 1
    assert counted == [times[n] for n in after if n <= last]


def test_a_latency_is_the_median_in_microseconds() -> None:
    times = [0.010, 0.011, 0.012, 0.011, 0.050] * 80
    row = latency_row(times, "fp16", error=0.01, identity_us=2.0, seconds=3.4)
    assert row.median == pytest.approx(1000 * statistics.median(times)) == pytest.approx(11.0)
    assert row.minimum == pytest.approx(10.0) and row.mad == pytest.approx(1.0)
    assert (row.status, row.samples, row.identity, row.effective_precision) == ("ok", 400, 2.0, "fp16")
    assert row.canary is None and row.quality == "good"


def test_what_is_not_settled_says_so() -> None:
    assert latency_row([1.0, 2.0] * 10, "fp16", error=0.01).quality == "unsettled"
    assert latency_row([1.0] * 9, "fp16", error=0.01).quality == "unsettled", "trtexec wants ten"
    assert latency_row([1.0] * 10, "fp16", error=0.01).quality == "good"
    assert latency_row([], "fp16", error=0.01).status == "timeout"


# ------------------------------------------------------------------------------------------------- a pretended GPU


class PretendCudart:
    """`cuda.bindings.runtime` with a clock that only a launch moves, by half a millisecond."""

    cudaError_t = SimpleNamespace(cudaSuccess="success")
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1

    def __init__(self, fails: str = "", error: str = "cudaErrorMemoryAllocation") -> None:
        self.fails, self.error = fails, error
        self.now = 0.0
        self.events: dict[int, float] = {}
        self.alive: Counter[str] = Counter()
        self.capturing = False
        self.log: list[str] = []

    def __getattr__(self, call: str) -> Any:
        def called(*arguments: Any) -> tuple[Any, ...]:
            self.log.append(call)
            if call == self.fails:
                return (SimpleNamespace(name=self.error), None)
            value = self.answer(call, *arguments)
            return ("success",) if value is None else ("success", value)

        return called

    def answer(self, call: str, *arguments: Any) -> Any:
        match call:
            case "cudaStreamCreateWithFlags" | "cudaMalloc" | "cudaGraphInstantiate":
                self.alive[call] += 1
                return 7
            case "cudaStreamEndCapture":
                self.capturing = False
                self.alive["graph"] += 1
                return 8
            case "cudaStreamBeginCapture":
                self.capturing = True
            case "cudaEventCreate":
                self.alive["event"] += 1
                return len(self.log)
            case "cudaEventRecord":
                self.events[arguments[0]] = self.now
            case "cudaEventElapsedTime":
                return self.events[arguments[1]] - self.events[arguments[0]]
            case "cudaGraphLaunch":
                self.now += 0.5
            case "cudaStreamDestroy" | "cudaFree" | "cudaGraphExecDestroy" | "cudaGraphDestroy" | "cudaEventDestroy":
                made = {
                    "cudaStreamDestroy": "cudaStreamCreateWithFlags",
                    "cudaFree": "cudaMalloc",
                    "cudaGraphExecDestroy": "cudaGraphInstantiate",
                    "cudaGraphDestroy": "graph",
                    "cudaEventDestroy": "event",
                }
                self.alive[made[call]] -= 1
        return None


class PretendPlan:
    """A plan with an input and an output, as engine and as execution context in one."""

    num_io_tensors = 2

    def __init__(self, cudart: PretendCudart, runs: bool = True) -> None:
        self.cudart, self.runs = cudart, runs
        self.addresses: dict[str, int] = {}

    def create_execution_context(self) -> PretendPlan:
        return self

    def get_tensor_name(self, number: int) -> str:
        return ("in", "output")[number]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (1, 4, 2, 2)

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name="HALF", itemsize=2)

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == "in" else "output"

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        if not self.cudart.capturing:
            self.cudart.now += 0.5
        return self.runs


def pretended_trt(plan: PretendPlan | None) -> Any:
    return SimpleNamespace(
        Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=lambda blob: plan),
        TensorIOMode=SimpleNamespace(INPUT="input"),
        volume=lambda shape: int(np.prod(shape)),
    )


def errors() -> Any:
    return SimpleNamespace(errors=[])


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_queries_are_timed_between_events_and_everything_is_given_back(cuda_graph: bool) -> None:
    cudart = PretendCudart()
    plan = PretendPlan(cudart)
    with queries_of(pretended_trt(plan), cudart, errors(), b"plan", cuda_graph=cuda_graph) as queries:
        counted = sampled(queries, Protocol(warm_up_ms=10, duration_ms=50))
    assert counted == [0.5] * 100
    assert plan.addresses == {"in": 7, "output": 7}
    assert ("cudaGraphLaunch" in cudart.log) is cuda_graph
    assert not +cudart.alive, "nothing is left on the GPU"
    assert cudart.log.index("cudaStreamDestroy") > len(cudart.log) - 15


def test_the_next_query_is_asked_for_before_the_last_is_waited_for() -> None:
    cudart = PretendCudart()
    with queries_of(pretended_trt(PretendPlan(cudart)), cudart, errors(), b"plan", cuda_graph=True) as queries:
        next(queries)
        assert cudart.log.count("cudaGraphLaunch") == IN_FLIGHT == 2
        next(queries)
        assert cudart.log.count("cudaGraphLaunch") == 3


def test_too_little_memory_gives_back_what_there_was() -> None:
    cudart = PretendCudart(fails="cudaGraphInstantiate")
    with (
        pytest.raises(CudaError, match="cudaGraphInstantiate: cudaErrorMemoryAllocation"),
        queries_of(pretended_trt(PretendPlan(cudart)), cudart, errors(), b"plan", cuda_graph=True),
    ):
        pass
    assert not +cudart.alive


def test_a_plan_that_cannot_be_loaded_or_run() -> None:
    cudart = PretendCudart()
    for plan, reason in ((None, "cannot be loaded"), (PretendPlan(cudart, runs=False), "cannot be run")):
        with (
            pytest.raises(NotBuilt, match=reason),
            queries_of(pretended_trt(plan), cudart, errors(), b"plan", cuda_graph=False),
        ):
            pass
    assert not +cudart.alive


def test_each_call_is_one_of_the_cuda_runtime_s() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    calls = set(re.findall(r'"(cuda[A-Z]\w+)"|cudart\.(cuda[A-Z]\w+)', inspect.getsource(tensorrt_cuda)))
    names = {name for pair in calls for name in pair if name}
    assert len(names) > 15 and not [name for name in names if not hasattr(runtime, name)]


@pytest.mark.parametrize(
    ("name", "status"), [("cudaErrorMemoryAllocation", "out_of_memory"), ("cudaErrorIllegalAddress", None)]
)
def test_an_error_of_the_gpu_ends_the_process_unless_it_is_memory(name: str, status: str | None) -> None:
    engine = TensorRt()
    log = type("Log", (), {"Severity": SimpleNamespace(INTERNAL_ERROR=0, ERROR=1)})
    trt = pretended_trt(None)
    trt.ILogger = log
    engine.__dict__.update(trt=trt, cudart=PretendCudart(fails="cudaStreamCreateWithFlags", error=name), version="10.1")
    engine.__dict__["device"] = Device(kind="cuda", model="pretended", cores=1, features=("sm_90",), system="Linux")
    environment = engine.environment(Target(precision="fp16"))
    if status is None:
        with pytest.raises(SystemExit, match="cudaErrorIllegalAddress"):
            engine.measure([b"plan"], environment, None)
    else:
        (row,) = engine.measure([b"plan"], environment, None).measurements
        assert row.status == status and name in str(row.error)


def test_plans_become_rows_relative_to_nothing() -> None:
    engine = TensorRt(TimingOptions(cuda_graph=False))
    cudart = PretendCudart()
    trt = pretended_trt(PretendPlan(cudart))
    trt.ILogger = type("Log", (), {"Severity": SimpleNamespace(INTERNAL_ERROR=0, ERROR=1)})
    device = Device(kind="cuda", model="pretended", cores=1, features=("sm_90",), system="Linux")
    engine.__dict__.update(trt=trt, cudart=cudart, version="10.1", device=device, identity_us=3.0)
    session = engine.measure([b"one", b"two"], engine.environment(Target(precision="fp16")), None)
    assert [row.median for row in session.measurements] == [500.0, 500.0]
    assert [row.samples for row in session.measurements] == [6000, 6000]
    assert session.reference_us is None and session.measurements[0].identity == 3.0


def test_a_gpu_is_known_by_what_its_latencies_depend_on() -> None:
    cudart = PretendCudart()
    facts = SimpleNamespace(name=b"NVIDIA H200\0", major=9, minor=0, multiProcessorCount=132, totalGlobalMem=141 << 30)
    answers = {"cudaGetDeviceProperties": facts, "cudaDriverGetVersion": 13010}
    cudart.answer = lambda call, *arguments: answers[call]  # type: ignore[method-assign]
    device = this_gpu(cudart)
    assert (device.kind, device.model, device.cores) == ("cuda", "NVIDIA H200", 132)
    assert device.features == ("sm_90", "141 GiB", "driver CUDA 13.1")
