"""What the benchmarks measure with: a SuperNet of a space, the bytes that autograd keeps, CPU time, and spreads."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasc.compiler.identifiers import class_name
from nasc.compiler.ir import Network
from nasc.compiler.lower_supernet import supernet_source
from nasc.compiler.methods.plugins import Method
from nasc.compiler.methods.relax import RelaxedLayer
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of

SPACES = Path(__file__).resolve().parents[1] / "spaces"


def shipped(name: str) -> Network:
    """The network of a space in `spaces/`."""
    return network_of(space_of(open_file(SPACES / f"{name}.nas")))


def supernet_of(network: Network, layers: Sequence[RelaxedLayer], method: Method, **form: Any) -> nn.Module:
    """The generated SuperNet; `form` goes to `supernet_source`."""
    names: dict[str, Any] = {"__name__": network.name}
    exec(compile(supernet_source(network, layers, method, **form), network.name, "exec"), names)
    made: nn.Module = names[class_name(network.name, ())]()
    return made


def saved_bytes(forward: Callable[[], object], own: Iterable[torch.Tensor]) -> int:
    """Bytes of the tensors, those of `own` not counted, that a forward pass keeps for the backward pass."""
    known = {tensor.untyped_storage().data_ptr() for tensor in own}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()
    del output
    return sum(kept.values())


def cpu_seconds(step: Callable[[], object]) -> float:
    """CPU time of this process for a call: what other processes do beside it counts little."""
    started = time.process_time()
    step()
    return time.process_time() - started


def spread(values: Sequence[float]) -> str:
    """Median and quartiles, such as `1.10 (1.08–1.13)`."""
    if len(values) < 2:
        return f"{values[0]:.2f}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"
