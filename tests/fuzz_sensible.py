"""Programs that nearly mean something: spaces of the library's and of random blocks, most of which elaborate.

What is drawn from the grammar alone is hardly ever free of errors, so it never comes as far as counts and code.
"""

# ruff: noqa: E501, SIM905
from __future__ import annotations

from collections.abc import Sequence
from random import Random

from nasc.compiler.methods.plugins import runnable
from nasc.compiler.primitives import PRIMITIVES
from nasc.compiler.primitives.base import REQUIRED
from nasc.dsl.loader import standard_library
from tests.fuzz_words import ABSURD, PHRASES

ACTIVATIONS = "relu relu6 swish gelu sigmoid hard_sigmoid hard_swish tanh identity".split()
WIDTHS = (
    "4",
    "8",
    "8",
    "16",
    "16",
    "24",
    "32",
    "8",
    "16",
    "{8, 16}",
    "{0, 8}",
    "8 .. 32 step 8",
    "[8, 32]",
    "w1",
    "w2",
    "7",
)
IMAGE_BLOCKS = (
    "conv depthwise depthwise_separable irb fused_irb mbv3 basic bottleneck sep_conv sep_pair cross_pair "
    "skip_or_project up own own two conv irb fused_irb mbv3 bottleneck basic depthwise_separable own two "
    "skip_or_project squeeze_excite max_pool avg_pool identity"
).split()
TOKEN_BLOCKS = "transformer transformer mlp attention identity layer_norm own dropout linear".split()
VALUES = {
    "kernel": ("1", "3", "3", "5", "{3, 5}", "{1, 3}", "3 .. 7 step 2", "1 x 3", "3", "5", "k3", "2"),
    "length": ("3", "7", "{3, 5}"),
    "stride": ("1", "2", "2", "1", "2", "2", "1", "2", "{1, 2}", "2 x 1", "3"),
    "expand": ("1", "2", "6", "{1, 4}", "(0, 4]", "[0, 2]", "[1, 6]", "1/2", "0", "{0, 2}"),
    "act": (*ACTIVATIONS, "{relu, swish}", "one of { relu swish }", "act"),
    "se": ("0", "1", "{0, 1}", "yes"),
    "norm": ("bn", "identity", "bn { eps 1e-3 }", "layer_norm", "{bn, identity}", "one of { bn identity }"),
    "shortcut": ("residual", "identity", "residual_prefix", "relu", "one of { residual identity }"),
    "padding": ("same", "0", "1", "2", "{0, 1}"),
    "groups": ("1", "2", "{1, 2}", "4"),
    "heads": ("1", "2", "{1, 2, 4}", "4 .. 8", "3"),
    "head_width": ("4", "8", "{4, 8}"),
    "lateral": ("s1", "s2", "nothing", "s3"),
    "below": ("s1", "s2"),
    "prev": ("s1", "s2"),
    "source": ("s1", "in"),
    "join": ("add", "concat", "residual_prefix"),
    "bypass": ("0", "8", "inf", "16"),
    "dw_bypass": ("0", "8", "inf"),
    "causal": ("yes", "no"),
    "project": ("yes", "no", "{0, 1}"),
    "rate": ("0.2", "0", "{0, 0.5}"),
    "factor": ("2", "1", "{1, 2}", "3"),
}
STEPS = (
    "relu", "relu", "bn", "conv2d(3) -> 8", "conv2d(1) -> 16", "swish", "bn", "conv2d(1) -> 8", "conv2d(3) -> filters", "conv2d(kernel) -> in.channels", "bn | relu",
    "conv2d(3, stride) -> filters | bn", "depthwise(3)", "squeeze_excite(4) when gate", "residual", "max_pool(3)",
    "(conv2d(1) -> 16 | bn) when stride > 1", "shuffle(2)", "take -> 4", "channels(0, 4)", "conv2d(1) -> filters",
    "add(a)", "concat(a)", "concat(in)", "mul(in)", "dropout(0.2)", "act", "ops", "irb(3, 2) -> filters", "identity",
    "residual(a)", "nothing when gate", "conv2d(3, groups = in.channels)", "fill(in, 4)",
    "conv2d(1) -> max(in.channels / 2, 4)", "conv2d(1) -> divisible(in.channels * 3 / 2, 4)",
)  # fmt: skip
HEADS = ("global_pool | linear", "conv { kernel 1 } -> 32 | global_pool | dropout(0.2) | linear", "linear",
         "global_pool | linear -> 10", "first_token | linear", "layer_norm | linear(bias = no)", "conv { kernel 1 } -> 1",
         "global_pool | linear -> w1 | relu | linear", "tokens | linear")  # fmt: skip


def program(random: Random) -> str:
    """A file with a space or network, often with blocks of its own and a search."""
    tokens = random.random() < 0.15
    name = random.choice(["space"] * 6 + ["network"])
    items = [_input(random, tokens), _output(random, tokens), *_settings(random), *_lets(random)]
    items += [_stage(random, i, tokens) for i in range(1, random.randint(2, 5))]
    if random.random() < 0.98:
        head = random.choice(HEADS) if random.random() < 0.08 else HEADS[4 * tokens * random.randint(0, 1)]
        items.append(f"head {head}")
    body = "\n  ".join(items)
    return f"nas 1\n{_blocks(random)}\n{name} fuzzed {{\n  {body}\n}}\n{_search(random)}"


def _input(random: Random, tokens: bool) -> str:
    if tokens:
        return f"input tokens {random.choice([1, 4, 16])}"
    size = random.choice([1, 7, 8, 16, 32, 32, 64, 64, 64])
    return f"input image {random.choice([3, 4, 8])} x {size} x {random.choice([size, size, 8])}"


def _output(random: Random, tokens: bool) -> str:
    kinds = ["classes 10"] * 30 + ["classes 1", "depth 1 x 16 x 16", "features s1, s2", "features s1", "tokens 32"]
    return f"output {'tokens 32' if tokens and random.random() < 0.7 else random.choice(kinds)}"


def _settings(random: Random) -> list[str]:
    grid = random.choice(["1", "4", "8", "8", "8", "16"])
    settings = [f"granularity {grid}"] if random.random() < 0.85 else []
    if random.random() < 0.5:
        settings.append(f"skip {random.choice(['same_shape', 'same_shape', 'no', 'yes'])}")
    if random.random() < 0.4:
        settings.append(f"default {{ act {random.choice(VALUES['act'])} }}")
    return settings


def _lets(random: Random) -> list[str]:
    values = [w for w in WIDTHS if w not in ("w1", "w2")]
    rest = ["w1", "w1 * 2", "w1 + 8", "max(w1, 16)", "conv { kernel 3 }", "w1 / 2"]
    return [
        f"let w1 = {random.choice(values)}",
        f"let w2 = {random.choice([*values, *rest, *rest])}",
        f"let k3 = {random.choice(['3', '{3, 5}', '3 .. 7 step 2'])}",
    ]


def _stage(random: Random, number: int, tokens: bool) -> str:
    callee, given = _callee(random, tokens)
    count = random.choice(["", "", "x 2", "x 3", "x 1 .. 3", "x {1, 3}", "x 0 .. 2"])
    origin = f"from s{random.randint(1, number - 1)}" if number > 1 and random.random() < 0.1 else ""
    width = f"-> {random.choice(WIDTHS)}" if _takes_width(callee) or random.random() < 0.02 else ""
    rows = f"{{ layer {random.choice(['1', '2', '1 .. 2'])} {_row(random)} }}" if random.random() < 0.15 else ""
    if tokens and number == 1:
        callee, given = "embedding", "{ vocabulary 32 }"
    return f"stage s{number} {callee} {count} {origin} {given} {width} {rows}"


def _row(random: Random) -> str:
    return random.choice(["identity", "-> 8", "{ act relu }", "conv { kernel 1 }", "-> {8, 16}", "{ kernel {3, 5} }"])


def _takes_width(callee: str) -> bool:
    block = standard_library().get(callee)
    if block is not None:
        return block.width is not None
    return PRIMITIVES[callee].arrow if callee in PRIMITIVES else callee not in ("identity", "nothing")


def _callee(random: Random, tokens: bool) -> tuple[str, str]:
    """What a stage is of, and the values that it gives."""
    blocks = TOKEN_BLOCKS if tokens else IMAGE_BLOCKS
    if random.random() < 0.8:
        name = random.choice(blocks)
        return name, _given(random, name)
    quantifier = random.choice(["one", "one", "one", "any", "all"])
    candidates = [f"{n} {_given(random, n)}" for n in random.choices(blocks, k=random.randint(1, 3))]
    join = f" by {random.choice(['add', 'concat'])}" if quantifier != "one" else ""
    return f"{quantifier} of {{ {'  '.join(candidates)} }}{join}", ""


def _given(random: Random, block: str) -> str:
    """Values for a block's parameters: those that have to be given, and some of the others."""
    found = standard_library().get(block)
    parameters: Sequence[tuple[str, bool]] = []
    if found is not None:
        parameters = [(p.name, p.default is None) for p in found.parameters]
    elif block in PRIMITIVES:
        parameters = [(name, default is REQUIRED) for name, default in PRIMITIVES[block].parameters.items()]
    elif block in ("own", "two"):
        parameters = [(name, False) for name in ("kernel", "stride", "ops", "gate")]
    given = [
        f"{name} {_value(random, name)}" for name, needed in parameters if random.random() < (0.97 if needed else 0.2)
    ]
    return f"{{ {'  '.join(given)} }}" if given else ""


def _value(random: Random, parameter: str) -> str:
    chance = random.random()
    if chance < 0.006:
        return random.choice(ABSURD)
    if chance < 0.012:
        return random.choice(PHRASES)
    return random.choice(VALUES.get(parameter, WIDTHS))


def _blocks(random: Random) -> str:
    body = [f"  {name} = {random.choice(['in', 'a'])} | {_pipe(random)}" for name in "bc"[: random.randint(0, 2)]]
    own = "\n".join([f"  a = in | {_pipe(random, before='a')}", *body, f"  {_result(random, body)} | {_pipe(random)}"])
    ops = random.choice(
        ["relu", "one of { relu swish }", "any of { identity conv { kernel 3 } -> 8 } by add", "identity"]
    )
    two = f"  a = in | {_pipe(random, before='a')}\n  in | own(kernel, stride) | add(a)"
    return (
        f"block own(kernel = 3, first stride = 1, gate = no, act = relu, ops = {ops}) -> filters {{\n{own}\n}}\n"
        f"block two(kernel = 3, stride = 1, gate = no, ops = relu, act = relu) -> filters {{\n{two}\n}}"
    )


def _result(random: Random, body: list[str]) -> str:
    made = ["in", "a", *"bc"[: len(body)]]
    return random.choice([*made, f"add({', '.join(made)})", f"concat({', '.join(made)})"])


def _pipe(random: Random, before: str = "") -> str:
    """Some steps; those do not mention the name `before`, which is only being defined."""
    steps = [step for step in STEPS if not before or f"({before})" not in step]
    return " | ".join(random.choices(steps, k=random.randint(1, 4)))


def _search(random: Random) -> str:
    if random.random() < 0.6:
        return ""
    options = ["epochs 2", "seed 3"] + ["epochs 0", "alpha {0.2, 1.0}"] * (random.random() < 0.1)
    given = "  ".join(random.sample(options, random.randint(0, len(options))))
    target = "target t { engine onnxruntime  batch 1 }\n" if random.random() < 0.3 else ""
    return f"search {random.choice(runnable())} {{ {given} }}\n{target}"
