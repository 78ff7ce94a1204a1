"""The files that `nasc compile` writes for every published network: equal outputs, and costs counted on the modules.

`tests/test_lower_torch.py` compares the two lowerings with random weights and statistics; here the files speak.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from nasc.compiler.compile import compile_file
from nasc.compiler.cost import cost_of
from tests.spaces import LIGHT, space_of

torch.set_num_threads(1)
Call = tuple[nn.Module, torch.Tensor]


@contextmanager
def weighted_calls() -> Iterator[list[Call]]:
    """The convolutions, linear layers and batch norms that run inside the context, in order, with their outputs."""
    calls: list[Call] = []

    def note(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            calls.append((module, output))

    hook = nn.modules.module.register_module_forward_hook(note)
    try:
        yield calls
    finally:
        hook.remove()


def macs(calls: list[Call]) -> int:
    """Multiply-accumulates of convolutions and linear layers: every output element needs one row of the weight."""
    return sum(
        output.numel() * module.weight[0].numel()
        for module, output in calls
        if isinstance(module, nn.Conv2d | nn.Linear)
    )


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def onnx_output(path: Path, x: torch.Tensor) -> torch.Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def rounding(network: nn.Module, x: torch.Tensor, found: torch.Tensor) -> float:
    """How far single precision is from double: fresh weights of a deep network amplify it (EfficientNetV2-S: 0.3 %)."""
    with torch.no_grad():
        return float((network.double()(x.double()) - found).abs().max())


@pytest.mark.parametrize("path", LIGHT, ids=lambda p: p.stem)
def test_the_files_of_a_published_network(path: Path) -> None:
    """Exercises: compiled every network."""
    cost = cost_of(space_of(path)).as_json()
    with TemporaryDirectory() as folder:
        compile_file(path, Path(folder))
        model = imported(Path(folder, "model.py"))
        network = model.load(str(Path(folder, "weights.safetensors")))
        x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, *model.INPUT_SHAPE), dtype=np.float32))
        with torch.no_grad(), weighted_calls() as calls:
            ours = network(x)
        theirs = onnx_output(Path(folder, "model.onnx"), x)
    assert {"params": parameters(network), "macs": macs(calls)} == cost
    assert ours.shape == theirs.shape
    # Fresh weights have no biases, so however small the outputs are (8e-6 with gates in every layer), they are signal.
    scale = float(theirs.abs().max())
    difference = float((ours - theirs).abs().max())
    assert scale > 0 and (difference <= 1e-4 * scale or difference <= rounding(network, x, ours))
