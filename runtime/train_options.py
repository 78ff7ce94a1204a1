"""What can be set for training a network from scratch."""

from __future__ import annotations

import os
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from nasc.dsl.diagnostics import NascError
from nasc.runtime.data_preparation import AugmentKind


class TrainOptions(BaseModel):
    """Options of `nasc train`. Defaults suit small images; what PruNet prints (appendix A.2.2) is named as such."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(10, ge=1, description="passes over the training images")
    batch: int = Field(128, ge=1, description="images a step")
    optimizer: Literal["sgd", "rmsprop", "adamw"] = "sgd"
    rate: float = Field(0.1, gt=0, allow_inf_nan=False, description="highest learning rate, reached after the warm-up")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum; for adamw its first beta")
    weight_decay: float = Field(1e-4, ge=0, allow_inf_nan=False, description="not on biases and BatchNorm")
    clip_norm: float | None = Field(None, gt=0, allow_inf_nan=False, description="largest norm of the gradient")
    schedule: Literal["cosine", "exponential"] = Field(
        "cosine", description="a half cosine to 0, or decay_rate ** floor(epoch / decay_epochs) as PruNet's"
    )
    decay_rate: float = Field(0.97, gt=0, le=1, description="factor of a step of the exponential decay; PruNet's")
    decay_epochs: float = Field(
        2.4, gt=0, allow_inf_nan=False, description="epochs between two steps of the exponential decay; PruNet's"
    )
    warmup_epochs: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="linear rise of the rate, before the schedule"
    )
    ema: float | None = Field(
        0.999, gt=0, lt=1, description="decay of the averaged weights a step; null for none; PruNet has 0.9999"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    drop_path: float = Field(
        0.0, ge=0, lt=1, description="base rate at which residual branches are dropped; PruNet has 0.2"
    )
    augment: AugmentKind = Field(
        "standard", description="standard: as the data source suggests; policy: that, and AutoAugment's manner"
    )
    magnitude: float = Field(9.0, ge=0, le=10, description="strength of the policy, 0 to 10; PruNet's")
    deviation: float = Field(
        0.5, ge=0, allow_inf_nan=False, description="standard deviation of the magnitude from image to image; PruNet's"
    )
    crop: float = Field(1.0, ge=0.1, le=1, description="fraction of a validation image that is looked at; PruNet has 1")
    class_fraction: float = Field(1.0, gt=0, le=1, description="fraction of the data's classes, drawn by the seed")
    teacher: str | None = Field(None, description="file of a network to learn from (.onnx or .pt2)")
    distillation_weight: float = Field(
        0.5, ge=0, le=1, description="part of the loss that compares with the teacher; chosen, no paper prints it"
    )
    temperature: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="of both softmaxes of the distillation; chosen, PruNet prints none"
    )
    amp: Literal["auto", "off"] = Field("auto", description="mixed precision, on a GPU only")
    seed: int = Field(0, ge=0, lt=1 << 63)
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int | None = Field(None, ge=1, description="CPU threads; null for PyTorch's choice")
    workers: int = Field(0, ge=0, description="processes that read images which are not in memory")


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto` is the first GPU, else the CPU. Raises NascError if it is not there."""
    if name == "auto":
        # torchrun gives each of its processes on a machine a GPU of its own.
        return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise NascError(f"unknown device `{name}`", help="devices are auto, cpu, cuda and cuda:N") from error
    if device.type == "cpu":
        return device
    if device.type != "cuda" or (device.index or 0) >= torch.cuda.device_count():
        raise NascError(f"this machine has no device `{name}`", help="`auto` takes a GPU where there is one")
    return torch.device("cuda", device.index or 0)
