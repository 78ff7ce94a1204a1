"""Blocks as PyTorch modules that are ready to be timed, made from the JSON of their graphs."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from nasc.compiler.fold import without_norms
from nasc.compiler.ir import Graph, Node
from nasc.compiler.ir import Tensor as Shape
from nasc.compiler.lower_block import CLASS, block_source, state_prefix
from nasc.compiler.primitives.forms import sizes_of
from nasc.compiler.structure import used_inputs
from nasc.compiler.weights import graph_state, noise
from nasc.runtime.member_model import imported

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def block_module(graph: Graph) -> nn.Module:
    """A graph as a module for inference, its normalisations merged where they can be; weights are drawn from seed 0.

    Raises `NascError` for open sizes and for operators that cannot be compiled yet.
    """
    folded, _ = without_norms(graph)
    module = imported(block_source(folded), CLASS)
    prefix = state_prefix(folded)
    weights = noise(graph_state(folded), 0)
    module.load_state_dict({prefix + name: torch.from_numpy(array) for name, array in weights.items()})
    return module.eval().requires_grad_(False)


def block_inputs(graph: Graph, batch: int) -> tuple[Tensor, ...]:
    """An input for each that a graph reads, in its layout: seeded normal values, float32; token number 0, int64."""
    seeded = torch.Generator().manual_seed(0)
    return tuple(_input(graph.tensor(name), batch, seeded) for name in used_inputs(graph))


def _input(shape: Shape, batch: int, seeded: torch.Generator) -> Tensor:
    size = (batch, *sizes_of(shape))
    return torch.zeros(size, dtype=torch.int64) if shape.ids else torch.randn(size, generator=seeded)


@cache
def graph_yardsticks() -> tuple[bytes, bytes]:
    """The canary, a 3 x 3 convolution of 32 channels on 16 x 16, and an Identity on 8 numbers, as graphs."""
    image = Shape(channels=32, height=16, width=16)
    attributes = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "groups": 1, "dilation": 1, "bias": False}
    convolution = Node(name="conv", op="conv2d", inputs=("in",), attributes=attributes, output=image)
    canary = Graph(inputs={"in": image}, nodes=(convolution,), output="conv")
    identity = Graph(inputs={"in": Shape(channels=8, height=1, width=1)}, nodes=(), output="in")
    return canary.model_dump_json().encode(), identity.model_dump_json().encode()
