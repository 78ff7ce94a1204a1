"""What is being written at a place: told by the parser, which reads the text up to there and says what is open."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lark import Token, Tree

from nasc.dsl.diagnostics import Diagnostics, Source
from nasc.dsl.recovery import Recovery, Unfinished
from nasc.dsl.tokens import tokens

OPENING = ("LBRACE", "LPAR", "LSQB")
CLOSING = ("RBRACE", "RPAR", "CLOSE")
OPERATORS_AFTER = ("VBAR", "HEAD")


@dataclass(frozen=True)
class Context:
    """A place in a text.

    `room` is what the place is in: file, space, block, rows, choice, properties, arguments or section. `wants` is what
    may be written: items, names (of properties), values, operators, stages, or the kind of an input, an output, a
    method, a field, or a new name. `stage` and `layer` say whose properties they are, `callees` their operators,
    `parameter` whose value it is, `given` what is there already.
    """

    room: str = "file"
    wants: str = "items"
    stage: str | None = None
    layer: int | None = None
    callees: tuple[str, ...] = ()
    default: bool = False
    block: str | None = None
    section: tuple[str, ...] = ()
    parameter: str | None = None
    given: tuple[str, ...] = ()
    expected: frozenset[str] = frozenset()


def context_at(text: str) -> Context:
    """What may be written behind a text, the word that is being typed left off."""
    source = Source("<text>", text)
    found = tokens(source, "start", Diagnostics())
    unfinished = Recovery(source, "start", Diagnostics(), found).unfinished() or Unfinished((), frozenset())
    return replace(_context(list(unfinished.stack), unfinished.expected), expected=unfinished.expected)


def _kind(part: object) -> str:
    if isinstance(part, Token):
        return part.type
    return str(part.data) if isinstance(part, Tree) else ""


def _innermost(stack: list[object]) -> int | None:
    """The place of the innermost open bracket."""
    depth = 0
    for index in range(len(stack) - 1, -1, -1):
        kind = _kind(stack[index])
        if kind in CLOSING:
            depth += 1
        elif kind in OPENING:
            if depth == 0:
                return index
            depth -= 1
    return None


def _context(stack: list[object], expected: frozenset[str]) -> Context:
    at = _innermost(stack)
    if at is None:
        return _wanted(Context(room="file"), stack, expected)
    room = _room(stack[:at], _kind(stack[at]), stack[at + 1 :])
    return _wanted(room, stack[at + 1 :], expected)


def _room(before: list[object], bracket: str, inside: list[object]) -> Context:
    """What a bracket opens."""
    kinds = [_kind(part) for part in before[-2:]]
    last, previous = (["", "", *kinds])[-1], (["", "", *kinds])[-2]
    name = str(before[-1]) if last == "NAME" else ""
    outer = _opened(before)
    if bracket != "LBRACE":
        called = last == "NAME" and previous not in ("BLOCK", "STAGE")
        if previous == "BLOCK":
            return Context(room="parameters", block=name)
        return replace(outer, room="arguments", callees=(name,), given=_given(inside)) if called else outer
    if previous in ("SPACE", "NETWORK"):
        return Context(room="space")
    if previous in ("SEARCH", "TARGET"):
        return Context(room="section", section=(previous.lower(), name), given=_given(inside))
    if last == "OF":
        return replace(outer, room="choice")
    if last == "DEFAULT" or previous == "DEFAULT":
        callees = (name,) if name else ()
        return replace(outer, room="properties", default=True, callees=callees, given=_given(inside))
    if _is_body(before):
        return Context(room="block", block=_block_name(before))
    place = _layer_place(before, inside)
    if place is not None:
        return place
    if last == "NAME" and outer.wants != "names":
        section = (*outer.section, outer.parameter or "") if outer.room == "section" else ()
        room = "section" if section else "properties"
        return replace(outer, room=room, callees=(name,), section=section, given=_given(inside), wants="names")
    return replace(outer, wants="values", parameter=outer.parameter or name or None, room="set")


def _opened(before: list[object]) -> Context:
    """Where the bracket itself stands, its name left off."""
    head = before[:-1] if before and _kind(before[-1]) == "NAME" else before
    inner = _context(head, frozenset())
    if _kind(before[-1] if before else None) == "NAME" and inner.room in ("properties", "section"):
        at = _innermost(head)
        rest = head[(at if at is not None else -1) + 1 :]
        # A name behind a complete value, or first in its braces, is a property's own: its brace opens a set.
        fresh = not rest or _kind(rest[-1]) != "NAME"
        return replace(inner, wants="names" if fresh else "values", parameter=None if fresh else str(rest[-1]))
    return inner


def _is_body(before: list[object]) -> bool:
    kinds = [_kind(part) for part in before]
    if "BLOCK" not in kinds[-6:]:
        return False
    tail = kinds[len(kinds) - 1 - kinds[::-1].index("BLOCK") :]
    return not set(tail) & set(OPENING)


def _block_name(before: list[object]) -> str:
    kinds = [_kind(part) for part in before]
    at = len(kinds) - 1 - kinds[::-1].index("BLOCK")
    return str(before[at + 1])


def _layer_place(before: list[object], inside: list[object]) -> Context | None:
    """The braces of a stage or of one of its layers."""
    kinds = [_kind(part) for part in before]
    at = max((i for i, kind in enumerate(kinds) if kind in ("STAGE", "LAYER", *OPENING)), default=-1)
    if at < 0 or kinds[at] not in ("STAGE", "LAYER") or at + 1 >= len(before):
        return None
    tail = kinds[at + 2 :]
    if tail and (tail[-1] in ("X", "ARROW") or (tail[-1] == "NAME" and "FROM" not in tail)):
        return None
    if kinds[at] == "LAYER":
        of = next((i for i in range(at, -1, -1) if kinds[i] == "STAGE"), None)
        stage = None if of is None else str(before[of + 1])
        callees = _callees(before[at + 2 :]) or _callees(before[of or 0 : at])
        layer = int(str(before[at + 1]))
        return Context("properties", stage=stage, layer=layer, callees=callees, given=_given(inside))
    stage = str(before[at + 1])
    if "ARROW" in tail or "props" in tail:
        return Context("rows", stage=stage)
    return Context("properties", stage=stage, callees=_callees(before[at + 2 :]), given=_given(inside))


def _callees(parts: list[object]) -> tuple[str, ...]:
    """The operators that a callee mentions."""
    for part in parts:
        if isinstance(part, Tree) and part.data in ("block_name", "choice"):
            return tuple(str(t) for t in part.scan_values(lambda v: isinstance(v, Token) and v.type == "NAME"))
    return ()


def _given(inside: list[object]) -> tuple[str, ...]:
    """The names of the properties or arguments that are there already."""
    found: list[str] = []
    for part in inside:
        if isinstance(part, Tree):
            trees = [part, *(c for c in part.children if isinstance(c, Tree))]
            found += [str(t.children[0]) for t in trees if t.data in ("prop", "arg") and t.children[0] is not None]
    last = inside[1:] if inside and isinstance(inside[0], Tree) else inside
    if len(last) > 1 and _kind(last[0]) == "NAME":  # a value whose end shows only at what comes next
        found.append(str(last[0]))
    return tuple(found)


def _wanted(room: Context, inside: list[object], expected: frozenset[str]) -> Context:
    """What may come next in a room."""
    last = _kind(inside[-1]) if inside else ""
    previous = _kind(inside[-2]) if len(inside) > 1 else ""
    named = {"FROM": "stages", "INPUT": "input", "OUTPUT": "output", "SEARCH": "method", "DOT": "field"}
    if last in named:
        kinds = [_kind(part) for part in inside]
        own = str(inside[kinds.index("STAGE") + 1]) if last == "FROM" and "STAGE" in kinds else room.stage
        return replace(room, wants=named[last], stage=own)
    if last in ("STAGE", "LET", "BLOCK", "SPACE", "NETWORK", "TARGET", "X", "LAYER"):
        return replace(room, wants="new")
    if last == "DEFAULT":
        return replace(room, wants="operators")
    if last in OPERATORS_AFTER or (last == "NAME" and previous == "STAGE") or previous == "LAYER":
        return replace(room, wants="operators")
    if previous == "OUTPUT" and str(inside[-1]) == "features":
        return replace(room, wants="stages")
    if room.room in ("properties", "section"):
        return _property(room, inside, expected)
    if room.room == "choice":
        return replace(room, wants="operators")
    if room.room == "space" and last == "NAME" and (not previous or previous.startswith("__")):
        return replace(room, wants="values", parameter=str(inside[-1]))
    if last in ("ARROW", "EQUAL", "WHEN", "COMMA", "LPAR") or room.room in ("set", "arguments"):
        return replace(room, wants="values")
    return room


def _property(room: Context, inside: list[object], expected: frozenset[str]) -> Context:
    """A property's name, or its value."""
    if not inside or "RBRACE" in expected:
        return replace(room, wants="names")
    own = [str(p) for p in inside if _kind(p) == "NAME"]
    return replace(room, wants="values", parameter=own[0] if own else None)
