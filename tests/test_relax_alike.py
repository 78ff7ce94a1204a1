"""Layers that are written alike are relaxed once; what a check asks instead of relaxing agrees with relaxing."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasc.compiler.check import check
from nasc.compiler.ir import Network
from nasc.compiler.methods import relax as relaxing
from nasc.compiler.methods.relax import RelaxedLayer, most_candidates, relax
from nasc.compiler.network import network_of
from nasc.compiler.opened import load_file
from nasc.compiler.prunodes import prunode_forms, why_not_shared
from nasc.dsl.diagnostics import NascError
from tests.spaces import SPACES, space_of

LIGHTER = [p for p in SPACES if p.stem not in {"shared_cells", "figs_oneshot", "gpunet1_table1"}]

TEXT = """nas 1
block gated(kernel, ratio expand, hidden = divisible(expand * in.channels, 8)) -> filters {{
  in | conv2d(1) -> hidden | relu | conv2d(kernel, groups = hidden) -> hidden | relu
     | conv2d(1) -> filters | residual
}}
space many {{
  input image 3 x 32 x 32
  output classes 10
  granularity 8
  stage stem conv {{ kernel 3 }} -> 16
  stage a gated x {layers} {{ kernel {{3, 5}}  expand (0, 2] }} -> 16 {{ layer 3 {{ kernel 7 }} }}
  stage b gated x 2 {{ kernel {{3, 5}}  expand (0, 2] }} -> 24
  head global_pool | linear
}}
search prunet {{ {options} }}
"""


def network(layers: int) -> Network:
    return network_of(space_of(TEXT.format(layers=layers, options="seed 1")))


def relaxed(path: Path) -> tuple[Network, tuple[RelaxedLayer, ...]]:
    """A shipped space and its candidates; the test is skipped where it has none."""
    try:
        whole = network_of(space_of(path))
        return whole, relax(whole)
    except NascError:
        pytest.skip("no SuperNet can be made of this space")


@pytest.mark.parametrize("masked", [True, False])
def test_shared_candidates_are_those_of_the_layer_alone(masked: bool) -> None:
    whole = network(6)
    layers = relax(whole, masked)
    places = [(stage, layer) for stage in whole.stages for layer in stage.layers]
    for (stage, layer), found in zip(places, layers[:-1], strict=True):
        alone = whole.model_copy(update={"stages": (stage.model_copy(update={"layers": (layer,)}),)})
        assert found == relax(alone, masked)[0]
    shared = [[r.candidates is layers[2].candidates for r in layers if r.address.startswith(f"{s}.")] for s in "ab"]
    assert shared == [[False, True, False, True, True, True], [False, False]]  # a first layer is written apart


def test_many_layers_written_alike_are_relaxed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = relaxing._candidate

    def counted(*arguments: object) -> relaxing.Candidate:
        made.append(str(arguments[0]))
        return make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(relaxing, "_candidate", counted)
    forms = prunode_forms(network(400))
    assert len(forms) == 2 * 399 + 1 + 2 * 2
    assert len(made) == 1 + 2 * 2 + 1 + 2 * 2 + 1  # stem; a: its first layer, the others, layer 3; b: both layers; head


@pytest.mark.parametrize("path", LIGHTER, ids=lambda path: path.stem)
def test_what_is_shared_and_counted_is_what_each_layer_has(path: Path) -> None:
    whole, layers = relaxed(path)
    wanted = [(r.address, c.block, why_not_shared(c)) for r in layers for c in r.candidates if c.widths]
    assert [(f.layer, f.block, f.why) for f in prunode_forms(whole)] == wanted
    assert most_candidates(whole) == max(len(layer.candidates) for layer in layers)


@pytest.mark.parametrize(("options", "codes"), [("threshold 0.5 .. 0.6", []), ("threshold 0.51 .. 0.6", ["E0363"])])
def test_a_threshold_is_judged_by_the_count(options: str, codes: list[str]) -> None:
    found = check(load_file(Path("many.nas"), TEXT.format(layers=3, options=options))).diagnostics.found
    assert [d.code for d in found] == codes
