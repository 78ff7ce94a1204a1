"""Published networks against a second source, tests/references.py, with its weights copied over; docs/networks.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from docs import networks
from nasc.compiler.compile import compile_file
from nasc.compiler.contains import contains
from nasc.compiler.identifiers import class_name
from tests.published import compare, cost
from tests.references import REFERENCES, WHOLE
from tests.searches import module_at
from tests.spaces import ROOT, space_of

torch.set_num_threads(1)
# Relative to the largest output, in float32: what the order of summation makes is below 1e-6.
TOLERANCE = 1e-5
TEXT = networks.PAGE.read_text(encoding="utf-8")
# Exact counts that others publish: timm's and torchvision's documentation.
PUBLIC = {
    "convnext_tiny": 28_589_128,
    "deit_small": 22_050_664,
    "deit_tiny": 5_717_416,
    "efficientnet_b0": 5_288_548,
    "efficientnet_v2_s": 21_458_488,
    "mnasnet_a1": 3_887_038,
    "mnasnet_b1": 4_383_312,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v4_small": 3_774_024,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vit_b16": 86_567_656,
}
SLOW = {"deit_small", "vit_b16"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in REFERENCES])
def test_equal_to_the_reference(name: str) -> None:
    """At a smaller image, for speed: docs/networks.py compares at the file's size. MACs are counted on the page."""
    result = compare(name, side=None if name in WHOLE else 96)
    assert result.parameters == cost(name)["params"] == PUBLIC.get(name, result.parameters)
    assert result.difference <= TOLERANCE * result.largest


def test_macs_at_the_size_of_the_file() -> None:
    for name in ("mobilenet_v3_large", "regnety_008"):
        assert compare(name).macs == cost(name)["macs"]


@pytest.mark.parametrize("mistake", ["epsilon", "activation", "gate"])
def test_a_mistake_shows(mistake: str) -> None:
    """The comparison is worth something: small changes of a reference are far above the tolerance."""

    def wrong() -> nn.Module:
        found = REFERENCES["efficientnet_v2_s"][1]()
        for part in list(found.modules()):
            if mistake == "epsilon" and isinstance(part, nn.BatchNorm2d):
                part.eps = 1e-5
            elif mistake == "activation" and isinstance(getattr(part, "act", None), nn.SiLU):
                part.act = nn.Hardswish()
            elif mistake == "gate" and isinstance(getattr(part, "gate", None), nn.Sigmoid):
                part.gate = nn.Hardsigmoid()
        return found

    result = compare("efficientnet_v2_s", side=96, build=wrong)
    assert result.difference > 10 * TOLERANCE * result.largest


def test_the_page_is_up_to_date() -> None:
    row = re.compile(r"^\| `(\w+)` \|.*\| ([\d.e+]+) \| ([\d.e+-]+) \|$", re.M)
    section = TEXT.split("## Against a second source")[1].split("## Against timm")[0]
    measured = {name: (largest, difference) for name, largest, difference in row.findall(section)}
    versions = re.search(r"transformers ([\d.]+), torch ([\d.]+) and", TEXT)
    assert versions is not None
    expected = networks.page(measured, {"transformers": versions[1], "torch": versions[2]})
    assert expected == TEXT, "run .venv/bin/python -m docs.networks"
    for name, (largest, difference) in measured.items():
        assert float(difference) <= TOLERANCE * float(largest), name


@pytest.mark.parametrize(
    ("space", "member"),
    [("convnext", "convnext_tiny"), ("efficientnet_v2", "efficientnet_v2_s"), ("regnet", "regnety_008")],
)
def test_a_space_around_a_network_holds_it_and_trains(space: str, member: str, tmp_path: Path) -> None:
    whole = ROOT / "spaces" / f"{space}.nas"
    text = (ROOT / "spaces" / "networks" / f"{member}.nas").read_text(encoding="utf-8")
    assert contains(space_of(whole), space_of(text.replace("3 x 384 x 384", "3 x 224 x 224"))).yes
    compile_file(whole, tmp_path)
    module = getattr(module_at(tmp_path / "supernet.py"), class_name(space, ()))()
    module(torch.randn(2, 3, 32, 32)).square().sum().backward()
    # A layer with one candidate has no probabilities to learn.
    missing = [name for name, weight in module.named_parameters() if weight.grad is None]
    assert all(name.endswith("theta") for name in missing)
