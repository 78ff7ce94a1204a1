"""What a block string says: `ir_r2_k3_s2_e6_c24_se0.25` is two inverted residuals with kernel 3, stride 2, and so on.

Facts about the notation are timm's (`_efficientnet_builder.py`, version 1.0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nasc.compiler.import_strings import Written, refuse
from nasc.dsl.diagnostics import Span, did_you_mean

KINDS = {
    "ir": "r k s e c se n noskip skip a p cc d gs",
    "ds": "r k s e c se n noskip skip p d gs",
    "dsa": "r k s e c se n noskip skip p d gs",
    "er": "r k s e c se n noskip skip fc p",
    "cn": "r k s e c n noskip skip gs",
    "uir": "r k s e c se n noskip skip a p gs",
}
"""The block types and the tokens that each takes."""

ACTS = {"re": "relu", "r6": "relu6", "hs": "hard_swish", "sw": "swish"}
"""Activations by what follows the `n`."""

_MISSING = {
    "mqa": "attention blocks cannot be imported",
    "mha": "attention blocks cannot be imported",
    "tu": "Tucker convolutions cannot be imported",
}
_NAMES = {"r": "number of layers", "k": "kernel", "s": "stride", "e": "expansion", "c": "number of filters"}
_TOKEN = re.compile(r"([a-z]+?)(\d.*)$")
_WHOLE = re.compile(r"\d{1,5}$")
_NUMBER = re.compile(r"\d{1,5}(\.\d{1,9})?$")


@dataclass(frozen=True)
class BlockString:
    """A decoded block string. `act` is None for the network's own; `start` and `end` are the kernels of `a` and `p`.

    `skip` is None where the block's own rule decides about its shortcut. A `force_in` of 0 is none.
    """

    kind: str
    repeat: int
    kernel: int
    stride: int
    expand: float
    filters: int
    se: float
    act: str | None
    skip: bool | None
    start: int
    end: int
    force_in: int
    span: Span


def decode(written: Written) -> BlockString:
    """Decode a block string. Raises `DiagnosticError` at the first token that is wrong."""
    kind, *_ = written.text.split("_", 1)
    if kind in _MISSING:
        refuse(_MISSING[kind], written.part(0, len(kind)), f"the block types are {', '.join(KINDS)}")
    if kind not in KINDS:
        near = did_you_mean(kind, KINDS) or f"the block types are {', '.join(KINDS)}"
        refuse(f"`{kind}` is no type of block", written.part(0, len(kind)), near)
    return _Decoder(written, kind).block()


class _Decoder:
    def __init__(self, written: Written, kind: str) -> None:
        self.written = written
        self.kind = kind
        self.taken: dict[str, tuple[str, Span]] = {}
        place = len(kind) + 1
        for token in written.text.split("_")[1:]:
            self._take(token, written.part(place, place + len(token)))
            place += len(token) + 1

    def _take(self, token: str, span: Span) -> None:
        match = _TOKEN.match(token)
        key, value = (match[1], match[2]) if match else ("n", token[1:]) if token[:1] == "n" else (token, "")
        if token in ("skip", "noskip"):
            key, value = token, ""
        elif key == "nr" and value == "6":
            key, value = "n", "r6"
        known = KINDS[self.kind].split()
        if key not in known:
            names = ", ".join(f"`{name}`" for name in known)
            refuse(f"`{token}` is no token of `{self.kind}`", span, f"it takes {names}, each with its value")
        if key in self.taken:
            refuse(f"a second `{key}`", span, "leave one of them out")
        self.taken[key] = value, span

    def block(self) -> BlockString:
        for key in ("cc", "d", "gs"):
            self._only_trivial(key)
        if self.kind in ("ds", "dsa", "cn"):
            self._only_trivial("e", "1", f"`{self.kind}` has no expansion")
        uses_ends = self.kind == "uir"
        if not uses_ends:
            for key in ("a", "p"):
                self._only_trivial(key, "1", "kernels of 1x1 convolutions cannot be changed")
        return BlockString(
            kind=self.kind,
            repeat=self._whole("r", 1),
            kernel=self._whole("k", 0 if uses_ends else 1),
            stride=self._whole("s", 1),
            expand=self._number("e") if self.kind in ("ir", "er", "uir") else 1.0,
            filters=self._whole("c", 1),
            se=self._number("se", 0.0),
            act=self._act(),
            skip=self._skip(),
            start=self._whole("a", 0, 0) if uses_ends else 0,
            end=self._whole("p", 0, 0) if uses_ends else 0,
            force_in=self._whole("fc", 1, 0),
            span=self.written.span,
        )

    def _only_trivial(self, key: str, allowed: str = "0", why: str = "") -> None:
        value, span = self.taken.get(key, (allowed, self.written.span))
        reasons = {
            "cc": "mixtures of convolutions cannot be imported",
            "d": "space-to-depth cannot be imported",
            "gs": "convolutions in groups of a fixed size cannot be imported",
        }
        # A group size of 1 is a depthwise convolution, which all but `cn` have anyway.
        depthwise = key == "gs" and value == "1" and self.kind != "cn"
        if not depthwise and (not _NUMBER.match(value) or float(value) != float(allowed)):
            refuse(why or reasons[key], span, "leave the token out")

    def _value(self, key: str) -> tuple[str, Span]:
        if key not in self.taken:
            what = f"the {_NAMES[key]}, " if key in _NAMES else ""
            refuse(f"{what}`{key}` and a number, is missing", self.written.span, f"add `_{key}1`, say")
        return self.taken[key]

    def _whole(self, key: str, least: int, default: int | None = None) -> int:
        if default is not None and key not in self.taken:
            return default
        value, span = self._value(key)
        if re.match(r"\d+(\.\d+)+$", value):
            refuse(f"`{key}{value}` mixes kernels", span, f"take one: `{key}{value.split('.')[0]}`")
        if not _WHOLE.match(value) or int(value) < least:
            refuse(f"`{value}` is no whole number of at least {least}", span, f"for example `{key}{max(least, 1)}`")
        return int(value)

    def _number(self, key: str, default: float | None = None) -> float:
        if default is not None and key not in self.taken:
            return default
        value, span = self._value(key)
        if not _NUMBER.match(value) or (key == "e" and not float(value)):
            refuse(f"`{value}` is no number above 0", span, f"for example `{key}{'6' if key == 'e' else '0.25'}`")
        return float(value)

    def _act(self) -> str | None:
        if "n" not in self.taken:
            return None
        value, span = self.taken["n"]
        if value not in ACTS:
            known = ", ".join(f"`n{short}` {name}" for short, name in ACTS.items())
            refuse(f"`n{value}` is no activation", span, f"there are {known}")
        return ACTS[value]

    def _skip(self) -> bool | None:
        if "skip" in self.taken and "noskip" in self.taken:
            refuse("`skip` and `noskip` at once", self.taken["noskip"][1], "leave one of them out")
        return True if "skip" in self.taken else False if "noskip" in self.taken else None
