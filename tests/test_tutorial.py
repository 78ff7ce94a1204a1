"""Every command of docs/tutorial.md is run, in order, in a folder with small images, for fewer epochs."""

from __future__ import annotations

import random
import re
import shlex
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageDraw

from nasc.cli import main
from tests.spaces import ROOT

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
SHELL = [line for text in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.S | re.M) for line in text.splitlines()]
COMMANDS = [line for line in SHELL if line.startswith("nasc ") and ">" not in line]
LESS = {"--size": "16", "--epochs": "2", "--budget": "10%", "--latency": "1us..1s", "--target-latency": "1ms"}
"""What the test gives to options for the page's values, so that it ends within a minute."""
LEFT = {
    "build/shapes/search.py", "latency.db", "run/best.nas", "run/best.safetensors", "run/model.py", "run/model.onnx",
    "run/report.html", "run/states", "trained/weights.safetensors", "build/best/model.py", "build/best/model.onnx",
    "shapes.svg", "trained_1/weights.safetensors",
}  # fmt: skip
"""What the page says is there in the end."""


def write_shapes(folder: Path, classes: tuple[str, ...] = ("circle", "cross", "square"), count: int = 12) -> None:
    """Images of bright shapes on a dark ground, of several sizes."""
    draw_at = random.Random(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (24 + number, 24), (draw_at.randrange(50),) * 3)
            pen, (x, y), bright = ImageDraw.Draw(image), (draw_at.randrange(9), draw_at.randrange(9)), (250, 200, 90)
            if name == "circle":
                pen.ellipse((x, y, x + 13, y + 13), fill=bright)
            elif name == "square":
                pen.rectangle((x, y, x + 13, y + 13), fill=bright)
            else:
                pen.line((x, y, x + 13, y + 13), fill=bright, width=3)
                pen.line((x, y + 13, x + 13, y), fill=bright, width=3)
            image.save(folder / name / f"{number}.png")


def shortened(line: str) -> list[str]:
    """The command's words, with the test's values for some options."""
    words = shlex.split(line)[1:]
    return [LESS.get(before, word) for before, word in zip(["", *words], words, strict=False)]


def test_the_page_is_followed_from_nothing_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    write_shapes(tmp_path / "images")
    try:
        for line in COMMANDS:
            done = CliRunner().invoke(main, shortened(line), prog_name="nasc")
            assert done.exit_code == line.startswith("nasc diff"), f"{line}\n{done.output}"  # they differ
    finally:
        torch.set_num_threads(threads)
    assert {name for name in LEFT if not (tmp_path / name).exists()} == set()


def test_what_is_not_run_is_known() -> None:
    """Installing is what the test runs in already; the rest of the page's commands are run."""
    rest = [line for line in SHELL if line not in COMMANDS]
    assert [line.split()[0] for line in rest] == ["make", ".", "mkdir", "nasc"]
    assert rest[-1].startswith("nasc completion bash > ")
    assert len(COMMANDS) >= 15


def test_every_option_that_is_shortened_is_on_the_page() -> None:
    words = " ".join(COMMANDS).split()
    assert set(LESS) <= set(words)


def test_inline_commands_are_commands_and_the_target_is_one() -> None:
    from nasc.dsl.parser import parse

    names = re.findall(r"`nasc ([a-z]+)[ `]", PAGE)
    assert names and all(main.get_command(None, name) is not None for name in names)  # type: ignore[arg-type]
    (target,) = re.findall(r"^```nas\n(.*?)^```$", PAGE, re.S | re.M)
    assert not parse(target)[1].found
