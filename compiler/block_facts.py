"""What a block's text says by itself: local values, addresses of its calls, the names a choice mentions."""

from __future__ import annotations

from nasc.compiler.values import (
    Given,
    Instance,
    TensorRef,
)
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span


def make_instance(block: syntax.Block, given: Given, address: str, current: TensorRef, span: Span) -> Instance:
    locals_, labels = block_facts(block)
    return Instance(
        block=block,
        given=given,
        address=address,
        input=current,
        locals=locals_,
        kinds={p.name: p for p in block.parameters},
        labels=labels,
        span=span,
    )


_REFERENCES: dict[int, tuple[syntax.Choice, frozenset[str]]] = {}


def referenced(choice: syntax.Choice) -> frozenset[str]:
    """The names a choice mentions, as operators and in values."""
    if id(choice) not in _REFERENCES:
        names: set[str] = set()
        _collect_names(choice, names)
        _REFERENCES[id(choice)] = (choice, frozenset(names))
    return _REFERENCES[id(choice)][1]


def _collect_names(node: object, names: set[str]) -> None:
    if isinstance(node, syntax.Reference):
        names.add(node.parts[0])
    elif isinstance(node, syntax.Call):
        names.add(node.name)
    if isinstance(node, syntax.Node):
        for name in node.__dataclass_fields__:
            if not name.endswith("span"):
                _collect_names(getattr(node, name), names)
    elif isinstance(node, tuple):
        for item in node:
            _collect_names(item, names)


_FACTS: dict[int, tuple[syntax.Block, dict[str, syntax.Assignment], dict[int, str]]] = {}


def block_facts(block: syntax.Block) -> tuple[dict[str, syntax.Assignment], dict[int, str]]:
    """A block's local values, and an address for each call in its body (its name, numbered where it repeats)."""
    if id(block) not in _FACTS:
        calls: list[syntax.Call] = []
        for statement in block.statements:
            _collect_calls(statement, calls)
        counts: dict[str, int] = {}
        labels: dict[int, str] = {}
        for call in calls:
            counts[call.name] = counts.get(call.name, 0) + 1
            labels[id(call)] = call.name if counts[call.name] == 1 else f"{call.name}#{counts[call.name]}"
        locals_ = {s.name: s for s in block.statements if isinstance(s, syntax.Assignment)}
        _FACTS[id(block)] = (block, locals_, labels)
    return _FACTS[id(block)][1:]


def _collect_calls(node: object, calls: list[syntax.Call]) -> None:
    if isinstance(node, syntax.Call):
        calls.append(node)
    if isinstance(node, syntax.Node):
        for name in node.__dataclass_fields__:
            if not name.endswith("span"):
                _collect_calls(getattr(node, name), calls)
    elif isinstance(node, tuple):
        for item in node:
            _collect_calls(item, calls)
