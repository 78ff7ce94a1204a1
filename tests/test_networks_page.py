"""The costs in docs/networks.md are those that nasc finds; tests/test_published.py holds the page to its generator."""

from __future__ import annotations

import re

from nasc.compiler.cost import cost_of
from tests.spaces import NETWORKS, ROOT, space_of
from tests.test_public_definitions import PUBLIC

PAGE = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")


def tables() -> list[list[dict[str, str]]]:
    """The page's tables, each row by its column names."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", PAGE, re.M):
        header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines())
        found.append([dict(zip(header, row, strict=True)) for row in rows])
    return found


def test_the_costs_are_what_nasc_finds() -> None:
    costs = {path.stem: cost_of(space_of(path)).as_json() for path in NETWORKS}
    for row in (row for table in tables() for row in table):
        cost = costs[row["Network"].strip("`")]
        assert (row["Parameters"], row["MACs"]) == (f"{cost['params']:,}", f"{cost['macs']:,}"), row


def test_every_comparison_is_listed() -> None:
    listed = [(row["Network"], row["timm's name"].split(" with ")[0]) for row in tables()[2]]
    assert listed == [(f"`{name}`", f"`{public}`") for name, public, _ in PUBLIC]
