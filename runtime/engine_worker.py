"""An engine in a process of its own: what it dies of becomes a row, and the process starts again.

A segmentation fault in a library, the kernel's out-of-memory killer or a call that never returns takes the engine's
process with it, not the run. Models in flight together are then tried again one by one, so that only the guilty one
fails; one that was alone is tried once more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Call:
    """What is asked of the process, with which models, and how many seconds it may take.

    `silence`: how many it may take without a sign of life, after the first.
    """

    name: str
    values: dict[str, Any]
    seconds: float
    models: Sequence[bytes] = ()
    silence: float | None = None


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
        self._reason: str | None = None

    def __enter__(self) -> EngineWorker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The number of its process, if it has one now."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End the process; the next call starts another."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def stop(self) -> None:
        """End the process at once, for good, from another thread than the one that waits for it: that gets `Lost`."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def available(self) -> str | None:
        """None where the engine can run on this machine, else why not and what to do."""
        try:
            self._process = self._process or self._started()
        except Lost as lost:
            return f"its process did not start: {lost}"
        return self._reason

    def environment(self, target: Target) -> Environment:
        """What its latencies for a target are measured in.

        Raises `NascError` for a target it cannot serve, and where it cannot run on this machine.
        """
        reason = self.available()
        if reason is not None:
            raise NascError(f"engine `{self.name}` cannot run here: {reason}")
        try:
            answer = self._ask(_Call("environment", {"target": target.model_dump(mode="json")}, START_SECONDS))
        except Lost as lost:
            raise NascError(f"engine `{self.name}` cannot say what it measures in: {lost}") from lost
        return Environment.model_validate(answer.value["environment"])

    def model(self, graph: Graph, target: Target, environment: Environment) -> bytes:
        """What `measure` takes for a graph whose sizes are all known. Raises `Lost` where it cannot be made."""
        values = {
            "graph": graph.model_dump(mode="json"),
            "target": target.model_dump(mode="json"),
            "environment": environment.model_dump(mode="json"),
        }
        return self._twice(_Call("model", values, self.options.build_seconds + self.margin)).blobs[0]

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        """Time models interleaved; see `Engine.measure`. One that ends the process gives a row that says so."""
        if not models:
            return Session((), reference_us)
        if len(models) == 1:
            return self._measure_one(models[0], environment, reference_us, tries=2)
        try:
            return _session(self._ask(self._measuring(models, environment, reference_us)))
        except Lost:
            rows: list[Measurement] = []
            for model in models:
                alone = self._measure_one(model, environment, reference_us, tries=1)
                reference_us = alone.reference_us
                rows += alone.measurements
            return Session(tuple(rows), reference_us)

    def _measure_one(self, model: bytes, environment: Environment, reference_us: float | None, tries: int) -> Session:
        began = time.perf_counter()
        call = self._measuring([model], environment, reference_us)
        try:
            return _session(self._twice(call) if tries == 2 else self._ask(call))
        except Lost as lost:
            row = Measurement.failure(lost.status, str(lost), time.perf_counter() - began)
            return Session((row,), reference_us)

    def _measuring(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> _Call:
        """A point takes at most its building, its first run and its rounds; none of them is silent for longer."""
        each = self.options.build_seconds + 2 * self.options.point_seconds
        values = {"environment": environment.model_dump(mode="json"), "reference_us": reference_us}
        return _Call("measure", values, len(models) * each + self.margin, models, each + self.margin)

    def _twice(self, call: _Call) -> Message:
        """An answer, asked for again where the process died: something else may have killed it."""
        try:
            return self._ask(call)
        except Lost as lost:
            if self._process is not None or lost.status == "timeout":
                raise
        return self._ask(call)

    def _ask(self, call: _Call) -> Message:
        """The answer to a call.

        Raises `Lost` where the process ended or made nothing of a model, and what `NascError` the engine raised.
        """
        if self._stopped:
            raise Lost("crash", "the run has ended")
        self._process = self._process or self._started()
        try:
            message = Message({"call": call.name, **call.values}, call.models)
            answer = self._process.ask(message, call.seconds, call.silence)
        except Lost:
            self.close()
            raise
        return _checked(answer)

    def _started(self) -> WorkerProcess:
        """A process with the engine in it. Raises `Lost` where it does not come to that."""
        process = WorkerProcess("nasc.runtime.worker_main")
        hello = Message({"call": "begin", "place": self._place, "options": self.options.model_dump(mode="json")})
        try:
            self._reason = _checked(process.ask(hello, START_SECONDS)).value["available"]
        except BaseException:
            process.close()
            raise
        return process


def _checked(answer: Message) -> Message:
    if "error" in answer.value:
        raise NascError(answer.value["error"], help=answer.value["help"])
    if "status" in answer.value:
        raise Lost(answer.value["status"], answer.value["reason"])
    return answer


def _session(answer: Message) -> Session:
    rows = tuple(Measurement.model_validate(row) for row in answer.value["measurements"])
    return Session(rows, answer.value["reference_us"])
