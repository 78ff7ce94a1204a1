"""Texts drawn from the grammar file itself: whatever `nas.lark` allows, with or without a meaning."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from random import Random
from typing import Any

from nasc.dsl.grammar_cache import parser
from tests.fuzz_words import ABSURD, CONSTANTS, FOREIGN, SIZES, names


class Grammar:
    """Random derivations, the shortest ones once a text has become deep or long."""

    def __init__(self) -> None:
        self.rules: dict[str, list[list[Any]]] = {}
        for rule in parser().rules:
            self.rules.setdefault(rule.origin.name, []).append(list(rule.expansion))
        self.signs = {t.name: t.pattern.value for t in parser().terminals if t.pattern.type == "str"}
        self.least = self._least()

    def _least(self) -> dict[str, int]:
        """For each rule the depth of its shallowest derivation."""
        least = dict.fromkeys(self.rules, 1000)
        changed = True
        while changed:
            changed = False
            for name, expansions in self.rules.items():
                depth = 1 + min(self._depth(e, least) for e in expansions)
                changed |= depth < least[name]
                least[name] = min(depth, least[name])
        return least

    @staticmethod
    def _depth(expansion: Sequence[Any], least: dict[str, int]) -> int:
        return max((0 if symbol.is_term else least[symbol.name] for symbol in expansion), default=0)

    def text(self, random: Random, start: str, depth: int, length: int = 400) -> str:
        """A text of the rule `start`, branching freely down to `depth` and for about `length` words."""
        words: list[str] = []
        open_ = [(start, False, depth)]
        while open_:
            name, terminal, left = open_.pop()
            if terminal:
                words.append(self._word(random, name))
                continue
            expansions = self.rules[name]
            if left <= 0 or len(words) > length:
                depths = [self._depth(e, self.least) for e in expansions]
                expansions = [e for e, d in zip(expansions, depths, strict=True) if d == min(depths)]
            open_ += [(s.name, s.is_term, left - 1) for s in reversed(random.choice(expansions))]
        return _spaced(words)

    def _word(self, random: Random, terminal: str) -> str:
        match terminal:
            case "NAME":
                return random.choice(FOREIGN) if random.random() < 0.01 else random.choice(names())
            case "INT":
                whole = [number for number in ABSURD if number.isdigit()]
                return random.choice(whole) if random.random() < 0.05 else random.choice(SIZES)
            case "DECIMAL":
                return random.choice(["0.5", "1e-3", "1e3", "2.0", "1e99", "0.0"])
            case "STRING":
                return random.choice(['"cells.nas"', '""', '"os"', f'"{random.choice(CONSTANTS)}"'])
            case "COMPARE":
                return random.choice(["==", "!=", "<=", ">=", "<", ">"])
        return self.signs.get(terminal, "]" if terminal == "CLOSE" else terminal.lower())


def _spaced(words: Sequence[str]) -> str:
    """Blanks between the words, but none around the dot of `in.channels`; a line per opening brace."""
    text = " ".join(words).replace(" . ", ".").replace("{ ", "{\n")
    return text + "\n"


@functools.cache
def grammar() -> Grammar:
    return Grammar()
