"""Which channels have which mask, where masks stand, what keeps zeros zero, and what masks cannot relax."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

from nasc.cli import main
from nasc.compiler.ir import Node
from nasc.compiler.ir import Tensor as Shape
from nasc.compiler.lower_block import block_source
from nasc.compiler.masks import MaskedLayer
from nasc.compiler.methods.refused import Refused
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.masking import MASK
from nasc.compiler.segments import Derived, Masked, Plain, Segments, key_of
from nasc.runtime.member_model import imported
from tests.graphs import GraphMaker, image, sequence
from tests.masked import REFUSED, Relaxed, relaxed, shipped
from tests.spaces import ROOT, SPACES, in_space

HEAD = "head global_pool | linear"
OPEN = [path.stem for path in SPACES if path.stem not in REFUSED]


def layer_of(given: Relaxed, address: str) -> MaskedLayer:
    (found,) = [layer for layer in given.masks.layers if layer.layer.address == address]
    return found


def output_of(given: Relaxed, address: str) -> str:
    """The mask of what a layer hands on."""
    layer = layer_of(given, address)
    return key_of(layer.segments[layer.graph.output])


# ------------------------------------------------------------------------------------------------ what shares a mask


def test_layers_of_a_residual_stage_share_the_stages_mask() -> None:
    """Every layer of a stage of ResNet-50 hands on the same channels; those inside a layer are its own."""
    given = shipped("figs_resnet50")
    for stage, count in (("res2", 3), ("res3", 4), ("res4", 6), ("res5", 3)):
        assert {output_of(given, f"{stage}.{i}") for i in range(1, count + 1)} == {f"@{stage}.width"}
    first = layer_of(given, "res2.1")
    made = [key_of(first.segments[n.name]) for n in first.graph.nodes if n.op == "conv2d"]
    assert made == ["res2.1.reduce", "res2.1.mid", "@res2.width", "@res2.width"]  # the last is the projection
    assert output_of(given, "pool.1") == output_of(given, "stem.1") == "@stem.width"
    assert len(given.masks.opens) == 1 + 4 + 2 * 16


def test_a_depthwise_convolution_has_its_inputs_mask() -> None:
    given = shipped("digits")
    nodes = layer_of(given, "low.1").graph.nodes
    convolutions = [n for n in nodes if n.op == "conv2d" and n.name.endswith("#1")]
    segments = layer_of(given, "low.1").segments
    assert [key_of(segments[n.name]) for n in convolutions] == ["low.1.1.expand", "low.1.1.expand", ""]
    assert convolutions[1].attributes["groups"] != 1


def test_a_concatenation_puts_masks_side_by_side() -> None:
    given = shipped("figs_oneshot")
    assert output_of(given, "cell1.1") == " + ".join(f"cell1.1.w{i}" for i in range(1, 5))
    layer = layer_of(given, "cell2.1")  # reads the cell and the second stem, one after the other
    (first,) = [n for n in layer.graph.nodes if n.name == "concat_1"]
    assert key_of(layer.segments[first.name]) == f"{output_of(given, 'cell1.1')} + @stem2.width"


def test_channels_taken_have_the_masks_of_both() -> None:
    """Of a block's input the most probable channels, as many as the operator's own width."""
    given = shipped("figs_oneshot")
    assert "cell1.1.b1.ops.1.width of cell1.1.b1.read" in given.masks.masks


def test_squeeze_and_excitation_follows_the_width_it_is_worked_out_from() -> None:
    block = "irb { kernel 3  hidden 8  se 1  shortcut identity } -> 40"
    given = relaxed(in_space(f"stage a conv {{ kernel 3 }} -> 4 .. 32 step 4\n stage b {block}\n {HEAD}"))
    derived = {s for segments in given.masks.masks.values() for s in segments if isinstance(s, Derived)}
    ((size, of, counts),) = [(s.size, s.of, s.counts) for s in derived]
    assert (size, of) == (8, "@a.width") and [counts[n] for n in range(4, 33, 4)] == list(range(1, 9))
    (gate,) = [n for n in layer_of(given, "b.1").graph.nodes if n.op == "sigmoid"]
    assert key_of(layer_of(given, "b.1").segments[gate.name]) == ""  # 8 channels, of which none is searched


def test_the_channels_of_a_let_are_one_mask() -> None:
    stages = "stage a conv { kernel 3 } -> w\n stage b conv { kernel 3 } -> w"
    given = relaxed(in_space(f"let w = 8 .. 24 step 8\n {stages}\n {HEAD}"))
    assert list(given.masks.opens) == ["@w"] and output_of(given, "a.1") == output_of(given, "b.1") == "@w"


# ------------------------------------------------------------------------------------------------ where masks stand


@pytest.mark.parametrize("name", OPEN)
def test_masks_stand_behind_batch_norms_and_nowhere_else(name: str) -> None:
    """What a convolution makes is masked once: by its batch norm where it has one. Tensors that nothing is searched of
    have no mask, unless they go with an operator."""
    given = shipped(name)
    for layer in given.masks.layers:
        readers: dict[str, list[Node]] = {}
        for node in layer.graph.nodes:
            for source in node.inputs:
                readers.setdefault(source, []).append(node)
        for node in layer.graph.nodes:
            segments: Segments = layer.segments[node.name]
            if MASK in node.attributes and "presence" not in node.attributes:
                assert node.attributes[MASK] == key_of(segments), node.name
                assert key_of(segments) or any(0 in each.widths for o in layer.layer.operators for each in o.opens)
            if node.op == "bn":
                assert not key_of(segments), f"{layer.layer.address} {node.name} has no mask"
            if node.op == "conv2d" and key_of(segments):
                behind = readers[node.name]
                assert {n.op for n in behind} <= {"/bn", "/mask", "mul", "conv2d"}
            if node.op == "/mask":
                assert all(n.op != "bn" for n in readers.get(node.name, [])), (
                    "a batch norm behind a mask brings it back"
                )


@pytest.mark.parametrize("name", OPEN)
def test_every_decision_masks_something_and_sizes_add_up(name: str) -> None:
    given = shipped(name)
    used: set[str] = set()
    for layer in given.masks.layers:
        for node in layer.graph.nodes:
            segments = layer.segments[node.name]
            used |= {s.name for s in segments if not isinstance(s, Plain | Derived)}
            used |= {str(node.attributes[MASK])} if "presence" in node.attributes else set()
            total = sum(s.size for s in segments)
            widest = {n: each.widths[-1] for n, each in given.masks.opens.items()}
            channels = node.output.channels
            assert total == (channels if isinstance(channels, int) else _evaluated(channels, widest)), node.name
            assert all(s.size == widest[s.name] for s in segments if isinstance(s, Masked))
    assert used == set(given.masks.opens)


def _evaluated(size: Any, values: dict[str, int]) -> int:
    from nasc.compiler.expr import evaluate

    return int(evaluate(size, values))


# ------------------------------------------------------------------------------------------------ zeros


STORING = {"bn", "layer_scale", "position", "class_token"}
"""Work on each channel by itself and store something, of which a shift may make another number of a zero."""
UNARY = {
    name: primitive
    for name, primitive in PRIMITIVES.items()
    if primitive.channelwise and not primitive.internal and not primitive.variadic and name not in STORING
}
ARGUMENTS: dict[str, dict[str, Any]] = {"max_pool": {"kernel": 3}, "avg_pool": {"kernel": 3}}
TOKENS = {"first_token"}


def of_channel(name: str) -> Tensor:
    """What an operator's module makes of a channel of zeros, the second of four."""
    maker = GraphMaker(input=sequence(4, 9) if name in TOKENS else image(4, 6))
    output = maker.add(name, "in", **ARGUMENTS.get(name, {}))
    graph = maker.graph(output)
    module = imported(block_source(graph), "Block").eval()
    shape: Shape = graph.inputs["in"]
    x = torch.randn(2, *map(int, shape.layout), generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    where = [slice(None)] * x.dim()
    where[-1 if name in TOKENS else 1] = slice(1, 2)
    x[tuple(where)] = 0.0
    y: Tensor = module(x)
    axis = 1 if y.dim() == 4 else y.dim() - 1
    return y.select(axis, 1)


@pytest.mark.parametrize("name", UNARY)
def test_what_is_said_to_keep_zeros_keeps_them(name: str) -> None:
    assert bool((of_channel(name) == 0).all()) == UNARY[name].zero


def test_all_operators_are_looked_at() -> None:
    """A new operator that works on each channel by itself must be here, or stand among those that store."""
    assert {"relu", "relu6", "swish", "gelu", "tanh", "sigmoid", "hard_sigmoid", "max_pool", "upsample"} <= set(UNARY)
    assert {name for name, primitive in UNARY.items() if not primitive.zero} == {"sigmoid", "hard_sigmoid"}
    joins = {n for n, p in PRIMITIVES.items() if p.channelwise and p.variadic}
    assert joins == {"add", "mul", "add_prefix"}


def test_what_stores_something_has_a_mask_behind_it() -> None:
    """A batch norm makes its shift of a channel of zeros: the reason why masks stand behind it."""
    norm = nn.BatchNorm2d(2).eval()
    norm.bias.data.fill_(0.5)
    assert (norm(torch.zeros(1, 2, 3, 3)) == 0.5).all()


# ------------------------------------------------------------------------------------------------ refusals


def compile_figs(path: Path, out: Path) -> Result:
    return CliRunner().invoke(main, ["compile", str(path), "--method", "figs", "-o", str(out)], prog_name="nasc")


@pytest.mark.parametrize("name", REFUSED)
def test_what_masks_cannot_relax_is_an_error_at_its_place(name: str, tmp_path: Path) -> None:
    path = ROOT / "spaces" / f"{name}.nas"
    done = compile_figs(path, tmp_path / "out")
    assert done.exit_code == 1 and not (tmp_path / "out").exists() and done.stdout == ""
    assert "error[E0380]" in done.stderr and "Traceback" not in done.stderr
    found = re.search(rf"{name}\.nas:(\d+):(\d+)", done.stderr)
    assert found is not None
    line, column = int(found.group(1)), int(found.group(2))
    assert re.match(rf"{REFUSED[name]}\b", path.read_text().splitlines()[line - 1][column - 1 :])
    assert "= help:" in done.stderr


WHY = {
    "a range of layers": ("stage s conv x 1 .. 2 { kernel 3 } -> 4", "number of its layers is a range"),
    "groups": ("stage s irb { kernel 3  hidden 8 .. 16 step 8  groups 4 } -> 4", "in groups has a width"),
    "a width that decides on a residual": (
        "stage s conv { kernel 3 } -> 1 .. 3\n stage t irb { kernel 3  hidden 8 } -> 2",
        "decides how later layers are built",
    ),
    "residuals": (
        "stage s one of { conv { kernel 3 }  irb { kernel 3  hidden 8 } } -> 4",
        "some of its alternatives add the layer's input",
    ),
}


@pytest.mark.parametrize("name", WHY)
def test_why_a_space_is_refused(name: str) -> None:
    items, why = WHY[name]
    with pytest.raises(Refused, match=why) as caught:
        relaxed(in_space(f"{items}\n {HEAD}"))
    assert caught.value.place.partition(".")[0] in ("s", "t") and caught.value.help


def test_spaces_that_are_not_refused_compile(tmp_path: Path) -> None:
    done = compile_figs(ROOT / "spaces" / "digits.nas", tmp_path / "out")
    assert done.exit_code == 0 and (tmp_path / "out" / "supernet.py").exists()
    refused = compile_figs(ROOT / "spaces" / "detection.nas", tmp_path / "other")
    assert refused.exit_code == 1 and "error[E0380]" in refused.stderr
    assert "output      features" in refused.stderr
