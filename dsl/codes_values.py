"""Codes of values, ranges and shapes (E03xx)."""

from __future__ import annotations

from nasc.dsl.code_info import CodeInfo
from nasc.dsl.codes_example import block, space

VALUES = {
    "E0310": CodeInfo(
        "a searched depth and skips in one stage",
        "Dropping a layer and having one layer less are the same network, which would then be there several times.",
        "Write `skip no` in the stage, or give it one depth.",
        space("stage s conv x 1 .. 3 { kernel 3  skip same_shape } -> 3"),
    ),
    "E0312": CodeInfo(
        "layers that cannot be skipped",
        "`skip yes` lets a layer be dropped whose output has another shape than its input; without it the next layer "
        "would not fit.",
        "Write `skip same_shape`: it drops only the layers that can be.",
        space("stage s conv x 3 { kernel 3  stride 2  skip yes } -> 8"),
    ),
    "E0313": CodeInfo(
        "an unknown kind of skip",
        "`skip` is `no`, `yes` or `same_shape`.",
        "Write one of these.",
        space("stage s conv { kernel 3 } -> 8", "skip maybe"),
    ),
    "E0314": CodeInfo(
        "a row of no layer",
        "A row names layers that its stage does not have. Layers count from 1 to the number after `x` (1 without it).",
        "Correct the numbers, or give the stage more layers.",
        space("stage s conv x 2 { kernel 3 } -> 8 { layer 3 { act swish } }"),
    ),
    "E0315": CodeInfo(
        "two rows of one layer",
        "Two rows of a stage name the same layer, and could contradict each other.",
        "Join the two rows.",
        space("stage s conv x 2 { kernel 3 } -> 8 { layer 1 .. 2 { act swish }  layer 2 { act relu6 } }"),
    ),
    "E0317": CodeInfo(
        "too many alternatives to list",
        "Sets in braces, and alternatives that differ in more than a width, are looked at one by one: up to 1200 for "
        "all layers that differ, 65536 values for a set of widths. Ranges and intervals have no such limit.",
        "Write widths as a range, `64 .. 512 step 8`; narrow the sets.",
        space("stage s conv { kernel 3 } -> {1 .. 100000}"),
    ),
    "E0319": CodeInfo(
        "too much to build",
        "Blocks that use other blocks twice, many levels deep, double in size with every level. One layer may take "
        "20000 steps to build, a space a million; the largest shipped layer takes 400.",
        "Repeat layers with `x COUNT` in a stage.",
    ),
    "E0329": CodeInfo(
        "a number or expression beyond bounds",
        "Numbers are exact, so that products of products would grow without end. They stay below 1e320, and "
        "expressions below 4096 terms.",
        "Write the number that is meant.",
        space("stage s conv { kernel 3 } -> w * w", "let w = 1e100 * 1e100"),
    ),
    "E0330": CodeInfo(
        "a condition that depends on too many values",
        "Whether a part of the network is there must be known for every member. Here it hangs on decisions with so "
        "many values that they cannot be told apart one by one; often it is whether two widths are equal.",
        "Give the value (`project yes`), make two widths one decision by a `let`, or narrow the ranges.",
        space("stage s conv { kernel 3 } -> 8 .. 99999\nstage t irb { kernel 3  hidden 8 } -> 8 .. 99999"),
    ),
    "E0331": CodeInfo(
        "not a whole number",
        "Layers, strides and divisors are whole numbers.",
        "Round it: `round(…)`, `floor(…)`, `divisible(…, 8)`.",
        space("stage s conv x 5 / 2 { kernel 3 } -> 8"),
    ),
    "E0332": CodeInfo(
        "a value of another kind",
        "A number stands where a tensor is needed, a word where a number is needed, or a text where neither fits.",
        "Write a value of the kind that is asked for.",
        space("stage s conv { kernel relu } -> 8"),
    ),
    "E0334": CodeInfo(
        "widths that fall together",
        "A ratio's interval holds widths that the block rounds to a coarser grid (8 in most library blocks), so that "
        "several decisions would build the same network.",
        "Use a granularity that is a multiple of 8, or give the width itself: `hidden 8 .. 64 step 4`.",
        space("stage c conv { kernel 3 } -> 16\nstage s irb { kernel 3  expand (0, 4] } -> 8", "granularity 4"),
    ),
    "E0335": CodeInfo(
        "bounds that depend on a decision",
        "The ends of a range, and the values of a set, are the same for all members.",
        "Write numbers, or a `let` with one value.",
        space("stage s conv { kernel 3 } -> {8, 2 * w}", "let w = 8 .. 9999"),
    ),
    "E0336": CodeInfo(
        "an interval without granularity",
        "An interval such as `(0, 8]` stands for the multiples of the granularity inside it, and the space states "
        "none.",
        "Add `granularity 8`, or write a range: `8 .. 64 step 8`.",
        space("stage s irb { kernel 3  expand (0, 8] } -> 8"),
    ),
    "E0337": CodeInfo(
        "an interval without widths",
        "No multiple of the granularity lies in the interval. Ends are never rounded. For a ratio the interval is in "
        "multiples of the input's channels, which are named.",
        "Widen the interval, or choose a smaller granularity.",
        space("stage s irb { kernel 3  expand (0, 8] } -> 8", "granularity 32"),
    ),
    "E0338": CodeInfo(
        "an empty range",
        "In a space a range ascends, and its step is above 0.",
        "Turn the ends around.",
        space("stage s conv { kernel 3 } -> 64 .. 32"),
    ),
    "E0339": CodeInfo(
        "a range that misses its end",
        "Both ends of a range belong to it, so its steps must lead from the first to the last.",
        "End at one of the values that are named.",
        space("stage s conv { kernel 3 } -> 8 .. 33 step 8"),
    ),
    "E0340": CodeInfo(
        "a division by zero",
        "The divisor is 0, or can be 0 for a value of the decisions it depends on.",
        "Leave 0 out of the values.",
        space("stage s conv { kernel 3 } -> 8 / 0"),
    ),
    "E0343": CodeInfo(
        "a width that is no whole number",
        "Behind `->` stands a number of channels. It is a fraction, or can be one for a value of the decisions it "
        "depends on, or it is no number.",
        "Round it: `round(…)`, `divisible(…, 8)`.",
        space("stage s conv { kernel 3 } -> 5 / 2"),
    ),
    "E0344": CodeInfo(
        "a size out of bounds",
        "Widths lie between 0 and 10 million, sides of images below 100000.",
        "Check the number.",
        space("stage s conv { kernel 3 } -> 1 .. 1e99"),
    ),
    "E0347": CodeInfo(
        "an impossible number of layers",
        "A stage has at least one layer, at least for some members, and a space at most 10000.",
        "Correct the number after `x`.",
        space("stage s conv x 100000000 { kernel 3 } -> 8"),
    ),
}

SHAPES = {
    "E0318": CodeInfo(
        "a head that gives something else than the output",
        "What comes out of the head must be what `output` says: a vector with one number per class, one per token, or "
        "an image of the depth map's shape.",
        "End a classifier's head with `global_pool | linear`.",
        space("stage s conv { kernel 3 } -> 8", head="  head global_pool\n"),
    ),
    "E0320": CodeInfo(
        "an operator of another kind of tensor",
        "Convolutions and pools work on images, attention and positions on sequences of tokens, embeddings on token "
        "numbers.",
        "Turn an image into a sequence by `tokens`.",
        space("stage s position"),
    ),
    "E0321": CodeInfo(
        "nothing left of the image",
        "The window of a convolution or pool, with its padding, is larger than the image, so that the spatial size "
        "falls below 1.",
        "Use a smaller kernel, more padding, or fewer strides before it.",
        space("stage s max_pool { kernel 33  padding 0 }"),
    ),
    "E0322": CodeInfo(
        "an argument out of bounds",
        "Kernels, strides, dilations and groups are whole numbers from 1 on, paddings from 0 on; rates lie from 0 to "
        "1. Only `kernel` and `padding` may be two numbers, as in `1 x 7`.",
        "Correct the number.",
        space("stage s conv { kernel 3  stride 0 } -> 8"),
    ),
    "E0323": CodeInfo(
        "an operator without width",
        "A convolution, linear layer or embedding needs to know how many channels come out.",
        "Write `conv2d(3) -> 64`.",
        block("block b {\n  in | conv2d(3)\n}"),
    ),
    "E0324": CodeInfo(
        "groups that do not divide the channels",
        "The channels that come in and go out are dealt to groups or heads of equal size.",
        "Choose a number that divides both.",
        space("stage s conv { kernel 3  groups 2 } -> 8"),
    ),
    "E0325": CodeInfo(
        "a linear layer of an image",
        "`linear` works on vectors, on each token, or on an image of one pixel.",
        "Put `global_pool |` before it.",
        space("stage s conv { kernel 3 } -> 8", head="  head linear\n"),
    ),
    "E0326": CodeInfo(
        "sizes that do not agree",
        "Tensors that are joined, and the alternatives of one place, must have the same height, width and number of "
        "tokens.",
        "Make strides and paddings equal; what changes sizes for the whole network is a `let`.",
        space("stage s one of { conv { stride 1 }  conv { stride 2 } } { kernel 3 } -> 8"),
    ),
    "E0327": CodeInfo(
        "channels that do not agree",
        "`add` and `mul` join tensors of equal channels. Two ranges are two decisions, even where they list the same "
        "values.",
        "Make the two widths one decision by a `let`, or join by `concat`.",
        block("block b {\n  y = in | conv2d(3) -> 8\n  add(in, y)\n}"),
    ),
    "E0328": CodeInfo(
        "a residual over unequal shapes",
        "`residual(y)` adds `y`, and its shape is another one. (Without an argument `residual` adds the block's input "
        "where the shapes are equal, and nothing where they are not.)",
        "Give both one shape, for instance by a 1x1 convolution.",
        block("block b {\n  y = in | conv2d(3) -> 8\n  in | relu | residual(y)\n}"),
    ),
    "E0380": CodeInfo(
        "a choice that cannot be a part of a SuperNet",
        "The space has a meaning, and each of its members can be compiled. But the search methods that mix the "
        "candidates of each layer need a chain of layers with one shape between each two of them, and have no "
        "relaxation for this choice.",
        "Give the choice one value (`nasc compile FILE --set dim=384`), or compile members: `nasc sample` draws some.",
    ),
}
