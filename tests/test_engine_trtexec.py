"""`trtexec` as an engine: its command line, its files, and a program that only pretends to be it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from nasc.compiler.manifest import Target
from nasc.runtime.device import Device
from nasc.runtime.engines import TimingOptions
from nasc.runtime.engines.trtexec import Trtexec, command_line, compute_times, errors_of, version_of

GPU = Device(kind="cuda", model="NVIDIA Pretend", cores=8, features=("sm_90",), system="Linux x86_64")
HEAD = "&&&& RUNNING TensorRT.trtexec [TensorRT v100200] # trtexec --help\n"

LOG = """&&&& RUNNING TensorRT.trtexec [TensorRT v101300] [b35] # trtexec --onnx=model.onnx
[07/30/2024-15:30:36] [I] === Model Options ===
[07/30/2024-15:30:37] [E] [TRT] ModelImporter.cpp:951: --- Begin node ---
[07/30/2024-15:30:37] [W] Could not read timing cache from: tc. A new timing cache will be generated and written.
[07/30/2024-15:30:37] [E] Failed to parse onnx file
&&&& FAILED TensorRT.trtexec [TensorRT v101300] [b35] # trtexec --onnx=model.onnx
"""


def query(start: float, compute: float) -> dict[str, float]:
    """A query as `--exportTimes` writes it."""
    return {
        "startEnqMs": start - 0.02,
        "endEnqMs": start,
        "startH2dMs": start,
        "endH2dMs": start,
        "startComputeMs": start,
        "endComputeMs": start + compute,
        "startD2hMs": start + compute,
        "endD2hMs": start + compute,
        "h2dMs": 0.0,
        "computeMs": compute,
        "d2hMs": 0.0,
        "latencyMs": compute,
    }


def test_the_command_for_version_10_asks_for_what_version_11_does_anyway() -> None:
    ten, eleven = (
        command_line((major, 0, 0), Path("m.onnx"), Path("t.json"), Path("tc"), TimingOptions()) for major in (10, 11)
    )
    assert eleven == [
        "trtexec",
        "--onnx=m.onnx",
        "--builderOptimizationLevel=3",
        "--warmUp=200",
        "--duration=3",
        "--iterations=10",
        "--timingCacheFile=tc",
        "--exportTimes=t.json",
    ]
    assert set(ten) - set(eleven) == {"--stronglyTyped", "--useCudaGraph", "--noDataTransfers", "--useSpinWait"}


def test_the_command_without_a_cuda_graph() -> None:
    options = TimingOptions(cuda_graph=False, builder_level=1)
    ten, eleven = (
        command_line((major, 0, 0), Path("m.onnx"), Path("t.json"), Path("tc"), options) for major in (10, 11)
    )
    assert "--useCudaGraph" not in ten and "--noCudaGraph" in eleven and "--noCudaGraph" not in ten
    assert "--builderOptimizationLevel=1" in ten and "--builderOptimizationLevel=1" in eleven


@pytest.mark.parametrize(
    ("number", "version"),
    [("8001", (8, 0, 1)), ("8601", (8, 6, 1)), ("100200", (10, 2, 0)), ("101303", (10, 13, 3)), ("110100", (11, 1, 0))],
)
def test_versions(number: str, version: tuple[int, int, int]) -> None:
    assert version_of(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # trtexec --help\n") == version


def test_a_program_that_does_not_say_its_version() -> None:
    assert version_of("usage: trtexec\n") is None


def test_errors_are_told_from_the_rest() -> None:
    assert errors_of(LOG) == ["[TRT] ModelImporter.cpp:951: --- Begin node ---", "Failed to parse onnx file"]


def test_times_without_the_warm_up() -> None:
    queries = [query(0.0, 9.0), query(199.9, 9.0), *(query(200.0 + n, 0.25) for n in range(40))]
    assert compute_times(json.dumps(queries).encode()) == [0.25] * 40


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[1]", b'[{"computeMs": 1}]', b'[{"startComputeMs": 0, "computeMs": "x"}]']
)
def test_files_that_are_not_times(text: bytes) -> None:
    with pytest.raises(ValidationError):
        compute_times(text)


# ------------------------------------------------------------------------------------------------- a pretended program


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Trtexec:
    """An engine that finds a program of this body, which has `times`, the path to write to."""
    program = folder / "trtexec"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys, time\n"
        f"if '--help' in sys.argv:\n    print({HEAD!r})\n    sys.exit()\n"
        "times = next(a for a in sys.argv if a.startswith('--exportTimes=')).split('=')[1]\n" + body
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    engine = Trtexec(TimingOptions(build_seconds=60, point_seconds=60))
    engine.__dict__.update(device=GPU, identity_us=2.5)
    return engine


def rows(engine: Trtexec, count: int = 1) -> list[tuple[str, str | None]]:
    session = engine.measure([b"model"] * count, engine.environment(Target(precision="fp16")), None)
    return [(row.status, row.error) for row in session.measurements]


def test_what_it_measured_becomes_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = [query(0.0, 9.0), *(query(200.0 + n, 0.25) for n in range(3000))]
    (tmp_path / "sample.json").write_text(json.dumps(queries))
    engine = pretend(tmp_path, monkeypatch, f"os.link({str(tmp_path / 'sample.json')!r}, times)\n")
    environment = engine.environment(Target(precision="fp16"))
    assert (environment.engine_version, environment.timing_mode) == ("10.2.0", "cuda graph, builder level 3")
    (row,) = engine.measure([b"model"], environment, None).measurements
    assert (row.status, row.median, row.samples, row.identity) == ("ok", 250.0, 3000, 2.5)
    assert row.quality == "good" and row.effective_precision == "fp16"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (f"print({LOG!r})\nsys.exit(1)\n", "build_failed", "Failed to parse onnx file"),
        ("print('[a] [E] [TRT] Plugin not found')\nsys.exit(1)\n", "unsupported", "Plugin not found"),
        ("print('[a] [E] [TRT] out of memory')\nsys.exit(1)\n", "out_of_memory", "out of memory"),
        ("sys.exit(3)\n", "build_failed", "ended with status 3"),
        ("os.kill(os.getpid(), 11)\n", "crash", "SIGSEGV"),
        ("", "build_failed", "no times that can be read"),
        ("open(times, 'w').write('[{}]')\n", "build_failed", "no times that can be read"),
        ("open(times, 'w').write('[]')\n", "timeout", "no query finished"),
    ],
)
def test_what_goes_wrong_becomes_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, status: str, reason: str
) -> None:
    ((found, error),) = rows(pretend(tmp_path, monkeypatch, body))
    assert found == status and reason in str(error)


def test_a_program_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = pretend(tmp_path, monkeypatch, "time.sleep(60)\n")
    environment = engine.environment(Target(precision="fp16"))
    engine.options = TimingOptions(build_seconds=0.25, point_seconds=0.25)
    (row,) = engine.measure([b"model"], environment, None).measurements
    assert (row.status, row.error) == ("timeout", "building and timing took longer than 0.5 s")


def test_where_it_is_missing_or_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not on the PATH" in str(Trtexec().available())
    program = tmp_path / "trtexec"
    for text, said in (("[TensorRT v8601]", "has 8.6.1"), ("nothing", "cannot be told")):
        program.write_text(f"#!{sys.executable}\nprint({text!r})\n")
        program.chmod(0o755)
        assert said in str(Trtexec().available())
