"""A block by itself as PyTorch text: the class that `model.py` would have for it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from nasc.compiler.concrete import ConcreteLayer, check_concrete
from nasc.compiler.ir import Graph
from nasc.compiler.structure import chain, steps
from nasc.compiler.torch_classes import generate, group
from nasc.dsl.diagnostics import NascError

TEMPLATE = Path(__file__).parent / "templates" / "block.py.jinja"
CLASS = "Block"


def block_source(graph: Graph) -> str:
    """The text of a module with the class `Block`, which takes the inputs of a graph, the layer before first.

    The graph may come from a stranger's file: of it, the text has numbers only. Raises `NascError` for open sizes and
    for operators that cannot be compiled yet.
    """
    from jinja2 import Environment, StrictUndefined

    check_concrete(graph, "block")
    _check_numbers(graph)
    made, _ = generate(group([ConcreteLayer("block", "block", graph, "block", {})])[0], CLASS)
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = TEMPLATE.read_text(encoding="utf-8")
    return environment.from_string(text).render(block=made, helpers=sorted(set(made.helpers)))


def state_prefix(graph: Graph) -> str:
    """What stands before the names of `graph_state` in the state dict of `Block`.

    A graph of one call has the names of that call's own tensors, and the class holds the call.
    """
    row = chain(graph)
    return f"{steps(graph)[0].attribute}." if row is not None and len(row) == 1 else ""


def _check_numbers(graph: Graph) -> None:
    for node in graph.nodes:
        for key, value in node.attributes.items():
            parts = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(part, int | Fraction) for part in parts):
                raise NascError(f"the {key} of `{node.op}` is not a number")
