"""PyTorch as an inference engine: eager, compiled by `torch.compile`, and replayed as a CUDA graph."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasc.compiler.ir import Graph
from nasc.compiler.manifest import Target
from nasc.runtime.device import Environment
from nasc.runtime.engines.base import Form, Session, TimingOptions
from nasc.runtime.engines.cpu_timing import (
    Bound,
    TooSlow,
    cpu_environment,
    measure_on_cpu,
    timed_once,
)

if TYPE_CHECKING:
    from torch import nn

ON_CPU = ("fp32",)
"""In 16 bits PyTorch computes on many CPUs in 32 bits, and does not say so."""
DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class TorchEager:
    """PyTorch as it is, operator by operator, on one core of the CPU or, for a target with `device cuda`, on a GPU.

    `channels_last` lays images out with the channels innermost, as convolutions like it. `cpu` is the core to pin to,
    by default the last one allowed.
    """

    options: TimingOptions = field(default_factory=TimingOptions)
    channels_last: bool = True
    cpu: int | None = None
    name: str = "torch"
    form: Form = "graph"

    def available(self) -> str | None:
        """None where the package `torch` is installed."""
        if importlib.util.find_spec("torch") is None:
            return "the package `torch` is not installed: `pip install torch`"
        return None

    def environment(self, target: Target) -> Environment:
        """One thread of this machine's CPU, or a GPU. Raises `NascError` for a device or precision it cannot serve."""
        version, layout = importlib.metadata.version("torch"), "channels last" if self.channels_last else "contiguous"
        if not on_gpu(target):
            return cpu_environment(self.name, version, target, ON_CPU, layout)
        from nasc.runtime.engines.torch_cuda import cuda_environment

        mode = f"{'cuda graph' if self.captured else 'launches'}, {layout}"
        return cuda_environment(self.name, target, self.options, mode)

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """Time graphs on a CPU interleaved, on a GPU one after another; see `Engine.measure`."""
        import torch

        from nasc.runtime.engines.torch_block import graph_yardsticks

        yardsticks = graph_yardsticks()
        with torch.inference_mode(), _one_thread():
            if environment.device.kind != "cpu":
                from nasc.runtime.engines.torch_cuda import measure_on_cuda

                return measure_on_cuda(models, environment, self._prepared, yardsticks[1], self.options, self.captured)
            return measure_on_cpu(
                models,
                environment.precision,
                partial(self._bound, batch=environment.batch),
                yardsticks,
                self.options,
                cpu=self.cpu,
                reference_us=reference_us,
            )

    @property
    def captured(self) -> bool:
        """Is a model captured as a CUDA graph?"""
        return False

    def _bound(self, model: bytes, precision: str, *, batch: int) -> Bound:
        run = self._prepared(model, batch, precision, "cpu")
        return Bound(run, partial(timed_once, run), precision)

    def _prepared(self, model: bytes, batch: int, precision: str, device: str) -> Callable[[], object]:
        """A model on a device, with its inputs."""
        import torch

        from nasc.runtime.engines.torch_block import DTYPES, block_inputs, block_module

        graph = Graph.model_validate_json(model)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        module = block_module(graph).to(device, DTYPES[precision])
        module.to(memory_format=layout)  # type: ignore[call-overload]
        inputs = [
            x.to(device, DTYPES[precision] if x.is_floating_point() else x.dtype) for x in block_inputs(graph, batch)
        ]
        inputs = [x.contiguous(memory_format=layout) if x.dim() == 4 else x for x in inputs]
        return partial(self._callable(module), *inputs)

    def _callable(self, module: nn.Module) -> Callable[..., Any]:
        return module


@dataclass(frozen=True)
class TorchCompile(TorchEager):
    """PyTorch with each block compiled by itself, by `torch.compile` for its one shape."""

    name: str = "torch-compile"

    def available(self) -> str | None:
        """None where there is `torch` and the C++ compiler that it calls."""
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            return f"there is no C++ compiler `{compiler}`: install one, or name one in the variable CXX"
        return super().available()

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """As `TorchEager.measure`; what was compiled is let go afterwards."""
        import torch

        try:
            with torch._inductor.config.patch(compile_threads=1):
                return super().measure(models, environment, reference_us)
        finally:
            torch.compiler.reset()

    def _prepared(self, model: bytes, batch: int, precision: str, device: str) -> Callable[[], object]:
        run = super()._prepared(model, batch, precision, device)
        with time_limit(self.options.build_seconds):
            run()
        return run

    def _callable(self, module: nn.Module) -> Callable[..., Any]:
        import torch

        compiled: Callable[..., Any] = torch.compile(module, fullgraph=True, dynamic=False)
        return compiled


@dataclass(frozen=True)
class TorchCudaGraph(TorchEager):
    """PyTorch's kernels replayed as one CUDA graph: what they take without the time to launch them."""

    name: str = "torch-cudagraph"

    def available(self) -> str | None:
        """None where there is `torch` with CUDA, and a GPU."""
        reason = super().available()
        if reason is None and not DRIVER.exists():
            return "there is no NVIDIA GPU with a driver here"
        if reason is not None:
            return reason
        import torch

        if torch.cuda.is_available():
            return None
        return "this build of PyTorch cannot use the GPU: install one for CUDA, see pytorch.org/get-started"

    def environment(self, target: Target) -> Environment:
        """A GPU. Raises `NascError` for a CPU or an unknown precision."""
        return super().environment(target.model_copy(update={"device": target.device or "cuda:0"}))

    @property
    def captured(self) -> bool:
        """A model is captured as a CUDA graph."""
        return True


def on_gpu(target: Target) -> bool:
    """Does a target name a CUDA device?"""
    return target.device is not None and target.device.split(":")[0] == "cuda"


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch computes in this thread alone."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Expired(BaseException):
    """The alarm of `time_limit`; no library takes it for an error of its own."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TooSlow` from what is running after so many seconds; without effect beside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(*_: object) -> None:
        raise _Expired

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _Expired:
        raise TooSlow(f"building takes longer than {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
