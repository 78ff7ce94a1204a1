"""Formulas of a width as Python text, for generated code."""

from __future__ import annotations

from fractions import Fraction
from math import lcm

from nasc.compiler.expr import Atom, Expr, Monomial, Rational, Size


def width_text(size: Size, width: str) -> str:
    """A size that is a whole number at every width, as Python over the expression `width`.

    It is worked out exactly. It may name `Fraction`, and `divisible` of `nasc.runtime.supernet`.
    """
    if _plain(size):
        return _text(size, width)
    return _floor(size, width) or f"int({_text(size, width)})"


def _plain(size: Size) -> bool:
    """Is a size whole for every whole width, by its form?"""
    if not isinstance(size, Expr):
        return Fraction(size).denominator == 1
    return all(
        coefficient.denominator == 1 and all(power > 0 and _whole(atom) for atom, power in monomial)
        for monomial, coefficient in size.terms
    )


def _whole(atom: Atom) -> bool:
    if isinstance(atom, str) or atom.name in ("round", "floor", "ceil"):
        return True
    return all(map(_plain, atom.arguments[1:] if atom.name == "divisible" else atom.arguments))


def _floor(size: Size, width: str) -> str | None:
    """The whole part of one product divided by a number, `width // 4`; None for any other size."""
    if not isinstance(size, Expr) or len(size.terms) > 1:
        return None
    ((monomial, coefficient),) = size.terms
    above = Expr(((monomial, Fraction(coefficient.numerator)),))
    return f"{_text(above, width)} // {coefficient.denominator}" if _plain(above) else None


def _text(size: Size, width: str) -> str:
    if not isinstance(size, Expr):
        return str(size) if _plain(size) else f"Fraction({size.numerator}, {size.denominator})"
    common = lcm(*(coefficient.denominator for _, coefficient in size.terms))
    # `2 * width + 1`, `4 - width`.
    terms = sorted(size.terms, key=lambda term: (term[1] < 0, not term[0]))
    text = " + ".join(_term(monomial, coefficient * common, width) for monomial, coefficient in terms)
    text = text.replace("+ -", "- ")
    return text if common == 1 else f"Fraction({text}, {common})"


def _term(monomial: Monomial, coefficient: Rational, width: str) -> str:
    above = [_atom(atom, width) for atom, power in monomial for _ in range(power)]
    below = [_atom(atom, width) for atom, power in monomial for _ in range(-power)]
    if abs(coefficient) != 1 or not above:
        above.insert(0, str(abs(coefficient)))
    over = ("-" if coefficient < 0 else "") + " * ".join(above)
    return f"Fraction({over}, {' * '.join(below)})" if below else over


def _atom(atom: Atom, width: str) -> str:
    if isinstance(atom, str):
        return width
    inner = [_text(argument, width) for argument in atom.arguments]
    match atom.name:
        case "sum":
            return f"({inner[0]})"
        case "floor":
            return f"({_floor(atom.arguments[0], width) or f'({inner[0]}) // 1'})"
        case "ceil":
            return f"-(-({inner[0]}) // 1)"
    return f"{atom.name}({', '.join(inner)})"
