"""Many members as two arrays of whole numbers, which is what they are drawn and priced as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasc.compiler.build_manifest import layers_of
from nasc.compiler.domain import Domain
from nasc.compiler.expr import Rational
from nasc.compiler.ir import Network
from nasc.compiler.member import Member
from nasc.compiler.member_cost import Decisions, variant_of
from nasc.compiler.parts import layer_address
from nasc.dsl.diagnostics import NascError

Whole = NDArray[np.int64]

ABSENT = -1
_SHARED = ""


@dataclass(frozen=True)
class Codes:
    """Members as numbers: `choices` (layers x members) has the number of each layer's variant, `values` (decisions x
    members) the index of each value in its domain; both -1 where a member has none."""

    choices: Whole
    values: Whole

    def __len__(self) -> int:
        return int(self.choices.shape[1])

    def take(self, which: Whole) -> Codes:
        """The members of these numbers, in that order."""
        return Codes(self.choices[:, which], self.values[:, which])

    @classmethod
    def joined(cls, parts: Sequence[Codes]) -> Codes:
        """The members of several, one after another."""
        choices, values = [part.choices for part in parts], [part.values for part in parts]
        return cls(np.concatenate(choices, axis=1), np.concatenate(values, axis=1))


@dataclass(frozen=True)
class Column:
    """A row of `Codes.values`, and the domain that it indexes."""

    row: int
    domain: Domain


class Coding:
    """What the numbers in `Codes` mean for one network."""

    def __init__(self, network: Network) -> None:
        self.layers = tuple(layers_of(network))
        self.homes: dict[str, list[int]] = {}
        """The rows of `Codes.choices` of each layer of the text: several where it is divided into parts."""
        self._rows: dict[tuple[str, str], int] = {}
        self.shared = {a: self._column(_SHARED, a, domain) for a, domain in _shared_domains(network).items()}
        self._own: list[list[dict[str, Column]]] = []
        for number, layer in enumerate(self.layers):
            home = layer_address(layer.address)
            self.homes.setdefault(home, []).append(number)
            self._own.append(
                [{d.address: self._column(home, d.address, d.domain) for d in v.decisions} for v in layer.variants]
            )

    def _column(self, home: str, address: str, domain: Domain) -> Column:
        return Column(self._rows.setdefault((home, address), len(self._rows)), domain)

    def own(self, layer: int, variant: int) -> dict[str, Column]:
        """The decisions that a layer's variant takes, by address."""
        return self._own[layer][variant]

    def empty(self, count: int) -> Codes:
        """Members of which nothing is decided, to be filled in."""
        choices, values = (np.full((n, count), ABSENT, dtype=np.int64) for n in (len(self.layers), len(self._rows)))
        return Codes(choices, values)

    def encode(self, members: Sequence[Member]) -> Codes:
        """Members as numbers. Raises `NascError` for one that is not of this network."""
        codes = self.empty(len(members))
        for address, layers in self.homes.items():
            decided, which = _distinct(self._decided(address, members))
            choices, columns = self._layer(layers, decided)
            codes.choices[layers] = choices[:, which]
            for row, indices in columns.items():
                codes.values[row] = indices[which]
        shared, which = _distinct([member.shared for member in members])
        for address, column in self.shared.items():
            codes.values[column.row] = np.array([_index(column, one, address) for one in shared], dtype=np.int64)[which]
        return codes

    def _decided(self, address: str, members: Sequence[Member]) -> list[Decisions | None]:
        """What each member decides in a layer, with the shared decisions that its variant depends on."""
        variants = [variant for layer in self.homes[address] for variant in self.layers[layer].variants]
        splits = {a for v in variants for a, domain in v.shared.items() if domain != self.shared[a].domain}
        own = [member.layers.get(address) for member in members]
        if not splits:
            return own
        shared = [{a: member.shared[a] for a in splits if a in member.shared} for member in members]
        return [None if one is None else {**all_, **one} for one, all_ in zip(own, shared, strict=True)]

    def _layer(self, layers: list[int], decided: list[Decisions | None]) -> tuple[Whole, dict[int, Whole]]:
        """The choices of a layer's parts, and the indices of its values by row, for each way to decide it."""
        choices = np.full((len(layers), len(decided)), ABSENT, dtype=np.int64)
        columns: dict[int, Whole] = {}
        for way, one in enumerate(decided):
            for part, layer in enumerate(layers if one is not None else []):
                assert one is not None
                choices[part, way] = variant = variant_of(self.layers[layer], one)
                for address, column in self.own(layer, variant).items():
                    indices = columns.setdefault(column.row, np.full(len(decided), ABSENT, dtype=np.int64))
                    indices[way] = _index(column, one, address)
        return choices, columns

    def members(self, codes: Codes) -> list[Member]:
        """The members that numbers stand for."""
        choices, values = codes.choices.T.tolist(), codes.values.T.tolist()
        return [self._member(*each) for each in zip(choices, values, strict=True)]

    def _member(self, choices: list[int], values: list[int]) -> Member:
        layers: dict[str, Decisions | None] = {}
        shared = _decided(self.shared, values)
        for address, parts in self.homes.items():
            layers[address] = None
            for layer in parts:
                if choices[layer] != ABSENT:
                    chosen = self.layers[layer].variants[choices[layer]].chosen
                    shared |= {name: text for name, text in chosen.items() if name.startswith("@")}
                    own = _decided(self.own(layer, choices[layer]), values)
                    layers[address] = {**(layers[address] or {}), **chosen, **own}
        return Member(layers, shared)


def _shared_domains(network: Network) -> dict[str, Domain]:
    """The decisions that layers share; the network does not list those of which one layer alone has several parts."""
    found = {decision.address: decision.domain for decision in network.shared}
    parts: dict[str, list[Rational]] = {}
    for layer in layers_of(network):
        for variant in layer.variants:
            for address, domain in variant.shared.items():
                if address not in found:
                    parts.setdefault(address, []).extend(domain)
    return found | {address: Domain.of(values) for address, values in parts.items()}


def _decided(columns: dict[str, Column], values: list[int]) -> dict[str, Rational | str]:
    return {a: column.domain.at(values[column.row]) for a, column in columns.items() if values[column.row] != ABSENT}


def _distinct(decided: Sequence[Decisions | None]) -> tuple[list[Decisions | None], Whole]:
    """Every different mapping once, and for each of those given its number: many members decide a layer alike."""
    numbers: dict[object, int] = {}
    found: list[Decisions | None] = []
    which = []
    for one in decided:
        key = None if one is None else tuple(one.items())
        if key not in numbers:
            numbers[key] = len(found)
            found.append(one)
        which.append(numbers[key])
    return found, np.array(which, dtype=np.int64)


def _index(column: Column, decided: Decisions | None, address: str) -> int:
    """The index of a value; -1 where there is none, or the text of an alternative instead."""
    value = None if decided is None else decided.get(address)
    if value is None or isinstance(value, str):
        return ABSENT
    if value not in column.domain:
        raise NascError(f"`{address}` cannot be {value}: it is one of {column.domain}")
    return column.domain.index(value)
