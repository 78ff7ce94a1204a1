"""Generated `model.py` as a person gets it: types, named outputs, errors, and what it says of itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nasc.compiler.cost import cost_of
from nasc.compiler.lower_torch import model_source
from nasc.compiler.member import member_text
from nasc.compiler.network import network_of
from nasc.compiler.sample import sample_members
from tests.spaces import ROOT, elaborated, in_space, module_of, space_of

torch.set_num_threads(1)
SMALL = in_space(" stage a conv x 2 { kernel 3 } -> 4\n head global_pool | linear")
PYRAMID = """
nas 1

network pyramid {
  input   image 3 x 32 x 32
  output  features count, class, odd
  stage count  conv { kernel 3  stride 2 } -> 4
  stage class  conv { kernel 3  stride 2 } -> 6
  stage odd    conv { kernel 3  padding 0 } -> 5
}
"""


def member(name: str) -> str:
    """A member of a shipped space as code."""
    module = module_of(ROOT / "spaces" / f"{name}.nas")
    space = elaborated(module)
    (drawn,) = sample_members(space, 1, seed=5)
    return model_source(network_of(space_of(member_text(space, drawn, module))))


def names_of(source: str) -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": "model"}
    exec(compile(source, "model.py", "exec"), found)
    return found


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    for name in ("detection", "netadapt_v2_fastdepth", "shared_cells", "tiny_gpt"):
        (folder / f"{name}.py").write_text(member(name), encoding="utf-8")
    for path in (ROOT / "spaces/networks").glob("*.nas"):
        if path.stem in ("mobilenet_v3_large", "deit_tiny", "convnext_tiny"):
            (folder / f"{path.stem}.py").write_text(model_source(network_of(space_of(path))), encoding="utf-8")
    (folder / "pyramid.py").write_text(model_source(network_of(space_of(PYRAMID))), encoding="utf-8")
    return folder


def test_it_passes_a_strict_type_checker(sources: Path) -> None:
    line = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(sources / ".cache")]
    done = subprocess.run([*line, str(sources)], capture_output=True, text=True, check=False, cwd=sources)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(sources.glob("*.py"))) == 8


@pytest.mark.parametrize("length", [100, 120])
def test_a_formatter_and_a_linter_change_nothing(sources: Path, length: int) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["format", "--diff"], ["check", "--select", "E,F,W,I,UP,B,SIM"]):
        line = [*ruff, *command, "--isolated", "--line-length", str(length), str(sources)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_several_outputs_are_a_named_tuple_with_strides(sources: Path) -> None:
    text = (sources / "pyramid.py").read_text(encoding="utf-8")
    fields = re.findall(r"^    (\w+): torch.Tensor  # (.*)$", text, re.MULTILINE)
    assert fields == [
        ("count2", "4 x 16 x 16, stride 2"),
        ("class_", "6 x 8 x 8, stride 4"),
        ("odd", "5 x 6 x 6"),
    ]
    network = names_of(text)["Pyramid"]().eval()
    with torch.no_grad():
        outputs = network(torch.randn(2, 3, 32, 32))
    assert type(outputs).__name__ == "PyramidFeatures"
    assert [tuple(getattr(outputs, name).shape) for name, _ in fields] == [(2, 4, 16, 16), (2, 6, 8, 8), (2, 5, 6, 6)]


def test_it_says_what_it_costs() -> None:
    space = space_of(SMALL)
    cost = cost_of(space)
    text = model_source(network_of(space))
    assert f"{cost.params.min:,} parameters; {cost.macs.min:,} multiply-accumulates for one image." in text
    assert "4 x 8 x 8 to 3 classes" in text


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    names = names_of(model_source(network_of(space_of(SMALL))))
    state = names["Small"]().state_dict()
    path = str(tmp_path / "w.pt")
    torch.save(state, path)
    assert not names["load"](path).training
    for changed, message in (
        (
            {n: t for n, t in state.items() if n != "a.0.conv.weight"},
            r"a\.0\.conv\.weight: missing instead of \(4, 4, 3",
        ),
        (state | {"zoo": torch.zeros(4)}, r"does not fit the network: zoo: \(4,\) instead of nothing$"),
        (state | {"a.1.conv.weight": torch.zeros(4, 4, 1, 1)}, r"a\.1\.conv\.weight: \(4, 4, 1, 1\) instead of"),
        ({}, r"; .*; .* and \d+ more$"),
    ):
        torch.save(changed, path)
        with pytest.raises(ValueError, match=message):
            names["load"](path)


def test_layers_of_one_structure_share_a_class_and_others_are_told_apart(sources: Path) -> None:
    text = (sources / "detection.py").read_text(encoding="utf-8")
    assert "class ConvPointwise(nn.Module)" in text and "class Conv2(" not in text
    sliced = (sources / "netadapt_v2_fastdepth.py").read_text(encoding="utf-8")
    assert "class DepthwiseSeparableSliced" in sliced
    # A parameter that every layer gives one value is written out instead.
    for made in re.findall(r"def __init__\(self, ([^)]*)\)", text + sliced):
        for name in re.findall(r"(\w+):", made):
            assert len(set(re.findall(rf"\b{name}=([\w.]+)", text + sliced))) != 1 or name in ("kernel", "stride")


def test_values_of_a_class_of_one_shape_have_their_shapes_behind_them() -> None:
    assert "x = self.act(self.norm(self.conv(x)))  # 4 x 8 x 8" in model_source(network_of(space_of(SMALL)))
