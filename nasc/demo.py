"""The main job from start to end on scikit-learn's digits: compile, profile, search, train, measure, report.

Every step leaves its result in the folder and goes on from what is there, so a demo that was stopped can be repeated.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from nasc.api import Space
from nasc.compiler.build_manifest import manifest_of
from nasc.compiler.compile import compile_file
from nasc.compiler.manifest import Target
from nasc.compiler.member import Member, member_from_choices
from nasc.compiler.network import network_of
from nasc.compiler.opened import space_of
from nasc.compiler.sample import sample_members
from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError
from nasc.runtime.bounds import Bounds
from nasc.runtime.engines import make_engine
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.member_latency import MemberLatency
from nasc.runtime.profile import profile
from nasc.runtime.report import Latency, write_latencies, write_report
from nasc.runtime.table import LatencyTable
from nasc.runtime.train_file import train_file
from nasc.runtime.validate import with_batch

DATA, SPACE, ENGINE = "digits", "digits.nas", "onnxruntime"
RESULTS = ("best.nas", "model.py", "model.onnx", "report.html")
BANDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""How far a random member's predicted latency may be from the found one's, the narrowest first that has members."""


@dataclass(frozen=True)
class Plan:
    """How much the demo does."""

    epochs: int = 30
    training_epochs: int = 20
    others: int = 3
    seed: int = 0
    threads: int = 1
    """More would not pay for networks this small, and would suffer where other programs run."""


FULL = Plan()
QUICK = Plan(epochs=3, training_epochs=2, others=1)


@dataclass(frozen=True)
class Subject:
    """A network of the demo: the found one or a random member."""

    name: str
    file: Path
    predicted_us: float
    found: bool = False
    accuracy: float = 0.0
    params: int = 0
    measured_us: float = 0.0


def run_demo(out: Path, plan: Plan, say: Callable[[str], None]) -> list[Subject]:
    """Do it all in the folder `out`; `say` tells each step. Returns the found network, then the random members."""
    began = time.monotonic()

    def step(text: str) -> None:
        say(f"[{time.monotonic() - began:4.0f} s] {text}")

    step(f"compiling {SPACE}")
    with as_file(files("nasc.spaces") / SPACE) as path:
        compile_file(path, out / "space")
    step("measuring its blocks")
    _profile(out)
    step(f"searching ({plan.epochs} epochs)")
    run = _search(out, plan)
    subjects = _subjects(out, run, plan)
    step(f"training the found network and {plan.others} random members of about its latency")
    subjects = [_trained(subject, out, plan) for subject in subjects]
    step("measuring their latency")
    subjects = _measured(subjects)
    step("writing the report")
    _write(out, run, subjects)
    step("done")
    return subjects


def _profile(out: Path) -> None:
    with LatencyTable(out / "latency.db") as table:
        report = profile(load_manifest(out / "space"), table, make_engine(ENGINE))
    if report.failures:
        raise NascError(f"{len(report.failures)} blocks could not be measured: {report.failures[0].error}")


def _search(out: Path, plan: Plan) -> Path:
    """Run the generated search module as a person would; returns the run's folder."""
    run = out / f"search_{plan.epochs}"
    options = {
        "--data": DATA,
        "--table": out / "latency.db",
        "--out": run,
        "--epochs": plan.epochs,
        "--seed": plan.seed,
        "--threads": plan.threads,
    }
    given = [str(word) for option in options.items() for word in option]
    command = [sys.executable, str(out / "space" / "search.py"), *given, "--resume"]
    # Its result goes where progress goes: the demo's own result is the summary.
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
        raise NascError("the search failed", help="its message stands above")
    return run


def _subjects(out: Path, run: Path, plan: Plan) -> list[Subject]:
    """The found network, and random members of about its predicted latency."""
    space = Space.open(out / "space" / "space.nas")
    elaborated = space_of(space.checked)
    network = network_of(elaborated)
    environment = make_engine(ENGINE).environment(_target(out))
    with LatencyTable(out / "latency.db", readonly=True) as table:
        predict = MemberLatency(network, manifest_of(network), table, environment)
        found = predict(member_from_choices(network, _choices(run / "result.json"))).us
        subjects = [Subject("found", run / "best.nas", found, found=True)]
        for number, member in enumerate(_near(elaborated, lambda m: predict(m).us, found, plan), 1):
            file = out / "random" / f"random_{number}.nas"
            write_file(file, space.member(member, "drawn at random").text.encode())
            subjects.append(Subject(f"random {number}", file, predict(member).us))
    return subjects


def _near(space: Any, latency: Callable[[Member], float], wanted: float, plan: Plan) -> list[Member]:
    """Random members whose latency is nearly `wanted`, from the narrowest band that has enough of them."""
    for band in BANDS:
        bounds = Bounds(wanted * (1 - band), wanted * (1 + band))

        def accept(member: Member, bounds: Bounds = bounds) -> bool:
            return latency(member) in bounds

        with suppress(NascError):
            return sample_members(space, plan.others, plan.seed, accept=accept, attempts=3000)
    raise NascError("no random members have about the latency of the found network")


def _choices(path: Path) -> dict[str, Any]:
    """What the search chose for each layer, as `member_from_choices` takes it."""
    choices = json.loads(path.read_text(encoding="utf-8"))["choices"]
    return {a: None if c is None else (c["variant"], c["values"]) for a, c in choices.items()}


def _target(out: Path) -> Target:
    return next(t for t in load_manifest(out / "space").targets if t.engine == ENGINE)


def _trained(subject: Subject, out: Path, plan: Plan) -> Subject:
    """Trained from scratch, all alike, and compiled with the trained weights."""
    run = out / "training" / f"{subject.name.replace(' ', '_')}_{plan.training_epochs}"
    options = {"epochs": plan.training_epochs, "batch": 64, "ema": 0.98, "seed": plan.seed, "threads": plan.threads}
    result = train_file(subject.file, DATA, run, options, resume=True)
    compile_file(subject.file, run / "compiled", weights=run / "weights.safetensors")
    accuracy = result.top1 if result.test_top1 is None else result.test_top1
    params = Space.open(subject.file).cost()["params"]
    return replace(subject, file=run / "compiled" / "model.onnx", accuracy=accuracy, params=params)


def _measured(subjects: Sequence[Subject]) -> list[Subject]:
    """Latencies of the whole networks, timed interleaved by the engine that timed the blocks."""
    import onnx

    engine = make_engine(ENGINE)
    models = [with_batch(onnx.load(subject.file), 1) for subject in subjects]
    found = engine.measure(models, engine.environment(Target(engine=ENGINE)), None).measurements
    failed = [row.error for row in found if row.median is None]
    if failed:
        raise NascError(f"a network could not be measured: {failed[0]}")
    return [replace(s, measured_us=row.median or 0.0) for s, row in zip(subjects, found, strict=True)]


def _write(out: Path, run: Path, subjects: Sequence[Subject]) -> None:
    """The found network where a person looks for it, and the report."""
    compiled = subjects[0].file.parent
    for name in ("model.py", "model.onnx"):
        write_file(out / name, (compiled / name).read_bytes())
    write_file(out / "best.nas", (run / "best.nas").read_bytes())
    rows = [
        Latency(
            name=s.name,
            found=s.found,
            predicted_us=s.predicted_us,
            measured_us=s.measured_us,
            accuracy=s.accuracy,
            params=s.params,
        )
        for s in subjects
    ]
    write_latencies(run, rows)
    write_report(run, out / "report.html")
