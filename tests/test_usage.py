"""The files beside trained weights: run, they see what evaluation sees."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasc.runtime.data import DataSplits, load_data, size
from nasc.runtime.train_file import evaluate_file, train_file
from nasc.runtime.usage import README, SETTINGS, USAGE, usage_files
from tests.spaces import ROOT

torch.set_num_threads(1)
CROP = 0.8
NETWORK = """
nas 1

network tiny {
  input   image 1 x 8 x 8
  output  classes 10
  stage a  conv { kernel 3 } -> 16
  stage b  conv { kernel 3  stride 2 } -> 32
  head  global_pool | linear
}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("usage")
    file = folder / "tiny.nas"
    file.write_text(NETWORK)
    train_file(
        file,
        "digits",
        folder / "run",
        {"epochs": 8, "batch": 32, "threads": 1, "device": "cpu", "crop": CROP, "ema": None},
    )
    return folder


@pytest.fixture
def usage(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(trained / "run")
    yield imported(trained / "run" / USAGE)
    sys.modules.pop("model", None)


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("usage", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digits() -> list[tuple[Image.Image, int]]:
    """The validation images of digits as pictures of 8-bit grey."""
    data = load_data("digits", input_shape=(1, 8, 8), classes=10)
    pixels = [(image[0] * data.std[0] + data.mean[0], int(label)) for image, label in data.val]
    return [(Image.fromarray((p * 255).round().numpy().astype(np.uint8)), label) for p, label in pixels]


def test_the_snippet_classifies_as_nasc_eval_does(trained: Path, usage: ModuleType) -> None:
    run = trained / "run"
    network = usage.load(str(run / "weights.safetensors"))
    data = load_data("digits", input_shape=(1, 8, 8), classes=10, crop=CROP)
    wrong = 0
    with torch.no_grad():
        for (picture, label), (image, same) in zip(digits(), data.val, strict=True):
            assert label == int(same)
            ours, theirs = network(usage.preprocess(picture))[0], network(image[None])[0]
            # 17 shades of grey are not exact in 8 bits.
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0.1)
            wrong += int(ours.argmax()) != label
    settings: dict[str, Any] = {"split": "val", "batch": 64, "device": "cpu", "seed": 0, "crop": CROP}
    scores = evaluate_file(trained / "tiny.nas", run / "weights.safetensors", "digits", **settings)
    assert scores.count > 200 and scores.top1 > 0.7
    assert abs(scores.top1 - (1 - wrong / scores.count)) <= 1.5 / scores.count


def test_the_snippet_runs_by_itself(trained: Path, usage: ModuleType) -> None:
    picture, _ = digits()[3]
    picture.save(trained / "seven.png")
    command = [sys.executable, str(trained / "run" / USAGE), str(trained / "seven.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    with torch.no_grad():
        chances = usage.load(str(trained / "run" / "weights.safetensors"))(usage.preprocess(picture)).softmax(1)[0]
    assert len(lines) == 5 and lines[0].split()[1] == str(int(chances.argmax()))
    assert [float(line.split("%")[0]) for line in lines] == pytest.approx(
        (100 * chances.topk(5).values).tolist(), abs=0.051
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_a_folder_is_prepared_as_for_evaluation(channels: int, tmp_path: Path) -> None:
    data = folder_of_pictures(tmp_path / "data", (channels, 24, 20))
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.py").write_text("def load(path: str) -> None: ...\n")
    for name, content in usage_files(data, "net", "weights.safetensors").items():
        (run / name).write_bytes(content)
    settings = json.loads((run / SETTINGS).read_text())
    assert settings["labels"] == ['"); import os #', "b"] and settings["resize"] == [30, 25]
    sys.path.insert(0, str(run))
    try:
        module = imported(run / USAGE)
    finally:
        sys.path.remove(str(run))
        sys.modules.pop("model", None)
    files = sorted((tmp_path / "data" / "val").glob("*/*.png"))
    assert len(files) == size(data.val) == 4
    for path, (image, _) in zip(files, data.val, strict=True):
        torch.testing.assert_close(module.preprocess(Image.open(path))[0], image, rtol=0, atol=1e-6)


def folder_of_pictures(folder: Path, shape: tuple[int, int, int]) -> DataSplits:
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in ('"); import os #', "b"):
            (folder / part / name).mkdir(parents=True)
            for i, extent in enumerate(((40, 61), (33, 20))):
                pixels = rng.integers(0, 256, (*extent, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{i}.png")
    return load_data(str(folder), input_shape=shape, classes=2, crop=0.8)


def test_names_of_classes_are_in_no_code(tmp_path: Path) -> None:
    files = usage_files(folder_of_pictures(tmp_path, (3, 24, 20)), "net", "weights.safetensors")
    assert b"import os" not in files[USAGE] and b"import os" not in files[README]


def test_images_that_are_no_pictures_have_no_snippet() -> None:
    data = load_data("synthetic:8", input_shape=(3, 8, 8), classes=2)
    assert usage_files(data, "net", "weights.safetensors") == {}


def test_the_snippet_reads_well(trained: Path) -> None:
    run = trained / "run"
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["format", "--diff"], ["check", "--select", "E,F,W,I,UP,B,SIM"]):
        line = [*ruff, *command, "--isolated", "--line-length", "100", str(run / USAGE), str(run / "model.py")]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    assert "python usage.py PICTURE" in (run / README).read_text()
    assert str(ROOT) not in (run / README).read_text()
