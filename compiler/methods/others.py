"""Options of the search methods that are planned, so that a file may already state them, and of `target` sections."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from nasc.compiler.methods.values import Cost, OptimizerField, Options, Schedule, ScheduleField


class CommonOptions(Options):
    """What every search method has."""

    epochs: int = Field(100, ge=1, le=1_000_000)
    warmup: int = Field(0, ge=0)
    batch: int = Field(256, ge=1)
    seed: int = Field(0, ge=0, lt=1 << 63)
    cost: Cost = "latency"
    limit_ms: FiniteFloat | None = Field(None, gt=0)
    weights: OptimizerField | None = None
    architecture: OptimizerField | None = None


class NetAdaptV2Options(CommonOptions):
    """`search netadapt_v2 { … }`: multi-layer coordinate descent."""

    samples: int = Field(200, ge=1)
    layers: int = Field(10, ge=1)
    reduction: FiniteFloat = Field(0.03, gt=0, lt=1)
    decay: FiniteFloat = Field(0.98, gt=0, le=1)
    limit_macs: FiniteFloat | None = Field(None, gt=0)


class NssOptions(CommonOptions):
    """`search nss { … }`: the search of a region of the space."""

    temperature: ScheduleField = Schedule(first=5.0, last=0.001)
    flops: FiniteFloat | None = Field(None, gt=0)


EngineName = Literal[
    "onnxruntime",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
    "openvino",
    "torch",
    "torch-compile",
    "torch-cudagraph",
    "analytic",
    "tensorrt",
    "tensorrt-rtx",
    "trtexec",
]
"""The engines that latencies can be measured with (`nasc.runtime.engines.ENGINES` makes them)."""


class TargetOptions(Options):
    """`target NAME { … }`: what latencies are measured on.

    `size`: the side of the images there (or the number of tokens), where it is another than the file's. A search over
    several targets weighs each by `weight`, and `worst` judges it by `limit_ms`.
    """

    engine: EngineName = "onnxruntime"
    device: str | None = Field(None, max_length=200)
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    batch: int = Field(1, ge=1, le=65536)
    size: int | None = Field(None, ge=1, le=65536)
    weight: FiniteFloat = Field(1.0, gt=0)
    limit_ms: FiniteFloat | None = Field(None, gt=0)
