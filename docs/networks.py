"""Writes docs/networks.md: every published network with its costs, and how it compares with a second source.

Run as `.venv/bin/python -m docs.networks`, which measures the differences anew; it needs the package transformers, one
of the dev extra. A test fails while the page is older than the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from nasc.compiler.cost import cost_of
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "networks.md"
FILES = sorted((ROOT / "spaces" / "networks").glob("*.nas"))

Measured = tuple[str, str]
"""A network's largest output and the largest difference, as printed."""
UNKNOWN: Measured = ("", "not measured yet")

HEAD = """# Published networks

`spaces/networks/` holds published networks as `.nas` files. Each is a file like any other: compile it, train it,
measure it, or ask whether a space contains it.

Parameters are all elements of all weights and biases. MACs are the multiply-accumulates of convolutions and linear
layers for one input, those of gates (squeeze-and-excitation) included; biases, norms, activations and pooling are not
counted. `nasc cost` prints these numbers, and the tests hold this page to them.
"""
AFTER_LIST = """
There is no public code for NetAdaptV2: its files are read off the paper's tables, which print 225M MACs for Table 8,
314M for Table 9 and none for Table 10, and what the paper leaves open is assumed.

## Against a second source

Each network below was written down a second time without nasc: by the package `transformers`, or in the tests from its
paper in plain torch (`tests/references.py`). The reference gets random weights and random batch norm statistics; its
tensors are copied, in the order in which the layers run, into the generated `model.py`; both then evaluate the same two
images in float32 on a CPU. The parameters and MACs here were counted on the reference, and equal ours.
"""
AFTER_COMPARISON = """
A difference of 0 means that the outputs are the same bit for bit. Where `transformers` computes in another order (a
convolution as a linear layer, a mean as a pooling with another kernel), rounding is all that differs. Measured with
transformers {transformers}, torch {torch} and one thread by

```sh
.venv/bin/python -m docs.networks
```

About the references: the EfficientNet and MobileNets of `transformers` pad as TensorFlow does, one row more on one
side; they were told to pad symmetrically, as the files, timm and torchvision do. MobileNetV1's and V2's batch norms
have an epsilon of 1e-5 here, not 1e-3. RegNetY-800MF is the paper's; torchvision's model of that name has other
widths.

GPT-2 has no row: the published code joins queries, keys and values in one layer and the embedding with the output
layer, so its weights are not copied in the order of the layers but by name. `tests/test_tokens.py` does that, with
`transformers` as the reference: outputs within 1e-5 of the largest, the published 124,439,808 parameters and
38,597,376 for the output layer of its own, and the same MACs.

## Against timm

The same comparison with the definitions in timm, measured by hand on 2026-11-21 with timm 1.0.31, torch 2.13.0 (CPU
build) and Python 3.11:

| Network | timm's name | Parameters | MACs | Largest output | Largest difference |
| --- | --- | --: | --: | --: | --: |
| `efficientnet_b0` | `efficientnet_b0` | 5,288,548 | 385,814,752 | 12.9 | 0 |
| `mobilenet_v3_large` | `mobilenetv3_large_100` with `bn_eps=1e-3` | 5,483,032 | 216,589,760 | 1.52e+03 | 0 |
| `resnet50` | `resnet50` | 25,557,032 | 4,089,184,256 | 3.56e+03 | 0 |
| `mobilenet_v1` | `mobilenetv1_100` | 4,231,976 | 568,740,352 | 3.94 | 0 |
| `fbnet_c` | `fbnetc_100` | 5,572,200 | 384,960,160 | 3.8e+04 | 0 |

For MobileNetV3 the epsilon of torchvision's definition is set, which the file follows; timm's own default is 1e-5.

timm imports torchvision, so both must be importable, and torchvision must fit the installed torch. For the table
above no such build was at hand: an empty stand-in took torchvision's place, which is enough because timm uses
torchvision for data and for frozen batch norms only, none of which these models contain. To repeat the comparison:

```sh
.venv/bin/pip install timm==1.0.31
.venv/bin/python -m pytest tests/test_public_definitions.py -rP
```

Where timm cannot be imported, these tests are skipped and say why.
"""


def page(measured: Mapping[str, Measured], versions: Mapping[str, str]) -> str:
    """The text of the page, with the differences that were measured and what they were measured with."""
    return HEAD + _list() + AFTER_LIST + _comparisons(measured) + AFTER_COMPARISON.format(**versions)


def _list() -> str:
    lines = ["", "| Network | What it is | Input | Parameters | MACs |", "| --- | --- | --- | --: | --: |"]
    for path in FILES:
        space = space_of(open_file(path))
        size = str(network_of(space).input)
        lines.append(f"| `{path.stem}` | {_said(path)} | {size} | {_amounts(path)} |")
    return "\n".join([*lines, ""])


def _said(path: Path) -> str:
    """The first sentence of the comment above the network."""
    lines = re.search(r"((?:^//.*\n)+)network ", path.read_text(encoding="utf-8"), re.M)
    assert lines is not None, f"{path.name} lacks a comment that says what it is"
    text = " ".join(line.removeprefix("//").strip() for line in lines[1].splitlines())
    return re.split(r"(?<=[^.]{3})\.(?: |$)(?=[A-Z]|$)", text)[0]


def _amounts(path: Path) -> str:
    cost = cost_of(space_of(open_file(path))).as_json()
    return f"{cost['params']:,} | {cost['macs']:,}"


def _comparisons(measured: Mapping[str, Measured]) -> str:
    from tests.references import REFERENCES

    head = "| Network | Reference | Parameters | MACs | Largest output | Largest difference |"
    lines = ["", head, "| --- | --- | --: | --: | --: | --: |"]
    for name, (source, _) in REFERENCES.items():
        path = ROOT / "spaces" / "networks" / f"{name}.nas"
        lines.append(f"| `{name}` | {source} | {_amounts(path)} | {' | '.join(measured.get(name, UNKNOWN))} |")
    return "\n".join([*lines, ""])


def measure() -> dict[str, Measured]:
    """Compare every network that has a reference. Raises `AssertionError` where counts differ."""
    import torch

    from tests.published import compare, cost
    from tests.references import REFERENCES

    torch.set_num_threads(1)
    found = {}
    for name in REFERENCES:
        result = compare(name)
        assert {"params": result.parameters, "macs": result.macs} == cost(name), name
        found[name] = (f"{result.largest:.3g}", f"{result.difference:.1e}" if result.difference else "0")
    return found


if __name__ == "__main__":
    VERSIONS = {name: version(name).split("+")[0] for name in ("transformers", "torch")}
    PAGE.write_text(page(measure(), VERSIONS), encoding="utf-8")
