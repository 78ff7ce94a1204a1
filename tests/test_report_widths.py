"""The picture of a search with masks: shares of widths, and logs of strangers."""

from __future__ import annotations

from typing import Any

import pytest

from nasc.runtime.report_widths import MOST_ROWS, plot_widths

RECORDS = [
    {"epoch": 0, "widths": {"low.1.expand": 48.0, "@w": 16.0}},
    {"epoch": 1, "widths": {"low.1.expand": 12.0, "@w": 8.0}},
]


def shares(records: list[dict[str, Any]], widest: dict[str, Any]) -> list[list[float]]:
    figure = plot_widths(records, widest)
    assert figure is not None
    (image,) = figure.axes[0].images
    return image.get_array().tolist()  # type: ignore[union-attr]


def test_a_row_for_each_decision_as_part_of_its_widest() -> None:
    assert shares(RECORDS, {"low.1.expand": 48, "@w": 32}) == [[1.0, 0.25], [0.5, 0.25]]


def test_a_decision_without_a_widest_counts_from_its_largest() -> None:
    assert shares(RECORDS, {"@w": "wide"}) == [[1.0, 0.25], [1.0, 0.5]]


@pytest.mark.parametrize(
    "records",
    [[], [{"epoch": 0}], [{"widths": {"a": 1.0}}], [{"epoch": 0, "widths": {"a": "b"}}], [{"epoch": 0, "widths": 3}]],
)
def test_a_log_of_something_else_has_no_picture(records: list[dict[str, Any]]) -> None:
    assert plot_widths(records, {}) is None


def test_a_log_of_very_many_decisions_stays_a_picture() -> None:
    found = shares([{"epoch": 0, "widths": {f"l.{i}": 1.0 for i in range(3 * MOST_ROWS)}}], {})
    assert len(found) == MOST_ROWS
