"""A layer of the fullest network: its alternatives, side by side, and the decisions in them that have masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nasc.compiler.ir import Graph


@dataclass(frozen=True)
class Open:
    """A decision with a mask: `address` in its layer's alternative is `name` in the network.

    `widths` are its values, ascending; the SuperNet has the largest. With 0 among them it may go, and what hangs on it.
    A `presence` says of an operator without widths of its own whether it is there: 0 or 1. `texts` has what the file
    says for a width where that is another number.
    """

    name: str
    address: str
    widths: tuple[int, ...]
    presence: bool = False
    texts: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Branch:
    """An operator of an `any of`: the address that says whether it is there, the node that it ends in, and the names
    of what is decided in it."""

    address: str
    node: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Operator:
    """One alternative of a layer. `chosen` are the decisions that tell it from others, `node` is what it ends in.
    `merged`: its residual is that of the layer's first alternative, so by itself it has none."""

    block: str
    chosen: Mapping[str, str]
    opens: tuple[Open, ...]
    branches: tuple[Branch, ...]
    node: str
    merged: bool = False


@dataclass(frozen=True)
class FullLayer:
    """A layer with all of its alternatives; `graph` is symbolic in the names of decisions. `may_go`: without any of
    its operators the layer is its input, as a member may have it."""

    address: str
    operators: tuple[Operator, ...]
    graph: Graph
    may_go: bool
