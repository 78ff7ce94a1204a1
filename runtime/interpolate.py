"""Latencies of points that were not measured, from those that were, each with a standard error.

A latency is modelled as a learned roofline times a smooth deviation. The roofline is a sum of MACs, elements and
weights by kind of operator, channels rounded up to whole vectors, each with a cost that is fitted over all blocks
together and is not negative. The deviation is a Gaussian process over the logarithm: a factor of the block's own, a
curve over its widths, and a curve that it shares with blocks of a similar make, so that what one block shows of a step
in the caches helps the others. How strongly each of them acts, and how noisy measurements are, is what makes the
measured points most likely (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from nasc.compiler.expr import Rational, Size, evaluate
from nasc.compiler.ir import Graph, Node
from nasc.compiler.manifest import Entry
from nasc.compiler.primitives import PRIMITIVES
from nasc.runtime.table import Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Rows = NDArray[np.intp]

START = (0.05, 0.05, 0.05, 0.05, 0.4, 1.0, 0.01)
"""Where the search for the process's parameters begins; see `_Parameters`."""
LEAST, MOST = 1e-3, 10.0
FITTED = 250
"""The parameters are fitted to at most this many points: the time grows with their cube."""
LEARNED = 1500
"""Measured points that are inverted together. Blocks of more are split into parts that do not learn from each other."""


LANES = (1, 8, 16, 32, 64)
"""How many channels a kernel may compute at a time; the rest of the last time is padding."""


@dataclass(frozen=True)
class _Part:
    """An amount of work of one kind: MACs, elements or weights of a node with so many output and joined channels."""

    name: str
    amount: float
    channels: float
    joined: float


@dataclass(frozen=True)
class Grid:
    """All points of some blocks: row i of every array is point i.

    `block` is the number of its entry, `where` its widths divided by their largest, `terms` what the roofline sums, for
    each of `LANES`.
    """

    keys: tuple[tuple[str, Point], ...]
    block: Rows
    where: Array
    terms: tuple[Array, ...]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Grid:
        """The grid of manifest entries; blocks of fewer widths than others have 0 in the place of those."""
        import numpy as np

        keys, block, where, parts = [], [], [], []
        widest = max((len(entry.widths) for entry in entries), default=0)
        for number, entry in enumerate(entries):
            largest = [float(width.domain.last) or 1.0 for width in entry.widths]
            for point in product(*(width.domain for width in entry.widths)):
                keys.append((entry.key, point))
                block.append(number)
                place = [float(value) / most for value, most in zip(point, largest, strict=True)]
                where.append(place + [0.0] * (widest - len(place)))
                parts.append(_parts_of(entry, point))
        terms = tuple(_table([_terms(each, lanes) for each in parts]) for lanes in LANES)
        return cls(tuple(keys), np.array(block), np.array(where).reshape(len(keys), widest), terms)

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def make(self) -> Array:
        """What a block is made of, for telling which are alike: the logarithms of its widest point's terms."""
        import numpy as np

        last = {int(number): row for row, number in enumerate(self.block)}
        each = np.log1p(self.terms[0][[last[number] for number in range(len(last))]])
        made: Array = each[self.block]
        return made


def _parts_of(entry: Entry, point: Point) -> list[_Part]:
    values = {width.address: value for width, value in zip(entry.widths, point, strict=True)}
    return [part for node in entry.graph.nodes for part in _node_parts(entry.graph, node, values)]


def _node_parts(graph: Graph, node: Node, values: Mapping[str, Rational]) -> Iterator[_Part]:
    inputs = [graph.tensor(name) for name in node.inputs]
    primitive = PRIMITIVES[node.op]
    channels = _number(node.output.channels, values)
    joined = _number(inputs[0].channels, values) if inputs and _joins(node) else 0.0
    yield _Part(f"macs {_kind(node)}", _number(primitive.macs(node, inputs), values), channels, joined)
    yield _Part(f"elements {node.op}", channels * node.output.positions, channels, 0.0)
    yield _Part("weights", _number(primitive.weights(node, inputs), values), 0.0, 0.0)


def _number(size: Size, values: Mapping[str, Rational]) -> float:
    try:
        return max(0.0, float(evaluate(size, values)))
    except (ZeroDivisionError, KeyError):
        # A point at which nothing is left, or a nested choice that is open: it costs nothing here.
        return 0.0


def _joins(node: Node) -> bool:
    """Does every output channel read every input channel?"""
    return node.op == "linear" or (node.op == "conv2d" and node.attributes["groups"] == 1)


def _kind(node: Node) -> str:
    if node.op != "conv2d":
        return node.op
    if node.attributes["groups"] != 1:
        return "grouped"
    return "pointwise" if node.attributes["kernel"] == (1, 1) else "dense"


def _terms(parts: Sequence[_Part], lanes: int) -> dict[str, float]:
    """What the roofline sums where channels are computed `lanes` at a time, and what is left over apart."""
    found: dict[str, float] = {"calls": 1.0}
    for part in parts:
        padded = part.amount * _padding(part.channels, lanes) * _padding(part.joined, lanes)
        found[part.name] = found.get(part.name, 0.0) + padded
        if part.name.startswith("elements") and part.channels % lanes:
            name = part.name.replace("elements", "left over")
            found[name] = found.get(name, 0.0) + part.amount
    return found


def _padding(channels: float, lanes: int) -> float:
    return math.ceil(channels / lanes) * lanes / channels if channels else 1.0


def _table(rows: Sequence[Mapping[str, float]]) -> Array:
    import numpy as np

    names = sorted({name for row in rows for name in row})
    return np.array([[row.get(name, 0.0) for name in names] for row in rows]).reshape(len(rows), len(names))


# ------------------------------------------------------------------------------------------------- the model


@dataclass(frozen=True)
class Interpolated:
    """Natural logarithms of latencies in microseconds at every point of a grid, and their standard deviations.

    `deviation` is that of a new measurement of the point: it has the model's doubt and the measurements' own noise,
    whose variance is `noise`. `apart` are the measured points' residuals in such deviations, each predicted from all
    the others.
    """

    log: Array
    deviation: Array
    apart: Array
    noise: float
    processes: tuple[tuple[_Process, Rows], ...]

    def covariance(self, rows: Rows) -> Array:
        """How the doubts about some points (without noise) hang together: variances and covariances, rows x rows."""
        import numpy as np

        found = np.zeros((len(rows), len(rows)))
        for process, own in self.processes:
            some = np.flatnonzero(np.isin(rows, own))
            found[np.ix_(some, some)] = process.covariance(rows[some])
        return found


def interpolate(grid: Grid, rows: Sequence[int], us: Sequence[float], errors: Sequence[float]) -> Interpolated:
    """Predict every point of the grid from the measured `rows`: their latencies `us` and standard errors, above 0.

    Raises `ValueError` where nothing was measured.
    """
    import numpy as np

    if not len(rows):
        raise ValueError("nothing was measured")
    at, values = np.asarray(rows), np.asarray(us, dtype=float)
    roofline = _roofline(grid, at, values)
    left = np.log(values) - roofline[at]
    own = (np.asarray(errors, dtype=float) / values) ** 2
    parameters = _fitted(grid, at, left, own)
    log, deviation, apart = roofline.copy(), np.zeros(len(grid)), np.zeros(len(at))
    noise = parameters.noise**2 + float(np.median(own))
    processes = []
    for some, wanted in _parts(grid, at):
        process = _Process(grid, at[some], left[some], own[some], parameters)
        mean, variance = process.at(wanted)
        log[wanted] += mean
        deviation[wanted] = np.sqrt(np.maximum(variance, 0.0) + noise)
        apart[some] = process.apart()
        processes.append((process, wanted))
    return Interpolated(log, deviation, apart, noise, tuple(processes))


def _roofline(grid: Grid, at: Rows, us: Array) -> Array:
    """Logarithms of the latencies by a sum of terms, with as many lanes as explain the measured points best."""
    import numpy as np

    fits = [_costs(terms[at], us) for terms in grid.terms]
    best = min(range(len(LANES)), key=lambda i: fits[i][1])
    return np.log(np.maximum(grid.terms[best] @ fits[best][0], us.min() / 10))


def _costs(terms: Array, us: Array) -> tuple[Array, float]:
    """The cost of each term, none negative, with the least squares of relative errors, and what is left of those."""
    import numpy as np
    from scipy.optimize import nnls  # type: ignore[import-untyped]

    scale = np.maximum(terms.max(axis=0), 1e-300)
    relative = terms / scale / us[:, None]
    # A thousandth of the terms' own size decides between terms that always grow together.
    ridge = np.diag(np.linalg.norm(relative, axis=0) * 1e-3 + 1e-12)
    costs, left = nnls(np.vstack([relative, ridge]), np.concatenate([np.ones(len(us)), np.zeros(len(scale))]))
    return costs / scale, float(left)


def _parts(grid: Grid, at: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Measured points, by their place in `at`, and the grid's points that learn from them: whole blocks together."""
    import numpy as np

    if len(at) <= LEARNED:
        yield np.arange(len(at)), np.arange(len(grid))
        return
    counts = np.bincount(grid.block[at], minlength=int(grid.block.max()) + 1)
    part = np.cumsum(counts) // LEARNED
    for number in np.unique(part):
        yield np.flatnonzero(part[grid.block[at]] == number), np.flatnonzero(part[grid.block] == number)


@dataclass(frozen=True)
class _Parameters:
    """Standard deviations of a block's factor, its curve, its slope and the curve shared with its like; the width, as a
    part of the largest, over which curves change; how unlike blocks may be to share; and the noise between runs."""

    factor: float
    curve: float
    slope: float
    shared: float
    stretch: float
    unlike: float
    noise: float


@dataclass(frozen=True)
class _Pairs:
    """What a covariance between points depends on, without the parameters."""

    same: Array
    apart: Array
    unlike: Array
    rise: Array

    @classmethod
    def of(cls, grid: Grid, a: Rows, b: Rows) -> _Pairs:
        return cls(
            same=grid.block[a][:, None] == grid.block[b][None, :],
            apart=_distance(grid.where[a], grid.where[b]),
            unlike=_distance(grid.make[a], grid.make[b]),
            rise=(grid.where[a] - 0.5) @ (grid.where[b] - 0.5).T,
        )

    def covariance(self, p: _Parameters) -> Array:
        import numpy as np

        near = _matern(self.apart / p.stretch)
        alike = np.exp(-0.5 * (self.unlike / p.unlike) ** 2)
        own: Array = self.same * (p.factor**2 + p.curve**2 * near + p.slope**2 * self.rise)
        return own + p.shared**2 * alike * (1.0 + near)


def _covariance(grid: Grid, a: Rows, b: Rows, p: _Parameters) -> Array:
    return _Pairs.of(grid, a, b).covariance(p)


def _distance(a: Array, b: Array) -> Array:
    import numpy as np

    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    distance: Array = np.sqrt(np.maximum(squares, 0.0))
    return distance


def _matern(distance: Array) -> Array:
    """Matérn's covariance of order 3/2: once differentiable curves, which bend where a cache is full."""
    import numpy as np

    scaled = np.sqrt(3.0) * distance
    return (1.0 + scaled) * np.exp(-scaled)


class _Process:
    """The Gaussian process given measured points: `left` of the roofline, with variances `own`. Raises `LinAlgError`
    where the covariance cannot be inverted."""

    def __init__(self, grid: Grid, at: Rows, left: Array, own: Array, parameters: _Parameters) -> None:
        self.grid, self.measured, self.left, self.parameters = grid, at, left, parameters
        self.lower = _lower(_Pairs.of(grid, at, at), own, parameters)
        self.weights = self._solve(left)

    def _solve(self, right: Array) -> Array:
        from scipy.linalg import cho_solve  # type: ignore[import-untyped]

        solved: Array = cho_solve((self.lower, True), right)
        return solved

    def at(self, rows: Rows) -> tuple[Array, Array]:
        """Mean and variance, without noise, at rows of the grid."""
        import numpy as np

        between, known = self._between(rows)
        own = np.array([_covariance(self.grid, row, row, self.parameters)[0, 0] for row in rows[:, None]])
        return between @ self.weights, own - (known**2).sum(0)

    def covariance(self, rows: Rows) -> Array:
        """The covariance, without noise, of rows of the grid."""
        _, known = self._between(rows)
        return _covariance(self.grid, rows, rows, self.parameters) - known.T @ known

    def _between(self, rows: Rows) -> tuple[Array, Array]:
        from scipy.linalg import solve_triangular

        between = _covariance(self.grid, rows, self.measured, self.parameters)
        return between, solve_triangular(self.lower, between.T, lower=True)

    def apart(self) -> Array:
        """Residuals of the measured points, each predicted from the others, in standard deviations."""
        import numpy as np

        inverse = np.diag(self._solve(np.eye(len(self.left))))
        apart: Array = self.weights / np.sqrt(inverse)
        return apart


def _lower(pairs: _Pairs, own: Array, parameters: _Parameters) -> Array:
    """The lower triangle whose product with its transpose is the covariance of measurements."""
    import numpy as np

    lower = np.linalg.cholesky(pairs.covariance(parameters) + np.diag(own + parameters.noise**2))
    return np.asarray(lower, dtype=np.float64)


def _fitted(grid: Grid, at: Rows, left: Array, own: Array) -> _Parameters:
    """The most likely parameters, with a weak preference for those near `START`."""
    import numpy as np
    from scipy.linalg import solve_triangular
    from scipy.optimize import minimize

    some = np.random.default_rng(0).permutation(len(at))[:FITTED]
    pairs, left, own = _Pairs.of(grid, at[some], at[some]), left[some], own[some]

    def loss(logs: Array) -> float:
        """The negative logarithm of the likelihood and of the preference, up to a constant."""
        try:
            lower = _lower(pairs, own, _parameters(logs))
        except np.linalg.LinAlgError:
            return 1e12
        doubt = float(((logs - np.log(START)) ** 2).sum()) / 8
        return (
            doubt + 0.5 * float((solve_triangular(lower, left, lower=True) ** 2).sum()) + np.log(np.diag(lower)).sum()
        )

    return _parameters(minimize(loss, np.log(START), method="L-BFGS-B", options={"maxiter": 30}).x)


def _parameters(logs: Array) -> _Parameters:
    import numpy as np

    return _Parameters(*np.exp(np.clip(logs, np.log(LEAST), np.log(MOST))))
