"""Published networks and spaces: the integers of their papers and reference implementations, and rules of meaning."""

from __future__ import annotations

import pytest

from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space
from nasc.compiler.ir import Graph, Tensor
from tests.spaces import ROOT, in_space, space_of

FIXED = {
    # Measured on the public definitions (timm, torchvision, NVIDIA's and FastDepth's code).
    "efficientnet_b0": (5_288_548, 385_814_752),
    "mobilenet_v3_large": (5_483_032, 216_589_760),
    "mobilenet_v1": (4_231_976, 568_740_352),
    "fbnet_c": (5_572_200, 384_960_160),
    "resnet50": (25_557_032, 4_089_184_256),
    "gpunet_0": (11_885_432, 3_254_209_280),
    "gpunet_1": (12_704_192, 3_308_369_280),
    "fastdepth": (3_960_930, 736_658_944),
}
COUNTS = {
    "gpunet1_product": 1707170371551722769733494667243369267200,
    "gpunet1": 110966074150861980032677153370819002368000,
    "gpunet1_table1": 49823767293737029034672041863497732063232000,
    "fbnet": 485758124386377007104,
    "fbnet_paper": 9**22,
    "nss_expanded": 8192**3,
}
HEAD = " head global_pool | linear"


@pytest.mark.parametrize("name", FIXED)
def test_fixed_networks_cost_exactly_what_the_public_ones_do(name: str) -> None:
    space = space_of(ROOT / "spaces" / "networks" / f"{name}.nas")
    cost = cost_of(space)
    assert count_members(space) == 1
    assert cost.as_json() == dict(zip(("params", "macs"), FIXED[name], strict=True))


@pytest.mark.parametrize("name", COUNTS)
def test_spaces_have_exactly_as_many_members_as_is_known(name: str) -> None:
    assert count_members(space_of(ROOT / "spaces" / f"{name}.nas")) == COUNTS[name]


def test_the_first_reading_of_prunets_space_without_skips_is_that_of_its_table_3() -> None:
    text = (ROOT / "spaces" / "gpunet1_product.nas").read_text(encoding="utf-8")
    count = count_members(space_of(text.replace("same_shape ", "no ")))
    assert f"{count:.3e}" == "7.108e+38"


def test_netadapts_table_8_has_the_macs_of_the_bypass_rule() -> None:
    cost = cost_of(space_of(ROOT / "spaces" / "networks" / "netadapt_v2_table8.nas"))
    assert round(cost.macs.max / 1e6, 2) == 223.06


def test_nss_has_the_largest_member_that_its_strides_allow() -> None:
    cost = cost_of(space_of(ROOT / "spaces" / "nss_expanded.nas"))
    assert round(cost.macs.max / 1e9, 1) == 99.2


# --------------------------------------------------------------------------------------------------- transformers


def test_vit_b16_is_a_transformer_of_known_size() -> None:
    """Dosovitskiy et al. 2021, table 1: ViT-Base has 86M parameters; timm's vit_base_patch16_224 exactly 86,567,656."""
    text = """
network vit_b16 {
  input  image 3 x 224 x 224
  output classes 1000
  stage patches  patch_embed { patch 16 } -> 768
  stage start    class_token
  stage places   position
  stage body     transformer x 12 { heads 12 }
  head           layer_norm | first_token | linear
}"""
    assert cost_of(space_of(text)).params.max == 86_567_656


def test_the_patch_size_changes_the_number_of_tokens_for_the_whole_network() -> None:
    space = space_of(ROOT / "spaces" / "vit.nas")
    tokens = {s.current.tokens for s in space.trellis.slots[-2].edges}
    assert tokens == {(224 // 14) ** 2 + 1, (224 // 16) ** 2 + 1, (224 // 32) ** 2 + 1}


def test_features_of_a_detector_come_from_several_stages() -> None:
    space = space_of(ROOT / "spaces" / "detection.nas")
    assert space.header.head is None
    (end,) = {e.target for edges in space.trellis.slots[-1].edges.values() for e in edges}
    sizes = {name: tensor.spatial for name, tensor in end.tensors if name}
    assert sizes == {"p3": (64, 64), "p4": (32, 32), "p5": (16, 16)}


# --------------------------------------------------------------------------------------------------- shapes, absence


def small(items: str, head: str = HEAD) -> Space:
    return space_of(in_space(f"{items}\n{head}"))


def graphs(space: Space, address: str) -> list[Graph]:
    slot = next(s for s in space.trellis.slots if s.address == address)
    return [e.variant.graph for edges in slot.edges.values() for e in edges if e.variant is not None]


def operators(space: Space, address: str) -> list[str]:
    (graph,) = graphs(space, address)
    return [node.op for node in graph.nodes]


def shape(space: Space, address: str) -> Tensor:
    (graph,) = graphs(space, address)
    return graph.result


def test_a_first_parameter_is_for_the_first_layer_alone() -> None:
    space = small(" stage a conv x 2 { kernel 3  stride 2 } -> 8")
    assert (shape(space, "a.1").spatial, shape(space, "a.2").spatial) == ((4, 4), (4, 4))
    rows = small(" stage a conv x 2 { kernel 3 } -> 8 { layer 2 { stride 2 } }")
    assert (shape(rows, "a.1").spatial, shape(rows, "a.2").spatial) == ((8, 8), (4, 4))


def test_the_nearest_value_wins() -> None:
    items = """
 default { act relu6 }
 default conv { act swish }
 stage a conv { kernel 3 } -> 8
 stage b conv x 2 { kernel 3  act tanh } -> 8 { layer 2 { act gelu } }
 stage c one of { conv { act sigmoid } } { kernel 3  act gelu } -> 8
 stage d irb { kernel 3  expand 1 } -> 8"""
    space = small(items)
    last = [operators(space, f"{layer}")[-1] for layer in ("a.1", "b.1", "b.2", "c.1")]
    assert last == ["swish", "tanh", "gelu", "sigmoid"]
    assert "relu6" in operators(space, "d.1") and "relu" not in operators(space, "d.1")


def test_a_residual_is_there_where_the_shape_stays() -> None:
    space = small(" stage a irb x 2 { kernel 3  expand 1  stride 2 } -> 8\n stage b irb { kernel 3  expand 1 } -> 16")
    assert ["add" in operators(space, a) for a in ("a.1", "a.2", "b.1")] == [False, True, False]


def test_a_squeeze_of_width_0_is_not_there() -> None:
    with_se = small(" stage a irb { kernel 3  expand 1  se 1 } -> 8")
    assert "mul" in operators(with_se, "a.1")
    without = small(" stage a irb { kernel 3  expand 1  se 1  se_width 0 } -> 8")
    assert "mul" not in operators(without, "a.1") and "global_pool" not in operators(without, "a.1")


def test_a_branch_without_channels_leaves_the_input() -> None:
    space = small(" stage a conv { kernel 3 } -> 8\n stage b irb { kernel 3  hidden 0 } -> 8")
    assert operators(space, "b.1") == []


def test_a_missing_lateral_is_left_out() -> None:
    items = " stage a conv { kernel 3 } -> 8\n stage b conv { kernel 3  stride 2 } -> 8\n stage c up%s -> 8"
    assert "add" in operators(small(items % " { lateral a }"), "c.1")
    assert "add" not in operators(small(items % ""), "c.1")
    assert "add" not in operators(small(items % " { lateral nothing }"), "c.1")


def test_a_network_without_output_is_no_member() -> None:
    space = small(" stage a conv { kernel 3 } -> 0 .. 4")
    assert count_members(space) == 4


def test_from_reads_an_earlier_stage() -> None:
    items = """
 stage a conv { kernel 3 } -> 8
 stage b conv { kernel 3  stride 2 } -> 16
 stage c conv from a { kernel 1 } -> 4"""
    space = small(items)
    assert shape(space, "c.1").spatial == (8, 8)
    (graph,) = graphs(space, "c.1")
    assert graph.inputs["in"].channels == 8


def test_a_ratio_is_of_the_channels_that_come_in() -> None:
    space = small(" stage a conv { kernel 3 } -> 24\n stage b irb x 2 { kernel 3  expand 160/24 } -> 48")
    hidden = [graphs(space, a)[0].nodes[0].output.channels for a in ("b.1", "b.2")]
    assert hidden == [160, 320]
