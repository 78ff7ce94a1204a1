"""Methods of other packages, and docs/methods.md."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from nasc.cli import main as nasc
from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.methods import plugins
from nasc.compiler.methods.fbnet import FbnetOptions
from nasc.compiler.methods.plugins import OWN
from nasc.compiler.methods.random_members import RandomOptions
from nasc.compiler.methods.sections import read_section
from nasc.compiler.methods.values import Options
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, NascError
from nasc.dsl.parser import parse
from nasc.runtime.search import Job
from tests.searches import NARROW, command, compiled, module_at, run
from tests.spaces import ROOT, space_of

PAGE = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
RUNNABLE = [name for name, method in OWN.items() if method.search]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def packaged(folder: Path, name: str, target: str, **modules: str) -> None:
    """A package as pip leaves it: modules, and the entry point in its metadata."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[nasc.methods]\n{name} = {target}\n")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Makes a package and puts it where Python finds it."""
    folder, before = tmp_path / "site", set(sys.modules)
    monkeypatch.syspath_prepend(folder)

    def forget() -> None:
        plugins._installed.cache_clear()
        plugins._loaded.cache_clear()

    def installed(name: str, target: str, **modules: str) -> None:
        packaged(folder, name, target, **modules)
        importlib.invalidate_caches()
        forget()

    yield installed
    forget()
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]


def told(*arguments: str | Path) -> Result:
    return CliRunner().invoke(nasc, [str(a) for a in arguments], prog_name="nasc")


def example(name: str) -> str:
    """A module of docs/methods.md."""
    (text,) = re.findall(rf"^```python\n# {name}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return text


def test_the_pages_own_method_searches(
    install: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = re.search(r'nasc.methods"\]\n(\w+) = "([\w:]+)"', PAGE)
    assert entry is not None
    modules = {name: example(f"{name}.py") for name in ("cheapest", "cheapest_search")}
    install(entry[1], entry[2], **modules)
    path = tmp_path / "narrow.nas"
    path.write_text(f"{NARROW}search cheapest {{ drop no  seed {{0, 1}}  cost macs }}\n")
    assert told("check", path).exit_code == 0
    path.write_text(path.read_text().replace("drop no", "drp no"))
    complaint = told("check", path).stderr
    assert "has no option `drp`" in complaint and "did you mean `drop`?" in complaint
    for text, dropped in ((f"{NARROW}search cheapest {{ drop no }}\n", False), (NARROW, True)):
        out = tmp_path / f"run-{dropped}"
        with compiled(text, tmp_path / f"mine-{dropped}", "cheapest") as job:
            arguments = ("--data", "synthetic:64", "--cost", "macs", "--out", out)
            assert command(job, *arguments, capsys=capsys)[0] == 0
        best, cost = space_of(out / "best.nas"), cost_of(space_of(NARROW)).macs
        assert count_members(best) == 1
        assert (cost_of(best).macs.min == cost.min) == dropped
        assert json.loads((out / "result.json").read_text())["cost"]["found"] == cost_of(best).macs.min
        assert {"model.py", "model.onnx", "best.safetensors"} <= {p.name for p in out.iterdir()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nowhere_at_all", "cannot be loaded: ModuleNotFoundError"),
        ("METHOD = 3", "is no `Method` of that name"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
        ("", "cannot be loaded: AttributeError"),
        (
            "from nasc.compiler.methods.plugins import Method\nfrom nasc.compiler.methods.values import Options\n"
            "METHOD = Method('broken', 'x', Options, 'x:y')",
            "options that derive from `SearchOptions`",
        ),
    ],
)
def test_a_broken_package_is_in_nobody_elses_way(
    install: Callable[..., None], tmp_path: Path, text: str, words: str
) -> None:
    install("broken", "broken_module:METHOD", broken_module=text)
    plain, naming = tmp_path / "plain.nas", tmp_path / "naming.nas"
    plain.write_text(f"{NARROW}search prunet {{ epochs 9 }}\n")
    naming.write_text(f"{NARROW}search broken {{ }}\n")
    assert told("check", plain).exit_code == 0
    for method in RUNNABLE:
        assert told("compile", plain, "--method", method, "-o", tmp_path / method).exit_code == 0
    complaint = told("check", naming)
    assert complaint.exit_code == 1 and words in complaint.stderr
    assert "naming.nas:13:8" in complaint.stderr and "Traceback" not in complaint.stderr
    asked = told("compile", plain, "--method", "broken", "-o", tmp_path / "out")
    assert asked.exit_code == 1 and words in asked.stderr and not (tmp_path / "out").exists()
    unknown = told("compile", plain, "--method", "brokn", "-o", tmp_path / "out")
    assert "did you mean `broken`?" in unknown.stderr


def test_a_package_cannot_replace_a_method_of_nasc(install: Callable[..., None]) -> None:
    install("prunet", "impostor:METHOD", impostor="raise SystemExit")
    assert plugins.find_method("prunet") is OWN["prunet"]
    assert plugins.method_names().count("prunet") == 1


def test_the_search_of_a_package_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = Job("x", "", tmp_path, None, (1, 8, 8), 10, "gone", {})
    code, _, complaint = command(job, "--help", capsys=capsys)
    assert code == 1 and "there is no search method `gone`" in complaint


def test_a_run_time_half_that_is_not_there(install: Callable[..., None], tmp_path: Path) -> None:
    text = example("cheapest.py").replace("cheapest_search:search", "cheapest_search:serch")
    install("cheapest", "cheapest:METHOD", cheapest=text, cheapest_search=example("cheapest_search.py"))
    with (
        compiled(NARROW, tmp_path / "mine", "cheapest") as job,
        pytest.raises(NascError, match=r"is not there: .*serch"),
    ):
        run(job, tmp_path / "run")


# ------------------------------------------------------------------------------------------------ the page


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_option_says_what_it_means_and_whether_it_is_printed(name: str) -> None:
    place = re.compile(r"printed .*\((eq\. )?(A\.\d|\d|Algorithm 1|FBNet|FiGS|Real|SPOS|MobileNets|MorphNet)")
    for option, field in OWN[name].options.model_fields.items():
        meaning, _, source = (field.description or "").rpartition("; ")
        assert meaning and ("chosen" in source or place.search(source)), option


def test_the_tables_are_up_to_date() -> None:
    generator = module_at(ROOT / "docs" / "methods.py")
    assert generator.page(PAGE) == PAGE, "run `make status`"
    assert re.findall(r"<!-- options of (\w+) -->\n\|", PAGE) == RUNNABLE


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_default_of_the_page_can_be_written_in_a_file(name: str) -> None:
    table = PAGE.partition(f"<!-- options of {name} -->")[2].partition("<!-- end -->")[0]
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", table, re.MULTILINE)
    model: type[Options] = OWN[name].options
    assert len(rows) == len(model.model_fields)
    file, _ = parse(f"nas 1\nsearch {name} {{ {'  '.join(f'{option} {value}' for option, value in rows)} }}\n", "x.nas")
    (section,) = file.items
    assert isinstance(section, syntax.Section)
    diagnostics = Diagnostics()
    read = read_section(section, diagnostics)
    assert not diagnostics.found and read is not None
    for field in model.model_fields:
        wanted, found = getattr(model(), field), getattr(read, field)
        assert found == wanted or found.model_dump() == pytest.approx(wanted.model_dump(), rel=1e-3), field


def test_every_method_is_on_the_page() -> None:
    for name, method in OWN.items():
        row = re.search(rf"^\| \[?`{name}`\S* \| (.*) \|$", PAGE, re.MULTILINE)
        assert row is not None and row[1].startswith("not yet") == (not method.search)


def test_the_pages_space_compiles_with_each_method(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```nas\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "tiny.nas").write_text(text)
    for name in RUNNABLE:
        assert told("compile", tmp_path / "tiny.nas", "--method", name, "-o", tmp_path / name).exit_code == 0


def test_defaults_are_what_is_printed() -> None:
    fbnet, random = FbnetOptions(), RandomOptions()
    assert (fbnet.epochs, fbnet.warmup, fbnet.batch, fbnet.alpha, fbnet.beta) == (90, 10, 192, (0.2,), 0.6)
    assert (fbnet.weights.kind, fbnet.weights.rate, fbnet.weights.decay) == ("sgd", 0.1, 1e-4)
    assert (fbnet.architecture.kind, fbnet.architecture.rate, fbnet.architecture.decay) == ("adam", 0.01, 5e-4)
    assert fbnet.temperature.first == 5.0 and FbnetOptions(epochs=18).warmup == 2
    assert random.weights.rate == 0.002 and random.split == 0.8
