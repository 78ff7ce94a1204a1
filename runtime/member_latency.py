"""A member's latency from a table: which block of the manifest each of its layers is, and at which point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nasc.compiler.build_manifest import layers_of
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Layer, Network, Variant
from nasc.compiler.manifest import Entry, Manifest
from nasc.compiler.member import Member
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment
from nasc.runtime.predict import Prediction, Use, predict
from nasc.runtime.table import LatencyTable


class MemberLatency:
    """Predicts latencies of members of one space, whose network and manifest these are."""

    def __init__(self, network: Network, manifest: Manifest, table: LatencyTable, environment: Environment) -> None:
        self.layers = list(layers_of(network))
        self.entries: dict[tuple[str, int], tuple[Entry, tuple[str, ...]]] = {
            (use.layer, use.variant): (entry, use.widths) for entry in manifest.entries for use in entry.uses
        }
        self.table, self.environment = table, environment

    def __call__(self, member: Member) -> Prediction:
        """The member's latency. Raises `NascError` for a block that was not measured."""
        return predict(list(self._uses(member)), self.table, self.environment)

    def _uses(self, member: Member) -> Iterator[Use]:
        for layer in self.layers:
            decided = member.layers.get(layer.address)
            if decided is None:
                continue
            number = variant_of(layer, decided)
            if (layer.address, number) in self.entries:
                entry, widths = self.entries[layer.address, number]
                known = {**member.shared, **decided}
                yield entry, tuple(_number(known[name]) for name in widths)


def variant_of(layer: Layer, decided: Mapping[str, Rational | str]) -> int:
    """The number of the variant that decisions lead to. Raises `NascError` where none does."""
    for number, variant in enumerate(layer.variants):
        if _leads_to(variant, decided):
            return number
    raise NascError(f"`{layer.address}` has no alternative with these decisions")


def _leads_to(variant: Variant, decided: Mapping[str, Rational | str]) -> bool:
    if any(str(decided.get(address)) != text for address, text in variant.chosen.items()):
        return False
    return all(decided.get(d.address) in [*d.domain] for d in variant.decisions)


def _number(value: Rational | str) -> Rational:
    if isinstance(value, str):
        raise NascError(f"`{value}` is no width")
    return value


def table_environment(table: LatencyTable, engine: str | None = None) -> Environment:
    """The environment that a table's latencies belong to. Raises `NascError` where there is none, or a choice."""
    found = [e for e in table.environments() if engine in (None, e.engine)]
    if not found:
        raise NascError(f"{table.path} holds no latencies", help="`nasc profile DIR --table FILE` measures them")
    if len(found) > 1:
        raise NascError(
            f"{table.path} holds latencies of {len(found)} environments", help="; ".join(map(str, found[:4]))
        )
    return found[0]
