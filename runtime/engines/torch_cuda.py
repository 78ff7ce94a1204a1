"""PyTorch on an NVIDIA GPU, timed by CUDA events with the protocol of `trtexec`."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from nasc.compiler.manifest import Target
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Device, Environment
from nasc.runtime.engines.base import Session, TimingOptions
from nasc.runtime.engines.cpu_timing import failure_of
from nasc.runtime.engines.tensorrt import effective_precision, gpu_environment
from nasc.runtime.engines.tensorrt_timing import Protocol, Query, latency_row, sampled
from nasc.runtime.measurement import Measurement

Prepare = Callable[[bytes, int, str, str], Callable[[], object]]
"""Makes of a model, the batch, the precision and the device something to run."""

SHORT = Protocol(warm_up_ms=50, duration_ms=200)
"""How long an Identity is timed."""
WARM_UPS = 3
"""Runs before a capture: libraries make their handles and choose kernels in the first ones."""


def cuda_environment(name: str, target: Target, options: TimingOptions, mode: str) -> Environment:
    """The first visible GPU. Raises `NascError` for another device, for a machine without a GPU that PyTorch can use,
    and for an unknown precision."""
    if not torch.cuda.is_available():
        raise NascError(f"engine `{name}` finds no GPU here", help="`nasc engines` says what can run")
    version = f"{torch.__version__}, CUDA {torch.version.cuda}"
    return gpu_environment(name, version, target, this_gpu, options).model_copy(update={"timing_mode": mode})


def this_gpu() -> Device:
    """The first visible GPU, described as for other engines (`nasc.runtime.engines.tensorrt_cuda`)."""
    found, driver = torch.cuda.get_device_properties(0), int(getattr(torch._C, "_cuda_getDriverVersion")())  # noqa: B009
    return Device(
        kind="cuda",
        model=found.name,
        cores=found.multi_processor_count,
        features=(
            f"sm_{found.major}{found.minor}",
            f"{round(found.total_memory / 2**30)} GiB",
            f"driver CUDA {driver // 1000}.{driver % 1000 // 10}",
        ),
        system=f"{platform.system()} {platform.machine()}",
    )


def measure_on_cuda(
    models: Sequence[bytes],
    environment: Environment,
    prepare: Prepare,
    identity: bytes,
    options: TimingOptions,
    captured: bool,
) -> Session:
    """Time models one after another on the first visible GPU, with the kernels that cuDNN finds fastest.

    `captured`: each is captured as a CUDA graph, and its replays are timed.
    """
    precision, call_us = effective_precision(environment), None

    def timed(model: bytes, protocol: Protocol) -> Measurement:
        began = time.perf_counter()
        run = prepare(model, environment.batch, environment.precision, "cuda")
        found = sampled(_queries(_replay(run) if captured else run), protocol)
        seconds = time.perf_counter() - began
        return latency_row(found, precision, error=options.error, identity_us=call_us, seconds=seconds)

    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
        call_us = timed(identity, SHORT).median
        whole = Protocol(limit_ms=1000 * options.point_seconds)
        return Session(tuple(_timed_or_why(timed, model, whole) for model in models), None)


def _timed_or_why(timed: Callable[[bytes, Protocol], Measurement], model: bytes, protocol: Protocol) -> Measurement:
    """A model's row. An error after which the GPU answers no more is raised."""
    began = time.perf_counter()
    try:
        return timed(model, protocol)
    except Exception as error:
        # Any model may fail in any of PyTorch's ways, which share no base class below Exception.
        if isinstance(error, getattr(torch, "AcceleratorError", ())):
            raise
        return failure_of(error, time.perf_counter() - began)
    finally:
        torch.cuda.empty_cache()


def _queries(run: Callable[[], object]) -> Iterator[Query]:
    """Runs one after another, two under way at a time, each between two events."""
    origin = _event()
    origin.record()
    waiting = _enqueued(run)
    while True:
        following = _enqueued(run)
        start, end = waiting
        end.synchronize()
        yield origin.elapsed_time(start), start.elapsed_time(end)
        waiting = following


def _enqueued(run: Callable[[], object]) -> tuple[Any, Any]:
    start, end = _event(), _event()
    start.record()
    run()
    end.record()
    return start, end


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)


def _replay(run: Callable[[], object]) -> Callable[[], object]:
    """A run captured as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
