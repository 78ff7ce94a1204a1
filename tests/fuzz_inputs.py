"""Inputs for fuzzing, each told by its seed: texts of the grammar, changed files, nearly sensible programs, bytes."""

# ruff: noqa: E501
from __future__ import annotations

import functools
from collections.abc import Callable
from random import Random

from nasc.dsl.parser import parse
from nasc.dsl.walk import walk
from tests.fuzz_grammar import grammar
from tests.fuzz_sensible import program
from tests.fuzz_words import ABSURD, KEYWORDS, PHRASES, SIGNS, names, pieces, texts

MOST = 1 << 21
"""Bytes of the longest input: twice what nasc reads."""


def generate(seed: str) -> tuple[str, bytes]:
    """The kind of an input, and the input."""
    random = Random(seed)
    kind = random.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
    made = KINDS[kind][0](random)
    return kind, (made if isinstance(made, bytes) else made.encode("utf-8", "surrogatepass"))[:MOST]


# ------------------------------------------------------------------------------------------------ from the grammar


def from_grammar(random: Random) -> str:
    """Some blocks and spaces of the grammar, under a header that is mostly right."""
    parts = ["nas 1\n"] if random.random() < 0.9 else [f"nas {random.choice(ABSURD)}\n"]
    rules = random.choices(["block", "space", "section", "import_"], [3, 5, 2, 1], k=random.randint(1, 4))
    depth = random.randint(6, 40)
    return "".join([*parts, *(grammar().text(random, rule, depth) for rule in rules)])


def within_a_program(random: Random) -> str:
    """A nearly sensible program, some values or operators of which are drawn from the grammar."""
    text = program(random)
    for _ in range(random.randint(1, 3)):
        text = _with_part(random, text, fresh=0.8)
    return text


# ------------------------------------------------------------------------------------------------ changed files


def changed_words(random: Random) -> str:
    """A shipped file or program with words left out, doubled, exchanged or replaced."""
    words = pieces(_start(random))
    for _ in range(random.choice([1, 1, 2, 3, 8])):
        if not words:
            break
        at, other = random.randrange(len(words)), random.randrange(len(words))
        end = at + random.choice([1, 1, 1, 4, 16])
        match random.randrange(6):
            case 0:
                del words[at:end]
            case 1:
                words[at:at] = words[at:end]
            case 2:
                words[at], words[other] = words[other], words[at]
            case _:
                words[at] = _like(random, words[at])
    return "".join(words)


def _like(random: Random, word: str) -> str:
    """Another word, mostly of the same kind."""
    if random.random() < 0.15:
        return f" {random.choice(PHRASES)} "
    if not word:
        return word
    if word[0].isdigit():
        return random.choice(ABSURD) if random.random() < 0.5 else str(random.randrange(10))
    if word.isidentifier():
        return random.choice(KEYWORDS) if word in KEYWORDS else random.choice(names())
    return random.choice(SIGNS) if word.strip() else random.choice([" ", "\n", "// x\n", "\t", ""])


def changed_parts(random: Random) -> str:
    """A shipped file or program with phrases left out, doubled, or replaced by others of their kind."""
    text = _start(random)
    for _ in range(random.choice([1, 1, 2, 4])):
        text = _with_part(random, text, fresh=0.1)
    return text


RULES = {
    "Number": "atom", "Reference": "atom", "Operation": "expr", "Pipeline": "pipeline", "Range": "range",
    "ValueSet": "set", "Interval": "interval", "Shape": "shape", "Choice": "choice", "Step": "step", "Call": "call",
    "Group": "group", "Property": "prop", "Stage": "stage", "Let": "let", "Row": "row", "Head": "head",
    "Parameter": "param", "Candidate": "candidate", "Argument": "arg", "Block": "block", "Assignment": "assign",
}  # fmt: skip
VALUES = ("Number", "Reference", "Operation", "Range", "ValueSet", "Interval", "Shape", "Choice", "Call")


def _with_part(random: Random, text: str, fresh: float) -> str:
    parts = _parts(text)
    if not parts:
        return text
    kind, start, end = random.choice(parts)
    old = text[start:end]
    chance = random.random()
    if chance < fresh:
        new = grammar().text(random, RULES.get(kind, "value"), random.randint(1, 16), 60).strip()
    elif chance < fresh + 0.1:
        new = ""
    elif chance < fresh + 0.2:
        new = f"{old} {old}"
    elif chance < fresh + 0.3:
        new = random.choice(PHRASES)
    else:
        wanted = random.choice(VALUES) if kind in VALUES and random.random() < 0.4 else kind
        new = random.choice(_shipped_parts().get(wanted, (old,)))
    return f"{text[:start]}{new}{text[end:]}"


def _parts(text: str) -> list[tuple[str, int, int]]:
    """The kinds and places of a text's phrases."""
    file, _ = parse(text)
    nodes = [node for item in file.items for node in walk(item)]
    return [(type(node).__name__, node.span.start, node.span.end) for node in nodes if node.span.source is file.source]


@functools.cache
def _shipped_parts() -> dict[str, tuple[str, ...]]:
    """The phrases of the shipped files, by kind."""
    found: dict[str, dict[str, None]] = {}
    for text in texts():
        for kind, start, end in _parts(text):
            found.setdefault(kind, {})[text[start:end]] = None
    return {kind: tuple(each) for kind, each in found.items()}


def _start(random: Random) -> str:
    return random.choice(texts()) if random.random() < 0.7 else program(random)


# ------------------------------------------------------------------------------------------------ deep and long


def deep_or_long(random: Random) -> str:
    """Phrases within phrases, chains of names, and much of one thing: near the limits, or beyond them."""
    n = random.choice([3, 10, 30, 60, 65, 150, 190, 210, 1000, 20_000, 100_000])
    few = min(n, random.choice([8, 40, 200, 1000]))
    deep = {
        "brackets": f"let w = {'(' * n}3{')' * n}",
        "sums": f"let w = {' + '.join(['1'] * n)}",
        "products": f"let w = {' * '.join(['10'] * n)}",
        "nots": f"let w = {'not ' * n}1",
        "sets": f"let w = {'{' * n}1{'}' * n}",
        "a set": f"let w = {{{', '.join(map(str, range(n)))}}}",
        "choices": f"stage s {'one of { ' * n}relu{' }' * n}",
        "groups": f"head {'(identity | ' * few}relu | relu{')' * few}",
        "steps": f"head {' | '.join(['relu'] * n)}",
        "stages": "\n".join(f"stage s{i} conv {{ kernel {{3, 5}} }} -> {{8, 16}}" for i in range(few)),
        "layers": f"stage s conv x {n} {{ kernel {{3, 5}} }} -> 8",
        "depths": f"stage s conv x 1 .. {n} {{ kernel {{3, 5}} }} -> 8",
        "rows": f"stage s conv x {n} {{ kernel 3 }} -> 8 {{ {' '.join(f'layer {i} -> 8' for i in range(1, few))} }}",
        "lets": "\n".join(["let w0 = 8 .. 64 step 8", *(f"let w{i + 1} = w{i} + {random.choice(['1', 'w0', f'w{i}'])}" for i in range(few))]),
        "properties": f"stage s conv {{ {' '.join(f'p{i} 1' for i in range(few))} }} -> 8",
        "a name": f"stage {'s' * n} conv {{ kernel 3 }} -> 8",
        "a comment": f"// {'é' * n}",
        "dots": f"let w = in{'.a' * n}",
        "arguments": f"let w = max({', '.join(['1'] * n)})",
        "candidates": f"stage s one of {{ {' '.join(f'conv {{ kernel {i} }}' for i in range(few))} }} -> 8",
    }  # fmt: skip
    line = deep[random.choice(list(deep))]
    blocks = "\n".join(["block a0 { in | relu }", *(f"block a{i + 1} {{ in | a{i} | a{i} }}" for i in range(few))])
    more = f"{blocks}\n" if random.random() < 0.1 else ""
    end = "stage t conv { kernel 3 } -> w\n  head global_pool | linear" if line.startswith("let w ") else ""
    rest = end or ("stage t conv { kernel 3 } -> 8\n  head global_pool | linear" if random.random() < 0.9 else "")
    if line.startswith("head"):
        line, rest = "", f"stage t conv {{ kernel 3 }} -> 8\n  {line}"
    top = "input image 3 x 16 x 16\n  output classes 10"
    return f"nas 1\n{more}space deep {{\n  {top}\n  {line}\n  {rest}\n}}\n"


# ------------------------------------------------------------------------------------------------ bytes

BYTES = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b"\t", b"\x0b", b"\x0c", b"\x1b[31m", b"\x7f",
    b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xa8", b"\xc2\x85", b"\xe2\x80\xae", b"\xcc\x81" * 40,
    b'"', b"\\", b"//", b"/*", b"{", b"}", b"(", b")", b"\xf0\x9f\x98\x80", b"\xc2\xa0", b"a" * 5000, b"9" * 5000, b" " * 5000,
)  # fmt: skip


def raw_bytes(random: Random) -> bytes:
    """Bytes without a meaning, or a file with some of its bytes changed, or cut off."""
    if random.random() < 0.1:
        return random.randbytes(random.choice([0, 1, 2, 16, 300, 5000]))
    data = bytearray(_start(random).encode("utf-8", "surrogatepass"))
    for _ in range(random.choice([1, 1, 2, 4, 16])):
        at = random.randrange(len(data) + 1)
        match random.randrange(6):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = random.randbytes(1)
            case 2 | 3:
                data[at:at] = random.choice(BYTES)
            case 4:
                del data[at : at + random.randrange(1, 40)]
            case 5:
                data = bytearray(bytes(data).replace(b"\n", random.choice([b"\r\n", b"\r", b" ", b"\n\n", b"\x00"])))
    return bytes(data) * random.choice([1] * 30 + [100])


KINDS: dict[str, tuple[Callable[[Random], str | bytes], int]] = {
    "grammar": (from_grammar, 10),
    "grammar in programs": (within_a_program, 15),
    "words": (changed_words, 20),
    "phrases": (changed_parts, 20),
    "programs": (program, 20),
    "deep or long": (deep_or_long, 3),
    "bytes": (raw_bytes, 12),
}
"""What there is to generate, and how often."""
