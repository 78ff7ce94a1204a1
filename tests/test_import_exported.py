"""`nasc import --exported`: a program of torch.export becomes the network that it is, with its weights."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

import nasc.exported.imported as importer
from nasc.cli import main
from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.network import network_of
from nasc.dsl.diagnostics import NascError
from nasc.dsl.format import format_text
from nasc.exported.imported import imported_program
from nasc.runtime.member_model import module_of
from tests import exported_modules, references
from tests.exported_modules import LinearGate, conv, randomised
from tests.spaces import ROOT, space_of
from tests.test_distill import Evil, replaced, rewritten

SIDE = 32


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def saved(module: nn.Module, path: Path, side: int = SIDE, core: bool = False, batch: int = 1) -> Path:
    """The module as an exported program; `core`: decomposed into the core operators."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (torch.randn(batch, 3, side, side),))
        torch.export.save(program.run_decompositions() if core else program, path)
    return path


def network_and_outputs(text: str, weights: dict[str, Any], images: Tensor) -> Tensor:
    module = module_of(network_of(space_of(text))).eval()
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    with torch.no_grad():
        outputs: Tensor = module(images)
    return outputs


def check_same(module: nn.Module, path: Path, side: int = SIDE, core: bool = False) -> str:
    """Import the module, compare it with what torch itself computes, and return the text."""
    saved(module, path, side, core)
    found = imported_program(path, "net")
    assert found.text == format_text(found.text)
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = module(images)
    got = network_and_outputs(found.text, found.weights, images)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5 * max(1.0, float(wanted.abs().max())))
    assert sum(p.numel() for p in module.parameters()) <= cost_of(space_of(found.text)).as_json()["params"]
    return found.text


def body(text: str) -> str:
    """From the first block on."""
    return text.partition("// Imported from program.pt2.\n")[2].strip()


# -------------------------------------------------------------------------------------------- published networks


def rows(text: str) -> list[str]:
    """For each stage its block, how often and how wide."""
    found = re.findall(r"^ *stage \w+ +(\w+)(?: +x (\d+))?[^>\n]*?(?:-> (\d+)|$)", text, re.MULTILINE)
    return [" ".join(filter(None, row)) for row in found]


PUBLISHED = {
    "mobilenet_v2": (
        "conv 32, depthwise_separable 16, irb 2 24, irb 3 32, irb 4 64, irb 3 96, irb 3 160, irb 320, conv 1280"
    ),
    "mobilenet_v3_large": (
        "conv 16, depthwise_separable 16, mbv3 2 24, mbv3 3 40, mbv3 4 80, mbv3 2 112, mbv3 3 160, conv 960"
    ),
    "efficientnet_b0": (
        "conv 32, depthwise_separable 16, irb 2 24, irb 2 40, irb 3 80, irb 3 112, irb 4 192, irb 320, conv 1280"
    ),
    "resnet18": "conv 64, max_pool, basic 2 64, basic 2 128, basic 2 256, basic 2 512",
    "resnet50": "conv 64, max_pool, bottleneck 3 256, bottleneck 4 512, bottleneck 6 1024, bottleneck 3 2048",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_of_the_repository_come_back(tmp_path: Path, name: str) -> None:
    """Stage for stage the file that they were compiled from, but for the names of stages."""
    text = (ROOT / "spaces" / "networks" / f"{name}.nas").read_text()
    text = re.sub(r"3 x \d+ x \d+", f"3 x {SIDE} x {SIDE}", text)
    module = randomised(module_of(network_of(space_of(text))))
    found = check_same(module, tmp_path / "program.pt2")
    assert "block " not in found, "all of these have blocks of the library alone"
    assert cost_of(space_of(found)).as_json() == cost_of(space_of(text)).as_json()
    assert ", ".join(rows(found)) == PUBLISHED[name]


def test_a_reference_in_plain_torch(tmp_path: Path) -> None:
    """Through the command line, and through the files that `nasc compile` writes."""
    module = randomised(references.mobilenet_v3_large())
    saved(module, tmp_path / "large.pt2", 64)
    net, weights, out = tmp_path / "large.nas", tmp_path / "large.safetensors", tmp_path / "out"
    run = CliRunner().invoke(
        main, ["import", "--exported", str(tmp_path / "large.pt2"), "-o", str(net), "--weights", str(weights)]
    )
    assert run.exit_code == 0, run.output
    assert run.stdout.split() == [str(net), str(weights)]
    assert "parameters" in run.stderr and "differ from the program's by" in run.stderr
    assert ", ".join(rows(net.read_text())) == PUBLISHED["mobilenet_v3_large"]
    compiled = CliRunner().invoke(main, ["compile", str(net), "--weights", str(weights), "-o", str(out)])
    assert compiled.exit_code == 0, compiled.output
    spec = importlib.util.spec_from_file_location("imported_large", out / "model.py")
    assert spec is not None and spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    made = code.Large().eval()
    made.load_state_dict(load_file(weights))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(made(images), module(images), rtol=1e-5, atol=1e-5)


# -------------------------------------------------------------------------------------------- blocks of one's own

TEXTS = {
    "inception": """
block part1(hidden, hidden2, kernel, hidden3, hidden4, kernel2, hidden5, hidden6) {
  x1 = in | conv2d(1) -> hidden | bn | relu
  x2 = in | conv2d(1) -> hidden2 | bn | relu | conv2d(kernel) -> hidden3 | bn | relu
  x3 = in | conv2d(1) -> hidden4 | bn | relu | conv2d(kernel2) -> hidden5 | bn | relu
  x4 = in | max_pool(kernel) | conv2d(1) -> hidden6 | bn | relu
  concat(x1, x2, x3, x4)
}
""",
    "dense": """
block part1(hidden, kernel, hidden2) {
  x1 = in | bn | relu | conv2d(1) -> hidden | bn | relu | conv2d(kernel) -> hidden2
  concat(in, x1)
}

block part2 -> filters {
  in | bn | relu | conv2d(1) -> filters
}

block part3 {
  in | bn | relu
}
""",
    "gated": """
block part1(hidden) {
  x1 = in | global_pool | conv2d(1, bias = yes) -> hidden | relu | conv2d(1, bias = yes) -> in.channels | sigmoid
  mul(in, x1)
}
""",
    "halves": """
block part1(start, stop, start2, stop2) {
  x1 = in | channels(start, stop) | swish
  x2 = in | channels(start2, stop2) | sigmoid
  x3 = concat(x1, x2)
  add(x3, in)
}
""",
    "skips": """
block part1(kernel, first stride = 1, hidden, hidden2, hidden3) {
  x1 = in | conv2d(kernel, stride = stride) -> hidden | bn | relu
  x2 = x1 | conv2d(kernel, stride = stride) -> hidden2 | bn | relu | upsample
  x3 = concat(x2, x1) | conv2d(kernel) -> hidden3 | bn | relu | upsample
  concat(x3, in)
}
""",
    "odd": "",
}


@pytest.mark.parametrize("core", [False, True])
@pytest.mark.parametrize("name", TEXTS)
def test_structures_that_the_library_has_not(tmp_path: Path, name: str, core: bool) -> None:
    """Equal ones are one block; decomposed programs give the same text where their operators are understood."""
    module = randomised(getattr(exported_modules, name)())
    if core and name == "odd":
        with pytest.raises(NascError, match=r"`add` \(in `0.3`\) cannot be imported"):
            check_same(module, tmp_path / "program.pt2", core=True)
        return
    text = body(check_same(module, tmp_path / "program.pt2", core=core))
    assert text.partition("network ")[0].strip() == TEXTS[name].strip()


def test_widths_of_what_was_imported_can_be_opened(tmp_path: Path) -> None:
    text = imported_program(saved(exported_modules.inception().eval(), tmp_path / "program.pt2"), "net").text
    opened, count = re.subn(r"hidden2 16", "hidden2 {8, 16, 24}", text.replace("network net", "space net"))
    assert count == 2 and count_members(space_of(opened)) == 3**3, "one choice for each layer"


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x.mean((2, 3), keepdim=True))


class Around(nn.Module):
    """What comes in is added to what the parts make of it, or put before it."""

    def __init__(self, join: str, *parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.join = nn.Sequential(*parts), join

    def forward(self, x: Tensor) -> Tensor:
        y = self.parts(x)
        return torch.cat([x, y], 1) if self.join == "concat" else x + y if self.join == "add" else y + x


@st.composite
def modules(draw: st.DrawFn) -> nn.Module:
    """A classifier from parts that are drawn one after another."""
    width, parts = 3, []
    for _ in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(["conv", "depthwise", "norm", "act", "pool", "gate", "linear gate", "around"]))
        wide = draw(st.sampled_from([4, 6, 8]))
        kernel, stride = draw(st.sampled_from([1, 2, 3, 5])), draw(st.integers(1, 2))
        pad = draw(st.sampled_from([0, kernel // 2]))
        if kind == "conv":
            parts.append(nn.Conv2d(width, wide, kernel, stride, pad, bias=draw(st.booleans())))
            width = wide
        elif kind == "depthwise":
            parts.append(nn.Conv2d(width, width, kernel, stride, pad, groups=width, bias=draw(st.booleans())))
        elif kind == "around":
            join = draw(st.sampled_from(["add", "added", "concat"]))
            inner = [conv(width, wide, 1), nn.Conv2d(wide, width, 3, padding=1), nn.BatchNorm2d(width)]
            parts.append(Around(join, *inner[draw(st.sampled_from([0, 2])) :]))
            width *= 2 if join == "concat" else 1
        else:
            simple: dict[str, Callable[[], nn.Module]] = {
                "norm": lambda: nn.BatchNorm2d(width, eps=1e-3),  # noqa: B023
                "act": draw(st.sampled_from([nn.ReLU, nn.SiLU, nn.Hardswish, nn.ReLU6])),
                "pool": lambda: nn.MaxPool2d(2),
                "gate": Gate,
                "linear gate": lambda: LinearGate(width),  # noqa: B023
            }
            parts.append(simple[kind]())
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(modules(), st.integers(0, 100))
def test_any_module_of_these_parts(tmp_path: Path, module: nn.Module, seed: int) -> None:
    """Whatever the structure: the outputs are torch's."""
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, 3, SIDE, SIDE))
    except RuntimeError:
        return  # pooled below one pixel
    check_same(randomised(module, seed), tmp_path / "program.pt2")


# -------------------------------------------------------------------------------------------- what cannot be imported


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2.0 * x


def with_part(part: nn.Module) -> nn.Module:
    return exported_modules.classified(8, conv(3, 8, 3), nn.Sequential(nn.Identity(), part)).eval()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (nn.Softplus(), r"`softplus` \(in `1.1`\) cannot be imported: nas has no such operator"),
        (nn.Hardtanh(), r"`hardtanh` \(in `1.1`\) .* only 0 .. 6 \(relu6\)"),
        (nn.MaxPool2d(3, ceil_mode=True), r"`max_pool2d` \(in `1.1`\)"),
        (nn.AvgPool2d(3, padding=1), r"`avg_pool2d` \(in `1.1`\) .* counts its padding"),
        (nn.Conv2d(8, 8, 3, stride=(1, 2)), r"`conv2d` \(in `1.1`\) .* its stride is 1 x 2"),
        (nn.ConvTranspose2d(8, 8, 3), r"`conv_transpose2d` \(in `1.1`\)"),
        (nn.AdaptiveAvgPool2d(2), r"`adaptive_avg_pool2d` \(in `1.1`\) .* 1 x 1"),
        (nn.ZeroPad2d(1), r"`pad` \(in `1.1`\)"),
        (nn.LayerNorm([8, SIDE, SIDE]), r"`layer_norm` \(in `1.1`\)"),
        (Scaled(), r"`mul` \(in `1.1`\)"),
    ],
)
def test_operators_without_counterpart(tmp_path: Path, part: nn.Module, message: str) -> None:
    saved(with_part(part), tmp_path / "program.pt2")
    run = CliRunner().invoke(
        main, ["import", "--exported", str(tmp_path / "program.pt2"), "-o", str(tmp_path / "o.nas")]
    )
    assert run.exit_code == 1 and re.search(message, run.stderr), run.stderr
    assert run.stdout == "" and not (tmp_path / "o.nas").exists()


class TwoResults(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x + x


class Unpooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8 * SIDE * SIDE, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(conv(3, 8, 3), nn.Dropout(0.1)).train(), "as it is in training"),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(0.1)).train(), "as it is in training"),
        (TwoResults(), "takes 1 inputs and gives"),
        (nn.Identity(), "not computed from its input"),
        (nn.Sequential(conv(3, 8, 3), Unpooled()).eval(), r"`flatten` \(in `1`\) .* global pooling"),
        (nn.Sequential(conv(3, 8, 3), nn.AdaptiveAvgPool2d(1)).eval(), "ends in a vector that no linear layer makes"),
    ],
)
def test_programs_that_are_no_network(tmp_path: Path, module: nn.Module, message: str) -> None:
    with pytest.raises(NascError, match=message) as caught:
        imported_program(saved(module, tmp_path / "program.pt2"), "net")
    assert "teacher" not in caught.value.message


def test_other_inputs_than_images(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "state.pt2")
    with pytest.raises(NascError, match="not an archive of one exported program") as caught:
        imported_program(tmp_path / "state.pt2", "net")
    assert caught.value.help and "torch.export.save(" in caught.value.help and "ONNX" not in caught.value.help
    torch.export.save(torch.export.export(nn.Linear(4, 2).eval(), (torch.zeros(3, 4),)), tmp_path / "rows.pt2")
    with pytest.raises(NascError, match="the program takes 3 x 4: it must take images of one size"):
        imported_program(tmp_path / "rows.pt2", "net")


def test_an_open_or_a_larger_batch(tmp_path: Path) -> None:
    module, images = with_part(nn.ReLU()), torch.randn(4, 3, SIDE, SIDE)
    torch.export.save(
        torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim.AUTO},)), tmp_path / "open.pt2"
    )
    fixed = imported_program(saved(module, tmp_path / "fixed.pt2", batch=4), "net")
    found = imported_program(tmp_path / "open.pt2", "net")
    assert found.text.replace("open", "fixed") == fixed.text
    assert all(np.array_equal(array, fixed.weights[name]) for name, array in found.weights.items())


def test_what_differs_from_the_program_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison at the end can fail: a weight that is lost on the way is noticed."""
    whole = importer._weights

    def broken(*arguments: Any) -> dict[str, Any]:
        found = whole(*arguments)
        name = next(name for name in found if name.endswith("running_mean"))
        return {**found, name: found[name] + 1}

    monkeypatch.setattr(importer, "_weights", broken)
    saved(randomised(with_part(nn.ReLU())), tmp_path / "program.pt2")
    out = tmp_path / "net.nas"
    run = CliRunner().invoke(main, ["import", "--exported", str(tmp_path / "program.pt2"), "-o", str(out)])
    assert run.exit_code == 1 and "other outputs than the program" in run.stderr and not out.exists()


# -------------------------------------------------------------------------------------------- the command


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    program, net = str(saved(with_part(nn.ReLU()), tmp_path / "2nd-net.pt2")), tmp_path / "net.nas"
    for arguments, message in (
        (["--exported", program, "--size", "64"], "--size cannot be given with --exported"),
        (["--exported", program, "ds_r1_k3_s1_e1_c16"], "block strings cannot be given with --exported"),
        (["ds_r1_k3_s1_e1_c16", "--weights", "w"], "--weights is for --exported"),
        ([], "give block strings, a file of them, or --exported"),
    ):
        run = CliRunner().invoke(main, ["import", *arguments])
        assert run.exit_code == 2 and message in run.stderr
    net.write_text("mine")
    run = CliRunner().invoke(main, ["import", "--exported", program, "-o", str(net)])
    assert run.exit_code == 1 and "is there already" in run.stderr and net.read_text() == "mine"
    weights = tmp_path / "w.safetensors"
    run = CliRunner().invoke(main, ["import", "--exported", program, "--weights", str(weights)])
    assert run.exit_code == 0 and "network net_2nd_net {" in run.stdout and weights.exists()
    assert run.stdout == format_text(run.stdout), "standard output is the file alone"


# -------------------------------------------------------------------------------------------- strangers' files


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = nn.Sequential(conv(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    return saved(module, tmp_path_factory.mktemp("program") / "program.pt2")


def test_damaged_files_are_refused_or_still_read(tmp_path: Path, program: Path) -> None:
    """Whatever byte is wrong, nothing but a NascError is raised."""
    whole, generator = program.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(80):
        changed = bytearray(whole)
        for _ in range(generator.randint(1, 20)):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        (tmp_path / "damaged.pt2").write_bytes(changed)
        try:
            imported_program(tmp_path / "damaged.pt2", "net")
        except NascError:
            refused += 1
    assert refused > 5


def test_pickles_are_not_read(tmp_path: Path, program: Path) -> None:
    changed = replaced('"use_pickle": false', '"use_pickle": true', "weights_config.json")
    rewritten(program, tmp_path / "pickle.pt2", changed)
    with pytest.raises(NascError, match=r"stores .* as a pickle, which could run code"):
        imported_program(tmp_path / "pickle.pt2", "net")
    torch.save({"weight": Evil(tmp_path / "owned")}, tmp_path / "evil.pt2")
    with pytest.raises(NascError):
        imported_program(tmp_path / "evil.pt2", "net")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("old", "new", "file"),
    [
        ("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default", "model.json"),
        ("torch.ops.aten.relu.default", "torch.ops.load_library", "model.json"),
        ("torch.ops.aten.relu.default", "builtins.eval", "model.json"),
        (
            '"sizes": [{"as_int": 2}, {"as_int": 4}]',
            '"sizes": [{"as_int": 2}, {"as_int": 4000000}]',
            "weights_config.json",
        ),
        (
            '"sizes": [{"as_int": 2}, {"as_int": 4}], ',
            '"sizes": [{"as_int": 200000}, {"as_int": 4000000}], ',
            "weights_config.json",
        ),
        ('"path_name": "weight_0"', '"path_name": "../../../../etc/passwd"', "weights_config.json"),
        (f'{{"as_int": {SIDE}}}', '{"as_int": 999999}', "model.json"),
    ],
)
def test_hostile_archives(tmp_path: Path, program: Path, old: str, new: str, file: str) -> None:
    rewritten(program, tmp_path / "t.pt2", replaced(old, new, file))
    with pytest.raises(NascError, match=r"cannot be imported|not a readable|too many|E\d{4}"):
        imported_program(tmp_path / "t.pt2", "net")


def test_small_tensors_do_not_unfold_to_large_ones(tmp_path: Path, program: Path) -> None:
    """Strides of 0 would repeat one number as often as the file says."""

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return content
        text = re.sub(rb'("strides": \[)[^]]*', rb'\1{"as_int": 0}', content)
        return re.sub(rb'("sizes": \[)[^]]*', rb'\1{"as_int": 1000000000000}', text)

    rewritten(program, tmp_path / "bomb.pt2", change)
    with pytest.raises(NascError, match="cut off"):
        imported_program(tmp_path / "bomb.pt2", "net")


def test_names_cannot_write_lines(tmp_path: Path, program: Path) -> None:
    """Names of files and modules are a stranger's: in the text and in messages they stay within their line."""
    path = rewritten(program, tmp_path / "a\nstage evil conv\x1b[2J.pt2", lambda _, content: content)
    assert imported_program(path, "net").text.splitlines()[2] == "// Imported from a?stage evil conv?[2J.pt2."
    hostile = replaced("aten.relu.default", "aten.so\\u001b[2J\\nftplus.default")
    with pytest.raises(NascError) as caught:
        imported_program(rewritten(program, tmp_path / "t.pt2", hostile), "net")
    assert caught.value.message.isprintable()


def test_no_module_of_torch_that_reads_pickles_is_used(program: Path) -> None:
    """Reading never reaches torch.load, nor the deserialiser of torch.export, in a process of its own."""
    code = (
        "import sys, torch, torch.export\n"
        "def refuse(*_, **__): raise SystemExit('called')\n"
        "torch.load = torch.export.load = refuse\n"
        "import torch._export.serde.serialize as serde; serde.deserialize = serde.deserialize_torch_artifact = refuse\n"
        "from pathlib import Path\n"
        "from nasc.exported.imported import imported_program\n"
        "print(imported_program(Path(sys.argv[1]), 'net').difference < 1e-5)\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code, str(program)], capture_output=True, text=True, env=environment, check=False
    )
    assert run.stdout.strip() == "True", run.stderr
