"""Codes of what a space is made of, and of the names in it (E03xx)."""

from __future__ import annotations

from nasc.dsl.code_info import CodeInfo
from nasc.dsl.codes_example import HEAD, block, space

WHOLE = {
    "E0301": CodeInfo(
        "no input or no output",
        "A space says what comes in (`input image 3 x 224 x 224`, `input tokens 256`) and what goes out (`output "
        "classes 1000`, `tokens`, `depth`, `features`). Every shape follows from them.",
        "Add the line.",
        f"space a {{\n  output classes 10\n  stage s conv {{ kernel 3 }} -> 8\n{HEAD}}}\n",
    ),
    "E0302": CodeInfo(
        "no stages or no head",
        "A space has stages, and a head that makes the output from what the last stage gives. Only a space with "
        "`output features` ends without a head.",
        "Add for example `head global_pool | linear`.",
        space("stage s conv { kernel 3 } -> 8", head=""),
    ),
    "E0351": CodeInfo(
        "an unknown or later stage",
        "`from`, `output features` and parameters declared `tensor` name stages. Only stages above can be read, since "
        "data flows downwards.",
        "Check the name, or move the stage up.",
        space("stage s conv from t { kernel 3 } -> 8\nstage t conv { kernel 3 } -> 8"),
    ),
    "E0352": CodeInfo(
        "a name defined twice",
        "Two stages, two `let`s, or two parameters or local values of one block share a name, so that its uses could "
        "mean either.",
        "Rename one of the two.",
        space("stage s conv { kernel 3 } -> 8\nstage s conv { kernel 3 } -> 8"),
    ),
    "E0353": CodeInfo(
        "a second line of a kind that is there once",
        "A space has one `input`, `output`, `head`, `granularity` and `skip`.",
        "Remove one.",
        space("stage s conv { kernel 3 } -> 8", "granularity 8\n  granularity 16"),
    ),
    "E0354": CodeInfo(
        "an unknown item of a space",
        "A line of a space begins with `input`, `output`, `let`, `default`, `granularity`, `skip`, `stage` or `head`.",
        "Check the spelling. Values of blocks stand in braces: `default { norm bn }`.",
        space("stage s conv { kernel 3 } -> 8", "granularty 8"),
    ),
    "E0355": CodeInfo(
        "an unknown kind of input or output",
        "Inputs are `image` and `tokens`, outputs `classes`, `tokens`, `depth` and `features`.",
        "Write one of these.",
        f"space a {{\n  input picture 3 x 8 x 8\n  output classes 10\n  stage s conv {{ kernel 3 }} -> 8\n{HEAD}}}\n",
    ),
    "E0348": CodeInfo(
        "an impossible granularity",
        "The granularity is the distance of neighbouring widths in an interval, so it is a number above 0.",
        "Write for example `granularity 8`.",
        space("stage s conv { kernel 3 } -> 8", "granularity 0"),
    ),
    "E0349": CodeInfo(
        "an impossible size of an input or output",
        "An image has channels, height and width; sizes are whole numbers from 1 to 100000.",
        "Correct the sizes.",
        f"space a {{\n  input image 3 x 0 x 8\n  output classes 10\n  stage s conv {{ kernel 3 }} -> 8\n{HEAD}}}\n",
    ),
    "E0370": CodeInfo(
        "an open decision in a network",
        "`network` is a `space` that says of itself that it has exactly one member. In this one a decision has more "
        "than one value left; one such decision is named.",
        "Give the decision one value, or write `space`.",
        space("stage s conv { kernel {3, 5} } -> 8", word="network"),
    ),
    "E0371": CodeInfo(
        "a space without members",
        "Whatever is chosen, nothing comes out of the network: a tensor of 0 channels is absent, and what is made of "
        "absent tensors only is absent, too.",
        "Allow a width above 0.",
        space("stage s conv { kernel 3 } -> 0"),
    ),
}

NAMES = {
    "E0303": CodeInfo(
        "a value that is needed and not given",
        "The block or operator reads a parameter without default, or its width, and nothing gives it: neither the "
        "candidate, the row, the stage, nor a `default`.",
        "Give the value in braces, the width after `->`.",
        space("stage s conv -> 8"),
    ),
    "E0304": CodeInfo(
        "too many arguments",
        "More arguments stand in the parentheses than the operator or function has parameters, or an argument of an "
        "operator that is itself a parameter has no name.",
        "Remove one, or name it: `conv2d(3, stride = 2)`.",
        block("block b {\n  in | conv2d(3, 1, same, 1, 1, no, 7) -> 8\n}"),
    ),
    "E0305": CodeInfo(
        "an unknown parameter",
        "No block that could take this value has a parameter of this name. A stage's value goes to every candidate "
        "that has the parameter, so one taker is enough.",
        "Check the spelling; `nasc doc BLOCK` lists a block's parameters.",
        space("stage s conv { kernal 3 } -> 8"),
    ),
    "E0306": CodeInfo(
        "an unknown size of a tensor",
        "A tensor has `.channels`, `.height`, `.width` and `.tokens`.",
        "Write one of these.",
        block("block b {\n  in | conv2d(3) -> in.filters\n}"),
    ),
    "E0307": CodeInfo(
        "a value defined by itself",
        "To work out the `let` or local value its own value is needed, directly or by way of others.",
        "Break the circle: give one of them a number.",
        space("stage s conv { kernel 3 } -> w", "let w = w + 1"),
    ),
    "E0308": CodeInfo(
        "a block built from itself",
        "A block uses itself, directly or by way of others, or blocks nest more than 64 deep: such a network has no "
        "end.",
        "Repeat a block with `x COUNT` in a stage.",
        block("block b {\n  in | relu | b\n}"),
    ),
    "E0309": CodeInfo(
        "a width that nothing takes",
        "`->` stands behind a block without a width, or behind an operator that keeps the number of channels.",
        "Remove the `->`, or declare `block NAME(…) -> width`.",
        space("stage s max_pool { kernel 3 } -> 8"),
    ),
    "E0311": CodeInfo(
        "a value without effect",
        "The value is taken, but no member reads it: what it is for is left out, every layer has a value of its own, "
        "or another value given says it already (`hidden` beside `expand`).",
        "Remove it, or what silences it.",
        space("stage s irb { kernel 3  expand 4  hidden 16 } -> 8"),
    ),
    "E0316": CodeInfo(
        "a value given twice",
        "One pair of braces or parentheses gives the same parameter twice.",
        "Remove one; alternatives are a set: `kernel {3, 5}`.",
        space("stage s conv { kernel 3  kernel 5 } -> 8"),
    ),
    "E0333": CodeInfo(
        "not an operator",
        "A number or a tensor stands where an operator is applied.",
        "Name an operator or block, such as `relu`.",
        space("stage s conv { kernel 3  act 5 } -> 8"),
    ),
    "E0350": CodeInfo(
        "an unknown block or operator",
        "Neither the file, its imports nor the standard library has a block of this name, and no operator is called "
        "so.",
        "Check the spelling, or import the file that defines it; `nasc doc` lists what there is.",
        space("stage s cnov { kernel 3 } -> 8"),
    ),
    "E0356": CodeInfo(
        "an unknown value",
        "The name stands for nothing at this place: space-level values see `let`s and earlier stages, a block's text "
        "sees its parameters, `in` and its local values. Nothing else is visible.",
        "Check the spelling, or hand the value on by a parameter.",
        space("stage s conv { kernel k } -> 8"),
    ),
    "E0357": CodeInfo(
        "a decision inside a block's body",
        "Every decision has an address such as `stage.layer.kernel`, so that each state of a search can be written "
        "down. A set in a block's body would have none.",
        "Make it the default of a parameter: `block b(kernel = {3, 5})`.",
        block("block b {\n  in | conv2d({3, 5}) -> 8\n}"),
    ),
    "E0358": CodeInfo(
        "a name with a meaning taken for something else",
        "`yes`, `no`, `inf`, `identity`, `nothing`, `same` and `same_shape` mean the same everywhere.",
        "Choose another name.",
        space("stage s conv { kernel 3 } -> yes", "let yes = 8"),
    ),
    "E0359": CodeInfo(
        "a pipeline whose result goes nowhere",
        "Only the last pipeline of a block is its result; an earlier one without a name is lost.",
        "Name it, and use the name.",
        block("block b {\n  in | relu\n  in | swish\n}"),
    ),
    "E0341": CodeInfo(
        "an operator without input",
        "A pipeline begins with a tensor. An operator at its beginning has nothing to work on.",
        "Begin with `in |`.",
        block("block b {\n  relu()\n}"),
    ),
    "E0342": CodeInfo(
        "a block without result",
        "The last line of a block must be a pipeline: what it gives is the block's result.",
        "Add a pipeline, or remove the name before the last one.",
        block("block b {\n  y = in | relu\n}"),
    ),
    "E0345": CodeInfo(
        "a residual outside a block",
        "`residual` adds the input of the block in which it stands, and a head is no block.",
        "Name the tensor, `residual(stage)`, or write a block.",
        space("stage s conv { kernel 3 } -> 8", head="  head residual | global_pool | linear\n"),
    ),
    "E0346": CodeInfo(
        "operators without a way to join them",
        "`any of` and `all of` apply several operators to one tensor, and say how their results become one: `by add` "
        "or `by concat`.",
        "Add `by add` or `by concat`.",
        space("stage s all of { conv  irb } { kernel 3  expand 2 } -> 8"),
    ),
    "E0360": CodeInfo(
        "a wrong value of an option",
        "An option of a `search` or `target` section has a value of another kind, or out of its bounds. A name with a "
        "dash, such as that of an engine, stands in quotes: without them it is a difference.",
        'Correct the value, or put the name in quotes: `engine "onnxruntime-cuda"`.',
        space("stage s conv { kernel {3, 5} } -> 8") + "\nsearch prunet { epochs 0 }\n",
    ),
    "E0361": CodeInfo(
        "an unknown option",
        "The search method or target has no option of this name.",
        "Check the spelling.",
        space("stage s conv { kernel {3, 5} } -> 8") + "\nsearch prunet { epoch 3 }\n",
    ),
    "E0362": CodeInfo(
        "an unknown method or engine",
        "nasc knows no search method, or no engine, of this name.",
        "Write one of those that are listed.",
        space("stage s conv { kernel {3, 5} } -> 8") + "\nsearch prunnet { epochs 3 }\n",
    ),
    "E0363": CodeInfo(
        "an option that does not suit the space",
        "The value would do for another space, but not for this one. PruNet removes candidates less probable than a "
        "threshold, and each of a layer's N candidates begins with a probability of 1 / N: a first threshold above "
        "that would remove all of them before anything was learned.",
        "Write the value that is named.",
        space("stage s conv { kernel {1, 3, 5} } -> 8") + "\nsearch prunet { threshold 0.4 .. 0.6 }\n",
    ),
}
