"""Small spaces whose layers, widths and parameters go through `let`s, choices and sums of decisions."""

# ruff: noqa: SIM905
from __future__ import annotations

from random import Random

SUMS = "w 2*w w+4 20-w max(w,12) w/2 v divisible(w*3/2,4) min(v,w) 24-v".split()
WIDTHS = [*SUMS, "8", "8", "{8, 12}", "[8, 16]", "8 .. 16 step 4"]
KERNELS = ["3", "{3, 5}", "k", "k + 2", "5", "max(k, 3)", "3 .. 5 step 2", "k x 1", "8 - k"]
OPERATORS = "conv irb own pair op op2 avg_pool max_pool identity sep_conv depthwise fused_irb squeeze_excite".split()
NEEDED = {
    "conv": "kernel",
    "irb": "kernel expand",
    "fused_irb": "kernel expand",
    "avg_pool": "kernel",
    "max_pool": "kernel",
    "sep_conv": "kernel",
    "depthwise": "kernel",
    "squeeze_excite": "width",
}
VALUES = {
    "kernel": KERNELS,
    "expand": ["2", "{1,2}", "(0,4]", "e", "e/2", "e*2"],
    "act": ["relu", "{relu,swish}", "one of { relu swish }", "a"],
    "se": ["0", "{0,1}", "k==3", "w>8"],
    "norm": ["bn", "n", "bn { eps 1e-3 }"],
    "ops": ["relu", "op3", "one of { relu own2 }", "any of { identity swish } by add", "own2"],
    "width": ["4", "{4,8}", "w"],
    "stride": ["1", "2", "t"],
}
TAKEN = {
    "conv": "kernel act norm stride",
    "irb": "kernel expand act se norm stride",
    "fused_irb": "kernel expand act se norm stride",
    "own": "kernel act ops stride",
    "pair": "kernel",
    "op": "kernel act",
    "op2": "kernel act",
    "avg_pool": "kernel",
    "max_pool": "kernel",
    "sep_conv": "kernel act",
    "depthwise": "kernel",
    "squeeze_excite": "width",
}
BLOCKS = """
block own(kernel = {3, 5}, first stride = 1, act = relu, ops = identity) -> filters {
  in | conv2d(kernel, stride) -> filters | act | ops
}
block own2(power = {1, 2}) {
  a = in | relu
  in | relu | residual(a) when power > 1
}
block pair(kernel = 3) -> filters {
  a = in | conv2d(kernel) -> filters
  in | conv2d(1) -> filters | residual(a)
}
"""


def program(random: Random) -> str:
    """A file with a space, which may be wrong (an operator of one choice that gives another width)."""
    lets = [
        f"let w = {random.choice(['8', '{8, 12}', '8 .. 16 step 4', '[4, 16]'])}",
        f"let v = {random.choice(['16', '{16, 24}', 'w', '2*w', 'w+4', '24 - w'])}",
        f"let k = {random.choice(['3', '{3, 5}', '3 .. 5 step 2'])}",
        f"let e = {random.choice(['2', '{2, 4}', '2 .. 4'])}",
        f"let t = {random.choice(['1', '2'])}",
        f"let a = {random.choice(['relu', '{relu, swish}', 'one of { relu swish }'])}",
        f"let n = {random.choice(['bn', 'bn { eps 1e-3 }', '{bn, identity}'])}",
        f"let op = {_operator_let(random)}",
        f"let op2 = {random.choice(['op', 'own { kernel {3, 5} }', 'conv', 'own', '{conv, own}', _choice(random, 1)])}",
        f"let op3 = {random.choice(['relu', 'own2', 'own2 { power {1, 2} }', 'one of { relu own2 }', '{relu, own2}'])}",
    ]
    items = [f"skip {random.choice(['no', 'same_shape'])}", *lets]
    if random.random() < 0.3:
        items.append(f"default {{ act {random.choice(VALUES['act'])} }}")
    items += [_stage(random, number) for number in range(1, random.randint(2, 4))]
    items.append(random.choice(HEADS))
    body = "\n  ".join(items)
    start = "input image 4 x 16 x 16\n  output classes 5\n  granularity 4"
    return f"nas 1\n{BLOCKS}\nspace small {{\n  {start}\n  {body}\n}}\n"


HEADS = [
    *(["head global_pool | linear"] * 6),
    "head conv { kernel k } -> w | global_pool | linear",
    "head op -> v | global_pool | linear",
    "head conv { kernel 1 } -> 2*w | (relu | dropout(0.2)) | global_pool | linear",
    "head one of { conv { kernel k } own } -> w | global_pool | linear",
]


def _operator_let(random: Random) -> str:
    return random.choice(
        [_choice(random, 1), _choice(random, 1), "conv { kernel {3, 5} }", "irb { kernel k  expand 2 }"]
    )


def _choice(random: Random, depth: int = 0) -> str:
    quantifier = random.choice(["one", "one", "one", "any", "all"])
    candidates = [_candidate(random, depth) for _ in range(random.randint(1, 3))]
    join = f" by {random.choice(['add', 'add', 'concat'])}" if quantifier != "one" else ""
    return f"{quantifier} of {{ {'  '.join(candidates)} }}{join}"


def _candidate(random: Random, depth: int) -> str:
    first = _choice(random, depth + 1) if depth < 2 and random.random() < 0.1 else _braced(random, depth > 0)
    tail = random.choice(["", "", "", "", " | relu", " | own", " when k == 3", f" -> {random.choice(WIDTHS)}"])
    return first + tail


def _braced(random: Random, no_lets: bool = False) -> str:
    name = random.choice([o for o in OPERATORS if not (no_lets and o.startswith("op"))])
    given = [p for p in TAKEN.get(name, "").split() if random.random() < (0.75 if p in NEEDED.get(name, "") else 0.25)]
    return f"{name} {{ {'  '.join(f'{p} {random.choice(VALUES[p])}' for p in given)} }}" if given else name


def _stage(random: Random, number: int) -> str:
    callee = _choice(random) if random.random() < 0.5 else random.choice(["op", "op2", "conv", "irb", "own", "pair"])
    count = random.choice(["", "", "x 2", "x 1 .. 2", "x 0 .. 1"])
    takes = {p for name in callee.split() for p in TAKEN.get(name, "").split()}
    given = {p for p in sorted(takes) if random.random() < (0.8 if p in ("kernel", "expand") else 0.15)}
    braces = "  ".join(f"{p} {random.choice(VALUES[p])}" for p in sorted(given))
    row = random.choice(["", "", "", f"{{ layer 1 -> {random.choice(WIDTHS)} }}", "{ layer 1 { kernel {3, 5} } }"])
    return f"stage s{number} {callee} {count} {{ {braces} }} -> {random.choice(WIDTHS)} {row}"
