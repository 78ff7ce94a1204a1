"""From block strings to a `.nas` file with one member, by the rules with which timm builds its mobile networks.

Widths are rounded to multiples of 8, gates are a part of a block's input or of its expansion, and only the first layer
of a stage has a stride. A number is written out where a block of the library would work out another one. This is not
a part of the compiler, which knows no block by its name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from nasc.compiler.import_blocks import BlockString, decode
from nasc.compiler.import_strings import Stages, refuse
from nasc.compiler.layers import MAX_LAYERS
from nasc.dsl.format import format_text
from nasc.stage_lines import Layer, stage_lines


@dataclass(frozen=True)
class Family:
    """What a network has beside its block strings; each field is an option of `nasc import`.

    `head_kind`: `conv` before the pooling, `pooled` after it with a bias, `pooled_norm` after it with a batch norm.
    `head_rule`: the head's width does not follow the width multiplier (`fixed`), does (`scaled`), or does but never
    shrinks (`at_least`). `se_from`: a gate's ratio is of the block's `input` or of its `expansion`, its width in
    multiples of `se_divisor`. `se_act` is None for the block's own activation.
    """

    act: str = "swish"
    stem: int = 32
    head: int = 1280
    head_kind: str = "conv"
    head_rule: str = "scaled"
    se_from: str = "input"
    se_divisor: int = 1
    se_act: str | None = None
    se_gate: str = "sigmoid"
    bn_eps: str = "1e-5"
    round_limit: float = 0.9


FAMILIES = {
    "efficientnet": Family(),
    "efficientnetv2": Family(stem=24, bn_eps="1e-3", round_limit=0.0),
    "mobilenetv2": Family(act="relu6", head_rule="at_least"),
    "mobilenetv3": Family(
        act="hard_swish",
        stem=16,
        head_kind="pooled",
        head_rule="fixed",
        se_from="expansion",
        se_divisor=8,
        se_act="relu",
        se_gate="hard_sigmoid",
    ),
    "mobilenetv4": Family(act="relu", head_kind="pooled_norm", head_rule="fixed"),
    "mnasnet": Family(act="relu", head_rule="fixed"),
    "fbnet": Family(act="relu", stem=16, head=1984, head_rule="fixed"),
}
"""The conventions of the published families, by name."""


@dataclass(frozen=True)
class Options:
    """The network around the blocks. A head of 0 filters is none."""

    name: str = "imported"
    size: int = 224
    channels: int = 3
    classes: int = 1000
    width: float = 1.0
    depth: float = 1.0
    fix_stem: bool = False
    dropout: str = "0"
    family: Family = field(default_factory=Family)


def imported(stages: Stages, options: Options, note: str = "") -> str:
    """The text of the `.nas` file, formatted, with `note` as its comment.

    Raises `DiagnosticError` at the place of a block string that is wrong, or that the language has no block for.
    """
    decoded = [[decode(written) for written in stage] for stage in stages]
    blocks = [block for stage in decoded for block in stage]
    if sum(block.repeat for block in blocks) * options.depth > MAX_LAYERS:
        refuse(f"more than {MAX_LAYERS:,} layers", blocks[-1].span, "repeat the blocks less often")
    return format_text(_text([_repeated(stage, options.depth) for stage in decoded], options, note))


def rounded(width: float, divisor: int = 8, limit: float = 0.9) -> int:
    """The mobile networks' rule in floating point: the nearest multiple, but not below `limit` of the width."""
    found = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return found + divisor if found < limit * width else found


def _repeated(blocks: Sequence[BlockString], multiplier: float) -> list[BlockString]:
    """The blocks of a stage, each as often as it is there; a depth multiplier adds to the later ones first."""
    for block in blocks[1:]:
        if block.stride > 1:
            refuse("only the first block of a stage has a stride", block.span, "write `s1`, or begin a new stage here")
    left = sum(block.repeat for block in blocks)
    total = math.ceil(left * multiplier)
    counts: list[int] = []
    for block in reversed(blocks):
        counts.append(max(1, round(block.repeat / left * total)))
        left, total = left - block.repeat, total - counts[-1]
    row = [block for block, count in zip(blocks, reversed(counts), strict=True) for _ in range(count)]
    return [row[0], *(replace(block, stride=1) for block in row[1:])]


def _text(stages: Sequence[Sequence[BlockString]], options: Options, note: str) -> str:
    family = options.family
    scale = _Scale(options)
    stem = family.stem if options.fix_stem else scale(family.stem)
    comment = [f"// {line}".rstrip() for line in note.split("\n")] if note else []
    lines = ["nas 1", *comment, f"network {options.name} {{"]
    lines += [f"input image {options.channels} x {options.size} x {options.size}", f"output classes {options.classes}"]
    lines += [f"default {{ act {family.act}{_norm(family)} }}", ""]
    lines += [f"stage stem conv {{ kernel 3 stride 2 }} -> {stem}"]
    channels = stem
    for number, stage in enumerate(stages, start=1):
        layers = []
        for block in stage:
            filters = scale(block.filters)
            layers.append(_layer(block, channels, filters, family, scale))
            channels = filters
        lines += _stage_lines(f"b{number}", layers)
    return "\n".join([*lines, _head(options, scale), "}", ""])


def _norm(family: Family) -> str:
    return "" if float(family.bn_eps) == 1e-5 else f" norm bn {{ eps {family.bn_eps} }}"


@dataclass(frozen=True)
class _Scale:
    """Numbers of filters under the width multiplier."""

    options: Options

    def __call__(self, filters: int) -> int:
        return rounded(filters * self.options.width, 8, self.options.family.round_limit)


def _layer(block: BlockString, channels: int, filters: int, family: Family, scale: _Scale) -> Layer:
    hidden = rounded((scale(block.force_in) if block.force_in else channels) * block.expand)
    gate = _gate_width(block, channels if block.kind in ("ds", "dsa") else hidden, family)
    hard = (family.se_from, family.se_divisor, family.se_act, family.se_gate)
    gates: dict[str, str] = {}
    if block.kind == "ir" and hard == ("expansion", 8, "relu", "hard_sigmoid"):
        name, usual = "mbv3", rounded(hidden / 4)
    else:
        name = {"ir": "irb", "er": "fused_irb", "cn": "conv", "uir": "uib"}.get(block.kind, "depthwise_separable")
        usual, gates = round(channels / 4), _gate_values(block, family)
    values = _kernels(block)
    if block.stride > 1:
        values["stride"] = str(block.stride)
    if block.act is not None and block.act != family.act:
        values["act"] = block.act
    if block.kind in ("ir", "er", "uir"):
        values |= _expansion(block, channels, hidden)
    if gate:
        values |= {"se": "1", **({} if gate == usual else {"se_width": str(gate)}), **gates}
    return Layer(name, filters, tuple({**values, **_shortcut(block, family)}.items()))


def _kernels(block: BlockString) -> dict[str, str]:
    if block.kind != "uir":
        return {"kernel": str(block.kernel)}
    named = {"start": block.start, "kernel": block.kernel, "end": block.end}
    if block.stride > 1 and not any(named.values()):
        refuse("a stride needs a depthwise convolution", block.span, "give one of `a`, `k` and `p` a kernel")
    return {name: str(kernel) for name, kernel in named.items() if kernel}


def _expansion(block: BlockString, channels: int, hidden: int) -> dict[str, str]:
    """`expand`, or the hidden width where the block would work out another one."""
    text = f"{block.expand:.9f}".rstrip("0").rstrip(".")
    return {"expand": text} if rounded(channels * block.expand) == hidden else {"hidden": str(hidden)}


def _gate_width(block: BlockString, hidden: int, family: Family) -> int:
    if not block.se:
        return 0
    # As a part of the input, the ratio is divided by the expansion, and taken of the rounded hidden width.
    ratio = block.se / block.expand if family.se_from == "input" else block.se
    return rounded(hidden * ratio, family.se_divisor) if family.se_divisor > 1 else max(1, round(hidden * ratio))


def _gate_values(block: BlockString, family: Family) -> dict[str, str]:
    found = {}
    if family.se_act is not None and family.se_act != (block.act or family.act):
        found["se_act"] = family.se_act
    return found if family.se_gate == "sigmoid" else {**found, "se_gate": family.se_gate}


def _shortcut(block: BlockString, family: Family) -> dict[str, str]:
    """Convolutions have a shortcut where `skip` says so, all others unless `noskip` does."""
    if block.kind == "cn":
        return {"shortcut": "residual"} if block.skip else {}
    if block.kind == "dsa":
        return {"last_act": block.act or family.act, "shortcut": "identity"}
    return {"shortcut": "identity"} if block.skip is False else {}


def _stage_lines(name: str, layers: Sequence[Layer]) -> Iterator[str]:
    """A stage for each run of one block and one width."""
    runs = [list(run) for _, run in groupby(layers, key=lambda layer: (layer.block, layer.filters))]
    for number, run in enumerate(runs, start=1):
        yield stage_lines(name if len(runs) == 1 else f"{name}_{number}", run)


def _head(options: Options, scale: _Scale) -> str:
    family = options.family
    end = (f"dropout({options.dropout}) | " if float(options.dropout) else "") + "linear"
    widths = {"fixed": family.head, "scaled": scale(family.head), "at_least": max(family.head, scale(family.head))}
    width = widths[family.head_rule] if family.head else 0
    if not width:
        return f"head global_pool | {end}"
    if family.head_kind == "conv":
        return f"head conv {{ kernel 1 }} -> {width} | global_pool | {end}"
    bare = "" if family.head_kind == "pooled_norm" else " norm identity"
    return f"head global_pool | conv {{ kernel 1{bare} }} -> {width} | {end}"
