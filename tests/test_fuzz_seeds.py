"""Inputs that once went wrong: found by `benchmarks/fuzz.py`, made smaller and kept; and a few new ones."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from nasc.dsl.diagnostics import Diagnostics, Source, Span
from tests.fuzz_commands import SECONDS, Broken, Opened, commands_for, inspect, run
from tests.fuzz_grammar import grammar
from tests.fuzz_inputs import KINDS, generate

MOST_SECONDS = 4 * SECONDS
"""A test runs on machines of any speed and load: three times slower than where `SECONDS` was chosen has been seen."""
SEEDS = sorted((Path(__file__).parent / "fuzz_seeds").glob("*.nas"))


def commands(path: Path) -> Iterator[tuple[str, float]]:
    """Every command that a file is fit for, and the processor time it takes."""
    opened = Opened(path)
    for name in commands_for(opened):
        started = time.process_time()
        run(name, opened)
        yield name, time.process_time() - started


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.stem)
def test_what_once_went_wrong(path: Path) -> None:
    for name, seconds in commands(path):
        assert seconds < MOST_SECONDS, name


@pytest.mark.parametrize("number", range(25))
def test_a_few_new_inputs(number: int, tmp_path: Path) -> None:
    _, data = generate(f"test:{number}")
    (tmp_path / "fuzzed.nas").write_bytes(data)
    for name, seconds in commands(tmp_path / "fuzzed.nas"):
        assert seconds < MOST_SECONDS, name


def test_there_are_seeds_and_every_kind_can_be_made() -> None:
    assert len(SEEDS) >= 8
    assert {generate(f"kinds:{i}")[0] for i in range(200)} == set(KINDS)
    assert generate("kinds:1") == generate("kinds:1")


def test_the_grammar_is_drawn_from_to_its_last_rule() -> None:
    assert all(depth < 100 for depth in grammar().least.values())
    assert not re.search(r"\b[A-Z]{2,}\b", grammar().text(Random(1), "space", 30))


@pytest.mark.parametrize("start, end", [(-1, 2), (3, 2), (2, 9)])
def test_a_place_outside_the_text_is_noticed(start: int, end: int) -> None:
    found = Diagnostics()
    found.add("E0101", "x", Span(Source("x", "text"), start, end))
    with pytest.raises(Broken):
        inspect(found.found)


def test_an_unknown_code_and_a_missing_place_are_noticed() -> None:
    for code in ("E9999", "E0101"):
        found = Diagnostics()
        found.add(code, "x", None)
        with pytest.raises(Broken):
            inspect(found.found)
