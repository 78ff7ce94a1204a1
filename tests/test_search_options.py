"""Options of a search said at its command line, and its help."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from nasc.compiler.methods.option_text import read_option
from nasc.compiler.methods.plugins import OWN
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.sections import read_section
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics
from nasc.dsl.parser import parse
from nasc.runtime.search import Job, search_command
from tests.searches import WIDE, command, compiled

RUNNABLE = [name for name, method in OWN.items() if method.search]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with compiled(WIDE, tmp_path_factory.mktemp("random"), "random") as job:
        yield job


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("threshold=0.1..0.6", "threshold", {"first": 0.1, "last": 0.6}),
        ("threshold = 0.1 .. 0.6", "threshold", {"first": 0.1, "last": 0.6}),
        ("threshold=0.6", "threshold", 0.6),
        ("architecture=adam { rate 0.05 }", "architecture", {"kind": "adam", "rate": 0.05}),
        ("architecture=adam", "architecture", "adam"),
        ("alpha={0.2,0.4}", "alpha", (0.2, 0.4)),
        ("alpha=-1", "alpha", -1),
        ("lambda=1e-3", "lambda", 0.001),
        ("reset_moments=yes", "reset_moments", True),
        ("removal=together", "removal", "together"),
    ],
)
def test_an_option_is_said_as_in_a_file(text: str, name: str, value: Any) -> None:
    assert read_option(text, PrunetOptions) == (name, value)
    said, _, rest = text.partition("=")
    file, _ = parse(f"nas 1\nsearch prunet {{ {said} {rest} }}\n", "test.nas")
    (section,) = file.items
    assert isinstance(section, syntax.Section)
    assert read_section(section, Diagnostics()) == PrunetOptions.model_validate({name: value})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "samples=2.5"], "samples: "),
        (["--set", "epochs=fast"], "epochs: "),
        (["--set", "epochs={1, 2}"], "epochs: "),
        (["--set", "weights=adam"], "weights: members are not trained by adam"),
        (["--set", "weights=rmsprop { squares 0.5 }"], "weights: "),
        (["--set", "weights=sgd { rte 1 }"], "weights.rte: there is no such option"),
        (["--set", "alpha={0.2, low}"], "alpha.1: "),
        (["--set", "alpha={}"], "alpha"),
        (["--set", "alpha"], "`alpha` is not NAME=VALUE"),
        (["--set", "alpha="], "`alpha=` is not NAME=VALUE"),
        (["--set", "beta=1+"], "no value of `beta`"),
        (["--set", "beta=1 } search x {"], "no value of `beta`"),
        (["--set", "bta=1"], "there is no option `bta`"),
        (["--set", "threshold=0.1"], "there is no option `threshold`"),
        (["--set", "=3"], "there is no option ``"),
        (["--alpha", "0.2,x"], "'--alpha'"),
        (["--alpha", "nan"], "alpha.0: "),
        (["--seed", "1,-2"], "seed.1: "),
        (["--warmup-from", "x"], "No such option"),
        (["--lambda", "1"], "No such option"),
    ],
)
def test_a_mistake_in_an_option_is_one_line_that_names_it(
    wide: Job, tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--data", "synthetic:64", "--cost", "macs", "--out", str(tmp_path / "run")]
    code, said, complaint = command(wide, *out, *arguments, capsys=capsys)
    assert code in (1, 2) and said == "" and words in complaint and "Traceback" not in complaint
    assert len([line for line in complaint.splitlines() if "rror: " in line]) == 1
    assert not (tmp_path / "run").exists()


def test_sets_at_the_command_line_make_a_sweep(wide: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--data", "synthetic:64", "--threads", "1", "--out", tmp_path / "sweep")
    short = ("--set", "samples=1", "--set", "epochs=1", "--set", "alpha={0.2,0.4}", "--retrain", "1")
    code, said, complaint = command(wide, *common, *short, capsys=capsys)
    assert code == 0, complaint
    found = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [(r["alpha"], r["lambda"], r["state"]) for r in found["runs"]] == [(0.2, None, "done"), (0.4, None, "done")]
    assert all(r["accuracy"] is not None for r in found["runs"] if r["winner"]) and "0.4" in said


@pytest.mark.parametrize("method", RUNNABLE)
def test_help_shows_what_the_method_has(method: str, tmp_path: Path) -> None:
    job = Job("x", "", tmp_path, None, (1, 8, 8), 10, method, {})
    shown = search_command(job).get_help(click.Context(search_command(job), max_content_width=200))
    options = {field.alias or name for name, field in OWN[method].options.model_fields.items()}
    said = set(re.findall(r"^  --([a-z-]+)", shown, re.MULTILINE))
    for name in ("cost", "epochs", "warmup", "batch", "alpha", "lambda", "seed"):
        assert (name in said) == (name in options), name
    shares_warmup = "warmup" in options or method == "spos"  # all of whose training is one
    assert ("warmup-from" in said) == ("from one warm-up" in " ".join(shown.split())) == shares_warmup
    listed = re.search(r"repeatable: (.*?)\.", " ".join(shown.split()))
    assert listed is not None and set(listed[1].split(", ")) == options
