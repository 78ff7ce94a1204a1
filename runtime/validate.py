"""Does the sum of the blocks predict the whole? Random members measured whole, against their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nasc.compiler.elaborate import Space
from nasc.compiler.lower_onnx import network_onnx
from nasc.compiler.manifest import Manifest, Target
from nasc.compiler.member import Member, member_text
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.resize import resized
from nasc.compiler.sample import sample_members
from nasc.compiler.weights import seeded_weights
from nasc.compiler.whole_graph import network_graph
from nasc.dsl.diagnostics import NascError
from nasc.dsl.loader import Module
from nasc.runtime.calibration import Calibration, Observed, fit, store
from nasc.runtime.device import Environment
from nasc.runtime.device_lock import device_lock
from nasc.runtime.engines import Engine
from nasc.runtime.engines.base import Form, build_plan, form_of
from nasc.runtime.member_latency import MemberLatency
from nasc.runtime.models import graph_json
from nasc.runtime.profile import environment_of
from nasc.runtime.progress import Progress
from nasc.runtime.table import LatencyTable

if TYPE_CHECKING:
    import onnx

TOGETHER = 4
"""Networks that are timed interleaved."""


@dataclass(frozen=True)
class Validation:
    """Random members of a space as predicted without correction and as measured, and the correction they give."""

    space: str
    networks: tuple[Observed, ...]
    calibration: Calibration


def validate(
    module: Module,
    space: Space,
    manifest: Manifest,
    target: Target,
    table: LatencyTable,
    engine: Engine,
    count: int,
    *,
    progress: Progress,
    seed: int = 0,
) -> Validation:
    """Measure `count` random members whole and store the correction that follows for their space.

    Raises `NascError` for blocks that the table lacks, and for networks that cannot be measured.
    """
    environment, network = environment_of(engine, target), network_of(space)
    predicted = MemberLatency(network, manifest, table, environment)
    members = sample_members(space, count, seed)
    blocks = [predicted.blocks(member) for member in members]  # a missing latency shows before anything is measured
    measured: list[float] = []
    progress.start("validate", count, 0)
    try:
        for first in range(0, count, TOGETHER):
            models = [
                _model(module, space, member, target, form_of(engine)) for member in members[first : first + TOGETHER]
            ]
            with device_lock(environment.device):
                latencies = _measured(engine, models, environment, table.reference(environment))
            for latency in latencies:
                measured.append(latency)
                progress.advance(f"{latency:.1f} us")
    finally:
        progress.stop()
    found = tuple(Observed(us, own, predicted.call_us) for us, own in zip(measured, blocks, strict=True))
    try:
        calibration = fit(found)
    except ValueError as error:
        raise NascError(f"the networks give no calibration: {error}", help="measure more of them") from None
    store(table, environment, manifest, calibration)
    return Validation(network.name, found, calibration)


def _measured(
    engine: Engine, models: Sequence[bytes], environment: Environment, reference_us: float | None
) -> list[float]:
    """Latencies of whole networks in microseconds. Raises `NascError` where one cannot be measured."""
    plans = [build_plan(engine, model, environment) for model in models]
    rows = engine.measure(plans, environment, reference_us).measurements
    failed = next((row for row in rows if row.median is None), None)
    if failed is not None:
        raise NascError(f"a whole network could not be measured: {failed.status}: {failed.error}")
    return [row.median for row in rows if row.median is not None]


def _model(module: Module, space: Space, member: Member, target: Target, form: Form) -> bytes:
    """A member as an engine takes it, in the precision, batch and input size of a target."""
    checked = resized(open_file("<member>", member_text(space, member, module)), target.size)
    network = network_of(space_of(checked))
    if form == "graph":
        return graph_json(network_graph(network)).encode()
    model = network_onnx(network, seeded_weights(network, 0), precision=target.precision)
    return with_batch(model, target.batch)


def with_batch(model: onnx.ModelProto, batch: int) -> bytes:
    """A network's model with its open batch fixed: engines are timed with fixed shapes."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    written: bytes = model.SerializeToString()
    return written
