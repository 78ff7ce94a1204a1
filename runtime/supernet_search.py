"""The search of a method over a SuperNet, from its candidates and their costs to the network it ends in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from nasc.compiler.expr import Rational
from nasc.compiler.inherit import inherited
from nasc.compiler.ir import Network
from nasc.compiler.member import Choices, member_from_choices
from nasc.compiler.methods.relax import Candidate, RelaxedLayer
from nasc.compiler.methods.supernet import SupernetOptions
from nasc.dsl.diagnostics import NascError
from nasc.runtime.costs import Costs, formula_costs, missing_table, require_target
from nasc.runtime.inherit import inherited_state, settle
from nasc.runtime.make_supernet import make_supernet
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.methods.mixture import Mixture
from nasc.runtime.recalibrate import BATCHES, recalibrate
from nasc.runtime.search_context import Context, Outcome
from nasc.runtime.search_run import SearchRun, run_epochs
from nasc.runtime.states import StateFiles
from nasc.runtime.table import LatencyTable
from nasc.runtime.targets import latencies_found, target_costs

MixtureType = Callable[[nn.Module, Sequence[RelaxedLayer], Costs, Any], Mixture]


def search_supernet(context: Context, method: MixtureType) -> Outcome:
    """Train the SuperNet of the compiled folder by `method`, epoch by epoch, to the end.

    Raises `NascError` where the candidates' costs are missing, where SuperNet and space do not match, and for what
    `SearchRun` and `run_epochs` raise.
    """
    options, source = context.options, context.source
    assert context.method.relax is not None
    layers = context.method.relax(source.network)
    context.method.require(layers, options)
    costs = candidate_costs(context, layers, options)
    if options.target is not None and (word := require_target(costs, layers, options.target)) is not None:
        context.progress.line(word)
    supernet = make_supernet(context)
    mixture = method(supernet, layers, costs, options)
    supernet.to(context.device)
    run = SearchRun(mixture, context.data, options, context.device, context.progress, context.settings, context.ranks)
    states = StateFiles(context.out, source, f"{context.method.about} on {context.data.name}")
    run_epochs(run, context.out, {**context.identity, "costs": costs.digest}, states)
    return _outcome(context, run, mixture, layers)


def candidate_costs(context: Context, layers: Sequence[RelaxedLayer], options: SupernetOptions) -> Costs:
    """What each candidate costs at each of its widths. Raises `NascError` where the table lacks a latency."""
    if options.cost != "latency":
        return formula_costs(layers, options.cost)
    path = context.settings.table
    if path is None:
        raise missing_table(context.job.folder)
    with LatencyTable(path, readonly=True) as table:
        costs = target_costs(layers, load_manifest(context.job.folder), table, options.targets)
    if costs.others and options.target is not None:
        raise NascError(
            "a search for the worst of several targets cannot be given a target cost yet",
            help="search for their mean (--targets sum) or for one of them (--targets NAME)",
        )
    return costs


def _outcome(context: Context, run: SearchRun, method: Mixture, layers: Sequence[RelaxedLayer]) -> Outcome:
    network = context.source.network
    done = Outcome(
        member=None,
        cost=method.expected_cost(),
        unit=method.unit,
        loss=float(run.last.get("loss") or 0.0),
        cross_entropy=float(run.last.get("cross_entropy") or 0.0),
        epochs=run.epoch,
        seconds=run.seconds,
        details={**method.settings(), "candidates": method.candidates_left()},
    )
    if not run.ended:
        return done
    choices = method.choices()
    plain = {address: _plain(choice) for address, choice in choices.items()}

    def state(member: Network) -> dict[str, Tensor]:
        settle(method.supernet, layers, choices)
        recalibrate(method.supernet, run.phases.seen_images(), context.device, context.settings.steps or BATCHES)
        return inherited_state(method.supernet, inherited(network, layers, choices, member))

    return replace(
        done,
        member=member_from_choices(network, choices),
        cost=method.chosen_cost(),
        details={
            **done.details,
            **latencies_found(method.chosen_latencies()),
            "layers": _layers_left(choices, method),
            "names": {
                layer.address: [_name(layer, c) for c in layer.candidates] for layer in layers if not layer.fixed
            },
            "choices": plain,
        },
        state=state,
    )


def _name(layer: RelaxedLayer, candidate: Candidate) -> str:
    """What tells a candidate from the layer's others, such as `irb kernel 5 se 1`."""
    decided = dict(layer.layer.variants[candidate.variant].chosen)
    block = re.match(r"\w+", str(decided.pop("of", candidate.block)))
    values = {**decided, **candidate.values}
    return " ".join([block.group() if block else "?", *(f"{a.rpartition('.')[2]} {v}" for a, v in values.items())])


def _layers_left(choices: Choices, method: Mixture) -> int:
    """How many of the layers under search were not dropped (Table 6's #IRBs)."""
    return sum(choices[address] is not None for address in method.layers)


def _plain(choice: tuple[int, Mapping[str, Rational]] | None) -> Any:
    if choice is None:
        return None
    number, values = choice
    return {"variant": number, "values": {name: v if isinstance(v, int) else str(v) for name, v in values.items()}}
