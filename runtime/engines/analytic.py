"""Latency by formula: the roofline model (Williams, Waterman and Patterson 2009) of each kernel of a block.

A kernel takes as long as the slower of its arithmetic and its memory traffic, and a launch:
max(MACs / peak, bytes / bandwidth) + launch. The sum over a network's blocks is exactly the network's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nasc.compiler.concrete import check_concrete
from nasc.compiler.fold import without_norms
from nasc.compiler.ir import Graph, Node
from nasc.compiler.ir import Tensor as Shape
from nasc.compiler.manifest import Target
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.pointwise import Activation, BatchNorm, Dropout
from nasc.compiler.primitives.sequence import Embedding
from nasc.runtime.device import Device, Environment
from nasc.runtime.engines.base import Form, Session, TimingOptions
from nasc.runtime.engines.cpu_timing import check_precision, failure_of
from nasc.runtime.engines.roofline import MEASURED, Roofline, load_roofline, roofline_path
from nasc.runtime.measurement import Measurement

FORMULA_VERSION = 1
"""Raised whenever the formula changes."""
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}


@dataclass(frozen=True)
class Analytic:
    """The roofline model. Its ceilings are a file's (`TimingOptions.ceilings`) or what was measured of this machine."""

    options: TimingOptions = field(default_factory=TimingOptions)
    name: str = "analytic"
    form: Form = "graph"

    def available(self) -> str | None:
        """None where there are ceilings, else where to get them."""
        if self.options.ceilings is not None or roofline_path().exists():
            return None
        return f"it needs a device's ceilings: {MEASURED}, `--ceilings FILE` takes another's"

    @cached_property
    def roofline(self) -> Roofline:
        """The device's ceilings. Raises `NascError` where they cannot be read."""
        return load_roofline(self.options.ceilings or roofline_path())

    def environment(self, target: Target) -> Environment:
        """The device that the ceilings are of. Raises `NascError` for a precision that they lack."""
        check_precision(self.name, target, list(self.roofline.gigamacs))
        return Environment(
            device=Device(kind="formula", model=self.roofline.device, cores=1, features=(), system="roofline"),
            engine=self.name,
            engine_version=str(FORMULA_VERSION),
            precision=target.precision,
            batch=target.batch,
            threads=1,
            timing_mode=f"ceilings {self.roofline.digest}",
            protocol_version=FORMULA_VERSION,
        )

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """A row for each graph, without samples; see `Engine.measure`."""
        return Session(tuple(self._row(model, environment) for model in models), None)

    def _row(self, model: bytes, environment: Environment) -> Measurement:
        try:
            graph = Graph.model_validate_json(model)
            us = latency_us(graph, self.roofline, precision=environment.precision, batch=environment.batch)
        except Exception as error:
            # A manifest may hold any graph, and a graph that makes no sense may fail anywhere in the formulas.
            return failure_of(error, 0.0)
        precision = environment.precision
        return Measurement(
            status="ok", effective_precision=precision, minimum=us, median=us, mad=0.0, identity=0.0, quality="good"
        )


def latency_us(graph: Graph, roofline: Roofline, *, precision: str, batch: int) -> float:
    """Microseconds of a graph whose sizes are all known. Raises `NascError` for open sizes, `KeyError` for a precision
    without a ceiling."""
    check_concrete(graph, "block")
    macs_per_us = {name: peak * 1e3 for name, peak in roofline.gigamacs.items()}[precision]  # type: ignore[index]
    bytes_per_us = roofline.gigabytes * 1e3
    return sum(
        max(batch * k.macs / macs_per_us, BYTES[precision] * (k.weights + batch * k.moved) / bytes_per_us)
        + roofline.launch_us
        for k in kernels(graph)
    )


@dataclass(frozen=True)
class Kernel:
    """What one launch computes for one image: multiply-accumulates, numbers of weights, and of other numbers moved."""

    macs: int
    weights: int
    moved: int


def kernels(graph: Graph) -> Iterator[Kernel]:
    """The launches of a graph at inference, as engines merge them.

    A normalisation goes into the layer before it, and what works on each number by itself is computed along with what
    alone it follows; dropout is gone.
    """
    folded, _ = without_norms(graph)
    uses = Counter([folded.output, *(name for node in folded.nodes for name in node.inputs)])
    made = {node.name for node in folded.nodes}
    for node in folded.nodes:
        primitive = PRIMITIVES[node.op]
        along = isinstance(primitive, Activation | BatchNorm) and node.inputs[0] in made and uses[node.inputs[0]] == 1
        if not along and not isinstance(primitive, Dropout):
            yield _kernel(node, [folded.tensor(name) for name in node.inputs])


def _kernel(node: Node, inputs: Sequence[Shape]) -> Kernel:
    primitive = PRIMITIVES[node.op]
    macs = primitive.work(node, inputs)
    # Of an embedding, only the vectors that come out are read.
    weights = 0 if isinstance(primitive, Embedding) else primitive.weights(node, inputs)
    return Kernel(_whole(macs), _whole(weights), sum(map(_elements, (*inputs, node.output))))


def _elements(shape: Shape) -> int:
    return _whole(shape.channels) * shape.positions


def _whole(size: object) -> int:
    if isinstance(size, int):
        return size
    raise ValueError(f"{size} is not a whole number")
