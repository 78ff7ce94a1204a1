"""The device that latencies belong to, and everything else that a latency depends on beside the block."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from nasc.compiler.manifest import canonical_hash

ISA_FLAGS = frozenset(
    {"sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}
    | {"avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"}
    | {"asimd", "asimdhp", "asimddp", "sve", "sve2", "i8mm", "bf16"}
)
"""The processor features that inference kernels choose by."""


def names_kind(device: str) -> bool:
    """Does a target's `device` say what kind it is, such as `cuda:1`, and not what it is called?"""
    return device.split(":")[0] in ("cpu", "cuda")


class Device(BaseModel):
    """What a latency is measured on. Two machines with equal descriptions may share a latency table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    model: str
    cores: int
    features: tuple[str, ...]
    system: str

    def is_called(self, name: str | None) -> bool:
        """Does a target's `device` mean this one: `cpu`, `cuda`, `cuda:1`, or part of its model's name?"""
        if name is None:
            return True
        if not names_kind(name):
            return name.lower() in self.model.lower()
        return self.kind in (name.split(":")[0], "formula")

    @property
    def fingerprint(self) -> str:
        """Hash of the whole description (32 hex digits)."""
        return canonical_hash(self.model_dump(mode="json"))


class Environment(BaseModel):
    """The key of a latency table beside block and point: whatever differs here is never compared silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    SCHEMA: ClassVar[str] = "nasc.environment/1"

    device: Device
    engine: str
    engine_version: str
    precision: str
    batch: int = Field(ge=1)
    threads: int = Field(ge=1)
    timing_mode: str
    protocol_version: int

    @property
    def env_id(self) -> str:
        """Hash of the canonical JSON, schema version included (32 hex digits)."""
        return canonical_hash({"schema": self.SCHEMA, **self.model_dump(mode="json")})

    def __str__(self) -> str:
        return (
            f"{self.engine} {self.engine_version} on {self.device.model}, "
            f"{self.precision}, batch {self.batch}, {self.threads} thread{'s' if self.threads > 1 else ''}"
        )


@cache
def this_cpu() -> Device:
    """This machine's processor: model, logical cores, instruction sets and operating system."""
    fields = _cpuinfo()
    flags = fields.get("flags", fields.get("Features", "")).split()
    return Device(
        kind="cpu",
        model=fields.get("model name") or platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        features=tuple(sorted(ISA_FLAGS.intersection(flags))),
        system=f"{platform.system()} {platform.machine()}",
    )


def _cpuinfo() -> dict[str, str]:
    """The first processor's fields of /proc/cpuinfo; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def available_memory() -> int | None:
    """Bytes that can still be allocated, by the kernel's count and the control group's limit; None where unknown."""
    limits = [n for n in (_free_memory(), _free_in_group()) if n is not None]
    return min(limits, default=None)


def _free_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _free_in_group() -> int | None:
    """What is left of the limit of a version-2 control group mounted here (a container's)."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group.joinpath(name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):
        return None
