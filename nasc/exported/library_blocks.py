"""Recognising the blocks of the library: what a segment looks like is read, and then built and compared with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from nasc.compiler.concrete import concrete
from nasc.compiler.ir import Node
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.dsl.diagnostics import DiagnosticError, NascError
from nasc.exported.numbers import number, operator, pads_same, sides
from nasc.exported.same_graph import marks, whole_graph
from nasc.exported.segments import NORMS, Segment, main_path_first, spelled
from nasc.import_network import rounded
from nasc.stage_lines import Layer, arrow, braces

LONGEST = 24
"""No block of the library that is recognised has more nodes."""

_GATE = r"(?P<gate>gpapam)?"
_BLOCKS = {
    "mbv3": rf"(?P<wide>pna)(?P<deep>dna){_GATE}(?P<last>pn)(?P<join>\+)?",
    "irb": rf"(?P<wide>pna)(?P<deep>dna){_GATE}(?P<last>pn)(?P<join>\+)?",
    "fused_irb": rf"(?P<deep>cna){_GATE}(?P<last>pn)(?P<join>\+)?",
    "depthwise_separable": rf"(?P<deep>dna){_GATE}(?P<last>pn)(?P<end>a)?(?P<join>\+)?",
    "uib": rf"(?P<start>dn)?(?P<wide>pna)(?P<deep>dna)?{_GATE}(?P<last>pn)(?P<after>dn)?(?P<join>\+)?",
    "bottleneck": r"pnacnapn([pc]n)?\+a",
    "regnet": rf"pna[cd]na{_GATE}pn([pc]n)?\+a",
    "basic": r"cnacn([pc]n)?\+a",
    "convnext": r"dnpap(?P<scale>s)?\+",
    "downsample": r"n[cp]",
    "conv": r"[cpd](?P<norm>n)?(?P<end>a)?(?P<join>\+)?",
}
"""How the nodes of each block are spelled (`nasc.exported.segments.spelled`)."""
_PATTERNS = {name: re.compile(pattern) for name, pattern in _BLOCKS.items()}

Values = dict[str, str]


@dataclass
class Recogniser:
    """Finds a library block for a segment. `hard`: the network has MobileNetV3's gates, so `mbv3` is tried first."""

    hard: bool
    built: dict[str, str | None] = field(default_factory=dict)

    def layer(self, part: Segment) -> Layer | None:
        """The layer that computes exactly this segment, with all its values written out, or None."""
        nodes = main_path_first(part)
        word = spelled(nodes, part.graph.shapes)
        for block, pattern in _PATTERNS.items():
            match = pattern.fullmatch(word)
            if match is None or (block == "mbv3" and not self.hard):
                continue
            values = _read(block, match, nodes, part)
            if values is None:
                continue
            filters = None if block == "convnext" else int(str(part.output.channels))
            layer = Layer(block, filters, tuple(values.items()))
            if self._is(layer, part):
                return layer
        return None

    def _is(self, layer: Layer, part: Segment) -> bool:
        text = f"stage s {layer.block} {braces(dict(layer.values))}{arrow(layer)}"
        key = f"{part.input} {text}"
        if key not in self.built:
            self.built[key] = _built(f"nas 1 network n {{ input image {part.input} output features s\n{text} }}")
        return self.built[key] == marks(part.graph)[part.graph.output]


def _built(text: str) -> str | None:
    """The mark of what a one-layer network computes; None where it is none."""
    try:
        graph, _ = whole_graph(concrete(network_of(space_of(open_file("<layer>", text)))))
    except (DiagnosticError, NascError):
        return None
    return marks(graph)[graph.output]


# ------------------------------------------------------------------------------------------------------- reading


def _read(block: str, match: re.Match[str], nodes: Sequence[Node], part: Segment) -> Values | None:
    """A block's values as the nodes suggest them; None where they cannot be its own."""
    if len({operator(node) for node in nodes if node.op in NORMS}) > 1:
        return None
    norm = next((operator(node) for node in nodes if node.op in NORMS), "identity")
    if block == "conv":
        return _conv(match, nodes, norm)
    if block in ("basic", "bottleneck", "regnet"):
        return _residual(block, match, nodes, part, norm)
    if block == "convnext":
        return _convnext(match, nodes, norm)
    if block == "downsample":
        return {"factor": sides(nodes[1].attributes["kernel"]), "norm": norm}
    return _mobile(block, match, nodes, part, norm)


def _window(node: Node) -> Values:
    values = {"kernel": sides(node.attributes["kernel"])}
    if node.attributes["stride"][0] > 1:
        values["stride"] = str(node.attributes["stride"][0])
    if not pads_same(node):
        values["padding"] = sides(node.attributes["padding"])
    return values


def _conv(match: re.Match[str], nodes: Sequence[Node], norm: str) -> Values:
    a = nodes[0].attributes
    values = {**_window(nodes[0]), "act": nodes[match.start("end")].op if match["end"] else "identity", "norm": norm}
    values |= {key: str(a[key]) for key in ("groups", "dilation") if a[key] != 1}
    if a["bias"] == bool(match["norm"]):
        values["bias"] = "yes" if a["bias"] else "no"
    return {**values, "shortcut": "residual"} if match["join"] else values


def _residual(block: str, match: re.Match[str], nodes: Sequence[Node], part: Segment, norm: str) -> Values:
    values = {"act": nodes[-1].op, "norm": norm}
    middle = nodes[0 if block == "basic" else 3]
    stride, width = middle.attributes["stride"][0], int(str(middle.output.channels))
    if stride > 1:
        values["stride"] = str(stride)
    filters = int(str(nodes[-1].output.channels))
    if block == "bottleneck":
        reduce = int(str(nodes[0].output.channels))
        values |= {"reduce": str(reduce)} if reduce * 4 != filters else {}
        return values | ({"mid": str(width)} if width != reduce else {})
    values |= {"mid": str(width)} if width != filters else {}
    if block == "regnet":
        values["group_width"] = str(width // int(middle.attributes["groups"]))
        if match["gate"]:
            values |= _gate(match, nodes, values["act"], round(int(str(part.input.channels)) / 4))
    return values


def _convnext(match: re.Match[str], nodes: Sequence[Node], norm: str) -> Values:
    before, hidden = int(str(nodes[0].output.channels)), int(str(nodes[2].output.channels))
    values = {"kernel": sides(nodes[0].attributes["kernel"]), "act": nodes[3].op, "norm": norm}
    values |= {} if hidden == 4 * before else {"hidden": str(hidden)}
    scale = nodes[match.start("scale")].attributes["init"] if match["scale"] else 0
    return {**values, "scale": number(scale)}


def _mobile(block: str, match: re.Match[str], nodes: Sequence[Node], part: Segment, norm: str) -> Values | None:
    """The inverted residuals: a 1x1 convolution and a depthwise one (or both in one), a gate, a 1x1 convolution."""
    before = int(str(part.input.channels))
    values = _universal(match, nodes) if block == "uib" else _window(nodes[match.start("deep")])
    act = nodes[(match.start("wide") if block == "uib" else match.start("deep")) + 2].op
    values |= {"act": act, "norm": norm}
    hidden = before
    if block != "depthwise_separable":
        hidden = int(str(nodes[match.start("deep" if block == "fused_irb" else "wide")].output.channels))
        ratio, rest = divmod(hidden, before)
        exact = not rest and rounded(before * ratio) == hidden
        values |= {"expand": str(ratio)} if exact else {"hidden": str(hidden)}
    if match["gate"]:
        usual = rounded(hidden / 4) if block == "mbv3" else round(before / 4)
        values |= _gate(match, nodes, act, usual)
        if block == "mbv3" and (values.pop("se_gate", ""), values.pop("se_act", act)) != ("hard_sigmoid", "relu"):
            return None  # its gates are always so
    if block == "depthwise_separable" and match["end"]:
        values["last_act"] = nodes[match.start("end")].op
    if not match["join"] and part.input == part.output:
        values["shortcut"] = "identity"
    return values


def _universal(match: re.Match[str], nodes: Sequence[Node]) -> Values:
    found = {name: nodes[match.start(key)] for name, key in _DEPTHWISE if match[key]}
    strides = [node.attributes["stride"][0] for node in found.values()]
    values = {name: sides(node.attributes["kernel"]) for name, node in found.items()}
    return {**values, "stride": str(max(strides))} if max(strides, default=1) > 1 else values


_DEPTHWISE = (("start", "start"), ("kernel", "deep"), ("end", "after"))


def _gate(match: re.Match[str], nodes: Sequence[Node], act: str, usual: int) -> Values:
    """Squeeze-and-excitation; `usual` is the width that the block works out where it is given none."""
    first = match.start("gate")
    width, inner, gate = int(str(nodes[first + 1].output.channels)), nodes[first + 2].op, nodes[first + 4].op
    values = {"se": "1"} | ({"se_width": str(width)} if width != usual else {})
    values |= {"se_act": inner} if inner != act else {}
    return values | ({"se_gate": gate} if gate != "sigmoid" else {})
