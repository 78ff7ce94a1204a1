"""What the numbers given to a primitive operator may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nasc.compiler.domain import Domain
from nasc.compiler.expr import Rational, Size, bounds, divide
from nasc.compiler.ir import Tensor
from nasc.compiler.wholes import is_whole

MAX_NUMBER = 10_000_000
MAX_SIDE = 100_000

LEAST = {
    "kernel": 1,
    "stride": 1,
    "padding": 0,
    "groups": 1,
    "dilation": 1,
    "factor": 1,
    "heads": 1,
    "vocabulary": 1,
    "start": 0,
    "stop": 0,
}
"""Parameters that are whole numbers, and the smallest that each may be."""

FRACTIONS = frozenset({"eps", "momentum", "rate"})
"""Parameters from 0 up to, not including, 1."""

FLAGS = frozenset({"bias", "causal"})
"""Parameters that say yes or no."""

PAIRS = frozenset({"kernel", "padding"})
"""Parameters that may be two numbers, of rows and columns."""

MAX_SIZE = 1_000_000
"""Any other number's bound, in both directions."""

Domains = Callable[[str], Domain]


def wrong_argument(parameter: str, value: Any, domain: Domains) -> str | None:
    """What a parameter must be, where some value of its decisions is not."""
    if isinstance(value, tuple):
        if parameter not in PAIRS:
            return f"must be one number, not {_clip(' x '.join(map(str, value)))}"
        if len(value) != 2:
            return "must be one number, or two as in `1 x 7`"
        return next((wrong for v in value if (wrong := wrong_argument(parameter, v, domain)) is not None), None)
    if isinstance(value, str | bool):
        return None
    low, high = _bounds(value, domain)
    shown = _clip(str(low) if low == high else f"{low} .. {high}")
    if parameter in FLAGS:
        return None if low >= 0 and high <= 1 and is_whole(value, domain) else f"must be yes or no, not {shown}"
    if parameter in FRACTIONS:
        return None if low >= 0 and high < 1 else f"must be at least 0 and below 1, not {shown}"
    if parameter not in LEAST:
        return None if low >= -MAX_SIZE and high <= MAX_SIZE else f"must lie within ±{MAX_SIZE:,}, not {shown}"
    if low < LEAST[parameter] or not is_whole(value, domain):
        return f"must be a whole number of at least {LEAST[parameter]}, not {shown}"
    return f"must be at most {MAX_NUMBER:,}, not {shown}" if high > MAX_NUMBER else None


def undivided(name: str, arguments: Mapping[str, Any], channels: tuple[Size, ...], domain: Domains) -> str | None:
    """Which number of channels the operator's groups or heads do not divide, where that is certain."""
    parts = arguments.get("groups", arguments.get("heads"))
    if parts is None:
        return None
    what = "groups" if "groups" in arguments else "heads"
    for size in channels:
        if is_whole(divide(size, parts), domain) is False:
            return f"{_clip(str(size))} channels do not divide into {_clip(str(parts))} {what}"
    return None


def too_large(tensor: Tensor, domain: Domains) -> str | None:
    """What is absurd about the size of a tensor."""
    if any(side > MAX_SIDE for side in (tensor.height or 0, tensor.width or 0)):
        return f"an image of {_clip(str(tensor.height))} x {_clip(str(tensor.width))} is out of bounds"
    if (tensor.tokens or 0) > MAX_NUMBER:
        return f"a sequence of {_clip(str(tensor.tokens))} tokens is out of bounds"
    if not tensor.ids and _bounds(tensor.channels, domain)[1] > MAX_NUMBER:
        return "a tensor of so many channels is out of bounds"
    return None


def _bounds(size: Size, domain: Domains) -> tuple[Rational | float, Rational | float]:
    return bounds(size, lambda name: ((d := domain(name)).first, d.last))


def _clip(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
