"""The demo: the main job from start to end, on a small scale."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

import nasc
from nasc.demo import Plan, run_demo

PLAN = Plan(epochs=2, training_epochs=1, others=1)


@pytest.mark.slow
def test_digits_from_the_space_to_the_report(tmp_path: Path) -> None:
    """Exercises: command demo."""
    said: list[str] = []
    found, random = run_demo(tmp_path, PLAN, said.append)
    assert found.found and not random.found
    for subject in (found, random):
        assert 0 < subject.accuracy <= 1 and subject.measured_us > 0
        assert abs(subject.predicted_us / found.predicted_us - 1) <= 0.81
    best = nasc.load(tmp_path / "best.nas")
    assert best.count() == 1 and best.cost()["params"] == found.params
    assert nasc.load(tmp_path / "space" / "space.nas").contains(best).yes is True
    assert (tmp_path / "model.py").is_file() and (tmp_path / "model.onnx").is_file()
    assert (tmp_path / "report.html").read_text().count("data:image/svg+xml") == 6
    before = _rows(tmp_path)
    again = run_demo(tmp_path, PLAN, said.append)  # everything is there: nothing is searched or trained once more
    assert [s.accuracy for s in again] == [found.accuracy, random.accuracy] and _rows(tmp_path) == before


def _rows(folder: Path) -> tuple[int, int]:
    with sqlite3.connect(folder / "latency.db") as database:
        points = database.execute("SELECT count(*) FROM measurement").fetchone()[0]
    database.close()
    epochs = (folder / f"search_{PLAN.epochs}" / "metrics.jsonl").read_text().splitlines()
    return points, json.loads(epochs[-1])["epoch"]
