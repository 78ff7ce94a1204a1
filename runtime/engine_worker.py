"""An engine in a process of its own: what it dies of becomes a row, and the process starts again.

A segmentation fault in a library, the kernel's out-of-memory killer or a call that never returns takes the engine's
process with it, not the run. Models in flight together are then tried again one by one, so that only the guilty one
fails; one that was alone is tried once more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from nasc.compiler.ir import Graph
from nasc.compiler.manifest import Target
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment
from nasc.runtime.engines import Session, TimingOptions, engine_place
from nasc.runtime.measurement import Measurement
from nasc.runtime.worker_process import Lost, Message, WorkerProcess

START_SECONDS = 300.0
"""No engine takes longer to import its library, and to say what it measures in."""


class EngineWorker:
    """An `Engine` that is made, by name, in a process of its own; a context manager, or ended by `close`.

    The process starts with the first call and stays. `margin` is how many seconds a call may take beyond what
    `TimingOptions` allow for building and timing its models.
    """

    def __init__(self, name: str, options: TimingOptions | None = None, *, margin: float = 10.0) -> None:
        """Raises `NascError` for an unknown engine."""
        self.name = name
        self.options = options or TimingOptions()
        self.margin = margin
        self._place = engine_place(name)
        self._process: WorkerProcess | None = None
        self._stopped = False

    def __enter__(self) -> EngineWorker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The number of its process, if it has one now."""
        return self._process.pid if self._process else None

    def available(self) -> str | None:
        """None where the engine can run on this machine, else why not and what to do."""
        try:
            reason: str | None = self._ask({"call": "describe"}, START_SECONDS).value["available"]
        except Lost as lost:
            return f"its process did not start: {lost}"
        return reason

    def environment(self, target: Target) -> Environment:
        """What its latencies for a target are measured in.

        Raises `NascError` for a target it cannot serve, and where it cannot run on this machine.
        """
        reason = self.available()
        if reason is not None:
            raise NascError(f"engine `{self.name}` cannot run here: {reason}")
        try:
            answer = self._ask({"call": "environment", "target": target.model_dump(mode="json")}, START_SECONDS)
        except Lost as lost:
            raise NascError(f"engine `{self.name}` cannot say what it measures in: {lost}") from lost
        return Environment.model_validate(answer.value["environment"])

    def model(self, graph: Graph, target: Target, environment: Environment) -> bytes:
        """What `measure` takes for a graph whose sizes are all known. Raises `Lost` where it cannot be made."""
        call = {
            "call": "model",
            "graph": graph.model_dump(mode="json"),
            "target": target.model_dump(mode="json"),
            "environment": environment.model_dump(mode="json"),
        }
        return self._twice(call, (), self.options.build_seconds + self.margin).blobs[0]

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """Time models interleaved; see `Engine.measure`. One that ends the process gives a row that says so."""
        if not models:
            return Session((), reference_us)
        if len(models) == 1:
            return self._measured_alone(models[0], environment, reference_us)
        try:
            return self._measured(self._ask(*self._measuring(models, environment, reference_us)))
        except Lost:
            rows: list[Measurement] = []
            for model in models:
                alone = self._measured_alone(model, environment, reference_us, tried=True)
                reference_us = alone.reference_us
                rows += alone.measurements
            return Session(tuple(rows), reference_us)

    def _measured_alone(
        self, model: bytes, environment: Environment, reference_us: float | None, *, tried: bool = False
    ) -> Session:
        began = time.perf_counter()
        call = self._measuring([model], environment, reference_us)
        try:
            return self._measured(self._ask(*call) if tried else self._twice(*call))
        except Lost as lost:
            row = Measurement.failure(lost.status, str(lost), time.perf_counter() - began)
            return Session((row,), reference_us)

    def _measuring(
        self, models: Sequence[bytes], environment: Environment, reference_us: float | None
    ) -> tuple[dict[str, Any], Sequence[bytes], float]:
        """A call, its models and the seconds it may take: a point's first run, its rounds, and its building."""
        call = {"call": "measure", "environment": environment.model_dump(mode="json"), "reference_us": reference_us}
        each = 2 * self.options.point_seconds + self.options.build_seconds
        return call, models, len(models) * each + self.margin

    @staticmethod
    def _measured(answer: Message) -> Session:
        rows = tuple(Measurement.model_validate(row) for row in answer.value["measurements"])
        return Session(rows, answer.value["reference_us"])

    def _twice(self, call: dict[str, Any], models: Sequence[bytes], seconds: float) -> Message:
        """An answer, asked for again where the process died: something else may have killed it."""
        try:
            return self._ask(call, seconds, models)
        except Lost as lost:
            if lost.status not in ("crash", "out_of_memory") or self._process is not None:
                raise
        return self._ask(call, seconds, models)

    def _ask(self, call: dict[str, Any], seconds: float, models: Sequence[bytes] = ()) -> Message:
        """The answer to a call. Raises `Lost` where there is none and what the engine raised, as `NascError` or `Lost`."""
        process = self._process or self._start()
        try:
            answer = process.ask(Message(call, models), seconds)
        except Lost:
            self._end()
            raise
        if "error" in answer.value:
            raise NascError(answer.value["error"], help=answer.value["help"])
        if "status" in answer.value:
            raise Lost(answer.value["status"], answer.value["reason"])
        return answer
