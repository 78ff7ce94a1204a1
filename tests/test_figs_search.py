"""FiGS from file to result: what a search writes, killed ones that go on, latency, and options that mean nothing.

`NASC_UPDATE_GOLDENS=1` writes the golden anew.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasc.compiler.compile import compile_file
from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.methods.figs import FigsOptions
from nasc.compiler.methods.relax import relax
from nasc.compiler.network import network_of
from nasc.dsl.diagnostics import NascError
from nasc.dsl.format import format_text
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.masks import masking_modules
from nasc.runtime.member_model import module_of as model_of
from nasc.runtime.metrics import read_metrics
from nasc.runtime.progress import SilentProgress, amount
from nasc.runtime.search import Job, Settings
from nasc.runtime.search_job import options_of, search
from nasc.runtime.table import LatencyTable
from nasc.runtime.targets import target_costs
from tests.searches import Killer, Stop, command, compiled, job_of, priced_table, run, same_runs
from tests.spaces import ROOT, space_of
from tests.test_kill_resume import after, at_replacing, child, differences, in_the_metrics_line, outcome

GOLDEN = Path(__file__).parent / "golden" / "figs_digits.py"
TINY = """nas 1
space tiny {
  input       image 1 x 8 x 8
  output      classes 10
  granularity 4
  skip        same_shape

  stage stem  conv  { kernel 3  stride 2 }                             -> 4
  stage low   irb x 2  { kernel {3, 5}  hidden 4 .. 32 step 4 }        -> 4
  stage mid   one of { conv { kernel 3 }  conv { kernel 1 } }          -> 8
  head        global_pool | linear
}
search figs {
  epochs 5  warmup 1  batch 32  cost macs  lambda 4e-6  tau 0.1
  weights rmsprop { rate 0.01 }  architecture adam { rate 0.4  epsilon 1e-8 }
}
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with compiled(TINY, tmp_path_factory.mktemp("figs"), "figs") as job:
        yield job


def short(job: Job, out: Path, **more: Any) -> None:
    settings = Settings(data="synthetic:96", out=out, threads=1, **more)
    search(job, options_of(job, {}), settings, SilentProgress())


# ------------------------------------------------------------------------------------------------ generated code


def test_golden_supernet(tmp_path: Path) -> None:
    """The SuperNet of `digits`, as text and as a module."""
    compile_file(ROOT / "spaces" / "digits.nas", tmp_path / "build", method="figs")
    source = (tmp_path / "build" / "supernet.py").read_text()
    if os.environ.get("NASC_UPDATE_GOLDENS"):
        GOLDEN.write_text(source)
    assert source == GOLDEN.read_text()
    ast.parse(source)
    assert max(map(len, source.splitlines())) <= 120
    names: dict[str, Any] = {"__name__": "golden"}
    exec(compile(GOLDEN.read_text(), "golden", "exec"), names)
    supernet = names["Digits"]()
    assert supernet(torch.randn(2, *names["INPUT_SHAPE"])).shape == (2, names["CLASSES"])
    keys = {module.key for module in masking_modules(supernet).values() if module.key}
    assert keys == {f"{s}.{i}.{k}.expand" for s in ("low", "mid", "high") for i in (1, 2) for k in (1, 2)}


# ------------------------------------------------------------------------------------------------ file to result


def test_figs_from_file_to_result(tiny: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exercises: method figs."""
    out = tmp_path / "run"
    code, _, said = command(tiny, "--data", "synthetic:128", "--threads", "1", "--out", out, capsys=capsys)
    assert code == 0, said
    text = (out / "best.nas").read_text()
    found = space_of(out / "best.nas")
    assert format_text(text) == text and count_members(found) == 1
    result = json.loads((out / "result.json").read_text())
    assert result["method"] == "figs" and result["cost"]["unit"] == "MACs"
    log = read_metrics(out / "metrics.jsonl")
    assert [r["phase"] for r in log] == ["warm-up"] + ["search"] * 4
    assert log[-1]["cost"] < log[0]["cost"]  # the logits moved
    model = model_of(network_of(found))
    from safetensors.torch import load_file

    model.load_state_dict(load_file(out / "best.safetensors"))
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    import onnxruntime

    session = onnxruntime.InferenceSession(str(out / "model.onnx"))
    exported = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    np.testing.assert_allclose(exported, model.eval()(images).detach().numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["macs", "params"])
@pytest.mark.parametrize("strength", [0.0, 3e-5, 1.0])
def test_the_cost_of_the_result_is_that_of_the_network(tiny: Job, tmp_path: Path, kind: str, strength: float) -> None:
    """Also where operators are gone, and what else hangs on them."""
    result = run(tiny, tmp_path / "run", options={"epochs": 9, "cost": kind, "lambda": (strength,)})
    assert result.cost == getattr(cost_of(space_of(tmp_path / "run" / "best.nas")), kind).min
    if strength == 1.0:
        assert list(result.details["widths"].values()).count(0) >= 3


def test_a_larger_lambda_leaves_a_cheaper_network(tiny: Job, tmp_path: Path) -> None:
    costs = [
        run(tiny, tmp_path / str(strength), options={"epochs": 8, "lambda": (strength,)}).cost
        for strength in (0.0, 1e-5, 1e-1)
    ]
    assert costs[0] > costs[1] > costs[2]


def test_nothing_is_masked_in_warm_up(tiny: Job, tmp_path: Path) -> None:
    run(tiny, tmp_path / "run", options={"epochs": 3, "warmup": 2, "lambda": (1.0,)})
    costs = [record["cost"] for record in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert costs[0] == costs[1] > costs[2]


def test_redundant_operators_may_be_kept(tmp_path: Path) -> None:
    """Expansions of one kernel are one operator with a width, or operators side by side."""
    text = TINY.replace("hidden 4 .. 32 step 4", "expand {2, 4, 6}")
    for redundant, operators in (("merge", 2), ("keep", 6)):
        changed = text.replace("search figs {", f"search figs {{ redundant {redundant} ")
        with compiled(changed, tmp_path / redundant, "figs") as job:
            result = run(job, tmp_path / redundant / "run", options={"epochs": 2, "warmup": 0, "lambda": (0.0,)})
            assert sum(name.startswith("low.1.") for name in result.details["widths"]) == operators
            assert count_members(space_of(tmp_path / redundant / "run" / "best.nas")) == 1
    other = {"redundant": "merge"}
    with job_of(tmp_path / "keep" / "build") as job, pytest.raises(NascError, match="not of the same space"):
        run(job, tmp_path / "other", options=other)


def test_a_trial_of_figs_is_short(
    tiny: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("--data", "synthetic", "--steps", "1", "--threads", "1")
    assert command(tiny, *arguments, capsys=capsys)[0] == 0 and list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ killed


@pytest.mark.parametrize("at", [1, 11])
def test_a_stopped_figs_goes_on_to_the_same_end(tiny: Job, tmp_path: Path, at: int) -> None:
    run(tiny, tmp_path / "whole")
    with pytest.raises(Stop):
        run(tiny, tmp_path / "stopped", Killer(at))
    run(tiny, tmp_path / "stopped", resume=True)
    same_runs(tmp_path / "whole", tmp_path / "stopped")


@pytest.fixture(scope="module")
def whole(tiny: Job, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    short(tiny, out)
    cpu = child(lambda: short(tiny, out.parent / "again")).cpu
    assert differences(outcome(out), outcome(out.parent / "again")) == []
    return outcome(out), cpu


KILLS: dict[str, Callable[[float], Callable[[], None]]] = {
    **{f"after {part:.0%}": (lambda cpu, part=part: after(part * cpu)) for part in (0.2, 0.5, 0.8)},
    "in a line of the log": lambda _: in_the_metrics_line(2),
    "before the first checkpoint": lambda _: at_replacing("checkpoint.pt"),
    "behind the warm-up's checkpoint": lambda _: at_replacing("warmup.pt", done=True),
    "behind the last checkpoint": lambda _: at_replacing("checkpoint.pt", 5, done=True),
    "before the network": lambda _: at_replacing("best.nas"),
    "before the result": lambda _: at_replacing("result.json"),
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="autograd's threads for a GPU do not outlive a fork")
@pytest.mark.parametrize("place", KILLS)
def test_a_killed_figs_goes_on_to_the_same_end(
    tiny: Job, whole: tuple[dict[str, Any], float], tmp_path: Path, place: str
) -> None:
    expected, cpu = whole
    out = tmp_path / "run"
    end = child(lambda: short(tiny, out), KILLS[place](cpu))
    assert end.signal in (signal.SIGPROF, signal.SIGKILL) or place.startswith("after")  # it may end before its moment
    child(lambda: short(tiny, out, resume=True))
    assert differences(outcome(out), expected) == []


# ------------------------------------------------------------------------------------------------ several processes


def test_two_processes_search_as_one_does(tiny: Job, tmp_path: Path) -> None:
    """The same two half-batches, side by side or in turn: the same masks are drawn, the same network is found."""

    def program(out: str, *more: str, ranks: int = 1) -> subprocess.CompletedProcess[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
        words = [
            str(tiny.folder / "search.py"),
            "--data",
            "synthetic:128",
            "--threads",
            "1",
            "--out",
            str(tmp_path / out),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        start = [sys.executable, *torchrun, *words, *more]
        return subprocess.run(start, capture_output=True, text=True, timeout=180, env=environment)

    two, one = program("two", ranks=2), program("one", "--accumulate", "2")
    assert (two.returncode, one.returncode) == (0, 0), two.stderr + one.stderr
    assert two.stdout.count("found: ") == 1
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("two", "one")]
    assert results[0]["widths"] == results[1]["widths"]
    logs = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("two", "one")]
    assert logs[1][1]["widths"] != logs[1][-1]["widths"]
    for a, b in zip(*logs, strict=True):
        assert a["widths"] == pytest.approx(b["widths"], abs=1e-2)
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


# ------------------------------------------------------------------------------------------------ latency


def test_figs_searches_for_latency(tiny: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line; what it finds costs what the table says of it."""
    table = tmp_path / "latency.db"
    priced_table(tiny, table)
    words = ("--data", "synthetic:128", "--threads", "1", "--cost", "latency", "--lambda", "1e-3", "--table", table)
    code, _, said = command(tiny, *words, "--out", tmp_path / "run", capsys=capsys)
    assert code == 0, said
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    layers = relax(network_of(space_of(tiny.folder / "space.nas")))
    with LatencyTable(table, readonly=True) as open_table:
        costs = target_costs(layers, load_manifest(tiny.folder), open_table, "sum")
    expected = costs.fixed
    for name, width in result["widths"].items():
        address, _, rest = name.removesuffix("?").rpartition(".") if name.endswith("?") else split(name)
        row = costs.blocks[address, int(rest) - 1]
        expected += (row.get(width) or row[0]) if width else 0.0
    assert result["cost"]["unit"] == "µs" and result["cost"]["found"] == pytest.approx(expected)
    log = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert log[-1]["cost"] != log[0]["cost"]


def split(name: str) -> tuple[str, str, str]:
    """`low.1.2.hidden` as `low.1` and `2`."""
    stage, layer, number, _ = name.split(".")
    return f"{stage}.{layer}", ".", number


def test_figs_needs_every_latency(tiny: Job, tmp_path: Path) -> None:
    with pytest.raises(NascError, match="needs a latency table"):
        run(tiny, tmp_path / "run", options={"cost": "latency"})
    priced_table(tiny, tmp_path / "some.db", leave_out="irb")
    with pytest.raises(NascError, match="irb"):
        run(tiny, tmp_path / "run", table=tmp_path / "some.db", options={"cost": "latency"})


def test_blocks_of_several_widths_have_no_latency(tmp_path: Path) -> None:
    text = TINY.replace(
        "irb x 2  { kernel {3, 5}  hidden 4 .. 32 step 4 }        -> 4", "conv { kernel 3 } -> 4 .. 8 step 4"
    )
    with compiled(text, tmp_path / "wide", "figs") as job:
        (tmp_path / "t.db").touch()
        with pytest.raises(NascError, match="latencies are of blocks with one width"):
            run(job, tmp_path / "run", table=tmp_path / "t.db", options={"cost": "latency"})


# ------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beta", 0.5),
        ("tau", 0),
        ("tau", -1.0),
        ("tau", float("nan")),
        ("lambda", "strong"),
        ("lambda", float("inf")),
        ("warmup", -1),
        ("warmup", 100),
        ("logit", "high"),
        ("cost", "energy"),
        ("target", 0),
        ("redundant", "perhaps"),
        ("architecture", {"kind": "adam", "rate": -1}),
        ("weights", {"kind": "lbfgs"}),
        ("masks", 3),
    ],
)
def test_options_that_mean_nothing_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        FigsOptions.model_validate({name: value})


def test_a_target_finds_lambda_itself() -> None:
    with pytest.raises(ValueError, match="leave one to start from"):
        FigsOptions.model_validate({"target": 1e6, "lambda": (1e-6, 1e-5)})
    assert FigsOptions.model_validate({"target": 1e6, "lambda": 1e-6}).target == 1e6


@pytest.mark.parametrize(
    "words",
    ["beta 0.5", "tau 0", "lambda strong", "lambda {}", "epochs 3  warmup 3", "architecture lbfgs", "nonsense 1"],
)
def test_a_section_that_means_nothing_is_an_error_at_its_place(words: str, tmp_path: Path) -> None:
    head = TINY[: TINY.index("search figs")]
    path = tmp_path / "bad.nas"
    path.write_text(f"{head}search figs {{ {words} }}\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = [sys.executable, "-m", "nasc", "compile", str(path), "-o", str(tmp_path / "out")]
    done = subprocess.run(start, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error[E" in done.stderr and "bad.nas:" in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lambda", "strong"), "is not a number"),
        (("--set", "tau=0"), "tau"),
        (("--set", "beta=0.5"), "beta"),
        (("--epochs", "2", "--warmup", "2"), "warmup must be below epochs"),
        (("--cost", "energy"), "energy"),
    ],
)
def test_words_that_mean_nothing_are_refused(
    tiny: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    code, out, err = command(tiny, "--data", "synthetic", "--out", tmp_path / "run", *words, capsys=capsys)
    assert code not in (0, None) and said in err and "Traceback" not in err and out == ""
    assert not (tmp_path / "run").exists()


def test_a_target_that_no_network_meets_is_refused(tiny: Job, tmp_path: Path) -> None:
    least = cost_of(space_of(tiny.folder / "space.nas")).macs.min
    settings = Settings(data="synthetic:128", out=tmp_path / "run", threads=1)
    with pytest.raises(NascError, match=f"costs 10 MACs or less: the cheapest {amount(least)}"):
        search(tiny, FigsOptions.model_validate({"cost": "macs", "target": 10}), settings, SilentProgress())
    assert not list((tmp_path / "run").rglob("*.nas"))


def test_a_target_is_met(tiny: Job, tmp_path: Path) -> None:
    """lambda is found as the search runs; the network costs at most the target, and not far below."""
    everything = run(tiny, tmp_path / "all", options={"lambda": (0.0,)}).cost
    options = options_of(tiny, {}).model_dump(by_alias=True)
    chosen = {k: v for k, v in options.items() if k not in ("lambda", "beta")}
    target = 0.6 * everything
    settings = Settings(data="synthetic:128", out=tmp_path / "run", threads=1)
    found = search(tiny, FigsOptions.model_validate({**chosen, "target": target}), settings, SilentProgress())
    assert 0.3 * everything < found.cost <= target
    assert found.cost == cost_of(space_of(tmp_path / "run" / "best.nas")).macs.min
