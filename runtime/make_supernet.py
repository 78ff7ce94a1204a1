"""The SuperNet of a search before its first step."""

from __future__ import annotations

import torch
from torch import nn

from nasc.dsl.diagnostics import NascError
from nasc.runtime.prefix import initialise
from nasc.runtime.search_context import Context
from nasc.runtime.seeds import derive_seed, derived_generator


def make_supernet(context: Context) -> nn.Module:
    """The compiled SuperNet, with weights that follow from the seed alone. Raises `NascError` where there is none."""
    if context.job.supernet is None:
        raise NascError("search.py names no SuperNet", help="compile the space again")
    seed = context.options.seed
    with torch.random.fork_rng(devices=[]):
        # What `initialise` leaves as it is made: learned positions and tokens.
        torch.manual_seed(derive_seed(seed, "make"))
        supernet = context.job.supernet()
    initialise(supernet, derived_generator(seed, "initialise"))
    return supernet
