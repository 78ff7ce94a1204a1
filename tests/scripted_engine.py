"""An engine that does to its process what a script says: killed by signals, hanging, out of memory, or just slow.

The folder in NASC_TEST_ENGINE has `script.json`, from a block's width to what becomes of it, and gets `log`: a line for
each model that was measured, with its width and when its timing began and ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nasc.compiler.domain import Domain
from nasc.compiler.ir import Graph
from nasc.compiler.manifest import Manifest, Target
from nasc.runtime.device import Environment
from nasc.runtime.engines import Session, TimingOptions
from nasc.runtime.engines.base import NotBuilt
from nasc.runtime.engines.beat import alive
from nasc.runtime.measurement import Measurement
from tests.tiny_blocks import entry, manifest, pretended_environment

SCRIPTED = Target(engine="scripted")
NAMES = {"scripted": "tests.scripted_engine:Scripted", "building": "tests.scripted_engine:Building"}
"""What a test puts into the registry."""


def folder() -> Path:
    return Path(os.environ["NASC_TEST_ENGINE"])


def write_script(what: Mapping[int, str], seconds: float = 0.0, beats: str = "") -> None:
    acts = {str(width): act for width, act in what.items()}
    (folder() / "script.json").write_text(json.dumps({"seconds": seconds, "beats": beats, **acts}))


def logged() -> list[tuple[int, float, float]]:
    """Width, beginning and end of each measurement."""
    path = folder() / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(width), float(began), float(ended)) for width, began, ended in map(str.split, lines)]


def blocks(count: int, engine: str = "scripted") -> Manifest:
    """One block whose width goes from 1 to `count`."""
    return manifest(entry("a", Domain.grid(1, count)), targets=[Target(engine=engine)])


@dataclass
class Scripted:
    options: TimingOptions = field(default_factory=TimingOptions)
    name: str = "scripted"
    form: str = "graph"

    def available(self) -> str | None:
        return "it is asleep" if (folder() / "asleep").exists() else None

    def environment(self, target: Target) -> Environment:
        return pretended_environment(target.precision, target.batch)

    def measure(self, models: Sequence[bytes], environment: Environment, reference_us: float | None) -> Session:
        script = json.loads((folder() / "script.json").read_text())
        rows = [self._row(_width(model), script) for model in models]
        return Session(tuple(rows), reference_us or 25.0)

    def _row(self, width: int, script: Mapping[str, str]) -> Measurement:
        if script.get("beats"):
            alive()
        began = time.monotonic()
        _act(script.get(str(width), ""))
        time.sleep(float(script["seconds"]))
        with (folder() / "log").open("a") as file:
            file.write(f"{width} {began} {time.monotonic()}\n")
        return Measurement(status="ok", minimum=width, median=width, mad=0.1, samples=5, identity=0.5, quality="good")


@dataclass
class Building(Scripted):
    name: str = "building"

    def build(self, model: bytes, environment: Environment) -> bytes:
        script = json.loads((folder() / "script.json").read_text())
        what = script.get(f"-{_width(model)}", "")
        if what == "refuse":
            raise NotBuilt("unsupported", "no kernel for this")
        _act(what)
        (folder() / f"built-{_width(model)}-{os.getpid()}").touch()
        return model


def _width(model: bytes) -> int:
    return int(str(Graph.model_validate_json(model).nodes[0].output.channels))


def _act(what: str) -> None:
    word, _, rest = what.partition(" ")
    if rest:
        print(rest, file=sys.stderr, flush=True)
    _ACTS[word]()


def _end(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def _once() -> None:
    try:
        (folder() / "crashed").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGSEGV)


def _raise(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


_ACTS: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "segv": _end(signal.SIGSEGV),
    "kill": _end(signal.SIGKILL),
    "abort": _end(signal.SIGABRT),
    "exit": lambda: os._exit(3),
    "hang": lambda: time.sleep(600),
    "once": _once,
    "memory": _raise(MemoryError()),
    "error": _raise(RuntimeError("a kernel said no")),
}
