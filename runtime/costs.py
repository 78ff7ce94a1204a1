"""What every candidate of a SuperNet costs at each of its widths: latency from a table, MACs or parameters.

The search measures nothing: all of this is known before its first step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from nasc.compiler.cost import graph_formula
from nasc.compiler.expr import Rational, evaluate
from nasc.compiler.manifest import Entry, Manifest
from nasc.compiler.methods.relax import Candidate, RelaxedLayer
from nasc.compiler.methods.values import Cost
from nasc.dsl.diagnostics import NascError
from nasc.runtime.calibration import calibration_of
from nasc.runtime.device import Environment
from nasc.runtime.latencies import Latencies
from nasc.runtime.progress import amount, shown
from nasc.runtime.table import LatencyTable, Point, point_text

UNITS: dict[Cost, str] = {"latency": "µs", "macs": "MACs", "params": "parameters"}

Widths = dict[int, float]
"""A candidate's cost at each width; at 0 where it has no width under search."""

_Price = Callable[[RelaxedLayer, int], Widths]


def missing_table(folder: Path) -> NascError:
    """The error of a search for latency in a compiled folder without a table."""
    return NascError(
        "a search for latency needs a latency table",
        help=f"`nasc profile {shown(folder)} --table latency.db` measures one, then add --table latency.db; "
        "or search for --cost macs",
    )


Decided = Mapping[str, tuple[int, int | None]]
"""For each stochastic layer the number of its candidate (one that has no cost is the skip), and its width if it has
one under search."""


@dataclass(frozen=True)
class Costs:
    """`blocks` has the costs of the candidates of stochastic layers by address and number; `fixed` is all the rest.

    Where there are `others`, a network's cost is the largest of what it is by these and by each of them. `targets` has
    the latencies at each target, as far as there is more to say of them.
    """

    kind: Cost
    fixed: float
    blocks: Mapping[tuple[str, int], Widths]
    others: tuple[Costs, ...] = ()
    targets: tuple[TargetCosts, ...] = ()

    @property
    def unit(self) -> str:
        return UNITS[self.kind]

    @property
    def digest(self) -> str:
        """What tells these numbers from others, such as those of a table that was measured anew."""
        return digest_of([cost for part in self.parts for cost in part.numbers()])

    @property
    def parts(self) -> tuple[Costs, ...]:
        """The costs of which the largest counts; with one target, or with their mean, there is one."""
        return (self, *self.others)

    def numbers(self) -> Iterator[float]:
        """Every number of this part."""
        yield self.fixed
        for widths in self.blocks.values():
            yield from widths.values()

    def block(self, address: str, number: int, width: int | None) -> float:
        """The cost of a candidate in this part; 0 of the skip."""
        widths = self.blocks.get((address, number))
        return 0.0 if widths is None else widths[width or 0]

    def of(self, decided: Decided) -> float:
        """The cost of a network in this part."""
        return self.fixed + sum(self.block(address, *choice) for address, choice in decided.items())


@dataclass(frozen=True)
class TargetCosts:
    """Latencies at one target, and what they are to stay below there, both in microseconds."""

    name: str
    costs: Costs
    limit: float | None = None


def require_target(costs: Costs, layers: Sequence[RelaxedLayer], target: float) -> str | None:
    """Raise `NascError` where no network is as cheap as `target`. What to say where all are cheaper, else None."""
    least, most = reach(costs, layers)
    require_reached(least, target, costs.unit)
    if most < target:
        return f"every network of this space meets {amount(target)} {costs.unit}: the dearest costs {amount(most)}"
    return None


def require_reached(least: float, target: float, unit: str) -> None:
    """Raise `NascError` where the cheapest network, which costs `least`, is dearer than `target`."""
    if least > target:
        raise NascError(
            f"no network of this space costs {amount(target)} {unit} or less: the cheapest {amount(least)}",
            help="raise the target, or give the space smaller widths, cheaper blocks or layers that may be dropped",
        )


def reach(costs: Costs, layers: Sequence[RelaxedLayer]) -> tuple[float, float]:
    """The costs of the cheapest and the dearest network."""
    least = most = costs.fixed
    for layer in layers:
        found = [c for i in range(len(layer.candidates)) for c in costs.blocks.get((layer.address, i), {}).values()]
        if found:
            least += 0.0 if layer.skippable else min(found)
            most += max(found)
    return least, most


def digest_of(costs: Sequence[float]) -> str:
    """A short word for a list of costs."""
    return blake2b(" ".join(map(repr, costs)).encode(), digest_size=6).hexdigest()


def formula_costs(layers: Sequence[RelaxedLayer], kind: Cost) -> Costs:
    """MACs for one image, or parameters, by the primitives' formulas."""
    return _collected(layers, kind, 0.0, lambda layer, number: _by_formula(layer, number, kind))


def _by_formula(layer: RelaxedLayer, number: int, kind: Cost) -> Widths:
    candidate = layer.candidates[number]
    variant = layer.layer.variants[candidate.variant]
    size = graph_formula(variant.graph, "macs" if kind == "macs" else "params")
    return {width: float(evaluate(size, values)) for width, values in _points(layer, candidate)}


def _points(layer: RelaxedLayer, candidate: Candidate) -> Iterator[tuple[int, dict[str, Rational]]]:
    """Each width of a candidate (0 where none is searched), with a value for all of its decisions."""
    shared = layer.layer.variants[candidate.variant].shared
    known = {**{address: domain.first for address, domain in shared.items()}, **candidate.values}
    for width in candidate.widths or (0,):
        yield width, {**known, candidate.width: width} if candidate.width else known


def table_costs(
    layers: Sequence[RelaxedLayer], manifest: Manifest, table: LatencyTable, environment: Environment
) -> Costs:
    """Latencies in microseconds. A block's is its median less the engine's call, which the network pays once, corrected
    by what whole networks taught where the table holds that (`nasc.runtime.calibration`).

    Raises `NascError` for points that the table lacks, naming the command that measures them.
    """
    prices = _Prices(manifest, table, environment)
    costs = _collected(layers, "latency", prices.call, prices.of)
    if prices.missing:
        raise NascError(
            f"{len(prices.missing)} latencies are missing in {table.path} for {environment}: "
            + "; ".join(prices.missing[:3])
            + ("; …" if len(prices.missing) > 3 else ""),
            help=f"`nasc profile DIR --table {table.path}` measures them, with DIR the compiled folder",
        )
    return costs


class _Prices:
    """Looks candidates up in a table; what is not there is noted in `missing`."""

    def __init__(self, manifest: Manifest, table: LatencyTable, environment: Environment) -> None:
        self.entries: dict[tuple[str, int], tuple[Entry, tuple[str, ...]]] = {
            (use.layer, use.variant): (entry, use.widths) for entry in manifest.entries for use in entry.uses
        }
        self.latencies = Latencies(table, environment)
        self.calibration = calibration_of(table, environment, manifest)
        self.call = self.latencies.call(manifest.entries)
        self.missing: list[str] = []

    def of(self, layer: RelaxedLayer, number: int) -> Widths:
        candidate = layer.candidates[number]
        if not candidate.graph.nodes:
            return {0: 0.0}
        found = self.entries.get((layer.address, candidate.variant))
        if found is None:
            raise NascError(
                f"manifest.json does not list candidate {number} of `{layer.address}`", help="compile the space again"
            )
        entry, names = found
        return {
            width: self._price(layer.address, entry, tuple(values[name] for name in names))
            for width, values in _points(layer, candidate)
        }

    def _price(self, address: str, entry: Entry, point: Point) -> float:
        found = self.latencies.find(entry, point)
        if found is None:
            why = self.latencies.why_not(entry, point)
            self.missing.append(f"{entry.block}{point_text(point)} of {address}{why}")
            return 0.0
        return 0.0 if found.empty else self.calibration.block(found.us - self.call)


def _collected(layers: Sequence[RelaxedLayer], kind: Cost, fixed: float, price: _Price) -> Costs:
    blocks: dict[tuple[str, int], Widths] = {}
    for layer in layers:
        if layer.fixed:
            fixed += price(layer, 0)[0]
            continue
        for number in range(len(layer.candidates)):
            blocks[layer.address, number] = price(layer, number)
    return Costs(kind, fixed, blocks)
