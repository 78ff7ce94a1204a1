"""Every example of docs/language.md does what the page says."""

from __future__ import annotations

import re

import pytest

from nasc.compiler.check import check
from nasc.compiler.count import count_members
from nasc.dsl.format import format_text
from nasc.dsl.loader import load
from tests.spaces import ROOT

PAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```nas(?: error (E\d+))?\n(.*?)^```$", PAGE, re.S | re.M)


@pytest.mark.parametrize(("code", "text"), EXAMPLES)
def test_an_example_does_what_the_page_says(code: str, text: str) -> None:
    checked = check(load("example.nas", text))
    found = [d.code for d in checked.diagnostics.found]
    assert found == ([code] if code else [])
    if not code:
        assert checked.space is not None
        wanted = re.search(r"// members: (\d+)", text)
        assert wanted is not None
        assert count_members(checked.space) == int(wanted.group(1))
        assert format_text(text)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 6 and sum(bool(code) for code, _ in EXAMPLES) >= 1
