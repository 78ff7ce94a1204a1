"""docs/status.md says what the code and the tests say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from nasc.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def status() -> ModuleType:
    spec = importlib.util.spec_from_file_location("status", ROOT / "docs" / "status.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(status: ModuleType) -> str:
    text: str = status.page()
    return text


def test_the_page_is_up_to_date(page: str) -> None:
    assert page == (ROOT / "docs" / "status.md").read_text(encoding="utf-8"), "run `make status`"


def test_every_command_has_an_end_to_end_test(status: ModuleType) -> None:
    assert not [name for name in COMMANDS if f"command {name}" not in status.exercised()]


def test_a_claim_names_something_that_exists(status: ModuleType, page: str) -> None:
    for claim, test in status.exercised().items():
        assert f"`{test}`" in page, claim
