"""How the Prunodes of a space are computed: hidden channels once for both widths, or not, and why not."""

from __future__ import annotations

from dataclasses import dataclass

from nasc.compiler.elastic_cut import Cut
from nasc.compiler.ir import Network
from nasc.compiler.methods.relax import Candidate, relax
from nasc.compiler.structure import steps


@dataclass(frozen=True)
class PrunodeForm:
    """A candidate with a searched hidden width; `why` each width is computed from the start, None where they share."""

    layer: str
    block: str
    why: str | None


def prunode_forms(network: Network) -> tuple[PrunodeForm, ...]:
    """Every Prunode of a network's SuperNet in order. Raises `NascError` where it has none (`relax`)."""
    prunodes = [(layer.address, c) for layer in relax(network) for c in layer.candidates if c.widths]
    each = {id(c): c for _, c in prunodes}  # layers that are written alike share their candidates
    why = {key: why_not_shared(c) for key, c in each.items()}
    return tuple(PrunodeForm(address, c.block, why[id(c)]) for address, c in prunodes)


def why_not_shared(candidate: Candidate) -> str | None:
    """What keeps a candidate's widths from sharing their hidden channels, None where nothing does."""
    assert candidate.elastic is not None
    return Cut(steps(candidate.elastic.graph), candidate.elastic).obstacle
