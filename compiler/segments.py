"""The channels of a tensor as segments side by side: those of a decision, or so many without a mask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plain:
    """Channels without a mask."""

    size: int

    def __str__(self) -> str:
        return str(self.size)


@dataclass(frozen=True)
class Masked:
    """The channels of a decision, each with a probability of its own."""

    name: str
    size: int

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Derived:
    """The first channels, as many as follow from another decision: `counts[n]` where that has n."""

    size: int
    of: str
    counts: tuple[int, ...]
    text: str

    def __str__(self) -> str:
        return f"first {self.text}"


@dataclass(frozen=True)
class Taken:
    """Of the channels of `source`, the most probable ones, as many as a decision has."""

    source: Plain | Masked
    name: str
    size: int

    def __str__(self) -> str:
        return f"{self.name} of {self.source}"


Segment = Plain | Masked | Derived | Taken
Segments = tuple[Segment, ...]


def names_of(segment: Segment) -> tuple[str, ...]:
    """The decisions whose probabilities a segment's channels have."""
    match segment:
        case Masked(name):
            return (name,)
        case Taken(_, name):
            return (name,)
    return ()


def key_of(segments: Segments) -> str:
    """What generated code calls the mask of a tensor: empty for one that nothing is masked in."""
    return " + ".join(map(str, segments)) if any(not isinstance(s, Plain) for s in segments) else ""
