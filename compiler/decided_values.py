"""How a value that was decided or narrowed is written."""

from __future__ import annotations

from fractions import Fraction

from nasc.compiler.domain import Domain
from nasc.compiler.expr import Rational, exact
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Span


def plain_number(value: Rational, span: Span) -> syntax.Number:
    return syntax.Number(span=span, value=Fraction(value), text=str(value))


def as_domain(found: Rational | str | Domain) -> Domain:
    if isinstance(found, Domain):
        return found
    value = exact(Fraction(found))
    return Domain.grid(value, value)


def narrowed_value(domain: Domain, span: Span, ordered: bool = True) -> syntax.Value:
    """What is left of a decision, as it is written: a number, `1152 .. 1184 step 32`, or a set."""
    numbers = tuple(plain_number(v, span) for v in ((domain.first,) if domain.size == 1 else domain.listed))
    if domain.size == 1:
        return numbers[0]
    if ordered and not numbers:
        step = plain_number(domain.step, span) if domain.step != 1 else None
        first, last = plain_number(domain.first, span), plain_number(domain.last, span)
        return syntax.Range(span=span, first=first, last=last, step=step)
    return syntax.ValueSet(span=span, members=tuple(plain_number(v, span) for v in domain))


def ratio_value(widths: Domain, channels: Rational, span: Span) -> syntax.Value:
    """Widths left of a ratio's interval, as exact multiples of the input's channels: `160/24`."""

    def ratio(width: Rational) -> syntax.Operation:
        left, right = plain_number(width, span), plain_number(channels, span)
        return syntax.Operation(span=span, operator="/", left=left, right=right)

    if widths.size == 1:
        return ratio(widths.first)
    if widths.listed:
        return syntax.ValueSet(span=span, members=tuple(map(ratio, widths)))
    low, high = ratio(widths.first), ratio(widths.last)
    return syntax.Interval(span=span, low=low, high=high, open_low=False, open_high=False)
