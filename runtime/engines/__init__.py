"""Inference engines whose latency can be measured."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from nasc.dsl.diagnostics import NascError, did_you_mean
from nasc.runtime.engines.base import Engine, Session, TimingOptions

ENGINES: dict[str, str] = {
    "onnxruntime": "nasc.runtime.engines.onnxruntime_cpu:OnnxRuntimeCpu",
    "onnxruntime-cuda": "nasc.runtime.engines.onnxruntime_gpu:OnnxRuntimeCuda",
    "onnxruntime-tensorrt": "nasc.runtime.engines.onnxruntime_gpu:OnnxRuntimeTensorrt",
    "openvino": "nasc.runtime.engines.openvino_engine:OpenVino",
    "torch": "nasc.runtime.engines.torch_engine:TorchEager",
    "torch-compile": "nasc.runtime.engines.torch_engine:TorchCompile",
    "torch-cudagraph": "nasc.runtime.engines.torch_engine:TorchCudaGraph",
    "analytic": "nasc.runtime.engines.analytic:Analytic",
    "tensorrt": "nasc.runtime.engines.tensorrt:TensorRt",
    "tensorrt-rtx": "nasc.runtime.engines.tensorrt:TensorRtRtx",
    "trtexec": "nasc.runtime.engines.trtexec:Trtexec",
}
"""Where each engine is, by name: a module and the class in it, which is made of `TimingOptions`.

Only the module of an engine that is asked for is imported; it imports the library it measures where that is needed.
"""


def make_engine(name: str, options: TimingOptions | None = None) -> Engine:
    """The engine of a name. Raises `NascError` for an unknown one and for one that cannot run on this machine."""
    engine = load_engine(engine_place(name), options)
    reason = engine.available()
    if reason is not None:
        raise NascError(f"engine `{name}` cannot run here: {reason}")
    return engine


def engine_place(name: str) -> str:
    """The `module:class` of an engine. Raises `NascError` for an unknown one."""
    if name not in ENGINES:
        raise NascError(
            f"there is no engine `{name}`", help=did_you_mean(name, ENGINES) or f"engines: {', '.join(ENGINES)}"
        )
    return ENGINES[name]


def load_engine(place: str, options: TimingOptions | None = None) -> Engine:
    """The engine at a `module:class` of `ENGINES`, whether it can run here or not."""
    module, _, name = place.partition(":")
    return cast(Engine, getattr(import_module(module), name)(options or TimingOptions()))


__all__ = ["ENGINES", "Engine", "Session", "TimingOptions", "engine_place", "load_engine", "make_engine"]
