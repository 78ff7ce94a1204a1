"""What a device can do, measured in seconds: the operators of a training step over a few sizes each.

Each case is run as in a step: forward several times, everything kept, then backward, so that tensors come from fresh
memory and not from a cache. Other programs may be running: the shortest of several rounds counts, and of one thread the
CPU's time.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy
import numpy.typing
import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.compiler.methods.search_options import completed
from nasc.compiler.methods.values import Optimizer
from nasc.compiler.plan_tape import Amount, Kind, Work, convolution_kind
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import this_cpu
from nasc.runtime.plan_times import Ceilings, Coefficients, features
from nasc.runtime.precision import layout_of
from nasc.runtime.search_optimizers import make_optimizer
from nasc.runtime.supernet import Prunode, StochasticLayer

ROUNDS = 3
_BYTES = 1 << 25
_MOST_CALLS = 16
_LEAST_SECONDS = 0.004
_REWEIGHTED = 4
_CONVOLUTIONS = (  # channels, filters, kernel, side, groups, images
    *((3, 24, 3, 96, 1, 4), (16, 32, 3, 16, 1, 8), (64, 64, 3, 28, 1, 8), (64, 192, 3, 36, 1, 4)),
    *((24, 24, 5, 72, 1, 4), (96, 288, 5, 18, 1, 4), (24, 24, 3, 144, 1, 4), (16, 16, 3, 16, 1, 64)),
    *((32, 128, 1, 4, 1, 64), (40, 8, 1, 16, 1, 8), (16, 64, 1, 28, 1, 32), (8, 48, 1, 16, 1, 64)),
    *((96, 24, 1, 56, 1, 8), (160, 640, 1, 18, 1, 4), (448, 1280, 1, 9, 1, 4), (16, 96, 1, 112, 1, 12)),
    *((1, 16, 3, 28, 1, 32), (64, 64, 3, 8, 64, 64), (48, 48, 3, 16, 48, 64), (128, 128, 3, 14, 128, 16)),
    *((512, 512, 3, 18, 512, 4), (96, 96, 3, 56, 96, 8), (96, 96, 3, 112, 96, 8)),
    *((128, 128, 5, 4, 128, 64), (48, 48, 5, 16, 48, 64), (64, 64, 5, 28, 64, 16), (96, 96, 5, 56, 96, 4)),
    *((640, 640, 5, 9, 640, 4), (96, 96, 5, 112, 96, 8)),
)
_IMAGES = ((16, 8, 8), (64, 16, 16), (64, 28, 32), (96, 56, 8), (96, 112, 8))  # channels, side, images
_MATRICES = ((16, 16), (256, 64), (512, 1024), (1280, 448))


Vector = numpy.typing.NDArray[numpy.float64]


@dataclass(frozen=True)
class Case:
    """An operator to be timed: `run` of an input of shape `inputs`, and the weights that it uses; `times`: how many of
    its kind `run` is."""

    work: Work
    run: Callable[[Tensor], Tensor]
    inputs: tuple[int, ...]
    weights: tuple[Tensor, ...] = ()
    times: int = 1


def calibrate(device: str) -> Ceilings:
    """Measure a device. Takes some seconds. Raises `NascError` for one that torch does not have."""
    place = _device(device)
    process = process_bytes()
    torch.manual_seed(0)
    cases = [*_convolutions(place), *_pointwise(place), *_slices(place), *_mixtures(place)]
    full = _fitted(cases, _timed(cases, place))
    for weight in (weight for case in cases for weight in case.weights):
        weight.requires_grad_(False)
    frozen = _fitted(cases, _timed(cases, place))
    # Weights without gradients are cut for nothing; and mixing costs what it does with those of architecture weights.
    frozen |= {"slice": (0.0,) * 5, "prunode": full["prunode"], "layer": full["layer"]}
    return Ceilings(
        device=device,
        model=torch.cuda.get_device_name(place) if place.type == "cuda" else this_cpu().model,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        memory=_memory(place),
        process=process if place.type == "cpu" else 0,
        point=_seconds_per_point(),
        full=full,
        frozen=frozen,
        optimizers={kind: _optimizer(kind, place) for kind in ("rmsprop", "sgd", "adam", "adamw")},
    )


def _device(name: str) -> torch.device:
    try:
        place = torch.device(name)
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise NascError(f"torch has no device `{name}` here: {reason}", help="--device cpu") from error
    return place


def clock_of(place: torch.device) -> Callable[[], float]:
    """What tells seconds: of several threads, or of another device than a CPU, only the clock on the wall can."""
    return time.process_time if place.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def process_bytes() -> int:
    """The memory that this process has taken at most, once it has made a step of a network of next to nothing."""
    network = nn.Conv2d(1, 1, 3)
    network(torch.zeros(1, 1, 3, 3)).sum().backward()
    torch.optim.SGD(network.parameters(), 0.1).step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _memory(place: torch.device) -> int:
    if place.type == "cuda":
        return int(torch.cuda.get_device_properties(place).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# ------------------------------------------------------------------------------------------------- cases


def _convolutions(place: torch.device) -> list[Case]:
    found = []
    for channels, filters, kernel, side, groups, images in _CONVOLUTIONS:
        weight = torch.randn(filters, channels // groups, kernel, kernel, device=place, requires_grad=True)
        kind = convolution_kind(channels, groups, kernel)
        macs = weight.numel() * side * side * images
        work = Work(kind, macs, Amount((channels + filters) * side * side * images), True)

        def run(x: Tensor, w: Tensor = weight, groups: int = groups) -> Tensor:
            return functional.conv2d(x, w, None, 1, w.shape[-1] // 2, 1, groups)

        found.append(Case(work, run, (images, channels, side, side), (weight,)))
    return found


def _pointwise(place: torch.device) -> list[Case]:
    found: list[Case] = []
    for channels, side, images in _IMAGES:
        shape = (images, channels, side, side)
        count = images * channels * side * side
        scale, shift = (torch.ones(channels, device=place, requires_grad=True) for _ in range(2))
        mean, deviation = torch.zeros(channels, device=place), torch.ones(channels, device=place)
        gate = torch.rand((), device=place)

        def norm(x: Tensor, w: Tensor = scale, b: Tensor = shift, m: Tensor = mean, v: Tensor = deviation) -> Tensor:
            return functional.batch_norm(x, m, v, w, b, True)

        def scaled(x: Tensor, gate: Tensor = gate) -> Tensor:
            return x * gate

        found.append(Case(Work("norm", moved=Amount(2 * count)), norm, shape, (scale, shift)))
        found += [Case(Work("elementwise", moved=Amount(2 * count)), each, shape) for each in (functional.relu, scaled)]
        found.append(Case(Work("function", moved=Amount(2 * count)), functional.silu, shape))
        pooled = Amount(count + images * channels)
        found.append(Case(Work("pool", moved=pooled), lambda x: functional.adaptive_avg_pool2d(x, 1), shape))
    return found


def _slices(place: torch.device) -> list[Case]:
    """Weights cut twice out of larger ones: the price of sharing them between widths."""
    found = []
    for rows, columns in _MATRICES:
        work = Work("slice", moved=Amount(rows * columns))
        found.append(Case(work, lambda x: x[: len(x) - 1, 1:], (rows, columns)))
    return found


def _mixtures(place: torch.device) -> list[Case]:
    """Layers of next to nothing, for the price of mixing itself."""
    prunode = Prunode(_Nothing(), (1, 2)).to(place)
    layer = StochasticLayer("", [nn.Identity() for _ in range(4)]).to(place)
    return [
        Case(Work("prunode"), lambda x: prunode(x, 1.0)[0], (1, 1), (prunode.theta,)),
        Case(Work("layer"), layer, (1, 1), (layer.theta,), times=layer.count),
    ]


class _Nothing(nn.Module):
    def forward(self, x: Tensor, widths: Sequence[int]) -> list[Tensor]:
        return [x for _ in widths]


# ------------------------------------------------------------------------------------------------- timing


def _timed(cases: Sequence[Case], place: torch.device) -> list[float]:
    """Seconds of each case, forward and backward; the rounds go through all cases in turn."""
    made = [_Timer(case, place) for case in cases]
    for _ in range(ROUNDS):
        for timer in made:
            timer.round()
    return [timer.best / timer.case.times for timer in made]


class _Timer:
    def __init__(self, case: Case, place: torch.device) -> None:
        self.case, self.place = case, place
        self.clock = clock_of(place)
        self.calls = max(1, min(_MOST_CALLS, _BYTES // (4 * case.work.moved.at(1) + 1)))
        self.wanted = [weight for weight in case.weights if weight.requires_grad]
        self.best = float("inf")

    def round(self) -> None:
        began = time.perf_counter()
        while True:
            self.best = min(self.best, self._once() / self.calls)
            if time.perf_counter() - began > _LEAST_SECONDS:
                return

    def _once(self) -> float:
        inputs = [self._input() for _ in range(self.calls)]
        with torch.no_grad():
            gradient = torch.ones_like(self.case.run(inputs[0]))
        self._wait()
        began = self.clock()
        outputs = [self.case.run(x) for x in inputs]
        while outputs:
            torch.autograd.grad(outputs.pop(), [inputs.pop(), *self.wanted], gradient)
        self._wait()
        return self.clock() - began

    def _input(self) -> Tensor:
        """Images lie in memory as a search lays them."""
        made = torch.randn(self.case.inputs, device=self.place)
        if made.ndim == 4:
            made = made.to(memory_format=layout_of("auto", self.place, None))
        return made.requires_grad_()

    def _wait(self) -> None:
        if self.place.type == "cuda":
            torch.cuda.synchronize(self.place)


def _fitted(cases: Sequence[Case], seconds: Sequence[float]) -> dict[Kind, Coefficients]:
    """The coefficients of each kind that come nearest to its cases, by relative error; none is negative."""
    found: dict[Kind, Coefficients] = {}
    for kind in dict.fromkeys(case.work.kind for case in cases):
        rows = [(features(c.work, 1), s) for c, s in zip(cases, seconds, strict=True) if c.work.kind == kind]
        matrix, measured = numpy.array([row for row, _ in rows]), numpy.array([s for _, s in rows])
        predicted = measured
        for _ in range(_REWEIGHTED):  # (p - m)^2 / (p m) is about (log p - log m)^2
            scale = numpy.sqrt(numpy.maximum(predicted, measured / 10) * measured)
            fit = _least_squares(matrix / scale[:, None], measured / scale)
            predicted = matrix @ fit
        call, mac, moved, large, larger = fit.tolist()
        found[kind] = call, mac, moved, large, larger
    return found


def _least_squares(matrix: Vector, wanted: Vector) -> Vector:
    """x of 0 or more with `matrix @ x` nearest to `wanted`: the best of all choices of the columns that take part."""
    best, error = numpy.zeros(matrix.shape[1]), float("inf")
    scale = matrix.max(axis=0)
    used = [i for i in range(matrix.shape[1]) if scale[i] > 0]
    for size in range(1, 1 + min(len(used), len(matrix))):
        for columns in map(list, combinations(used, size)):
            part = matrix[:, columns] / scale[columns]
            x = numpy.linalg.lstsq(part, wanted, rcond=None)[0]
            distance = float(numpy.sum((part @ x - wanted) ** 2))
            if (x >= 0).all() and distance < error:
                best, error = numpy.zeros(matrix.shape[1]), distance
                best[columns] = x / scale[columns]
    return best


def _optimizer(kind: str, place: torch.device) -> tuple[float, float]:
    """Seconds for each tensor and for each number."""
    many, large = 200, 1 << 21
    small = _update_seconds(kind, [torch.zeros(4, device=place) for _ in range(many)], place)
    whole = _update_seconds(kind, [torch.zeros(large, device=place)], place)
    return small / many, max(0.0, whole - small / many) / large


def _update_seconds(kind: str, tensors: list[Tensor], place: torch.device) -> float:
    settings = completed(Optimizer.model_validate({"kind": kind}), rate=1e-3, decay=1e-5)
    parameters = [nn.Parameter(tensor) for tensor in tensors]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer = make_optimizer(settings, parameters)
    best, clock = float("inf"), clock_of(place)
    for _ in range(ROUNDS + 1):
        began = clock()
        optimizer.step()
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        best = min(best, clock() - began)
    return best


# ------------------------------------------------------------------------------------------------- latencies

_SPACE = """nas 1
space point {
  input   image 16 x 16 x 16
  output  classes 10
  stage s irb { kernel 3  hidden 32 .. 96 step 32 } -> 16
  head    global_pool | linear
}
"""


def _seconds_per_point() -> float:
    """What measuring one latency takes here, of a few small blocks; 0 where the engine is not installed."""
    from nasc.compiler.build_manifest import manifest_of
    from nasc.compiler.network import network_of
    from nasc.compiler.opened import open_file, space_of
    from nasc.runtime.engines import make_engine
    from nasc.runtime.profile import profile
    from nasc.runtime.progress import SilentProgress
    from nasc.runtime.table import LatencyTable

    manifest = manifest_of(network_of(space_of(open_file("point.nas", _SPACE))))
    try:
        engine = make_engine("onnxruntime")
    except NascError:
        return 0.0
    with tempfile.TemporaryDirectory() as folder, LatencyTable(Path(folder) / "latency.db") as table:
        report = profile(manifest, table, engine, progress=SilentProgress())
    return report.seconds / max(1, report.measured)
