"""Which part of a block with a searched hidden width is shared by its widths, and why the rest, or all, is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

from nasc.compiler.expr import Size
from nasc.compiler.ir import Node, Tensor
from nasc.compiler.methods.elastic import Elastic
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.forms import Call, Expression
from nasc.compiler.structure import Step

PREFIXED = {
    "nn.Conv2d": "PrefixConv2d",
    "nn.Linear": "PrefixLinear",
    "nn.BatchNorm2d": "PrefixBatchNorm2d",
    "nn.BatchNorm1d": "PrefixBatchNorm1d",
    "nn.LayerNorm": "PrefixLayerNorm",
    "ChannelNorm": "PrefixChannelNorm",
    "LayerScale": "PrefixLayerScale",
    "ChannelScale": "PrefixChannelScale",
    "TokenBatchNorm": "PrefixTokenBatchNorm",
}
"""The classes that stand for torch's, and for generated ones, where channels can be cut."""

_MODULES = frozenset({"PrefixConv2d", "PrefixLinear"})
"""Those that can be told how many channels to give."""

_ZERO_FROM_ZERO = frozenset({"relu", "relu6", "swish", "hard_swish", "global_pool", "avg_pool", "add"})
_WEIGHTED = frozenset({"conv2d", "linear"})

Told = tuple[Size | None, Size | None]
"""The number of channels that a module must give and that of its groups; None for what it was made with."""


class Cut:
    """Divides the steps of a block into those shared by all widths and those that each width needs anew."""

    def __init__(self, steps: Sequence[Step], elastic: Elastic) -> None:
        self.steps = steps
        self.elastic = elastic
        self.nodes = {node.name: node for node in elastic.graph.nodes}
        self.inputs = tuple(elastic.graph.inputs)
        self.output = elastic.graph.output
        shared = set(self.inputs)
        for step in steps:
            if set(step.operands) <= shared and not self.mixes(step) and not self._obstacles(step):
                shared.add(step.value)
        self.shared = tuple(step for step in steps if step.value in shared)
        self.rest = tuple(step for step in steps if step.value not in shared)
        read = {name for step in self.rest for name in step.operands}
        crossing = [step.value for step in self.shared if step.value in read]
        self.hidden = tuple(value for value in crossing if self._is_cut(value))
        """What carries hidden channels over to the rest."""
        self.sides = tuple(value for value in crossing if value not in self.hidden)
        """What the rest reads beside: the same at every width."""

    @property
    def divides(self) -> bool:
        """Are there hidden channels to share, and one value that carries all of them over?"""
        return len(self.hidden) == 1

    @property
    def maskable(self) -> bool:
        """Is the block at a smaller width the largest one with hidden channels masked to zero where they cross over?

        It is while whatever mixes channels after that, a convolution or product of matrices, reads masked ones only.
        """
        if not (self.divides and self.elastic.nested) or any(map(self.slice, self.shared)):
            return False
        shared = {owner for step in self.shared for owner in (step.value, *step.owners)}
        zero = set(self.hidden)
        for node in self.elastic.graph.nodes:
            if node.name in shared or not (cut := [name for name in node.inputs if name in self.elastic.channels]):
                continue
            if (node.op == "mul" and zero & set(cut)) or (node.op in _ZERO_FROM_ZERO and zero >= set(cut)):
                zero.add(node.name)
            elif self._mixer(node.name) is not None and not (node.op in _WEIGHTED and zero >= set(cut)):
                return False
        return True

    @property
    def obstacle(self) -> str | None:
        """Why each width is computed from the start; None where they share something."""
        if self.divides:
            return None
        found = [why for step in self.rest for why in self._obstacles(step)]
        if self.hidden:
            found.append(f"{len(self.hidden)} tensors of hidden channels are read on")
        return next(iter(found), "one step makes the hidden channels and mixes them")

    def _obstacles(self, step: Step) -> list[str]:
        names = dict.fromkeys((step.value.partition("/")[0], *step.owners))
        found = (self.elastic.obstacle(self.nodes[name]) for name in names if name in self.nodes)
        return [why for why in found if why]

    def _is_cut(self, value: str) -> bool:
        """Are the value's channels cut?"""
        return self._named(value) in self.elastic.channels

    def tensor(self, value: str) -> Tensor:
        """The shape of a value at the largest width."""
        return self.elastic.graph.tensor(self._named(value))

    def _named(self, value: str) -> str:
        """What has the shape of a value. (`node/1` is a value inside a node's own modules.)"""
        name, _, inner = value.partition("/")
        return self.nodes[name].inputs[0] if inner else name

    def _mixer(self, owner: str) -> Node | None:
        """The node of stored tensors, where it mixes channels."""
        node = self.nodes.get(owner)
        if node is None or PRIMITIVES[node.op].channelwise or self.elastic.is_depthwise(node):
            return None
        return node

    def mixes(self, step: Step) -> bool:
        """Does a step work on channels that are cut all together?"""
        mixers = (self._mixer(owner) for owner in step.owners)
        return any(node is not None and node.inputs[0] in self.elastic.channels for node in mixers)

    def told(self, step: Step) -> list[Told]:
        """What each of a step's modules that can be told anything must be told."""
        return [
            self._told(owner) for call, owner in zip(step.calls, step.owners, strict=True) if call.function in _MODULES
        ]

    def _told(self, owner: str) -> Told:
        if self._mixer(owner) is None:
            return None, None
        return self.elastic.channels.get(owner), self.elastic.attributes.get((owner, "groups"))

    def tells_inside(self, step: Step) -> bool:
        """Must modules inside a sequence be told something, other than the width of its last?"""
        *others, last = self.told(step) or [(None, None)]
        return len(step.calls) > 1 and (last[1] is not None or any(each != (None, None) for each in others))

    def slice(self, step: Step) -> tuple[Size, Size] | None:
        """The start and stop of a slice that follows the width."""
        node = self.nodes.get(step.value)
        if node is None or node.op != "slice":
            return None
        start, stop = (self.elastic.attributes.get((node.name, key)) for key in ("start", "stop"))
        if start is None and stop is None:
            return None
        return (
            node.attributes["start"] if start is None else start,
            node.attributes["stop"] if stop is None else stop,
        )

    def prefixed(self, step: Step) -> Step:
        """The step with torch's modules replaced where their channels are cut, and operators by what follows widths."""
        node = self.nodes.get(step.value)
        if self.slice(step) is not None:
            return replace(step, expression=Expression("{0}"))
        if node is not None and node.op == "add_prefix" and set(node.inputs) & set(self.elastic.channels):
            operands = [f"{{{i}}}" for i in range(len(step.operands))]
            joined = reduce(lambda a, b: f"add_prefix({a}, {b})", operands)
            return replace(step, expression=Expression(joined, side="shortcut"))
        calls = tuple(map(self._prefixed_call, step.calls, step.owners))
        return replace(step, calls=calls)

    def _prefixed_call(self, call: Call, owner: str) -> Call:
        node = self.nodes.get(owner)
        cut = node is not None and not {node.name, node.inputs[0]}.isdisjoint(self.elastic.channels)
        if not cut or call.function not in PREFIXED:
            return call
        return replace(call, function=PREFIXED[call.function], helper="")
