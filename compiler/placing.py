"""Where a mistake that arises inside a block is shown."""

from __future__ import annotations

from collections.abc import Mapping

from nasc.compiler.values import Mistake
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Label, Span
from nasc.dsl.loader import standard_library


def placed(mistake: Mistake, layer: Span, blocks: Mapping[str, syntax.Block]) -> Mistake:
    """The mistake with both places: in a block's text, and the layer that uses it.

    The library is never to blame, so a mistake that arises in it is shown at the layer.
    """
    found = mistake.diagnostic
    block = next((b for b in blocks.values() if found.span is not None and _holds(b.span, found.span)), None)
    if found.span is None or block is None:
        return mistake
    span, label = found.span, Label(layer, "for this layer")
    if standard_library().get(block.name) is block:
        span, label = layer, Label(found.span, "it arises here")
    return Mistake(found.code, found.message, span, found.help, found.note, (*found.labels, label))


def _holds(outer: Span, inner: Span) -> bool:
    return outer.source is inner.source and outer.start <= inner.start and inner.end <= outer.end
