"""What a search's `metrics.jsonl` says of its layers: which candidates were left when, how probable, how wide.

The file may come from a stranger: whatever in it does not have the form that a search writes is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nasc.runtime.metrics import Record
from nasc.runtime.report_page import is_number

SKIP = "skip"
LONGEST_ADDRESS = 100
LAST_EPOCH, WIDEST = 10**7, 10**9
_CANDIDATE = re.compile(r"[0-9]{1,2}|skip")


@dataclass(frozen=True)
class Epoch:
    """A search at the end of an epoch, for the candidates that are left.

    `number` counts from 1, as what a search prints and its `states/` do. By the layer's address and the candidate's
    number (or `skip`): its probability, and the widths of a Prunode's small and large mask.
    """

    number: int
    warmup: bool
    threshold: float | None
    probabilities: dict[str, dict[str, float]]
    masks: dict[str, dict[str, tuple[float, float]]]


def read_epochs(records: Iterable[Record]) -> tuple[Epoch, ...]:
    """The epochs of a search in ascending order; none in the log of something else."""
    epochs: list[Epoch] = []
    for record in records:
        number, said = record.get("epoch"), record.get("probabilities")
        if not isinstance(number, int) or not isinstance(said, dict):
            continue
        if not (epochs[-1].number if epochs else 0) < number + 1 <= LAST_EPOCH:
            continue
        threshold = record.get("threshold")
        epochs.append(
            Epoch(
                number=number + 1,
                warmup=record.get("phase") == "warm-up",
                threshold=float(threshold) if isinstance(threshold, int | float) and is_number(threshold) else None,
                probabilities={a: found for a, those in said.items() if _address(a) and (found := _probable(those))},
                masks=_masks(record.get("masks")),
            )
        )
    return tuple(epochs)


def layers_of(epochs: Sequence[Epoch]) -> list[str]:
    """The addresses of the layers that have candidates, in the network's order."""
    return list(dict.fromkeys(address for epoch in epochs for address in epoch.probabilities))


def masked_layers(epochs: Sequence[Epoch]) -> list[str]:
    """The addresses of the layers that have Prunodes, in the network's order."""
    masked = {address for epoch in epochs for address in epoch.masks}
    return [address for address in layers_of(epochs) if address in masked]


def candidates_of(states: Iterable[Iterable[str]]) -> list[str]:
    """The candidates that any state names, by number, the skip last."""
    found = {candidate for state in states for candidate in state}
    return sorted(found, key=lambda candidate: (candidate == SKIP, int(candidate) if candidate != SKIP else 0))


def chosen_candidate(epochs: Sequence[Epoch], address: str) -> str | None:
    """The candidate that was the most probable at the end."""
    left = epochs[-1].probabilities.get(address, {}) if epochs else {}
    return max(left, key=lambda candidate: left[candidate], default=None)


def chosen_width(epochs: Sequence[Epoch], address: str, choice: object) -> int | None:
    """The width found for a layer, from its choice in `result.json` (`{"variant": …, "values": {address: value}}`).

    A choice may hold other decisions, too: the width is the value that is one of the two masks of the last epoch.
    """
    candidate = chosen_candidate(epochs, address)
    values = choice.get("values") if isinstance(choice, dict) else None
    if candidate is None or not isinstance(values, dict):
        return None
    masks = epochs[-1].masks.get(address, {}).get(candidate, ())
    found = {value for value in values.values() if isinstance(value, int) and value in masks}
    return found.pop() if len(found) == 1 else None


def _address(address: object) -> bool:
    return isinstance(address, str) and 0 < len(address) <= LONGEST_ADDRESS


def _probable(said: Any) -> dict[str, float]:
    if not isinstance(said, dict):
        return {}
    return {c: float(p) for c, p in said.items() if _CANDIDATE.fullmatch(c) and is_number(p) and 0 <= p <= 1}


def _masks(said: Any) -> dict[str, dict[str, tuple[float, float]]]:
    masks: dict[str, dict[str, tuple[float, float]]] = {}
    for key, pair in said.items() if isinstance(said, dict) else ():
        address, _, candidate = key.rpartition("#")
        if not _address(address) or not _CANDIDATE.fullmatch(candidate):
            continue
        pair = pair if isinstance(pair, list) and len(pair) == 2 else [None, None]
        if all(map(is_number, pair)) and 0 <= pair[0] <= pair[1] <= WIDEST:
            masks.setdefault(address, {})[candidate] = (pair[0], pair[1])
    return masks
