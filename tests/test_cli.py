"""The command line as a person or a program meets it: output, exit codes, mistakes, start-up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import nasc
from nasc.cli import COMMANDS, main
from nasc.compiler.methods.plugins import OWN

ROOT = Path(__file__).resolve().parents[1]
SPACES = ROOT / "spaces"
GPUNET, DIGITS, FASHION = (str(SPACES / f"{name}.nas") for name in ("gpunet1", "digits", "fashion"))
GPUNET_1 = str(SPACES / "networks" / "gpunet_1.nas")
BAD = """nas 1
space bad {
  input image 3 x 32 x 32
  output classes 10
  stage s irbb { kernel 3 }
  head linear
}
"""
EVERY_HELP = """import runpy, sys
from nasc.cli import COMMANDS, main

def told(*words):
    sys.argv = list(words)
    try:
        runpy.run_path(words[0], run_name="__main__") if words[0].endswith(".py") else main()
    except SystemExit as end:
        assert end.code == 0, words
    assert "torch" not in sys.modules, words

for name in ("", *COMMANDS):
    told("nasc", *name.split(), "--help")
for name in main.get_command(None, "table").commands:
    told("nasc", "table", name, "--help")
told(SEARCH, "--help")
told(SEARCH)
"""
FIRST_WORDS = """import runpy, sys
from nasc.cli import main

class Wall:
    def find_spec(self, name, *_):
        if name == "torch":
            raise SystemExit(9)

sys.meta_path.insert(0, Wall())
for sys.argv in LINES:
    print("|", sys.argv[1], file=sys.stderr)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__") if sys.argv[0].endswith(".py") else main()
    except SystemExit as end:
        assert end.code == 9, end.code
"""
TINY = """nas 1
space tiny {
  input image 1 x 8 x 8
  output classes 10
  granularity 8
  skip same_shape
  stage stem conv { kernel 3 } -> 8
  stage s irb x 2 { kernel {3, 5}  expand (1, 3] } -> 8
  head global_pool | linear
}
target cpu { engine onnxruntime }
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], prog_name="nasc")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.nas"
    path.write_text(TINY)
    return path


def tiny_member(tmp_path: Path) -> Path:
    assert run("sample", _written(tmp_path / "tiny.nas", TINY), "-o", tmp_path / "members").exit_code == 0
    return next((tmp_path / "members").glob("*.nas"))


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# ------------------------------------------------------------------------------------------------- every command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_shows_an_example(name: str) -> None:
    done = run(name, "--help")
    assert done.exit_code == 0
    assert f"Example:\n    nasc {name}" in done.stdout


def test_the_list_of_commands_is_the_modules_there_are() -> None:
    modules = {path.stem for path in (ROOT / "nasc" / "commands").glob("*.py")} - {"__init__", "common"}
    assert {name.removesuffix("_") for name in modules} == set(COMMANDS)
    listed = run("--help").stdout
    assert all(f"  {name} " in listed for name in COMMANDS)


def test_an_unknown_command_is_a_usage_error_with_a_suggestion() -> None:
    done = run("compil")
    assert done.exit_code == 2
    assert "did you mean `compile`?" in done.stderr


def test_a_missing_argument_is_a_usage_error() -> None:
    assert run("count").exit_code == 2


def program(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)


def test_no_help_imports_torch(tmp_path: Path, tiny: Path) -> None:
    """Nor do help and hints of a search module, which `nasc search` runs in a process of its own."""
    assert run("compile", tiny, "-o", tmp_path / "built").exit_code == 0
    done = program(EVERY_HELP.replace("SEARCH", repr(str(tmp_path / "built" / "search.py"))))
    assert done.returncode == 0, done.stderr
    assert "Search the space `tiny`" in done.stdout and "search.py --data synthetic --cost macs" in done.stdout


def test_what_is_loaded_is_said_before_it_is(tmp_path: Path, tiny: Path) -> None:
    assert run("compile", tiny, "-o", tmp_path / "built").exit_code == 0
    member, data = str(tiny_member(tmp_path)), ["--data", "digits"]
    lines = [
        ["nasc", "train", member, *data, "--out", "x"],
        ["nasc", "eval", member, *data, "--weights", "x"],
        ["nasc", "compare", str(tiny), *data, "--budget", "5steps"],
        [str(tmp_path / "built" / "search.py"), "--cost=macs", *data, "--out", "x"],
    ]
    done = program(FIRST_WORDS.replace("LINES", repr(lines)))
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        words for line in lines for words in (f"| {line[1]}", "loading PyTorch and the data digits")
    ]


@pytest.mark.parametrize("command", ["check", "count", "cost", "show", "fmt"])
def test_loads_nothing_heavy(command: str) -> None:
    program = (
        "import sys; from nasc.cli import main\n"
        f"try: main(['{command}', '{GPUNET}'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'networkx', 'onnx', 'onnxruntime', 'rich', 'jinja2', 'numpy', 'matplotlib'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "heavy: []" in done.stderr


def test_compile_of_a_space_loads_neither_torch_nor_onnx(tmp_path: Path) -> None:
    program = (
        "import sys; from nasc.cli import main\n"
        f"try: main(['compile', '{GPUNET}', '-o', '{tmp_path / 'out'}'])\n"
        "except SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'onnx', 'onnxruntime', 'networkx'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "heavy: []" in done.stderr


# ------------------------------------------------------------------------------------------------- reading


def test_check_reports_all_errors_and_exits_with_1(tmp_path: Path) -> None:
    """Exercises: command check."""
    done = run("check", _written(tmp_path / "bad.nas", BAD), GPUNET)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "stage s irbb" in done.stderr and "did you mean `irb`?" in done.stderr
    assert run("check", GPUNET).exit_code == 0


def test_check_gives_editors_json(tmp_path: Path) -> None:
    found = json.loads(run("check", "--format", "json", _written(tmp_path / "bad.nas", BAD)).stdout)
    assert [(d["severity"], d["line"], d["column"]) for d in found] == [("error", 5, 11)]


def test_fmt_changes_in_place_and_only_once(tmp_path: Path) -> None:
    """Exercises: command fmt."""
    path = _written(tmp_path / "tiny.nas", TINY)
    path.chmod(0o640)
    assert run("fmt", "--check", path).exit_code == 1
    assert path.read_text() == TINY
    assert run("fmt", path).exit_code == 0
    assert path.read_text() != TINY
    assert path.stat().st_mode & 0o777 == 0o640
    assert run("fmt", "--check", path).exit_code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.nas"]


def test_fmt_leaves_a_broken_file_alone(tmp_path: Path) -> None:
    path = _written(tmp_path / "bad.nas", "space a {\n  stage s conv { kernel = 3 }\n}\n")
    done = run("fmt", path)
    assert done.exit_code == 1 and "E0102" in done.stderr
    assert "kernel = 3" in path.read_text()


def test_count_prints_the_number_alone() -> None:
    """Exercises: command count."""
    assert run("count", GPUNET).stdout == "110966074150861980032677153370819002368000\n"
    factors = json.loads(run("count", "--factors", "--format", "json", DIGITS).stdout)
    product = 1
    for layer in factors["layers"]:
        product *= layer["ways"] + layer["skippable"]
    assert product == factors["members"] == int(run("count", DIGITS).stdout)


def test_count_of_more_digits_than_python_prints_by_itself(tmp_path: Path) -> None:
    text = TINY.replace("x 2", "x 1000").replace("(1, 3]", "(1, 400000]")
    done = run("count", _written(tmp_path / "huge.nas", text))
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout) > 5000


def test_cost_is_exact() -> None:
    """Exercises: command cost."""
    assert json.loads(run("cost", "--format", "json", GPUNET_1).stdout) == {"params": 12704192, "macs": 3308369280}
    space = json.loads(run("cost", "--format", "json", GPUNET).stdout)
    assert space["params"]["min"] < 12704192 < space["params"]["max"]


def test_show_lists_each_layer_and_draws(tmp_path: Path) -> None:
    """Exercises: command show."""
    rows = json.loads(run("show", "--format", "json", GPUNET).stdout)
    assert [row["layer"] for row in rows][:3] == ["stem.1", "conv.1", "conv.2"]
    assert rows[4]["choices"].endswith("expand 32 .. 512 step 32, may be dropped") and rows[4]["members"] == 65
    assert "fused1.2" in run("show", GPUNET).stdout
    assert run("show", DIGITS, "--svg", tmp_path / "d.svg").exit_code == 0
    from xml.etree import ElementTree

    assert "high.2" in "".join(ElementTree.parse(tmp_path / "d.svg").getroot().itertext())


TWO_FORMS = """nas 1
space s {
  input image 4 x 8 x 8
  output classes 3
  stage a irb x 2         { kernel 3  hidden 8 .. 40 step 8 } -> 4
  stage b squeeze_excite  { width 1 .. 4 }
  head global_pool | linear
}
"""


def test_show_says_which_prunodes_share_their_channels_and_why_others_do_not(tmp_path: Path) -> None:
    (tmp_path / "s.nas").write_text(TWO_FORMS, encoding="utf-8")
    *_, counted, why = run("show", tmp_path / "s.nas").stdout.splitlines()
    assert counted == "Prunodes: 3, of which 2 compute their hidden channels once for both widths"
    assert why.startswith("  squeeze_excite in b.1: each width from the start, because one step makes")
    found = json.loads(run("show", "--format", "json", tmp_path / "s.nas").stdout)
    rows = {row["layer"]: row["prunodes"] for row in found}
    assert rows["a.2"] == [{"block": "irb", "shared": True, "why": None}] and rows["head"] == []
    assert not rows["b.1"][0]["shared"] and "mixes" in rows["b.1"][0]["why"]


def test_compile_writes_literal_prunodes(tmp_path: Path) -> None:
    assert run("compile", FASHION, "--prunode", "literal", "-o", tmp_path / "f").exit_code == 0
    assert "masked(h, width)" in (tmp_path / "f" / "supernet.py").read_text(encoding="utf-8")
    fbnet = SPACES / "fbnet.nas"
    refused = run("compile", fbnet, "--method", "fbnet", "--prunode", "literal", "-o", tmp_path / "g")
    assert refused.exit_code == 1 and "no Prunodes" in refused.stderr


def test_contains_answers_by_its_exit_code() -> None:
    """Exercises: command contains."""
    assert run("contains", GPUNET, GPUNET_1).exit_code == 0
    no = run("contains", GPUNET_1, GPUNET)
    assert no.exit_code == 1 and no.stdout.startswith("no")
    assert json.loads(run("contains", "--format", "json", DIGITS, GPUNET).stdout)["contains"] is False


def test_diff_names_what_differs_and_answers_by_its_exit_code() -> None:
    """Exercises: command diff."""
    differing, same = run("diff", GPUNET, GPUNET_1), run("diff", GPUNET, GPUNET)
    assert "fused1" in differing.stdout and differing.exit_code == 1
    assert same.stdout == "" and same.exit_code == 0
    for other, code in ((GPUNET, 0), (GPUNET_1, 1)):
        found = run("diff", "--format", "json", GPUNET, other)
        assert found.exit_code == code and bool(json.loads(found.stdout)["differences"]) == code
    assert "Exits with 0" in run("diff", "--help").stdout


def test_doc_and_explain() -> None:
    """Exercises: command doc, command explain."""
    listed = run("doc").stdout
    for block in ("conv", "depthwise_separable", "irb", "fused_irb", "mbv3", "basic", "bottleneck"):
        assert f"block {block}(" in listed
    assert "depthwise(kernel, stride, padding)" in run("doc", "irb").stdout
    assert "did you mean `irb`?" in run("doc", "irbb").stderr
    assert "Mend:" in run("explain", "e0102").stdout
    assert run("explain", "E9999").exit_code == 1


def test_engines_are_listed() -> None:
    """Exercises: command engines."""
    assert {"engine": "onnxruntime", "available": True, "reason": None} in json.loads(
        run("engines", "--format", "json").stdout
    )


# ------------------------------------------------------------------------------------------------- settings


def test_settings_change_the_space() -> None:
    six = int(run("count", GPUNET, "--set", "irb3.x=6").stdout)
    assert six == 49823767293737029034672041863497732063232000  # Table 1 as printed: one layer more in stage 6
    assert run("count", GPUNET, "--set", "irb3.kernel=3").stdout != run("count", GPUNET).stdout
    assert run("count", DIGITS, "--set", "granularity=16").exit_code == 0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("irb9.x=6", "did you mean `irb3`?"),
        ("grnularity=3", "did you mean `granularity`?"),
        ("irb3.expnd=6", "did you mean `expand`?"),
        ("irb3.x", "is not a setting"),
        ("irb3.x=", "--set irb3.x"),
        ("a.b.c=1", "names no place"),
    ],
)
def test_a_setting_that_fits_nothing_is_explained(setting: str, said: str) -> None:
    done = run("count", GPUNET, "--set", setting)
    assert done.exit_code == 1 and said in done.stderr and "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------------- sampling


def test_sample_draws_members_of_the_space(tmp_path: Path) -> None:
    """Exercises: command sample."""
    done = run("sample", GPUNET, "-n", "2", "--seed", "3", "-o", tmp_path, "--macs", "3G..6G", "--format", "json")
    assert done.exit_code == 0, done.stderr
    for row in json.loads(done.stdout):
        assert 3e9 <= row["macs"] <= 6e9
        assert run("contains", GPUNET, row["file"]).exit_code == 0
        assert json.loads(run("cost", "--format", "json", row["file"]).stdout)["macs"] == row["macs"]


def test_sample_says_when_it_cannot(tmp_path: Path) -> None:
    beyond = run("sample", GPUNET, "--macs", "30G..", "-o", tmp_path / "none")
    assert beyond.exit_code == 1 and "no member of `gpunet1`" in beyond.stderr
    rare = run("sample", GPUNET, "--macs", "150M..151M", "--attempts", "20", "-o", tmp_path / "none")
    assert rare.exit_code == 1 and "of 20 members drawn" in rare.stderr
    assert "is not a range" in run("sample", GPUNET, "--macs", "200M").stderr
    assert "--table" in run("sample", GPUNET, "--latency", "1ms..2ms").stderr
    assert not (tmp_path / "none").exists()


# ------------------------------------------------------------------------------------------------- compiling


def test_compile_of_a_space_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    """Exercises: command compile."""
    for name in ("a", "b"):
        assert run("compile", GPUNET, "-o", tmp_path / name).exit_code == 0
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == ["manifest.json", "search.py", "space.json", "space.nas", "supernet.py"]
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in files)


def test_compile_replaces_only_what_is_its_own(tmp_path: Path, tiny: Path) -> None:
    own, foreign = tmp_path / "own", tmp_path / "foreign"
    assert run("compile", tiny, "-o", own).exit_code == 0
    member = tiny_member(tmp_path)
    assert run("compile", member, "-o", own).exit_code == 0
    assert not (own / "search.py").exists() and (own / "model.py").exists()
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("keep")
    refused = run("compile", tiny, "-o", foreign)
    assert refused.exit_code == 1 and "--force" in refused.stderr
    assert [p.name for p in foreign.iterdir()] == ["thesis.txt"]
    assert run("compile", tiny, "-o", foreign, "--force").exit_code == 0


def test_compiled_text_has_the_settings(tmp_path: Path, tiny: Path) -> None:
    assert run("compile", tiny, "-o", tmp_path / "out", "--set", "s.x=3").exit_code == 0
    assert run("count", tmp_path / "out" / "space.nas").stdout == run("count", tiny, "--set", "s.x=3").stdout


def test_equal_layers_share_a_manifest_entry(tmp_path: Path, tiny: Path) -> None:
    assert run("compile", tiny, "-o", tmp_path / "out").exit_code == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    uses = {(u["layer"], u["variant"]) for e in manifest["entries"] for u in e["uses"]}
    assert uses == {("stem.1", 0), ("s.1", 0), ("s.1", 1), ("s.2", 0), ("s.2", 1), ("head", 0)}
    assert len(manifest["entries"]) == 4  # the stem, the head, and one for each kernel
    asked = {"name": "cpu", "engine": "onnxruntime", "precision": "fp32", "batch": 1, "device": None}
    assert manifest["targets"] == [{**asked, "size": None, "weight": 1.0, "limit_ms": None}]


@pytest.mark.parametrize("method", [name for name, found in OWN.items() if not found.search])
def test_a_method_that_cannot_run_yet_is_refused(method: str, tmp_path: Path, tiny: Path) -> None:
    done = run("compile", tiny, "-o", tmp_path / "out", "--method", method)
    assert done.exit_code == 1 and "cannot be compiled yet" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_lowered_yet_is_said_at_its_place(tmp_path: Path) -> None:
    done = run("compile", SPACES / "vit.nas", "-o", tmp_path / "out")
    assert done.exit_code == 1 and "vit.nas:" in done.stderr and "E0380" in done.stderr


# ------------------------------------------------------------------------------------------------- running


def test_profile_train_eval_report(tmp_path: Path, tiny: Path) -> None:
    """Exercises: command profile, command train, command eval, command report, engine onnxruntime."""
    built, table = tmp_path / "built", tmp_path / "latency.db"
    assert run("compile", tiny, "-o", built).exit_code == 0
    first = json.loads(run("profile", built, "--table", table, "--limit", "3", "--format", "json").stdout)
    assert first["onnxruntime"]["measured"] == 3
    again = json.loads(run("profile", built, "--table", table, "--format", "json").stdout)["onnxruntime"]
    assert again["present"] == 3 and again["measured"] == again["points"] - 3 and not again["failures"]
    drawn = run("sample", tiny, "-n", "2", "--latency", "0us..1s", "--table", table, "-o", tmp_path / "drawn")
    assert drawn.exit_code == 0, drawn.stderr
    member, out = Path(drawn.stdout.split()[0]), tmp_path / "run"
    options = ["--data", "synthetic:64", "--out", out, "--epochs", "2", "--batch", "16", "--threads", "1"]
    trained = run("train", member, *options, "--format", "json")
    assert trained.exit_code == 0, trained.stderr
    assert "already holds" in run("train", member, *options).stderr
    weights = ["--weights", out / "weights.safetensors", "--data", "synthetic:64"]
    measured = json.loads(run("eval", member, *weights, "--format", "json").stdout)
    assert measured["top1"] == pytest.approx(json.loads(trained.stdout)["top1"])
    page = Path(run("report", out).stdout.strip()).read_text()
    assert page.count("data:image/svg+xml;base64,") == 2 and "http" not in page.replace("http://www.w3.org", "")


def test_search_runs_the_generated_module(tmp_path: Path, tiny: Path) -> None:
    """Exercises: command search, method prunet."""
    built = tmp_path / "built"
    assert run("compile", tiny, "-o", built).exit_code == 0
    command = [sys.executable, "-m", "nasc", "search", str(built), "--data", "synthetic:32", "--cost", "macs"]
    command += ["--epochs", "3", "--batch", "8", "--threads", "1", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    best = tmp_path / "run" / "best.nas"
    assert run("count", best).stdout == "1\n"
    assert run("contains", tiny, best).exit_code == 0
    assert run("search", tmp_path, "--data", "digits").exit_code == 1
    said = subprocess.run([*command, "--table", "none.db", "--resume"], capture_output=True, text=True, check=False)
    assert said.returncode == 0 and "note: --table is not looked at: the search is for macs" in said.stderr
    assert "note: " not in done.stderr


def test_one_network_is_nothing_to_search(tmp_path: Path, tiny: Path) -> None:
    member = tiny_member(tmp_path)
    for method in ("figs", "random"):
        done = run("compile", member, "--method", method, "-o", tmp_path / "out")
        assert done.exit_code == 1 and "is one network: there is nothing to search" in done.stderr
    assert not (tmp_path / "out").exists()


def test_train_refuses_a_space(tmp_path: Path, tiny: Path) -> None:
    done = run("train", tiny, "--data", "synthetic", "--out", tmp_path / "run")
    assert done.exit_code == 1 and "open decisions" in done.stderr


# ------------------------------------------------------------------------------------------------- mistakes and ends


def test_a_bug_is_owned_up_to_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("x")

    monkeypatch.setattr("nasc.compiler.count.count_members", broken)
    monkeypatch.delenv("NASC_TRACEBACK", raising=False)
    done = run("count", DIGITS)
    assert done.exit_code == 1 and "this is a bug in nasc" in done.stderr and "Traceback" not in done.stderr
    monkeypatch.setenv("NASC_TRACEBACK", "1")
    assert "Traceback" in run("count", DIGITS).stderr


def hear_control_c() -> None:
    """A shell lets what it starts in the background ignore Control-C, and so would what that starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_control_c_ends_with_130() -> None:
    program = (
        "import time, nasc.compiler.count as c, nasc.cli\n"
        "def wait(_):\n    print('ready', flush=True); time.sleep(30)\n"
        f"c.count_members = wait\nnasc.cli.main(['count', '{DIGITS}'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_control_c,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, said) == (130, "\ninterrupted\n")


@pytest.mark.parametrize(
    ("command", "does", "how"),
    [
        ("compare FILE --budget 5steps --data digits", "nasc.runtime.compare.compare", "the same command goes on"),
        ("train FILE --data digits --out run", "nasc.runtime.train_file.train_file", "--resume goes on"),
        ("demo --out demo", "nasc.demo.run_demo", "the same command goes on"),
    ],
)
def test_control_c_says_how_to_go_on(
    command: str, does: str, how: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(does, stopped)
    done = run(*command.replace("FILE", str(tiny)).split())
    assert done.exit_code == 130 and f"\ninterrupted; {how}" in done.stderr


def test_control_c_leaves_a_search_the_time_to_end(tmp_path: Path) -> None:
    """It says how to go on, and nothing is said after it."""
    (tmp_path / "search.py").write_text(
        "import sys, time\nprint('ready', flush=True)\n"
        "try: time.sleep(30)\nexcept KeyboardInterrupt: time.sleep(0.6); sys.exit('how to go on')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "nasc", "search", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_control_c,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, said) == (1, "how to go on\n")


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "nasc", "show", GPUNET], stdout=gone, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == ""


# ------------------------------------------------------------------------------------------------- the Python API


def test_the_api_says_what_the_commands_say(tmp_path: Path) -> None:
    space = nasc.load(DIGITS)
    assert space.name == "digits" and str(space.count()) == run("count", DIGITS).stdout.strip()
    first, second = space.sample(2, seed=1)
    assert first.count() == 1 and space.contains(first).yes is True
    assert first.text == space.sample(2, seed=1)[0].text != second.text
    assert "model.py" in first.compile(tmp_path / "out").files
    with pytest.raises(nasc.NascError, match="irbb"):
        nasc.load(BAD)


def test_importing_nasc_is_cheap() -> None:
    program = "import sys, nasc; print(sorted({'lark', 'pydantic', 'torch'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


# ------------------------------------------------------------------------------------------------- what is shipped

COUNTS = {
    "gpunet1": 110966074150861980032677153370819002368000,
    "gpunet1_product": 1707170371551722769733494667243369267200,
    "gpunet1_table1": 49823767293737029034672041863497732063232000,
    "fbnet": 485758124386377007104,
    "fbnet_paper": 984770902183611232881,
    "nss_expanded": 549755813888,
}
COSTS = {
    "efficientnet_b0": (5288548, 385814752),
    "mobilenet_v3_large": (5483032, 216589760),
    "mobilenet_v1": (4231976, 568740352),
    "fbnet_c": (5572200, 384960160),
    "resnet50": (25557032, 4089184256),
    "gpunet_0": (11885432, 3254209280),
    "gpunet_1": (12704192, 3308369280),
    "fastdepth": (3960930, 736658944),
}
WITH_SPACE = [path for path in sorted(SPACES.glob("*.nas")) if "\nspace " in path.read_text()]


@pytest.mark.parametrize("path", WITH_SPACE, ids=lambda path: path.stem)
def test_every_space_is_checked_counted_and_costed(path: Path) -> None:
    """Exercises: every space."""
    space = nasc.load(path)  # once: the largest take seconds
    count = space.count()
    assert count == COUNTS.get(path.stem, count) > 1
    cost = space.cost()
    assert all(cost[metric]["min"] < cost[metric]["max"] for metric in ("params", "macs"))


@pytest.mark.parametrize("path", sorted((SPACES / "networks").glob("*.nas")), ids=lambda path: path.stem)
def test_every_network_is_checked_counted_and_costed(path: Path) -> None:
    """Exercises: every network."""
    network = nasc.load(path)
    assert network.count() == 1
    cost = network.cost()
    assert (cost["params"], cost["macs"]) == COSTS.get(path.stem, (cost["params"], cost["macs"]))


@pytest.mark.parametrize(
    "name", ["digits", "fashion", "fbnet", "fbnet_paper", "gpunet1_product", "gpunet1_table1", "prunet_table5"]
)
def test_spaces_compile_to_modules_that_can_be_built(name: str, tmp_path: Path) -> None:
    assert run("compile", SPACES / f"{name}.nas", "-o", tmp_path).exit_code == 0
    done = subprocess.run(
        [sys.executable, "search.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )  # imports the SuperNet
    assert done.returncode == 0, done.stderr
    assert "--data synthetic --cost macs --steps 1" in done.stdout
