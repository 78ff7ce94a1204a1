"""The benchmark manifest: what a profiler must measure, each distinct block once, with its graph and widths."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import ConfigDict, Field, FiniteFloat

from nasc.compiler.ir import Decision, Graph, Model

MANIFEST_SCHEMA = "nasc.manifest/1"


class Use(Model):
    """A place that uses a block: a layer's address, which of its variants (from 0), and that place's own names of the
    block's widths, in the block's order. `size`: the input's, where it is that of a target and not the space's own."""

    layer: str
    variant: int = Field(ge=0)
    widths: tuple[str, ...] = ()
    size: int | None = Field(default=None, ge=1)


class Entry(Model):
    """One distinct block: a graph whose widths may be open, and every place that uses it.

    `key` is the hash of the canonical graph (`entry_key`): its decisions are called `w1`, `w2`, … and its nodes `n1`,
    `n2`, … in order of appearance, so that blocks that are alike share an entry. `widths` are the decisions in the
    graph; a point is one value for each of them.
    """

    key: str
    block: str
    uses: tuple[Use, ...]
    graph: Graph
    widths: tuple[Decision, ...]

    @property
    def points(self) -> int:
        """How many points the widths span."""
        count = 1
        for width in self.widths:
            count *= width.domain.size
        return count


class Target(Model):
    """What is measured for: an engine, the precision, the batch, and the input's size where it is not the space's own.

    A search over several takes each by its `weight`; `limit_ms` is what a latency there is judged by.
    """

    name: str = "default"
    engine: str = "onnxruntime"
    precision: str = "fp32"
    batch: int = Field(default=1, ge=1, le=65536)
    device: str | None = None
    size: int | None = Field(default=None, ge=1, le=65536)
    weight: FiniteFloat = Field(default=1.0, gt=0)
    limit_ms: FiniteFloat | None = Field(default=None, gt=0)


class Manifest(Model):
    """The list of blocks of one space, for a set of targets."""

    schema_: Literal["nasc.manifest/1"] = Field(default="nasc.manifest/1", alias="schema")
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str
    nasc: str
    targets: tuple[Target, ...]
    entries: tuple[Entry, ...]

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """The input sizes of its targets, each once; None is the space's own."""
        return tuple(dict.fromkeys(target.size for target in self.targets))

    def at(self, size: int | None) -> Manifest:
        """The part for one input size: its targets, and the blocks as they are used at that size."""
        used = ((entry, tuple(use for use in entry.uses if use.size == size)) for entry in self.entries)
        entries = tuple(entry.model_copy(update={"uses": uses}) for entry, uses in used if uses)
        targets = tuple(target for target in self.targets if target.size == size)
        return self.model_copy(update={"targets": targets, "entries": entries})


def canonical_hash(value: object) -> str:
    """SHA-256 (first 32 hex digits) of a JSON value with sorted keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def entry_key(graph: Graph) -> str:
    """The hash of a canonical graph. Domains of its widths do not count: a point is the same in any of them."""
    return canonical_hash(graph.model_dump(mode="json"))
