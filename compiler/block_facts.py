"""What a block's text says by itself: local values, addresses of its calls, the names a choice mentions."""

from __future__ import annotations

from typing import Any

from nasc.compiler.values import (
    Given,
    Instance,
    TensorRef,
)
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span
from nasc.dsl.walk import mentions, walk


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


_MOST = 4096
"""Blocks and choices whose facts are kept: a language server sees new ones with every keystroke."""


def _bound(kept: dict[int, Any]) -> None:
    if len(kept) >= _MOST:
        kept.clear()


_REFERENCES: dict[int, tuple[syntax.Choice | syntax.Block, frozenset[str]]] = {}


def referenced(part: syntax.Choice | syntax.Block) -> frozenset[str]:
    """The names a choice or a block mentions, as operators and in values."""
    _bound(_REFERENCES)
    if id(part) not in _REFERENCES:
        _REFERENCES[id(part)] = (part, mentions(part))
    return _REFERENCES[id(part)][1]


_FACTS: dict[int, tuple[syntax.Block, dict[str, syntax.Assignment], dict[int, str]]] = {}


def block_facts(block: syntax.Block) -> tuple[dict[str, syntax.Assignment], dict[int, str]]:
    """A block's local values, and an address for each call in its body (its name, numbered where it repeats)."""
    _bound(_FACTS)
    if id(block) not in _FACTS:
        calls = [n for n in walk(block.statements) if isinstance(n, syntax.Call)]
        counts: dict[str, int] = {}
        labels: dict[int, str] = {}
        for call in calls:
            counts[call.name] = counts.get(call.name, 0) + 1
            labels[id(call)] = call.name if counts[call.name] == 1 else f"{call.name}#{counts[call.name]}"
        locals_ = {s.name: s for s in block.statements if isinstance(s, syntax.Assignment)}
        _FACTS[id(block)] = (block, locals_, labels)
    return _FACTS[id(block)][1:]
