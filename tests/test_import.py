"""`nasc import`: block strings in timm's notation become the networks that timm builds from them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.cli import main
from nasc.compiler.cost import cost_of
from nasc.compiler.import_blocks import KINDS, decode
from nasc.compiler.import_strings import Written, read_stages
from nasc.compiler.network import network_of
from nasc.dsl.diagnostics import DiagnosticError, Source, Span
from nasc.dsl.format import format_text
from nasc.import_network import FAMILIES, Family, Options, imported, rounded
from tests.spaces import ROOT, space_of

EFFICIENTNET = """\
ds_r1_k3_s1_e1_c16_se0.25
ir_r2_k3_s2_e6_c24_se0.25
ir_r2_k5_s2_e6_c40_se0.25
ir_r3_k3_s2_e6_c80_se0.25
ir_r3_k5_s1_e6_c112_se0.25
ir_r4_k5_s2_e6_c192_se0.25
ir_r1_k3_s1_e6_c320_se0.25
"""
MOBILENET_V3_LARGE = """[
    # kernel, stride, expansion, filters
    ['ds_r1_k3_s1_e1_c16_nre'],
    ['ir_r1_k3_s2_e4_c24_nre', 'ir_r1_k3_s1_e3_c24_nre'],
    ['ir_r3_k5_s2_e3_c40_se0.25_nre'],
    ['ir_r1_k3_s2_e6_c80', 'ir_r1_k3_s1_e2.5_c80', 'ir_r2_k3_s1_e2.3_c80'],
    ['ir_r2_k3_s1_e6_c112_se0.25'],
    ['ir_r3_k5_s2_e6_c160_se0.25'],
    ['cn_r1_k1_s1_c960'],
]"""
MOBILENET_V3_SMALL = """
ds_r1_k3_s2_e1_c16_se0.25_nre
ir_r1_k3_s2_e4.5_c24_nre ir_r1_k3_s1_e3.67_c24_nre
ir_r1_k5_s2_e4_c40_se0.25 ir_r2_k5_s1_e6_c40_se0.25
ir_r2_k5_s1_e3_c48_se0.25
ir_r3_k5_s2_e6_c96_se0.25
cn_r1_k1_s1_c576
"""
MNASNET_A1 = """
ds_r1_k3_s1_e1_c16_noskip
ir_r2_k3_s2_e6_c24
ir_r3_k5_s2_e3_c40_se0.25
ir_r4_k3_s2_e6_c80
ir_r2_k3_s1_e6_c112_se0.25
ir_r3_k5_s2_e6_c160_se0.25
ir_r1_k3_s1_e6_c320
"""
FBNET_C = """
ir_r1_k3_s1_e1_c16
ir_r1_k3_s2_e6_c24 ir_r2_k3_s1_e1_c24
ir_r1_k5_s2_e6_c32 ir_r1_k5_s1_e3_c32 ir_r1_k5_s1_e6_c32 ir_r1_k3_s1_e6_c32
ir_r1_k5_s2_e6_c64 ir_r1_k5_s1_e3_c64 ir_r2_k5_s1_e6_c64
ir_r3_k5_s1_e6_c112 ir_r1_k5_s1_e3_c112
ir_r4_k5_s2_e6_c184
ir_r1_k3_s1_e6_c352
"""
MOBILENET_V2 = """
ds_r1_k3_s1_c16
ir_r2_k3_s2_e6_c24
ir_r3_k3_s2_e6_c32
ir_r4_k3_s2_e6_c64
ir_r3_k3_s1_e6_c96
ir_r3_k3_s2_e6_c160
ir_r1_k3_s1_e6_c320
"""
EFFICIENTNET_V2_S = """
cn_r2_k3_s1_e1_c24_skip
er_r4_k3_s2_e4_c48
er_r4_k3_s2_e4_c64
ir_r6_k3_s2_e4_c128_se0.25
ir_r9_k3_s1_e6_c160_se0.25
ir_r15_k3_s2_e6_c256_se0.25
"""
EFFICIENTNET_V2_BASE = """
cn_r1_k3_s1_e1_c16_skip
er_r2_k3_s2_e4_c32
er_r2_k3_s2_e4_c48
ir_r3_k3_s2_e4_c96_se0.25
ir_r5_k3_s1_e6_c112_se0.25
ir_r8_k3_s2_e6_c192_se0.25
"""
MOBILENET_V4_SMALL = """
cn_r1_k3_s2_e1_c32 cn_r1_k1_s1_e1_c32
cn_r1_k3_s2_e1_c96 cn_r1_k1_s1_e1_c64
uir_r1_a5_k5_s2_e3_c96 uir_r4_a0_k3_s1_e2_c96 uir_r1_a3_k0_s1_e4_c96
uir_r1_a3_k3_s2_e6_c128 uir_r1_a5_k5_s1_e4_c128 uir_r1_a0_k5_s1_e4_c128 uir_r1_a0_k5_s1_e3_c128 uir_r2_a0_k3_s1_e4_c128
cn_r1_k1_s1_c960
"""
# Ours, the strings, the family, the size.
SHIPPED = (
    ("efficientnet_b0", EFFICIENTNET, "efficientnet", 224),
    ("mobilenet_v3_large", MOBILENET_V3_LARGE, "mobilenetv3", 224),
    ("mnasnet_a1", MNASNET_A1, "mnasnet", 224),
    ("fbnet_c", FBNET_C, "fbnet", 224),
    ("mobilenet_v2", MOBILENET_V2, "mobilenetv2", 224),
    ("efficientnet_v2_s", EFFICIENTNET_V2_S, "efficientnetv2", 384),
)


def text_of(strings: str, family: str | Family = "efficientnet", **changes: object) -> str:
    found = FAMILIES[family] if isinstance(family, str) else family
    options = replace(Options(family=found), **changes)  # type: ignore[arg-type]
    return imported(read_stages("blocks.txt", strings), options)


def parameters(text: str) -> object:
    return cost_of(space_of(text)).as_json()["params"]


def layers(text: str) -> list[object]:
    """What the layers of a network compute: their operators, wiring and shapes, with batch norms' momentum left out."""
    net = network_of(space_of(text))
    found: list[object] = []
    for layer in [layer for stage in net.stages for layer in stage.layers] + ([net.head] if net.head else []):
        for node in layer.variants[0].graph.nodes:
            attributes = {key: value for key, value in node.attributes.items() if key not in ("momentum", "rate")}
            found += [(node.op, str(attributes), str(node.output))] if node.op != "dropout" else []
    return found


@pytest.mark.parametrize(("name", "strings", "family", "size"), SHIPPED, ids=[row[0] for row in SHIPPED])
def test_the_strings_give_the_shipped_network(name: str, strings: str, family: str, size: int) -> None:
    """The files in spaces/networks equal their references bit for bit, so these do, too."""
    path = ROOT / "spaces" / "networks" / f"{name}.nas"
    changed = FAMILIES[family] if family != "mobilenetv3" else replace(FAMILIES[family], bn_eps="1e-3")
    text = text_of(strings, size=size, family=changed)
    assert cost_of(space_of(text)).as_json() == cost_of(space_of(path)).as_json()
    assert layers(text) == layers(path.read_text())
    assert format_text(text) == text


@pytest.mark.parametrize(
    ("width", "depth", "published"),
    [
        (1.0, 1.1, 7_794_184),
        (1.1, 1.2, 9_109_994),
        (1.2, 1.4, 12_233_232),
        (1.4, 1.8, 19_341_616),
        (1.6, 2.2, 30_389_784),
        (1.8, 2.6, 43_040_704),
        (2.0, 3.1, 66_347_960),
    ],
)
def test_efficientnets_by_their_multipliers(width: float, depth: float, published: int) -> None:
    """B1 to B7, with the parameters that torchvision's documentation lists."""
    assert parameters(text_of(EFFICIENTNET, width=width, depth=depth)) == published


@pytest.mark.parametrize(
    ("strings", "family", "changes", "published"),
    [
        (MOBILENET_V3_SMALL, "mobilenetv3", {"head": 1024}, 2_542_856),  # torchvision's documentation
        (MOBILENET_V4_SMALL, "mobilenetv4", {}, 3_774_024),  # the model card of timm's mobilenetv4_conv_small
        (EFFICIENTNET_V2_BASE, "efficientnetv2", {"stem": 32}, 7_139_704),  # Keras, EfficientNetV2B0, trainable
    ],
)
def test_further_published_counts(strings: str, family: str, changes: dict[str, object], published: int) -> None:
    found = replace(FAMILIES[family], **changes)  # type: ignore[arg-type]
    assert parameters(text_of(strings, family=found)) == published


@pytest.mark.parametrize(
    ("strings", "expected"),
    [
        ("ir_r1_k3_s1_e4_c16", "irb { kernel 3 expand 4 } -> 16"),
        ("ir_r1_k3_s1_e4_c16_noskip", "irb { kernel 3 expand 4 shortcut identity } -> 16"),
        ("ir_r1_k3_s1_e4_c16_nr6", "irb { kernel 3 act relu6 expand 4 } -> 16"),
        ("ir_r1_k3_s1_e4_c16_nsw", "irb { kernel 3 expand 4 } -> 16"),
        ("ir_r1_k3_s1_e4_c20", "irb { kernel 3 expand 4 } -> 24"),
        ("ir_r1_k3_s1_e4_c16_se0.5", "irb { kernel 3 expand 4 se 1 se_width 16 } -> 16"),
        ("ir_r1_k3_s1_e4_c16_gs1", "irb { kernel 3 expand 4 } -> 16"),
        ("cn_r1_k1_s2_c16", "conv { kernel 1 stride 2 } -> 16"),
        ("cn_r2_k3_s1_c16_skip", "conv x 2 { kernel 3 shortcut residual } -> 16"),
        (
            "dsa_r1_k3_s2_c16_nhs",
            "depthwise_separable { kernel 3 stride 2 act hard_swish last_act hard_swish shortcut identity } -> 16",
        ),
        ("er_r1_k5_s2_e4_c24_fc24", "fused_irb { kernel 5 stride 2 hidden 96 } -> 24"),
        ("uir_r1_a3_k0_p5_s2_e4_c24", "uib { start 3 stride 2 end 5 expand 4 } -> 24"),
    ],
)
def test_a_block_string_becomes_a_stage(strings: str, expected: str) -> None:
    lines = [" ".join(line.split()) for line in text_of(strings).splitlines()]
    (line,) = (line.removeprefix("stage b1 ") for line in lines if line.startswith("stage b1"))
    assert sorted(line.split()) == sorted(expected.split()) and line.endswith(expected.split("}")[1])


def test_gates_of_the_input_and_of_the_expansion() -> None:
    """timm's two rules: 0.25 of 24 channels; 0.25 of 144 hidden ones in multiples of 8, none below 90 % of its part."""
    strings = "ir_r1_k3_s1_e1_c24\nir_r1_k3_s1_e6_c24_se0.25"

    def gates(family: str) -> set[int]:
        graphs = [layer.variants[0].graph for stage in network_of(space_of(text_of(strings, family))).stages
                  for layer in stage.layers]  # fmt: skip
        pooled = {node.name for graph in graphs for node in graph.nodes if node.op == "global_pool"}
        squeezed = [n for graph in graphs for n in graph.nodes if n.op == "conv2d" and n.inputs[0] in pooled]
        return {int(str(node.output.channels)) for node in squeezed}

    assert gates("efficientnet") == {6}
    assert gates("mobilenetv3") == {40}


def test_the_forms_of_a_file_are_equal() -> None:
    lists = [[word for word in re.split(r"[ ,]", line)] for line in FBNET_C.split("\n") if line]
    lines = text_of(FBNET_C, "fbnet")
    assert text_of(json.dumps(lists, indent=1), "fbnet") == lines
    assert text_of(f"# FBNet-C\n{tuple(map(tuple, lists))!r},  # the end\n", "fbnet") == lines
    assert text_of(repr(lists).replace("]", ",]"), "fbnet") == lines
    assert text_of(json.dumps(["ir_r1_k3_s2_e6_c24", "ir_r2_k3_s1_e1_c24"])) == text_of(
        "ir_r1_k3_s2_e6_c24\n# a stage each\n\nir_r2_k3_s1_e1_c24\n"
    )


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("ir_r1_k3_s1_e1_c8\nir_r1_k3_s1_e6_c24_q9", (2, 20, "q9"), "no token of `ir`"),
        ("iir_r1_k3_s1_c8", (1, 1, "iir"), "no type of block"),
        ("mqa_r1_k3_h8_s1_d64_c64", (1, 1, "mqa"), "attention"),
        ("tu_r1_k3_s1_c8", (1, 1, "tu"), "Tucker"),
        ("ir_r1_k3_s1_c16", (1, 1, "ir_r1_k3_s1_c16"), "expansion, `e`"),
        ("ir_k3_s1_e1_c16", (1, 1, "ir_k3_s1_e1_c16"), "layers, `r`"),
        ("ir_r1_k3.5_s1_e1_c16", (1, 7, "k3.5"), "mixes kernels"),
        ("ir_r0_k3_s1_e1_c16", (1, 4, "r0"), "whole number of at least 1"),
        ("ir_r1_k3_s1_e0_c16", (1, 13, "e0"), "above 0"),
        ("ir_r1_k3_s1_e1_c16_nmi", (1, 20, "nmi"), "no activation"),
        ("ir_r1_k3_s1_e1_e2_c16", (1, 16, "e2"), "a second `e`"),
        ("ir_r1_k3_s1_e1_c16_skip_noskip", (1, 25, "noskip"), "at once"),
        ("ir_r1_k3_s1_e1_c16_cc4", (1, 20, "cc4"), "mixtures"),
        ("ir_r1_k3_s1_e1_c16_d1", (1, 20, "d1"), "space-to-depth"),
        ("cn_r1_k3_s1_c16_gs1", (1, 17, "gs1"), "groups"),
        ("cn_r1_k3_s1_e4_c16", (1, 13, "e4"), "no expansion"),
        ("cn_r1_k3_s1_c16_se0.25", (1, 17, "se0.25"), "no token of `cn`"),
        ("ir_r1_k3_s1_e1_a3_c16", (1, 16, "a3"), "1x1"),
        ("uir_r1_a0_k0_s2_e4_c16", (1, 1, "uir_r1_a0_k0_s2_e4_c16"), "depthwise"),
        ("ir_r1_k3_s1_e1_c8 ir_r1_k3_s2_e1_c8", (1, 19, "ir_r1_k3_s2_e1_c8"), "first block"),
        ("ir_r999_k3_s1_e1_c8\nir_r999_k3_s1_e1_c8", (2, 1, "ir_r999_k3_s1_e1_c8"), "1,000 layers"),
        ("ir__k3", (1, 4, ""), "no token"),
        ("[['ir_r1_k3_s1_e1_c8'], x]", (1, 25, "x"), "no list"),
        ("[[['ir_r1_k3_s1_e1_c8']]]", (1, 3, "["), "within lists"),
        ("[['ir_r1_k3_s1_e1_c8']", (1, 23, ""), "not closed"),
        ("['ir_r1_k3_s1_e1_c8'] + [open('/etc/passwd').read()]", (1, 23, "+ [open('/etc/passwd').read()]"), "more"),
        ("__import__('os').system('true')", (1, 1, ""), "no type of block"),
        ("# nothing\n", (1, 1, "# nothing\n"), "no block strings"),
        ("[]", (1, 1, "[]"), "no block strings"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_at_its_place(text: str, place: tuple[int, int, str], words: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        text_of(text)
    (found,) = caught.value.diagnostics
    assert found.code == "E0220" and words in found.message and found.help
    assert found.span is not None
    assert (*found.span.source.position(found.span.start), text[found.span.start : found.span.end]) == place


USUAL = [["r1", "r2", "rr"], ["k3", "k5", "k0"], ["s1", "s1", "s2"], ["e4", "e1", "e2.5"], ["c8", "c24", "c24"]]
EXTRA = ["se0.25", "nre", "nr6", "noskip", "skip", "a3", "p5", "fc16", "gs1", "q1", "k", "", "e", "c-1"]
BLOCKS = st.builds(
    lambda kind, usual, extra: "_".join([kind, *usual, *extra]),
    st.sampled_from([*KINDS, "xx"]),
    st.tuples(*map(st.sampled_from, USUAL)),
    st.lists(st.sampled_from(EXTRA), max_size=2),
)


@given(st.lists(BLOCKS, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_any_strings_give_a_file_or_a_mistake_with_a_mend(blocks: list[str]) -> None:
    try:
        text = text_of("\n".join(blocks))
    except DiagnosticError as error:
        assert all(each.span is not None and each.help for each in error.diagnostics)
    else:
        assert format_text(text) == text and space_of(text)


@given(st.text(st.sampled_from("[]()'\",# \nirkc_1"), max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        stages = read_stages("x", text)
    except DiagnosticError:
        return
    for block in (block for stage in stages for block in stage):
        assert text[block.span.start : block.span.end] == block.text


@given(st.integers(1, 5000))
def test_rounding_is_the_public_rule(width: int) -> None:
    found = rounded(width)
    assert found % 8 == 0 and found >= 0.9 * width and (abs(found - width) <= 4 or found <= width + 8)


def test_a_decoded_string_keeps_its_place() -> None:
    source = Source("x", "ir_r2_k5_s2_e6_c40_se0.25")
    block = decode(Written(source.text, Span(source, 0, len(source.text))))
    assert (block.repeat, block.kernel, block.stride, block.expand, block.filters, block.se) == (2, 5, 2, 6, 40, 0.25)


def test_the_command_writes_a_file(tmp_path: Path) -> None:
    """Exercises: command import."""
    source, out = tmp_path / "b0.json", tmp_path / "b0.nas"
    source.write_text(json.dumps([[line] for line in EFFICIENTNET.split()]))
    arguments = ["import", str(source), "--name", "b0", "--dropout", "0.2", "-o", str(out)]
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, done.stdout, done.stderr) == (
        0,
        f"{out}\n",
        "5,288,548 (5.29M) parameters and 385,814,752 (386M) MACs\n",
    )
    assert network_of(space_of(out)).name == "b0"
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1 and "is there already" in again.stderr
    assert CliRunner().invoke(main, [*arguments, "--force"]).exit_code == 0


def test_the_command_takes_strings_and_prints() -> None:
    blocks = EFFICIENTNET.split()
    done = CliRunner().invoke(main, ["import", *blocks])
    assert done.exit_code == 0 and done.stdout == text_of(EFFICIENTNET).replace(
        "nas 1\n", "nas 1\n\n// Imported from block strings.", 1
    )
    changed = ["--stem", "16", "--head", "0", "--act", "relu", "--bn-eps", "0.001", "--se-gate", "hard_sigmoid"]
    text = CliRunner().invoke(main, ["import", *blocks, *changed, "--size", "64", "--classes", "7"]).stdout
    assert "-> 16" in text and "global_pool | linear" in text and "eps 0.001" in text and "hard_sigmoid" in text
    wrong = CliRunner().invoke(main, ["import", "ir_r1_k3_s1_e6_c24_q9"])
    assert wrong.exit_code == 1 and "E0220" in wrong.stderr and "^^" in wrong.stderr
    small = CliRunner().invoke(main, ["import", *blocks, "--size", "4", "--name", "1x"])
    assert small.exit_code == 1 and "no name" in small.stderr
