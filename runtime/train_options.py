"""What can be set for training a network from scratch."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from nasc.dsl.diagnostics import NascError


class TrainOptions(BaseModel):
    """Options of `nasc train`. Defaults suit small images; none is printed in a paper."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(10, ge=1, description="passes over the training images")
    batch: int = Field(128, ge=1, description="images a step")
    optimizer: Literal["sgd", "rmsprop", "adamw"] = "sgd"
    rate: float = Field(0.1, gt=0, allow_inf_nan=False, description="highest learning rate, reached after the warm-up")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum; for adamw its first beta")
    weight_decay: float = Field(1e-4, ge=0, allow_inf_nan=False, description="not on biases and BatchNorm")
    warmup_epochs: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="linear rise of the rate, before the cosine"
    )
    ema: float | None = Field(0.999, gt=0, lt=1, description="decay of the averaged weights; null for none")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    augment: bool = Field(True, description="augment the training images as the data source suggests")
    amp: Literal["auto", "off"] = Field("auto", description="mixed precision, on a GPU only")
    seed: int = Field(0, ge=0, lt=1 << 63)
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int | None = Field(None, ge=1, description="CPU threads; null for PyTorch's choice")
    workers: int = Field(0, ge=0, description="processes that read images which are not in memory")


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto` is the first GPU, else the CPU. Raises NascError if it is not there."""
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise NascError(f"unknown device `{name}`", help="devices are auto, cpu, cuda and cuda:N") from error
    if device.type == "cpu":
        return device
    if device.type != "cuda" or (device.index or 0) >= torch.cuda.device_count():
        raise NascError(f"this machine has no device `{name}`", help="`auto` takes a GPU where there is one")
    return torch.device("cuda", device.index or 0)
