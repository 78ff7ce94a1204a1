"""Formulas of a width as Python: what generated code works out is what the compiler does."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasc.compiler.expr import Size, add, divide, evaluate, function, make_divisible, multiply, parse_size, variable
from nasc.compiler.width_text import width_text

SIZES = st.recursive(
    st.one_of(st.just(variable("w")), st.integers(1, 9), st.fractions(1, 9, max_denominator=7)),
    lambda inner: st.one_of(
        st.builds(add, inner, inner),
        st.builds(multiply, inner, inner),
        st.builds(divide, inner, st.integers(1, 9)),
        st.builds(lambda a, b: function("max", a, b), inner, inner),
        st.builds(lambda a, b: function("min", a, b), inner, inner),
        st.builds(function, st.sampled_from(["round", "floor", "ceil"]), inner),
        st.builds(lambda a, d: function("divisible", a, d), inner, st.integers(1, 9)),
    ),
    max_leaves=6,
)


@given(size=SIZES, width=st.integers(1, 2000))
def test_a_formulas_text_is_its_value(size: Size, width: int) -> None:
    value = evaluate(size, {"w": width})
    if not isinstance(value, int):
        size = function("round", size)
        value = evaluate(size, {"w": width})
    names = {"width": width, "Fraction": Fraction, "divisible": make_divisible}
    found = eval(width_text(size, "width"), names)
    assert found == value and isinstance(found, int)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ("2*w", "2 * width"),
        ("1/4*w", "width // 4"),
        ("divisible(1/4*w, 8)", "divisible(Fraction(width, 4), 8)"),
        ("4 - 1*w", "4 - width"),
        ("round(1/4*w)", "round(Fraction(width, 4))"),
        ("1/2*w + 1/2", "int(Fraction(width + 1, 2))"),
        ("16*w^-1", "int(Fraction(16, width))"),
    ],
)
def test_a_formula_reads_well(size: str, text: str) -> None:
    assert width_text(parse_size(size), "width") == text
