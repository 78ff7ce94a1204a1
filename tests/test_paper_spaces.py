"""Spaces and found networks of the FiGS and NetAdaptV2 papers: exact sizes, and each found network in its space."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasc.compiler.contains import contains
from nasc.compiler.cost import cost_of
from nasc.compiler.count import count_members
from nasc.dsl import syntax
from tests.spaces import ROOT, module_of, space_of

SPACES = ROOT / "spaces"
TABLE_8 = SPACES / "networks" / "netadapt_v2_table8.nas"
TABLE_9 = SPACES / "networks" / "netadapt_v2_table9.nas"
TABLE_10 = SPACES / "networks" / "netadapt_v2_table10.nas"


def costs(name: str) -> tuple[int, int, int, int]:
    """The fewest and most parameters, and the fewest and most MACs."""
    cost = cost_of(space_of(SPACES / f"{name}.nas"))
    return cost.params.min, cost.params.max, cost.macs.min, cost.macs.max


# --------------------------------------------------------------------------------------------------------- FiGS

RESNETS = {"figs_resnet50": (3, 4, 6, 3), "figs_resnet152": (3, 8, 36, 3)}


@pytest.mark.parametrize("name", RESNETS)
def test_figs_resnets_have_as_many_members_as_their_widths_allow(name: str) -> None:
    """A branch is gone or has one of n x n widths; beside a projection, `reduce` 0 and `mid` 0 are two members."""
    count = 64
    for width, n, depth in zip((256, 512, 1024, 2048), (64, 128, 256, 512), RESNETS[name], strict=True):
        count *= width * (2 + n * n) * (1 + n * n) ** (depth - 1)
    assert count_members(space_of(SPACES / f"{name}.nas")) == count


def test_the_largest_members_of_figs_resnets_are_the_published_networks() -> None:
    """60,192,808 is torchvision's and timm's ResNet-152, whose MACs torchvision gives as 11.51 G."""
    assert costs("figs_resnet50")[1::2] == (25_557_032, 4_089_184_256)
    assert costs("figs_resnet152")[1::2] == (60_192_808, 11_513_626_624)


def test_figs_fbnet_lets_any_operators_survive_and_needs_one_where_nothing_is_added() -> None:
    count = 16 * 97**2  # the stem's width, which is tbs1's; each operator is gone or has one of 96 hidden widths
    for width, first, rest in ((24, 96, 144), (32, 144, 192), (64, 192, 384), (112, 384, 672), (184, 672, 1104)):
        count *= width * ((first + 1) ** 2 - 1) * (rest + 1) ** 6
    count *= 352 * (1105**2 - 1) * 1984
    assert count_members(space_of(SPACES / "figs_fbnet.nas")) == count


def test_figs_fbnet_costs_what_its_layers_do() -> None:
    """By hand: every layer has a 3 x 3 and a 5 x 5 operator of the widest hidden width."""
    params, macs = conv(3, 16, 9), 112 * 112 * 3 * 16 * 9
    side, width = 112, 16
    for count, stride, out in ((1, 1, 16), (4, 2, 24), (4, 2, 32), (4, 2, 64), (4, 1, 112), (4, 2, 184), (1, 1, 352)):
        for layer in range(count):
            hidden, after = 6 * width, side // stride if layer == 0 else side
            for kernel in (3, 5):
                params += conv(width, hidden, 1) + conv(1, hidden, kernel**2) + conv(hidden, out, 1)
                macs += hidden * (side**2 * width + after**2 * (kernel**2 + out))
            side, width = after, out
    params += conv(352, 1984, 1) + 1984 * 1000 + 1000
    macs += 7 * 7 * 352 * 1984 + 1984 * 1000
    assert costs("figs_fbnet")[1::2] == (params, macs) == (8_657_528, 1_033_122_752)


def conv(inputs: int, outputs: int, taps: int) -> int:
    """Parameters of a convolution without bias and its batch norm."""
    return inputs * outputs * taps + 2 * outputs


# --------------------------------------------------------------------------------------------------- NetAdaptV2


def test_netadapts_mobilenet_v1_starts_from_the_published_network() -> None:
    assert costs("netadapt_v2_mbv1")[1::2] == costs("networks/mobilenet_v1")[1::2] == (4_231_976, 568_740_352)


def test_netadapts_mobilenet_v1_without_bypass_has_eight_widths_in_each_of_its_27_layers() -> None:
    """Without bypass a layer of width 0 leaves no network; with it, no more than 9 widths each."""
    path = SPACES / "netadapt_v2_mbv1.nas"
    text = path.read_text(encoding="utf-8").replace("dw_bypass inf", "dw_bypass 0")
    for limit in (16, 32, 64, 128, 256):
        text = text.replace(f" bypass {limit} ", " bypass 0 ")
    assert count_members(space_of(text)) == 8**27 < count_members(space_of(path)) < 9**27


def test_netadapts_spaces_start_from_networks_of_exact_size() -> None:
    assert costs("netadapt_v2_mbv3_macs")[1::2] == (17_475_872, 811_886_336)
    assert costs("netadapt_v2_fastdepth")[1::2] == (3_960_930, 736_658_944)


@pytest.mark.parametrize(
    ("path", "params", "macs"), [(TABLE_9, 9_865_680, 311_295_744), (TABLE_10, 2_069_442, 459_050_816)]
)
def test_netadapts_found_networks_cost_exactly(path: Path, params: int, macs: int) -> None:
    """Table 9: 311.30M by the rule for bypassed channels, where the paper prints 314M; Table 10 has no printed MACs."""
    assert cost_of(space_of(path)).as_json() == {"params": params, "macs": macs}


def test_netadapts_table_10_has_the_macs_of_its_rows() -> None:
    """By hand from the table: bypassing keeps a depthwise layer's channels where it has fewer filters."""
    rows = [  # side after the layer, depthwise filters, kernel, what the pointwise layer reads, its filters
        *((112, 20, 3, 24, 48), (56, 48, 3, 48, 96), (56, 96, 3, 96, 112), (28, 112, 3, 112, 256)),
        *((28, 256, 3, 256, 192), (14, 192, 3, 192, 448), (14, 448, 3, 448, 448), (14, 448, 3, 448, 384)),
        *((14, 384, 3, 384, 512), (14, 512, 3, 512, 384), (14, 384, 3, 384, 448), (7, 448, 3, 448, 384)),
        *((7, 384, 3, 384, 768), (7, 768, 5, 768, 384), (14, 320, 5, 384, 192), (28, 160, 5, 192, 112)),
        *((56, 112, 3, 112, 48), (112, 28, 3, 48, 24)),
    ]
    macs = 112**2 * 3 * 24 * 9 + 224**2 * 24
    macs += sum(side**2 * (dw * kernel**2 + read * pw) for side, dw, kernel, read, pw in rows)
    assert cost_of(space_of(TABLE_10)).macs.max == macs


Settings = dict[tuple[str, int], dict[str, syntax.Value] | None]
"""By stage and layer: what each parameter is given; None where a layer is removed."""


@pytest.mark.parametrize("path", [TABLE_8, TABLE_9], ids=["table 8", "table 9"])
def test_a_removed_block_is_the_member_of_width_0(path: Path) -> None:
    """The tables print zeros for it, which bypassing turns into the block's input; the files say `identity`."""
    text = path.read_text(encoding="utf-8")
    zeros = text.replace(" identity\n", " { kernel 3  hidden 0  dw 0 } -> 0\n")
    assert zeros != text
    assert contains(space_of(zeros), space_of(text)).yes and contains(space_of(text), space_of(zeros)).yes


@pytest.mark.parametrize(
    ("space", "network", "outside"),
    [
        ("netadapt_v2_mbv3", TABLE_8, []),
        ("netadapt_v2_mbv3_macs", TABLE_9, []),
        ("netadapt_v2_fastdepth", TABLE_10, [("dec5", 1, "dw")]),
    ],
    ids=["table 8", "table 9", "table 10"],
)
def test_netadapts_found_networks_have_values_of_their_spaces(
    space: str, network: Path, outside: list[tuple[str, int, str]]
) -> None:
    """`contains` cannot tell where every width depends on earlier ones. Table 10 prints 28 filters, not 24 or 32."""
    domains, values = settings(SPACES / f"{space}.nas"), settings(network)
    assert domains.keys() == values.keys()
    found = []
    for place, domain in domains.items():
        assert domain is not None
        value = values[place]
        if value is None:
            assert all(from_zero(domain[name]) for name in ("hidden", "dw", "width"))
            continue
        searched = {name for name, choice in domain.items() if isinstance(choice, syntax.Range)}
        assert searched - {"se_width"} <= value.keys() <= domain.keys()
        found += [(*place, name) for name in value if not within(domain[name], value[name])]
    assert found == outside


def settings(path: Path) -> Settings:
    """What the stages, rows, defaults and the head of a file give each layer, a `let` by its value."""
    space = module_of(path).space
    assert space is not None
    lets = {item.name: item.value for item in space.items if isinstance(item, syntax.Let)}
    defaults = [item for item in space.items if isinstance(item, syntax.Default)]
    found: Settings = {}
    for item in space.items:
        if isinstance(item, syntax.Stage):
            assert isinstance(item.callee, syntax.Call)
            given = [p for d in defaults if d.block in (None, item.callee.name) for p in d.properties]
            for layer in range(1, depth(item) + 1):
                found[item.name, layer] = layer_settings(item, layer, given, lets)
        if isinstance(item, syntax.Head):
            for index, step in enumerate(item.steps):
                assert isinstance(step.operator, syntax.Call)
                found["head", index] = named(step.operator.properties, step.width, lets)
    return found


def depth(stage: syntax.Stage) -> int:
    return int(stage.count.value) if isinstance(stage.count, syntax.Number) else 1


def layer_settings(
    stage: syntax.Stage, layer: int, given: list[syntax.Property], lets: dict[str, syntax.Value]
) -> dict[str, syntax.Value] | None:
    merged = named((*given, *stage.properties), stage.width, lets)
    for row in stage.rows:
        if row.first <= layer <= row.last:
            if isinstance(row.callee, syntax.Call) and row.callee.name == "identity":
                return None
            merged |= named(row.properties, row.width, lets)
    return merged


def named(
    properties: tuple[syntax.Property, ...], width: syntax.Value | None, lets: dict[str, syntax.Value]
) -> dict[str, syntax.Value]:
    found = {p.name: p.value for p in properties} | ({"width": width} if width is not None else {})
    return {name: lets.get(v.parts[0], v) if isinstance(v, syntax.Reference) else v for name, v in found.items()}


def within(domain: syntax.Value, value: syntax.Value) -> bool:
    if not isinstance(domain, syntax.Range):
        return domain == value
    first, last, step = (
        n.value if isinstance(n, syntax.Number) else 1 for n in (domain.first, domain.last, domain.step)
    )
    assert isinstance(value, syntax.Number)
    return first <= value.value <= last and (value.value - first) % step == 0


def from_zero(domain: syntax.Value) -> bool:
    return isinstance(domain, syntax.Range) and isinstance(domain.first, syntax.Number) and domain.first.value == 0
