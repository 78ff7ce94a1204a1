"""The same space at another input size: what a target that has a `size` of its own is measured at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from nasc.compiler.build_manifest import layers_of
from nasc.compiler.check import Checked, check
from nasc.compiler.ir import Network
from nasc.compiler.manifest import Target
from nasc.compiler.network import network_of
from nasc.compiler.opened import space_of
from nasc.dsl import syntax
from nasc.dsl.diagnostics import DiagnosticError, NascError
from nasc.dsl.loader import Module


def resized_networks(checked: Checked, network: Network, targets: Sequence[Target]) -> dict[int, Network]:
    """The network of a checked file at each input size that a target has of its own.

    Raises `NascError` for a size that the space cannot have, or at which it has other choices.
    """
    found: dict[int, Network] = {}
    for target in targets:
        if target.size is not None and target.size not in found:
            found[target.size] = _resized(checked, network, target.name, target.size)
    return found


def resized(checked: Checked, size: int | None) -> Checked:
    """A checked file at another input size (None: its own). Raises `DiagnosticError` where it cannot have it."""
    if size is None:
        return checked
    found = check(at_size(checked.module, size))
    found.diagnostics.raise_errors()
    return found


def at_size(module: Module, size: int) -> Module:
    """A module whose space takes square images of this side, or so many tokens."""
    space = module.space
    assert space is not None
    items = tuple(_with_size(item, size) if isinstance(item, syntax.Input) else item for item in space.items)
    return replace(module, space=replace(space, items=items))


def _with_size(item: syntax.Input, size: int) -> syntax.Input:
    written = syntax.Number(span=item.value.span, value=Fraction(size), text=str(size))
    if isinstance(item.value, syntax.Shape):
        channels = item.value.sizes[:1]
        return replace(item, value=replace(item.value, sizes=(*channels, *(written for _ in item.value.sizes[1:]))))
    return replace(item, value=written)


def _resized(checked: Checked, network: Network, target: str, size: int) -> Network:
    place = f"target `{target}` cannot have `size {size}`"
    try:
        other = network_of(space_of(resized(checked, size)))
    except DiagnosticError as error:
        raise NascError(f"{place}: {error.diagnostics[0].message}") from None
    if _choices(other) != _choices(network):
        raise NascError(f"{place}: the space has other choices there", help="write a space of its own for that size")
    return other


def _choices(network: Network) -> list[object]:
    """What there is to decide in each layer, in order: a manifest's uses name layers, variants and widths by it."""
    return [
        (layer.address, layer.skippable, [(variant.chosen, variant.decisions) for variant in layer.variants])
        for layer in layers_of(network)
    ]
