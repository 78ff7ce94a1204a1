"""Running a TensorRT engine on a GPU between CUDA events, two queries in flight, as `trtexec` does.

The modules `tensorrt` and `cuda.bindings.runtime` are arguments. Nothing here runs without an NVIDIA GPU.
"""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from typing import Any

import ml_dtypes
import numpy as np

from nasc.runtime.device import Device
from nasc.runtime.engines.tensorrt_builder import failure
from nasc.runtime.engines.tensorrt_timing import Query

IN_FLIGHT = 2
"""Queries on the GPU at a time, so that it never waits for the next to be asked for."""

HOST_TYPES = {"FLOAT": np.float32, "HALF": np.float16, "BF16": ml_dtypes.bfloat16}
"""How an input of a TensorRT data type is made; others are zeros."""


class CudaError(Exception):
    """A call of the CUDA runtime that failed. `name` is the error's, such as cudaErrorMemoryAllocation."""

    def __init__(self, call: str, name: str) -> None:
        super().__init__(f"{call}: {name}")
        self.name = name


class Cuda:
    """The CUDA runtime: calls by name, with the error code taken off what they return."""

    def __init__(self, cudart: Any) -> None:
        self.cudart = cudart

    def __call__(self, call: str, *arguments: Any) -> Any:
        """What a call gives. Raises `CudaError`."""
        error, *values = getattr(self.cudart, call)(*arguments)
        if error != self.cudart.cudaError_t.cudaSuccess:
            raise CudaError(call, error.name)
        return values[0] if values else None


def why_no_gpu() -> str | None:
    """None where there are a GPU, its driver and the package that reaches them, else what is missing."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        return "the package `cuda-bindings` is not installed: `pip install cuda-bindings`"
    error, count = runtime.cudaGetDeviceCount()
    if error == runtime.cudaError_t.cudaSuccess and count:
        return None
    return f"timing needs an NVIDIA GPU and its driver, which are not here ({error.name})"


def this_gpu(cudart: Any) -> Device:
    """The first visible GPU: model, multiprocessors, compute capability, memory and driver. Raises `CudaError`."""
    cuda = Cuda(cudart)
    properties, driver = cuda("cudaGetDeviceProperties", 0), cuda("cudaDriverGetVersion")
    return Device(
        kind="cuda",
        model=properties.name.rstrip(b"\0").decode(),
        cores=properties.multiProcessorCount,
        features=(
            f"sm_{properties.major}{properties.minor}",
            f"{round(properties.totalGlobalMem / 2**30)} GiB",
            f"driver CUDA {driver // 1000}.{driver % 1000 // 10}",
        ),
        system=f"{platform.system()} {platform.machine()}",
    )


@contextmanager
def queries_of(trt: Any, cudart: Any, log: Any, plan: bytes, *, cuda_graph: bool) -> Iterator[Iterator[Query]]:
    """Endless timed queries of a plan, which is on the GPU within the context.

    Raises `NotBuilt` for a plan that cannot be loaded or run and `CudaError`.
    """
    cuda = Cuda(cudart)
    with ExitStack() as held:
        stream = cuda("cudaStreamCreateWithFlags", cudart.cudaStreamNonBlocking)
        held.callback(cudart.cudaStreamDestroy, stream)
        enqueue = _enqueue(trt, cuda, log, plan, stream, held)
        enqueue()
        cuda("cudaStreamSynchronize", stream)
        launch = _captured(cuda, enqueue, stream, held) if cuda_graph else enqueue
        events = [cuda("cudaEventCreate") for _ in range(1 + 2 * IN_FLIGHT)]
        for event in events:
            held.callback(cudart.cudaEventDestroy, event)
        held.callback(cudart.cudaStreamSynchronize, stream)
        yield _queries(cuda, launch, stream, events)


def _enqueue(trt: Any, cuda: Cuda, log: Any, plan: bytes, stream: Any, held: ExitStack) -> Callable[[], None]:
    """Loads a plan with inputs and outputs in the GPU's memory; what is returned asks for one run."""
    log.errors.clear()
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        raise failure(log.errors, "the plan cannot be loaded")
    context = engine.create_execution_context()
    if context is None:
        raise failure(log.errors, "the plan cannot be made ready to run")
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        context.set_tensor_address(name, _tensor(trt, cuda, engine, name, held))

    def enqueue() -> None:
        if not context.execute_async_v3(int(stream)):
            raise failure(log.errors, "the plan cannot be run")

    return enqueue


def _tensor(trt: Any, cuda: Cuda, engine: Any, name: str, held: ExitStack) -> int:
    """The address of a tensor's memory on the GPU. Inputs are seeded normal values: zeros have a speed of their own."""
    shape, kind = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
    size = trt.volume(shape) * kind.itemsize
    address = int(cuda("cudaMalloc", size))
    held.callback(cuda.cudart.cudaFree, address)
    if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT and kind.name in HOST_TYPES:
        values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32).astype(HOST_TYPES[kind.name])
        to_device = cuda.cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        cuda("cudaMemcpy", address, values.ctypes.data, size, to_device)
    else:
        cuda("cudaMemset", address, 0, size)
    return address


def _captured(cuda: Cuda, enqueue: Callable[[], None], stream: Any, held: ExitStack) -> Callable[[], None]:
    """The run as a CUDA graph, which is launched at once instead of kernel by kernel."""
    mode = cuda.cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    cuda("cudaStreamBeginCapture", stream, mode)
    enqueue()
    graph = cuda("cudaStreamEndCapture", stream)
    held.callback(cuda.cudart.cudaGraphDestroy, graph)
    ready = cuda("cudaGraphInstantiate", graph, 0)
    held.callback(cuda.cudart.cudaGraphExecDestroy, ready)
    return lambda: cuda("cudaGraphLaunch", ready, stream)


def _queries(cuda: Cuda, launch: Callable[[], None], stream: Any, events: list[Any]) -> Iterator[Query]:
    """When each run began, counted from now, and how long it computed, on the GPU's clock; `IN_FLIGHT` ahead."""
    origin, *others = events
    pairs = cycle(zip(others[::2], others[1::2], strict=True))
    waiting: deque[tuple[Any, Any]] = deque()
    cuda("cudaEventRecord", origin, stream)
    while True:
        while len(waiting) < IN_FLIGHT:
            begin, end = next(pairs)
            cuda("cudaEventRecord", begin, stream)
            launch()
            cuda("cudaEventRecord", end, stream)
            waiting.append((begin, end))
        begin, end = waiting.popleft()
        cuda("cudaEventSynchronize", end)
        yield cuda("cudaEventElapsedTime", origin, begin), cuda("cudaEventElapsedTime", begin, end)
