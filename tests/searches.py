"""Small spaces and their searches, in tests."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nasc.compiler.compile import compile_file
from nasc.runtime.device import Environment
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.measurement import Measurement
from nasc.runtime.metrics import read_metrics
from nasc.runtime.progress import SilentProgress
from nasc.runtime.search import Job, Settings, main
from nasc.runtime.search_job import options_of, search
from nasc.runtime.table import LatencyTable
from tests.tiny_blocks import MACHINE

NARROW = """nas 1
space narrow {
  input       image 1 x 8 x 8
  output      classes 10
  granularity 8
  skip        same_shape

  stage stem  conv      { kernel 3  stride 2 }                         -> 8
  stage low   irb x 2   { kernel {3, 5}  expand (1, 3] }               -> 8
  stage mid   fused_irb { kernel 3  stride 2  hidden 8 .. 24 step 8 }  -> 16
  head        global_pool | linear
}
"""
# Of a width that layers share, which has no place in a SuperNet; each of the 6 members has another cost.
WIDE = """nas 1
space wide {
  input   image 1 x 8 x 8
  output  classes 10
  let w = 8 .. 24 step 8

  stage stem  conv { kernel 3  stride 2 }  -> w
  stage low   conv { kernel {1, 3} }       -> w
  head        global_pool | linear
}
search random { samples 3  epochs 2  batch 32  cost macs  alpha 0.3 }
"""


@contextmanager
def compiled(text: str, folder: Path, method: str) -> Iterator[Job]:
    """The job of a space's search module."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "space.nas").write_text(text)
    compile_file(folder / "space.nas", folder / "build", method=method)
    with job_of(folder / "build") as found:
        yield found


@contextmanager
def job_of(folder: Path) -> Iterator[Job]:
    """The job of a compiled folder."""
    found: Job = module_at(folder / "search.py").JOB
    yield found


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(job: Job, out: Path, progress: SilentProgress | None = None, **more: Any) -> Any:
    changes = {"cost": "macs", **more.pop("options", {})}
    settings = Settings(data="synthetic:128", out=out, threads=1, **more)
    return search(job, options_of(job, changes), settings, progress or SilentProgress())


def command(job: Job, *arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str, str]:
    """Exit code, stdout and stderr of the search module."""
    with pytest.raises(SystemExit) as caught:
        main(job, [str(a) for a in arguments])
    said = capsys.readouterr()
    return caught.value.code, said.out, said.err


class Stop(Exception):
    pass


class Killer(SilentProgress):
    """Dies at an `advance`."""

    def __init__(self, at: int) -> None:
        self.left = at

    def advance(self, text: str = "") -> None:
        self.left -= 1
        if not self.left:
            raise Stop


def same_runs(one: Path, other: Path) -> None:
    """Two runs end in the same bytes, but for the time they took."""
    for name in ("best.nas", "best.safetensors", "model.py", "model.onnx"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    records = [read_metrics(folder / "metrics.jsonl") for folder in (one, other)]
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    for each in (*records[0], *records[1], *results):
        each.pop("seconds")
    assert records[0] == records[1] and results[0] == results[1]


def priced_table(job: Job, path: Path, leave_out: str = "") -> None:
    """A table in which a call takes 10 µs, and each point 10 µs, its values and 7 µs for each node besides."""
    environment = Environment(
        device=MACHINE, engine="pretended", engine_version="1", precision="fp32", batch=1, threads=1,
        timing_mode="plain", protocol_version=1,
    )  # fmt: skip
    with LatencyTable(path) as table:
        for entry in load_manifest(job.folder).entries:
            for point in points(entry):
                if entry.block != leave_out:
                    median = 10.0 + sum(point) + 7 * len(entry.graph.nodes)
                    row = Measurement(status="ok", median=median, identity=10.0, mad=0.1, samples=9)
                    table.put(entry.key, point, environment, row)


def points(entry: Any) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()]
    for width in entry.widths:
        found = [(*point, value) for point in found for value in width.domain]
    return found
