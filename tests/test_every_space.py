"""Every shipped space and network x every property.

NASC_EVERY_SPACE=n checks n members and n small versions of each space instead of one and two.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from nasc.compiler.concrete import ConcreteNetwork, concrete
from nasc.compiler.contains import contains
from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space
from nasc.compiler.identifiers import class_name
from nasc.compiler.ir import Network
from nasc.compiler.lower_onnx import network_onnx
from nasc.compiler.lower_torch import model_source
from nasc.compiler.member import member_text
from nasc.compiler.network import network_of
from nasc.compiler.sample import sample_members
from nasc.compiler.weights import network_state
from nasc.dsl import syntax
from nasc.dsl.format import format_text, print_file
from nasc.dsl.loader import Module
from nasc.dsl.parser import parse
from tests.brute_force import members
from tests.graphs import randomised
from tests.shrink import shrunk
from tests.spaces import NETWORKS, ROOT, SPACES, elaborated, module_of, space_of
from tests.test_networks import macs, parameters, weighted_calls

torch.set_num_threads(1)
FILES = sorted([*(ROOT / "spaces").glob("*.nas"), *NETWORKS])
LONG = int(os.environ.get("NASC_EVERY_SPACE", "0"))
EXPORTED = [
    path
    for path in [*SPACES, *NETWORKS]
    if LONG or path.stem in ("detection", "digits", "netadapt_v2_fastdepth", "resnet18", "tiny_gpt", "regnet")
]
"""Exporting them all takes more than a minute."""
SIDES = (32, 64, 96)
"""Sides of images that are tried in place of a network's own, where its values are compared."""


@cache
def opened(path: Path) -> tuple[Module, Space]:
    module = module_of(path)
    return module, elaborated(module)


@cache
def texts(path: Path) -> list[str]:
    """The network of a file, or members of a space."""
    if path in NETWORKS:
        return [path.read_text(encoding="utf-8")]
    module, space = opened(path)
    return [member_text(space, m, module) for m in sample_members(space, max(1, LONG), seed=20)]


def tree(text: str) -> syntax.File:
    file, diagnostics = parse(text)
    assert not diagnostics.errors
    return replace(file, version=1)


# ------------------------------------------------------------------------------------------------- the text


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_printing_and_parsing_is_the_identity(path: Path) -> None:
    file = tree(path.read_text(encoding="utf-8"))
    assert tree(print_file(file)) == file


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_formatting_is_a_fixpoint_that_keeps_comments(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_text(text) == text
    squeezed = re.sub(r"[ \t]+", " ", text)
    formatted = format_text(squeezed)
    assert format_text(formatted) == formatted and tree(formatted) == tree(text)
    assert [c.text for c in parse(formatted)[0].comments] == [c.text for c in parse(squeezed)[0].comments]


# ------------------------------------------------------------------------------------------------- the set


@pytest.mark.parametrize("seed", range(max(2, LONG)))
@pytest.mark.parametrize("path", SPACES, ids=lambda p: p.stem)
def test_counts_and_costs_of_small_versions_are_those_of_all_members(path: Path, seed: int) -> None:
    module = shrunk(opened(path)[0], seed)
    space, found = elaborated(module), members(module)
    cost = cost_of(space)
    assert count_members(space) == len(found)
    for metric, values in ((cost.params, [c[0] for c in found.values()]), (cost.macs, [c[1] for c in found.values()])):
        assert (metric.min, metric.max) == (min(values), max(values))


@pytest.mark.parametrize("path", SPACES, ids=lambda p: p.stem)
def test_sampled_members_are_members(path: Path) -> None:
    space = opened(path)[1]
    for text in texts(path):
        assert format_text(text) == text
        member = space_of(text)
        assert count_members(member) == 1
        assert contains(space, member).yes is not False


# ------------------------------------------------------------------------------------------------- the code


@pytest.mark.parametrize("path", [*SPACES, *NETWORKS], ids=lambda p: p.stem)
def test_costs_are_those_counted_while_the_code_runs(path: Path) -> None:
    """At full size, on a device without memory."""
    for text in texts(path):
        space = space_of(text)
        network = network_of(space)
        with torch.device("meta"):
            module = instance(network)
            with weighted_calls() as calls:
                outputs = module(example(concrete(network)))
        assert {"params": parameters(module), "macs": macs(calls)} == cost_of(space).as_json()
        flat = concrete(network)
        shapes = [(1, *flat.shape(value).layout) for value in flat.results]
        assert [tuple(o.shape) for o in several(outputs)] == shapes


@pytest.mark.parametrize("path", [*SPACES, *NETWORKS], ids=lambda p: p.stem)
def test_pytorch_and_onnx_runtime_compute_the_same(path: Path) -> None:
    """Exercises: every member."""
    for text in texts(path):
        network = network_of(smaller(text))
        weights = randomised(network_state(network))
        module = instance(network)
        module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        x = example(concrete(network))
        with torch.no_grad():
            ours = several(module(x))
        theirs = ran(network_onnx(network, weights).SerializeToString(), x)
        for mine, other in zip(ours, theirs, strict=True):
            scale = float(mine.abs().max())
            assert mine.shape == other.shape and scale > 0
            assert float((mine - other).abs().max()) <= 1e-4 * scale


@pytest.mark.parametrize("path", EXPORTED, ids=lambda p: p.stem)
def test_torch_s_own_exporter_takes_the_code(path: Path) -> None:
    for text in texts(path):
        network = network_of(smaller(text))
        module, x = instance(network), example(concrete(network))
        exported = torch.export.export(module, (x,)).module()
        with torch.no_grad():
            ours, theirs = module(x), exported(x)
        assert type(ours) is type(theirs)
        for mine, other in zip(several(ours), several(theirs), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def instance(network: Network) -> nn.Module:
    names: dict[str, Any] = {"__name__": "model"}
    exec(compile(model_source(network), "model.py", "exec"), names)
    made = names[class_name(network.name, ())]()
    assert isinstance(made, nn.Module)
    return made.eval()


def example(flat: ConcreteNetwork) -> torch.Tensor:
    """An input of a batch of one."""
    shape = (1, *flat.input.layout)
    return torch.zeros(shape, dtype=torch.int64) + 3 if flat.input.ids else torch.randn(shape)


def several(outputs: Any) -> tuple[torch.Tensor, ...]:
    return tuple(outputs) if isinstance(outputs, tuple) else (outputs,)


def smaller(text: str) -> Space:
    """The network of a text, for smaller images where it can be built for them."""
    for side in SIDES:
        changed = re.sub(r"(input +image \d+) x \d+ x \d+", rf"\1 x {side} x {side}", text)
        changed = re.sub(r"(output +depth \d+) x \d+ x \d+", rf"\1 x {side} x {side}", changed)
        try:
            space = space_of(changed)
        except AssertionError:
            continue
        if count_members(space) == 1:
            return space
    return space_of(text)


def ran(model: bytes, x: torch.Tensor) -> list[torch.Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: np.asarray(x)})
    return [torch.from_numpy(array) for array in found]
