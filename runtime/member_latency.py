"""A member's latency from a table: which block of the manifest each of its layers is, and at which point."""

from __future__ import annotations

from collections.abc import Iterator

from nasc.compiler.build_manifest import layers_of
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Network
from nasc.compiler.manifest import Entry, Manifest, Target
from nasc.compiler.member import Member
from nasc.compiler.member_cost import built_layers, variant_of
from nasc.dsl.diagnostics import NascError
from nasc.runtime.calibration import calibration_of
from nasc.runtime.device import Environment
from nasc.runtime.latencies import Latencies
from nasc.runtime.predict import Prediction, Use, blocks_of, predict
from nasc.runtime.table import LatencyTable


class MemberLatency:
    """Predicts latencies of members of one space, whose network and manifest these are, with the table's correction.

    `call_us` is what the engine's call alone costs. Raises `NascError` for a correction that cannot be read.
    """

    def __init__(self, network: Network, manifest: Manifest, table: LatencyTable, environment: Environment) -> None:
        self.layers = list(layers_of(network))
        self.entries: dict[tuple[str, int], tuple[Entry, tuple[str, ...]]] = {
            (use.layer, use.variant): (entry, use.widths) for entry in manifest.entries for use in entry.uses
        }
        self.latencies = Latencies(table, environment)
        self.call_us = self.latencies.call(manifest.entries)
        self.calibration = calibration_of(table, environment, manifest)

    def __call__(self, member: Member) -> Prediction:
        """The member's latency. Raises `NascError` for a block without a latency."""
        uses = list(self._uses(member))
        return predict(uses, self.latencies, call_us=self.call_us, calibration=self.calibration)

    def blocks(self, member: Member) -> tuple[float, ...]:
        """What each block of the member adds, in microseconds, without correction. Raises `NascError` likewise."""
        return blocks_of(list(self._uses(member)), self.latencies, self.call_us)

    def _uses(self, member: Member) -> Iterator[Use]:
        for layer, decided in built_layers(self.layers, member):
            known = {**member.shared, **decided}
            number = variant_of(layer, known)
            if (layer.address, number) in self.entries:
                entry, widths = self.entries[layer.address, number]
                yield entry, tuple(_number(known[name]) for name in widths)


def _number(value: Rational | str) -> Rational:
    if isinstance(value, str):
        raise NascError(f"`{value}` is no width")
    return value


def table_environment(table: LatencyTable, target: Target | None = None, *, alone: bool = True) -> Environment:
    """The environment of a table that a target's latencies belong to, measured in the newest way of timing.

    A target that is `alone`, or none, has the latencies of a table's one environment whatever that is: `--engine` may
    have measured them, or another program. Raises `NascError` where there is none, or a choice.
    """
    there = table.environments()
    if not there:
        raise NascError(f"{table.path} holds no latencies", help="`nasc profile DIR --table FILE` measures them")
    found = [environment for environment in there if target is not None and _serves(environment, target)]
    if target is not None and target.device is None:
        found = [environment for environment in found if environment.device.kind == "cpu"] or found
    found = _newest(found or (there if alone else []))
    if len(found) == 1:
        return found[0]
    whose = "" if target is None else f" for the target `{target.name}`"
    listed = "; ".join(map(str, (found or there)[:4]))
    if not found:
        raise NascError(
            f"{table.path} holds no latencies{whose}",
            help=f"`nasc profile DIR --table {table.path}` measures them; it holds those of {listed}",
        )
    raise NascError(f"{table.path} holds latencies of {len(found)} environments{whose}", help=listed)


def _serves(environment: Environment, target: Target) -> bool:
    """Are these latencies what a target asks for?"""
    asked = (target.engine, target.precision, target.batch)
    return (environment.engine, environment.precision, environment.batch) == asked and environment.device.is_called(
        target.device
    )


def _newest(found: list[Environment]) -> list[Environment]:
    """Of environments that differ only in the version of the protocol, the newest."""
    newest: dict[str, Environment] = {}
    for environment in sorted(found, key=lambda each: each.protocol_version):
        newest[environment.model_copy(update={"protocol_version": 0}).env_id] = environment
    return list(newest.values())
