"""What a member costs, without writing it: the sum over its layers of what each variant costs at its widths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nasc.compiler.build_manifest import layers_of
from nasc.compiler.cost import Metric, graph_cost
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Layer, Network, Variant
from nasc.compiler.member import Member
from nasc.compiler.parts import layer_address
from nasc.dsl.diagnostics import NascError

Decisions = Mapping[str, "Rational | str"]


class MemberCost:
    """Costs of members of one space, whose network this is; what a layer costs is worked out once."""

    def __init__(self, network: Network) -> None:
        self.layers = list(layers_of(network))
        self.known: dict[tuple[str, int, Metric, tuple[tuple[str, Rational], ...]], int] = {}

    def __call__(self, member: Member, metric: Metric) -> int:
        """The member's parameters or multiply-accumulates."""
        return sum(self._layer(layer, member, decided, metric) for layer, decided in built_layers(self.layers, member))

    def _layer(self, layer: Layer, member: Member, decided: Decisions, metric: Metric) -> int:
        known = {**member.shared, **decided}
        number = variant_of(layer, known)
        values = {a: v for a, v in known.items() if not isinstance(v, str)}
        key = (layer.address, number, metric, tuple(values.items()))
        if key not in self.known:
            self.known[key] = graph_cost(layer.variants[number].graph, values, metric)
        return self.known[key]


def built_layers(layers: list[Layer], member: Member) -> Iterator[tuple[Layer, Decisions]]:
    """The layers that a member does not drop, with what was decided in each."""
    for layer in layers:
        decided = member.layers.get(layer_address(layer.address))
        if decided is not None:
            yield layer, decided


def variant_of(layer: Layer, decided: Decisions) -> int:
    """The number of the variant that decisions, shared ones among them, lead to. Raises `NascError` where none does."""
    for number, variant in enumerate(layer.variants):
        if _leads_to(variant, decided):
            return number
    raise NascError(f"`{layer.address}` has no alternative with these decisions")


def _leads_to(variant: Variant, decided: Decisions) -> bool:
    if any(str(decided.get(address)) != text for address, text in variant.chosen.items()):
        return False
    if any(isinstance(v := decided.get(a, d.first), str) or v not in d for a, d in variant.shared.items()):
        return False
    return all(
        not isinstance(value := decided.get(d.address), str) and value is not None and value in d.domain
        for d in variant.decisions
    )
