"""Methods compared: equal budgets counted by hand, refusals, kills, and the numbers that are worked out."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.cli import main
from nasc.compiler.methods.budget import TooLittleError, changed, least, warmed_up, within
from nasc.compiler.methods.plugins import OWN, find_method, runnable
from nasc.compiler.opened import open_file
from nasc.dsl.diagnostics import NascError
from nasc.runtime import search_run, train
from nasc.runtime.compare import compare
from nasc.runtime.compare_numbers import hypervolume, interval
from nasc.runtime.compare_plan import Asked, Budget, strengths_of
from nasc.runtime.compare_report import COLORS, plot_comparison
from nasc.runtime.compare_table import Comparison, Found
from nasc.runtime.progress import SilentProgress
from nasc.runtime.search_job import RESULT
from tests.searches import NARROW, WIDE, Killer, Stop, compiled, priced_table, same_runs

SMALL = """nas 1
space small {
  input       image 1 x 8 x 8
  output      classes 10
  granularity 8
  skip        same_shape

  stage stem  conv  { kernel 3  stride 2 }               -> 8
  stage low   irb   { kernel {1, 3}  hidden {8, 16} }    -> 8
  head        global_pool | linear
}
search prunet { batch 32  alpha 0.5 }
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)], prog_name="nasc")


def asked(**more: Any) -> Asked:
    usual: dict[str, Any] = {
        "methods": ("prunet", "random"),
        "budget": Budget(20, "steps"),
        "data": "synthetic:128",
        "seeds": (0,),
        "points": 1,
        "cost": "macs",
        "batch": 32,
        "retrain": 4,
        "threads": 1,
    }
    return Asked(**{**usual, **more})


def compared(out: Path, text: str = SMALL, progress: SilentProgress | None = None, **more: Any) -> Comparison:
    return compare(open_file("<space>", text), asked(**more), out, progress or SilentProgress())


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many steps were made, by kind of training."""
    counted: Counter[str] = Counter()
    for name, owner in (("supernet", search_run.SearchRun), ("network", train._Run)):

        def step(self: Any, *given: Any, name: str = name, original: Any = owner._step) -> Any:
            counted[name] += 1
            return original(self, *given)

        monkeypatch.setattr(owner, "_step", step)
    return counted


# ------------------------------------------------------------------------------------------------ from file to page


def test_compare_from_file_to_page(tmp_path: Path, steps: Counter[str]) -> None:
    """Exercises: command compare."""
    (tmp_path / "small.nas").write_text(SMALL)
    out = tmp_path / "out"
    words = (
        tmp_path / "small.nas",
        "--methods",
        "prunet",
        "fbnet",
        "random",
        "nss",
        "--data",
        "digits",
        "--cost",
        "macs",
    )
    more = ("--budget", "100steps", "--seeds", "2", "--points", "1", "--retrain", "70", "--threads", "1", "--out", out)
    done = run(*words, *more)
    assert done.exit_code == 0, done.stderr
    assert "nss" in done.stdout and "refused" in done.stdout and "cannot be compiled yet" in done.stdout
    found = [Found.model_validate_json(line) for line in (out / "compare.jsonl").read_text().splitlines()]
    assert [(one.seed, one.point, one.method) for one in found] == [
        (seed, 0, method) for seed in (0, 1) for method in ("prunet", "fbnet", "random")
    ]
    assert steps["supernet"] == sum(one.search_steps for one in found if one.method != "random")
    trained = sum(one.training_steps or 0 for one in found)
    assert steps["network"] == trained + sum(one.search_steps for one in found if one.method == "random")
    assert all(70 < one.search_steps <= 100 and one.tested and one.state == "done" for one in found)
    assert len({one.training_steps for one in found}) == 1
    # What is judged is what the folders hold.
    for one in found:
        result = json.loads((out / one.folder / "trained" / RESULT).read_text())
        assert one.accuracy == result["test_top1"] and result["options"]["seed"] == one.seed
        assert json.loads((out / one.folder / RESULT).read_text())["cost"]["found"] == one.macs == one.cost
    summary = json.loads((out / "summary.json").read_text())
    assert [each["method"] for each in summary["methods"]] == ["prunet", "fbnet", "random"]
    assert [len(summary[name]) for name in ("runs", "refused")] == [6, 1]
    page = (out / "report.html").read_text()
    assert "100 steps" in page and "refused" in page and (out / "pareto.svg").stat().st_size > 1000
    before = steps.copy()
    again = run(*words, *more, "--format", "json")
    assert steps == before and json.loads(again.stdout) == summary


def test_a_method_that_cannot_relax_the_space_is_a_row(tmp_path: Path) -> None:
    """`wide` has a width that layers share, which only members drawn one by one can have."""
    found = compared(tmp_path, WIDE)
    assert [one.method for one in found.refused] == ["prunet"] and "E0380" in found.refused[0].why
    assert {one.method for one in found.found} == {"random"}
    with pytest.raises(NascError, match="no method is left"):
        compared(tmp_path / "other", WIDE, methods=("prunet",))


def test_a_budget_that_is_too_little_is_a_row(tmp_path: Path) -> None:
    """An epoch of PruNet takes 3 + 1 steps here, one of a member 3."""
    found = compared(tmp_path, budget=Budget(3, "steps"))
    assert [one.method for one in found.refused] == ["prunet"] and "takes 4 steps" in found.refused[0].why
    assert [one.search_steps for one in found.found] == [3]


def test_a_search_that_fails_is_noted_and_tried_again(tmp_path: Path) -> None:
    wild = {"options": ("prunet.weights=sgd { rate 1e30 }",)}
    with pytest.raises(NascError, match="1 of 2 searches failed") as caught:
        compared(tmp_path, **wild)
    assert caught.value.help and "prunet, seed 0" in caught.value.help
    rows = [json.loads(line) for line in (tmp_path / "compare.jsonl").read_text().splitlines()]
    assert [row["state"] for row in rows] == ["failed", "done"] and "became" in rows[0]["why"]


def test_latencies_are_the_tables(tmp_path: Path) -> None:
    text = SMALL.replace("{8, 16}", "8 .. 16 step 8")
    with compiled(text, tmp_path / "space", "prunet") as job:
        priced_table(job, tmp_path / "latency.db")
    names = ("prunet", "random", "figs", "morphnet")
    found = compared(tmp_path / "out", text, cost="latency", table=tmp_path / "latency.db", methods=names)
    assert [one.method for one in found.refused] == ["morphnet"]  # it weighs MACs or parameters alone
    for one in found.found:
        result = json.loads((tmp_path / "out" / one.folder / RESULT).read_text())
        assert one.cost == result["cost"]["found"] != one.macs and found.unit == "µs"
    with pytest.raises(NascError, match="needs a latency table"):
        compared(tmp_path / "none", cost="latency")


def test_networks_can_be_trained_from_the_weights_they_come_with(tmp_path: Path) -> None:
    scratch = compared(tmp_path).found
    tuned = compared(tmp_path, start="inherited", training={"rate": 1e-9}).found
    for one, other in zip(scratch, tuned, strict=True):
        assert one.found_accuracy == other.found_accuracy and one.search_seconds == other.search_seconds
    # A rate of nothing leaves the weights as they are, but for the statistics of batch norm.
    weights = [tmp_path / tuned[1].folder / name for name in ("best.safetensors", "tuned/weights.safetensors")]
    first, second = (train.checkpoint.load_weights(path) for path in weights)
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first if "running" not in name
               and "num_batches" not in name)  # fmt: skip


# ------------------------------------------------------------------------------------------------ budgets


@pytest.mark.parametrize("method", runnable())
def test_a_methods_steps_are_those_that_it_makes(tmp_path: Path, steps: Counter[str], method: str) -> None:
    looks = ("spos.samples=2",) if method == "spos" else ()  # which take no steps
    (found,) = compared(tmp_path, methods=(method,), options=looks).found
    assert found.state == "done" and 14 < found.search_steps <= 20
    assert sum(steps.values()) == found.search_steps + (found.training_steps or 0)


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("5000steps", 5000, "steps"), ("1.5ksteps", 1500, "steps"), ("600s", 600, "seconds"), ("2 h", 7200, "seconds")],
)
def test_budgets_are_read(text: str, amount: float, unit: str) -> None:
    assert Budget.read(text) == Budget(amount, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "600", "0s", "-5s", "1e9s", "5 epochs", "nan s", "٣s", "600s steps"])
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(NascError, match="no budget"):
        Budget.read(text)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(["prunet", "fbnet", "random"]),
    images=st.integers(5, 5000),
    batch=st.integers(1, 300),
    budget=st.integers(1, 3000),
    stated=st.integers(1, 300),
)
def test_a_budget_is_used_as_far_as_it_goes(name: str, images: int, batch: int, budget: int, stated: int) -> None:
    method = OWN[name]
    options = changed(method.options(), batch=batch, epochs=stated)
    try:
        found = within(method, options, images, budget)
    except TooLittleError:
        ones = dict.fromkeys(method.grows, 1)
        assert method.steps(changed(options, **ones), images) > budget
        return
    assert method.steps(found, images) <= budget
    # An epoch more is too much, of all members that are stated; and so is one more of those that there are.
    assert method.steps(changed(options, epochs=found.epochs + 1), images) > budget
    if name == "random":
        assert method.steps(changed(found, samples=found.samples + 1), images) > budget
    if hasattr(found, "warmup"):
        assert found.warmup == options.warmup * found.epochs // options.epochs


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(["prunet", "fbnet", "figs"]),
    images=st.integers(5, 5000),
    batch=st.integers(1, 300),
    budget=st.integers(1, 3000),
    warmup=st.integers(0, 300),
)
def test_a_warmup_that_is_kept(name: str, images: int, batch: int, budget: int, warmup: int) -> None:
    method = OWN[name]
    stated = changed(method.options(), batch=batch)
    shortest = changed(stated, epochs=warmup + 1, warmup=warmup)
    options = warmed_up(stated, warmup)
    smallest = least(method, options, keep_warmup=True)
    assert (smallest.epochs, smallest.warmup) == (warmup + 1, warmup)
    try:
        found = within(method, options, images, budget, keep_warmup=True)
    except TooLittleError:
        assert method.steps(shortest, images) > budget
        return
    assert found.warmup == warmup and method.steps(found, images) <= budget
    assert method.steps(changed(stated, epochs=found.epochs + 1, warmup=warmup), images) > budget


def test_a_warmup_said_at_the_command_line_holds(tmp_path: Path, steps: Counter[str]) -> None:
    """Of 20 steps, which are five epochs; by its share, 70 of 200, it would be one of them."""
    for stated in (0, 2):
        text = f"prunet.warmup={stated}"
        (one,) = compared(tmp_path / text, methods=("prunet",), options=(text,)).found
        options = json.loads((tmp_path / text / one.folder / RESULT).read_text())["options"]
        assert (options["warmup"], options["epochs"], one.search_steps) == (stated, 5, 20)
        assert steps.pop("supernet") == 20
    found = compared(tmp_path / "long", options=("prunet.warmup=300",))
    assert [one.method for one in found.refused] == ["prunet"]
    assert "with a warm-up of 300 epochs takes 1,204 steps" in found.refused[0].why


def test_seconds_become_steps_by_a_pilot(tmp_path: Path, steps: Counter[str]) -> None:
    found = compared(tmp_path, budget=Budget(0.5, "seconds")).found
    for one in found:
        pilot = json.loads((tmp_path / "pilots" / one.method / RESULT).read_text())
        least, most = {"prunet": (4, 4), "random": (3, 60)}[one.method]
        allowed = math.floor(0.5 * least / pilot["seconds"])
        assert allowed - most < one.search_steps <= allowed
    # What it came to is kept: on another day a step may take another time.
    before = steps.copy()
    assert compared(tmp_path, budget=Budget(0.5, "seconds")).found == found and steps == before


def test_seconds_that_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(NascError, match="no method is left") as caught:
        compared(tmp_path, budget=Budget(1e-6, "seconds"))
    assert caught.value.help and "smallest search took" in caught.value.help


@pytest.mark.parametrize(
    ("method", "stated", "points", "values"),
    [
        ("prunet", (0.5,), 1, (0.5,)),
        ("prunet", (0.5,), 3, (0.125, 0.5, 2.0)),
        ("prunet", (0.1, 0.7, 0.2), 3, (0.1, 0.7, 0.2)),
        ("fbnet", (0.1, 0.9), 3, (0.1, 0.3, 0.9)),
        ("random", (0.4, 0.9), 1, (0.6,)),
    ],
)
def test_strengths(method: str, stated: tuple[float, ...], points: int, values: tuple[float, ...]) -> None:
    options = changed(find_method(method).options(), alpha=stated)
    assert strengths_of(find_method(method), options, points) == pytest.approx(values)


def test_strengths_that_cannot_be() -> None:
    prunet = find_method("prunet")
    with pytest.raises(NascError, match="cannot be varied"):
        strengths_of(prunet, changed(prunet.options(), alpha=0), 3)
    with pytest.raises(NascError, match="`lambda` is a set"):
        strengths_of(prunet, changed(prunet.options(), **{"lambda": (0.4, 0.5)}), 3)


# ------------------------------------------------------------------------------------------------ going on


def numbers(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "compare.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.endswith("seconds")} for row in rows]


def test_a_comparison_killed_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    kind: dict[str, Any] = {"points": 2, "text": NARROW}
    whole = compared(tmp_path / "whole", **kind)
    kills, at = 0, 3
    while True:
        try:
            compared(tmp_path / "killed", progress=Killer(at), **kind)
            break
        except Stop:
            kills, at = kills + 1, at + 7
    assert kills > 3
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "killed")
    seeds = [json.loads((tmp_path / "whole" / one.folder / RESULT).read_text())["seed"] for one in whole.found]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]  # equal for the methods, others at each point
    runs = [search_run.checkpoint.load(tmp_path / "whole" / one.folder / search_run.CHECKPOINT, "search", 2)["run"]
            for one in whole.found]  # fmt: skip
    assert all(run["data_seed"] == 0 for run in runs)  # but the same images
    for one in whole.found:
        same_runs(tmp_path / "whole" / one.folder, tmp_path / "killed" / one.folder)
        weights = [tmp_path / each / one.folder / "trained/weights.safetensors" for each in ("whole", "killed")]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_more_methods_seeds_and_points_of_a_set_join(tmp_path: Path, steps: Counter[str]) -> None:
    first = compared(tmp_path, methods=("random",)).found
    before = steps["network"]
    both = compared(tmp_path, seeds=(0, 1)).found
    assert first[0] in both and len(both) == 4
    again = sum(one.training_steps or 0 for one in both) + sum(
        one.search_steps for one in both if one.method == "random"
    )
    assert steps["network"] == again and before < again


@pytest.mark.parametrize(
    "more", [{"budget": Budget(40, "steps")}, {"batch": 16}, {"options": ("prunet.alpha=0.7",)}, {"retrain": 20}]
)
def test_other_settings_are_another_comparison(tmp_path: Path, more: dict[str, Any]) -> None:
    compared(tmp_path)
    with pytest.raises(NascError, match="made with other settings"):
        compared(tmp_path, **more)


def test_a_result_that_is_none_is_said(tmp_path: Path) -> None:
    found = compared(tmp_path, methods=("random",)).found[0]
    path = tmp_path / found.folder / RESULT
    result = json.loads(path.read_text())
    for wrong in ([], {**result, "cost": {"found": "much"}}, {**result, "cost": 3}, {**result, "seconds": -1}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(NascError):
            compared(tmp_path, methods=("random",))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "prunett"], "there is no search method `prunett`"),
        (["--methods", "prunet", "--option", "prunet.alfa=1"], "there is no option `alfa`"),
        (["--methods", "prunet", "--option", "fbnet.alpha=1"], "names no option of a method that is compared"),
        (["--methods", "prunet", "--option", "prunet.batch=8"], "`batch` is the same for all methods"),
        (["--methods", "prunet", "--option", "prunet.epochs=8"], "is set by the budget"),
        (["--methods", "prunet", "--option", "prunet.warmup=-1"], "prunet: warmup: "),
        (["--methods", "prunet", "--option", "prunet.warmup=soon"], "prunet: warmup: "),
        (["--methods", "prunet", "--option", "prunet.warmup=9999999"], "prunet: warmup must be below epochs"),
        (["--methods", "prunet", "--option", "prunet.threshold=0.1..0.2"], "prunet: threshold must end"),
        (["--methods", "prunet", "--train", "speed=1"], "--train speed"),
        (["--methods", "prunet", "--reference", "5"], "is no reference"),
        (["--methods", "prunet", "--data", "nowhere"], "nowhere"),
        (["--methods", "prunet", "--table", "latency.db"], "says nothing of macs"),
        (["random"], "methods stand behind --methods"),
    ],
)
def test_mistakes_are_said_before_anything_is_searched(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "small.nas").write_text(SMALL)
    usual = ["--budget", "20steps", "--cost", "macs", "--data", "synthetic:64", "--out", tmp_path / "out"]
    done = run(tmp_path / "small.nas", *usual, *words)
    assert done.exit_code and said in done.stderr and "Traceback" not in done.stderr and "bug" not in done.stderr
    assert not (tmp_path / "out" / "runs").exists()


def test_one_network_is_nothing_to_compare_on(tmp_path: Path) -> None:
    one = SMALL.replace("{1, 3}", "3").replace("{8, 16}", "8").replace("same_shape", "no")
    with pytest.raises(NascError, match="one network"):
        compared(tmp_path, one)


# ------------------------------------------------------------------------------------------------ numbers


@given(
    points=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 10)), max_size=8),
    reference=st.tuples(st.integers(1, 12), st.integers(0, 9)),
)
def test_hypervolume_counts_the_dominated_cells(points: list[tuple[int, int]], reference: tuple[int, int]) -> None:
    """Against a count of unit cells; accuracies are tenths."""
    most, chance = reference
    cells = sum(
        any(cost <= x and accuracy >= y + 1 for cost, accuracy in points)
        for x in range(most)
        for y in range(chance, 10)
    )
    found = hypervolume([(float(cost), accuracy / 10) for cost, accuracy in points], (float(most), chance / 10))
    assert found == pytest.approx(cells / (most * (10 - chance)))


def test_intervals_are_students() -> None:
    """For 0.4, 0.5, 0.6 the deviation is 0.1, and the quantile at two degrees of freedom 4.3027 (any table has it)."""
    found = interval([0.4, 0.5, 0.6])
    assert found is not None and found.mean == 0.5 and found.high is not None
    assert found.high - 0.5 == pytest.approx(0.43027 / math.sqrt(3), rel=1e-4)
    assert interval([0.1, 0.9]) == (0.5, 0.0, 1.0)  # shares
    assert interval([0.5]) == (0.5, None, None) and interval([]) is None


def row(method: str, seed: int, cost: float, accuracy: float) -> Found:
    return Found(
        method=method, seed=seed, point=0, strength=1.0, folder=f"runs/{method}", state="done",
        cost=cost, accuracy=accuracy, params=1, macs=1,
    )  # fmt: skip


def test_the_reference_is_one_for_all_and_may_be_stated() -> None:
    found = (row("prunet", 0, 100.0, 0.9), row("random", 0, 200.0, 0.6))
    usual: dict[str, Any] = {"space": "s", "classes": 10, "found": found, "refused": ()}
    one = Comparison.of(asked=asked(), **usual)
    assert one.reference == pytest.approx((220.0, 0.1))
    assert [line.hypervolume for line in one.lines()] == pytest.approx(
        [120 * 0.8 / (220 * 0.9), 20 * 0.5 / (220 * 0.9)]
    )
    stated = Comparison.of(asked=asked(reference=(150.0, 0.5)), **usual)
    assert [line.hypervolume for line in stated.lines()] == pytest.approx([50 * 0.4 / (150 * 0.5), 0.0])
    assert [each.method for each in stated.front()] == ["prunet"]


def test_methods_look_different_and_axes_have_units() -> None:
    names = tuple(f"m{i}" for i in range(7))
    found = tuple(row(name, 0, 10.0 + i, 0.5 + i / 100) for i, name in enumerate(names))
    comparison = Comparison.of(space="s", classes=10, asked=asked(methods=names), found=found, refused=())
    figure = plot_comparison(comparison)
    (axes,) = figure.axes
    drawn = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    assert len({line.get_color() for line in drawn}) == len({line.get_marker() for line in drawn}) == len(COLORS) == 7
    assert axes.get_xlabel() == "multiply-accumulates" and "%" in axes.get_ylabel()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"{name}, 1 network" for name in names]
    assert not plot_comparison(comparison.model_copy(update={"found": ()})).axes
