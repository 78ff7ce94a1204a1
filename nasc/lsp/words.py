"""A line about each word of the language, and what values a parameter may have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nasc.compiler.primitives import NAMES, PRIMITIVES
from nasc.compiler.primitives.base import REQUIRED
from nasc.compiler.primitives.pointwise import Activation
from nasc.dsl import syntax

ACTIVATIONS = tuple(sorted(name for name, primitive in PRIMITIVES.items() if isinstance(primitive, Activation)))
GROUPS = (
    ACTIVATIONS,
    ("bn", "layer_norm", "identity"),
    ("residual", "residual_prefix", "identity"),
    ("add", "mul", "concat"),
    ("yes", "no"),
    ("same",),
)
"""Names that can stand for one another: an activation where an activation is the default."""

FILE_ITEMS = {
    "import": 'the blocks of another file: `import "cells.nas"`',
    "block": "a block of one's own: `block NAME(parameters) -> filters { … }`",
    "space": "a set of networks: `space NAME { … }`",
    "network": "a space that promises to have one member",
    "search": "options of a search: `search METHOD { … }`",
    "target": "what latencies are measured on: `target NAME { … }`",
}
SPACE_ITEMS = {
    "input": "what comes in: `input image C x H x W` or `input tokens N`",
    "output": "what comes out: `classes N`, `tokens N`, `depth C x H x W` or `features s1, s2`",
    "let": "one decision or configured block, wherever its name is used",
    "default": "values for all stages and the head, or for one block: `default [BLOCK] { … }`",
    "stage": "`stage NAME BLOCK [x COUNT] [from STAGE] [{ parameters }] [-> WIDTH] [{ rows }]`",
    "head": "the end of the network: `head global_pool | linear`",
    "granularity": "the grid of intervals: the distance of neighbouring widths",
    "skip": "whether layers may be dropped: `no`, `yes` or `same_shape`",
}
FIELDS = {
    "channels": "the number of a tensor's channels",
    "height": "the height of an image",
    "width": "the width of an image",
    "tokens": "the length of a sequence",
}
INPUTS = {"image": "channels x height x width", "tokens": "so many token numbers"}
OUTPUTS = {
    "classes": "one value for each class",
    "tokens": "one value for each token of the vocabulary, at each place",
    "depth": "a map: channels x height x width",
    "features": "the outputs of the named stages",
}
SKIP = {
    "no": "no layer may be dropped",
    "yes": "every layer may be dropped; one that cannot is an error",
    "same_shape": "a layer may be dropped where its input and output have one shape",
}
KINDS = {
    "first": "a value given by a stage is for the stage's first layer only",
    "ratio": "a multiple of the input's channels; an interval is filled on the channel grid",
    "tensor": "another tensor: the name of an earlier stage, or of a value of the calling block",
}
MORE = {
    "x": "the number of layers: `x 2`, or `x 2 .. 4` to search it",
    "from": "the stage whose output comes in, instead of the one before",
    "layer": "values for one layer, or several: `layer 2 .. 4 { … } -> WIDTH`",
    "step": "the distance of neighbouring values: `16 .. 64 step 16`",
    "when": "the step is built only where this holds",
    "one": "`one of { a b }`: one of several operators",
    "any": "`any of { a b } by add`: any of several operators, joined",
    "all": "`all of { a b } by concat`: all of them, joined",
    "by": "how the operators are joined: `add` or `concat`",
    "in": "the block's main input",
    "identity": "no operator: what comes in comes out",
    "nothing": "the absent tensor, of 0 channels",
    "residual": "adds the input of the pipeline, or of the block; an absent branch is its source",
    "residual_prefix": "adds the input over the channels that both have",
    "take": "the first `-> w` channels",
    "channels": "the channels `a` up to, not including, `b`",
    "same": "padding ((s - 1) + d (k - 1)) // 2 on both sides",
    "inf": "no limit",
}
WORDS = {**FILE_ITEMS, **SPACE_ITEMS, **KINDS, **MORE}
"""What a word means wherever it stands; fields, kinds and `skip`'s values are told where they stand."""


def default_text(block: syntax.Block | None, operator: str, name: str) -> str | None:
    """The default of a parameter as it is written; None for one without."""
    if block is not None:
        written = next((p.default for p in block.parameters if p.name == name), None)
        return None if written is None else " ".join(_source(written).split())
    default = PRIMITIVES[operator].parameters.get(name, REQUIRED) if operator in PRIMITIVES else REQUIRED
    if default is REQUIRED:
        return None
    return {True: "yes", False: "no"}[default] if isinstance(default, bool) else str(default)


def _source(node: syntax.Node) -> str:
    return node.span.source.text[node.span.start : node.span.end]


def values_for(operator: str, name: str, blocks: Mapping[str, syntax.Block]) -> tuple[str, ...]:
    """The names that a parameter may be given, told by its default; none where it is a number."""
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        default = default_text(blocks.get(operator) if operator not in NAMES else None, operator, name)
        group = next((g for g in GROUPS if default in g), None)
        if group is not None or default is None:
            return group or ()
        name = default
    return ()


def all_values(takers: Iterable[str], name: str, blocks: Mapping[str, syntax.Block]) -> tuple[str, ...]:
    """The names that any of these operators takes for a parameter."""
    return tuple(dict.fromkeys(v for taker in takers for v in values_for(taker, name, blocks)))
