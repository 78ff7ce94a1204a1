"""The Python API: a space or network as an object, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasc.compiler.opened import Checked, open_file, space_of
from nasc.dsl.diagnostics import Diagnostic, DiagnosticError, NascError
from nasc.runtime.bounds import COUNTS, TIMES, Bounds, parse_bounds

if TYPE_CHECKING:
    from nasc.compiler.compile import CompileResult
    from nasc.compiler.contains import Answer
    from nasc.compiler.cost import Metric
    from nasc.compiler.member import Member
    from nasc.runtime.member_latency import MemberLatency


class Space:
    """A set of networks: a search space, the state of a search, or a single network.

    Made by `nasc.load`. Every method that needs torch, ONNX or numpy loads it when called.
    """

    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        self._space = space_of(checked)

    @classmethod
    def open(cls, path: Path | str, sets: Sequence[str] = ()) -> Space:
        """A file's space, with settings such as `irb3.x=6` applied. Raises `NascError`."""
        return cls(open_file(path, sets=sets))

    @property
    def name(self) -> str:
        return self._space.name

    @property
    def text(self) -> str:
        """The text it was read from; `nasc.load(space.text)` gives the space again where nothing is imported."""
        return self.checked.module.file.source.text

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What is not wrong but probably not meant."""
        return tuple(self.checked.diagnostics.found)

    def __repr__(self) -> str:
        return f"<nasc.Space {self.name}>"

    def count(self) -> int:
        """The exact number of members."""
        from nasc.compiler.count import count_members

        return count_members(self._space)

    def cost(self) -> dict[str, Any]:
        """`{"params": …, "macs": …}`, each a number for one member, `{"min": …, "max": …}` for more."""
        from nasc.compiler.cost import cost_of

        return cost_of(self._space).as_json()

    def sample(
        self,
        count: int = 1,
        seed: int = 0,
        *,
        macs: str | None = None,
        params: str | None = None,
        latency: str | None = None,
        table: Path | str | None = None,
        attempts: int = 2000,
    ) -> list[Space]:
        """Members drawn uniformly, each a space of one; the same seed gives the same members.

        Bounds are texts such as `"200M..210M"` or, for `latency` (predicted with the latency table in the file
        `table`), `"0.4ms..0.5ms"`. Raises `NascError` where too few of `attempts` draws meet them.
        """
        from nasc.compiler.sample import sample_members

        costs, times = self._cost_bounds(macs, params), self._time_bounds(latency, table)
        if costs or times is not None:
            members = self._sample_within(count, seed, costs, times, attempts)
        else:
            members = sample_members(self._space, count, seed)
        return [self.member(member, f"drawn from {self.name} with seed {seed}") for member in members]

    def member(self, member: Member, note: str = "") -> Space:
        """One member as a space of its own; `note` becomes a comment in its text."""
        from nasc.compiler.member import member_text

        return load(member_text(self._space, member, self.checked.module, note))

    def widen(
        self, shares: str = "0.5..1.5", granularity: int = 8, *, only: Sequence[str] = (), outputs: bool = False
    ) -> Space:
        """A space around this network: its inner widths opened from so many to so many times what they are.

        `only` are stages, layers and parameters; `outputs` opens the stages' widths too, as `nasc widen` does. Raises
        `NascError` for a space of several members.
        """
        from nasc.compiler.open_widths import Opening, parse_shares
        from nasc.compiler.widen import widen

        return load(widen(self.checked, Opening(*parse_shares(shares), granularity), only, outputs).text)

    def contains(self, other: Space) -> Answer:
        """Whether every network of `other` is in this space: `yes` is True, False or None (cannot tell)."""
        from nasc.compiler.contains import contains

        return contains(self._space, other._space)

    def compile(
        self,
        out: Path | str,
        *,
        method: str | None = None,
        target: str | None = None,
        weights: Path | None = None,
        seed: int = 0,
        force: bool = False,
    ) -> CompileResult:
        """Write the code into a folder, as `nasc compile` does. Raises `NascError`."""
        from nasc.compiler.compile import compile_checked

        return compile_checked(
            self.checked, Path(out), method=method, target=target, weights=weights, seed=seed, force=force
        )

    def _cost_bounds(self, macs: str | None, params: str | None) -> dict[Metric, Bounds]:
        """What members' costs are to be. Raises `NascError` where none can be so."""
        given: dict[Metric, str | None] = {"macs": macs, "params": params}
        wanted = {metric: parse_bounds(text, COUNTS) for metric, text in given.items() if text is not None}
        reach = self.cost() if wanted else {}
        for metric, bounds in wanted.items():
            span = reach[metric]
            low, high = (span["min"], span["max"]) if isinstance(span, dict) else (span, span)
            if bounds.high < low or bounds.low > high:
                raise NascError(
                    f"no member of `{self.name}` can meet the bounds: its {metric} are {low:,} .. {high:,}",
                    help="widen the bounds; `nasc cost` prints what the space can reach",
                )
        return wanted

    def _time_bounds(self, latency: str | None, table: Path | str | None) -> tuple[MemberLatency, Bounds] | None:
        """What predicts members' latencies, and what these are to be, in microseconds."""
        if latency is None:
            return None
        if table is None:
            raise NascError("bounds of the latency need a latency table", help="name one with --table")
        bounds = parse_bounds(latency, TIMES)
        return self._predictor(table), bounds

    def _sample_within(
        self,
        count: int,
        seed: int,
        costs: Mapping[Metric, Bounds],
        times: tuple[MemberLatency, Bounds] | None,
        attempts: int,
    ) -> list[Member]:
        """Members within bounds: many priced together where the space has a network, else each one written."""
        from nasc.compiler.sample import sample_members
        from nasc.runtime.sample_within import sample_within

        try:
            return sample_within(self._space, count, seed, costs, times, attempts=attempts)
        except DiagnosticError:

            def meets(member: Member) -> bool:
                found = self.member(member).cost()
                return all(found[metric] in bounds for metric, bounds in costs.items())

            return sample_members(self._space, count, seed, accept=meets, attempts=attempts)

    def latency(self, table: Path | str) -> Callable[[Member], float]:
        """What predicts members' latencies in microseconds from a latency table. Raises `NascError`."""
        predict = self._predictor(table)
        return lambda member: predict(member).us

    def _predictor(self, table: Path | str) -> MemberLatency:
        from nasc.compiler.build_manifest import manifest_of, targets_of
        from nasc.compiler.network import network_of
        from nasc.runtime.member_latency import MemberLatency, table_environment
        from nasc.runtime.table import LatencyTable

        network = network_of(self._space)
        manifest = manifest_of(network, targets_of(self.checked))
        opened = LatencyTable(table, readonly=True)
        return MemberLatency(network, manifest, opened, table_environment(opened))


def load(source: Path | str) -> Space:
    """A space from a `.nas` file, or from text: a string of more than one line is text.

    Raises `nasc.NascError` with every error of the file.
    """
    if isinstance(source, str) and "\n" in source:
        return Space(open_file("<text>", source))
    return Space.open(source)
