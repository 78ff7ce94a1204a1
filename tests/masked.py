"""Fullest networks with masks, and the networks that are kept of them, in tests."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from nasc.compiler.elaborate import Space
from nasc.compiler.fullest import fullest
from nasc.compiler.identifiers import class_name
from nasc.compiler.ir import Network
from nasc.compiler.lower_masked import masked_paths, masked_source
from nasc.compiler.masked_member import Kept, member_of
from nasc.compiler.masked_weights import gathered, kept_channels
from nasc.compiler.masks import MaskedNetwork, masked
from nasc.compiler.member import member_text
from nasc.compiler.network import network_of
from nasc.dsl.loader import Module
from nasc.runtime.masks import fix
from nasc.runtime.masks_state import gathered_state
from nasc.runtime.member_model import imported
from nasc.runtime.member_model import module_of as model_of
from tests.spaces import ROOT, elaborated, module_of, space_of

REFUSED = {
    "convnext": "s1",
    "gpt": "body",
    "netadapt_v2_fastdepth": "enc0",
    "netadapt_v2_mbv1": "stem",
    "netadapt_v2_mbv3": "stem",
    "netadapt_v2_mbv3_macs": "stem",
    "nss_expanded": "s1",
    "regnet": "s1",
    "shared_cells": "cell2",
    "tiny_gpt": "body",
    "tiny_vit": "body",
    "vit": "body",
}
"""The spaces that masks cannot relax, with the stage that says why."""


@dataclass(frozen=True)
class Relaxed:
    """A space and its masks."""

    module: Module
    space: Space
    masks: MaskedNetwork


@cache
def relaxed(source: Path | str) -> Relaxed:
    """A space's file or text with its masks."""
    module = module_of(source)
    space = elaborated(module)
    return Relaxed(module, space, masked(fullest(space)))


def shipped(name: str) -> Relaxed:
    return relaxed(ROOT / "spaces" / f"{name}.nas")


def probabilities(masks: MaskedNetwork, seed: int, gone: float = 0.0) -> dict[str, list[float]]:
    """Random probabilities; with a chance of `gone`, those of what may go are all but 0."""
    draw = random.Random(seed)
    found = {}
    for name, each in masks.opens.items():
        most = 0.01 if 0 in each.widths and draw.random() < gone else 1.0
        found[name] = [most * draw.random() for _ in range(each.widths[-1])]
    return found


def written(given: Relaxed, kept: Kept) -> str:
    """The network that is kept, as a file's text."""
    return member_text(given.space, member_of(given.masks, kept), given.module)


def supernet_of(given: Relaxed, seed: int = 0) -> nn.Module:
    """The SuperNet in float64 with random weights and statistics: none is 0 or 1, so that none is without effect."""
    with torch.device("meta"):  # no time for weights that are drawn below
        supernet = imported(masked_source(given.masks, "FiGS"), class_name(given.space.name, ())).double()
    supernet.to_empty(device="cpu")
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in supernet.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=draw)
        elif tensor.dtype.is_floating_point:
            tensor.uniform_(-0.5, 0.5, generator=draw)
        else:
            tensor.zero_()
    return supernet


def fixed(given: Relaxed, supernet: nn.Module, kept: Kept) -> nn.Module:
    """The SuperNet with its masks fixed to what is kept."""
    channels = kept_channels(given.masks, kept)
    fix(supernet, {path: channels.get(place, ()) for place, path in masked_paths(given.masks).items()})
    return supernet.eval()


def model_with(given: Relaxed, supernet: nn.Module, kept: Kept, text: str) -> nn.Module:
    """The written network with the SuperNet's weights."""
    network: Network = network_of(space_of(text))
    with torch.device("meta"):
        model = model_of(network)
    model.load_state_dict(gathered_state(supernet, gathered(given.masks, kept, network)), assign=True)
    return model.eval()
