"""The processes of one search: a single one, or those that `torchrun` started, each with its part of every batch.

All ranks hold the same weights and draw the same noise (both come from the run's seed), and gradients are summed before
each update; so architecture weights, masks and what is pruned agree on all ranks by construction.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from nasc.dsl.diagnostics import NascError

_PATIENCE = timedelta(minutes=30)
_AT_THE_END = timedelta(days=14)
"""How long the others wait for the first rank, which may have members to compare that it alone looks at."""


class Ranks:
    """This process among those of one search."""

    def __init__(self, rank: int = 0, world: int = 1, patient: distributed.ProcessGroup | None = None) -> None:
        """`patient` is the group that waits at the end."""
        self.rank, self.world, self.patient = rank, world, patient

    @property
    def first(self) -> bool:
        """Is this the rank that writes files and shows progress?"""
        return self.rank == 0

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum of the ranks' tensors."""
        if self.world > 1:
            distributed.all_reduce(tensor)
        return tensor

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by the sum of the ranks', in as few messages as there are types."""
        if self.world == 1:
            return
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                kinds.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in kinds.values():
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            distributed.all_reduce(flat)
            for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def average_buffers(self, module: nn.Module) -> None:
        """Make running statistics the ranks' mean: each saw its own part of the batches."""
        if self.world == 1:
            return
        for buffer in module.buffers():
            if buffer.is_floating_point():
                distributed.all_reduce(buffer)
                buffer /= self.world

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world > 1:
            distributed.barrier(self.patient)


def world() -> int:
    """How many processes the environment tells of."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def ranks_of(device: torch.device) -> Iterator[Ranks]:
    """The ranks that the environment tells of (`torchrun` sets it), joined until the end of the context.

    NCCL on GPUs, gloo on CPUs. Raises `NascError` where the ranks do not find each other.
    """
    if world() == 1:
        yield Ranks()
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        distributed.init_process_group(backend, timeout=_PATIENCE)
        patient = distributed.new_group(backend="gloo", timeout=_AT_THE_END)
    except (ValueError, RuntimeError) as error:
        raise NascError(f"the {world()} processes of the search do not find each other: {error}") from error
    try:
        yield Ranks(distributed.get_rank(), world(), patient)
    finally:
        distributed.destroy_process_group()
