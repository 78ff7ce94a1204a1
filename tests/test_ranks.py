"""One search in several processes: they agree, and end as one process that computes the same parts in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nasc.compiler.compile import compile_file
from nasc.runtime import checkpoint
from nasc.runtime.metrics import read_metrics
from nasc.runtime.search_run import KIND, VERSION

SPACE = """nas 1
space pair {
  input       image 1 x 8 x 8
  output      classes 10
  granularity 8
  skip        same_shape

  stage stem  conv      { kernel 3  stride 2 }                    -> 8
  stage low   irb  x 2  { kernel {3, 5}  expand (1, 4]  se {0, 1} } -> 8
  head        global_pool | dropout(0.2) | linear
}
search prunet {
  epochs 4  warmup 1  batch 33  alpha 0.5  cost macs
  weights rmsprop { rate 0.003 }
}
"""
DATA = "synthetic:180"
"""180 images in batches of 33: 5 steps of warm-up, then 4 and 1 an epoch, 20 in all; parts of 17 and 16 images."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("pair") / "pair.nas"
    source.write_text(SPACE)
    compile_file(source, source.parent / "build")
    return source.parent / "build"


def run(folder: Path, out: Path, *more: str, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    """The search module as a program, under torchrun where there are several ranks."""
    start = [sys.executable]
    if ranks > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    words = [str(folder / "search.py"), "--data", DATA, "--threads", "1", "--out", str(out), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*start, *words], capture_output=True, text=True, timeout=180, env=environment)


def saved(out: Path) -> dict[str, Any]:
    return checkpoint.load(out / "checkpoint.pt", KIND, VERSION)


def test_two_processes_search_as_one_does(folder: Path, tmp_path: Path) -> None:
    """The same two half-batches, computed side by side or in turn: the same masks and candidates after every epoch, the
    same result, and after 20 steps weights within 1e-5."""
    two = run(folder, tmp_path / "two", ranks=2)
    one = run(folder, tmp_path / "one", "--accumulate", "2")
    assert (two.returncode, one.returncode) == (0, 0), two.stderr + one.stderr
    assert two.stdout.count("found: ") == 1
    states = saved(tmp_path / "two"), saved(tmp_path / "one")
    assert states[0]["method"]["alive"] == states[1]["method"]["alive"]
    for name, masks in states[1]["method"]["masks"].items():
        assert states[0]["method"]["masks"][name] == pytest.approx(masks, abs=1e-4)
    for name, tensor in states[1]["supernet"].items():
        # Each rank's statistics are of its own half of the images.
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(states[0]["supernet"][name], tensor, atol=1e-5, rtol=0, msg=name)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("two", "one")]
    assert results[0]["choices"] == results[1]["choices"]
    logs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("two", "one")]
    assert len(logs[1]) == 4 and any(logs[1][0]["masks"] != each["masks"] for each in logs[1])
    assert [r["masks"] for r in logs[0]] == [r["masks"] for r in logs[1]]
    alive = [[{a: list(those) for a, those in r["probabilities"].items()} for r in log] for log in logs]
    assert alive[0] == alive[1]
    assert [r["loss"] for r in logs[0]] == pytest.approx([r["loss"] for r in logs[1]], rel=1e-4)
    assert [r["accuracy"] for r in logs[0]] == pytest.approx([r["accuracy"] for r in logs[1]], abs=0.02)


def test_a_search_goes_on_with_another_number_of_processes(folder: Path, tmp_path: Path) -> None:
    """Two processes for the warm-up, one for the rest: nothing but the statistics tells."""
    first = run(folder, tmp_path / "warm", "--epochs", "2", "--warmup", "1", ranks=2)
    assert first.returncode == 0, first.stderr
    warmup = str(tmp_path / "warm" / "warmup.pt")
    short = ("--epochs", "2", "--warmup", "1", "--warmup-from", warmup)
    alone = run(folder, tmp_path / "alone", *short, "--accumulate", "2")
    assert alone.returncode == 0, alone.stderr
    assert read_metrics(tmp_path / "alone" / "metrics.jsonl")[0]["epoch"] == 1
    for name, tensor in saved(tmp_path / "warm")["supernet"].items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(saved(tmp_path / "alone")["supernet"][name], tensor, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--alpha", "0.1,1"), "a sweep runs in one process"),
        (("--batch", "1"), "cannot be divided into 2 parts"),
    ],
)
def test_what_several_processes_cannot_do(folder: Path, tmp_path: Path, more: tuple[str, ...], words: str) -> None:
    done = run(folder, tmp_path / "run", *more, ranks=2)
    assert done.returncode != 0 and words in done.stderr


def test_parts_of_a_batch_save_memory_and_change_nothing_but_rounding(folder: Path, tmp_path: Path) -> None:
    """Without batch norm the sum over parts is the whole; with it, each part has statistics of its own."""
    whole, parts = run(folder, tmp_path / "whole"), run(folder, tmp_path / "parts", "--accumulate", "3")
    assert (whole.returncode, parts.returncode) == (0, 0), parts.stderr
    losses = [[r["loss"] for r in read_metrics(tmp_path / name / "metrics.jsonl")] for name in ("whole", "parts")]
    assert losses[0] == pytest.approx(losses[1], rel=0.1) and losses[0] != losses[1]


WAITING = """import time
from datetime import timedelta
import torch
from nasc.runtime import ranks

ranks._PATIENCE = timedelta(seconds=1)
with ranks.ranks_of(torch.device("cpu")) as joined:
    time.sleep(3 if joined.first else 0)
    joined.wait()
"""


def test_the_others_wait_while_the_first_process_ends_its_work(tmp_path: Path) -> None:
    """Longer than for one another at a step: only the first one evolves (SPOS), for hours perhaps."""
    (tmp_path / "waiting.py").write_text(WAITING)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    start = [sys.executable, *torchrun, str(tmp_path / "waiting.py")]
    done = subprocess.run(
        start, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
