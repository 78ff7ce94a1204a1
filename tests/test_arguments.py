"""Arguments of primitive operators: whatever is written for one is taken and lowered, or refused where it stands."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasc.compiler.check import Checked, check
from nasc.compiler.cost import cost_of
from nasc.compiler.lower_torch import model_source
from nasc.compiler.member import member_text
from nasc.compiler.network import network_of
from nasc.compiler.opened import load_file
from nasc.compiler.primitives import OPERATORS, PRIMITIVES
from nasc.compiler.primitives.base import REQUIRED
from nasc.compiler.sample import sample_members
from tests.fuzz_commands import inspect

SOUND = {"kernel": "3", "heads": "2", "vocabulary": "10", "groups": "2"}
PLACES = [(name, parameter) for name in OPERATORS for parameter in PRIMITIVES[name].parameters]
KINDS = {"eps": "part", "momentum": "part", "rate": "part", "init": "any", "bias": "flag", "causal": "flag"}
PAIRS = {"kernel", "padding"}

numbers = st.sampled_from(["0", "1", "2", "3", "4", "-1", "1/3", "1e-5", "2.5", "1e30"])
positive = numbers.filter(lambda number: number != "-1")
pairs = st.tuples(positive, positive).map(" x ".join)
values = st.one_of(
    numbers,
    pairs,
    st.lists(numbers | pairs, min_size=1, max_size=3, unique=True).map(lambda each: f"{{{', '.join(each)}}}"),
    st.tuples(pairs, positive).map(" x ".join),
    st.sampled_from(
        ["yes", "no", "{yes, no}", "0 .. 1", "1 .. 4", "relu", "same", "bn", "inf", "nothing", '"3"', "1 == 1", "not 1"]
    ),
)


def written(operator: str, parameter: str, value: str) -> str:
    """A space with a stage whose block hands the value on to an operator."""
    primitive = PRIMITIVES[operator]
    needed = {p: SOUND[p] for p, default in primitive.parameters.items() if default is REQUIRED}
    arguments = ", ".join(f"{p} = {v}" for p, v in {**needed, parameter: "given"}.items())
    call = f"attend(in, in, in, {arguments})" if operator == "attend" else f"in | {operator}({arguments})"
    tokens = operator in ("attend", "embedding", "linear")
    return f"""
block used(given) {{
  {call}{" -> 8" if primitive.arrow else ""}
}}
space s {{
  input {"tokens 6" if tokens else "image 8 x 8 x 8"}
  output classes 3
  {"stage before embedding { vocabulary 10 } -> 8" if tokens and operator != "embedding" else ""}
  stage it used {{ given {value} }}
  head {"first_token" if tokens else "global_pool"} | linear
}}
"""


def checked(operator: str, parameter: str, value: str) -> Checked:
    return check(load_file(Path("s.nas"), written(operator, parameter, value)))


def wanted(parameter: str, value: str) -> bool:
    """Is a plain number or pair one that a parameter takes, by its kind alone?"""
    each = [Fraction(part) for part in value.split(" x ")]
    if len(each) > (2 if parameter in PAIRS else 1):
        return False
    least = 0 if parameter == "padding" else 1
    takes = {
        "part": lambda number: 0 <= number < 1,
        "any": lambda number: abs(number) < 10**7,
        "flag": lambda number: number in (0, 1),
        "whole": lambda number: number.denominator == 1 and least <= number <= 10**7,
    }
    return all(takes[KINDS.get(parameter, "whole")](number) for number in each)


@pytest.mark.parametrize(("operator", "parameter"), PLACES)
def test_the_space_around_is_sound(operator: str, parameter: str) -> None:
    default = PRIMITIVES[operator].parameters[parameter]
    value = SOUND[parameter] if default is REQUIRED else str(default)
    value = {"False": "no", "True": "yes"}.get(value, value)
    assert not checked(operator, parameter, value).diagnostics.errors


@given(place=st.sampled_from(PLACES), value=values)
def test_an_argument_is_lowered_or_refused_in_its_place(place: tuple[str, str], value: str) -> None:
    found = checked(*place, value)
    inspect(found.diagnostics.found)
    for diagnostic in found.diagnostics.errors:
        if diagnostic.code in ("E0322", "E0332"):
            assert diagnostic.span is not None
            assert diagnostic.span.source.text[diagnostic.span.start : diagnostic.span.end] in value
    if found.space is not None and not found.diagnostics.errors:
        cost = cost_of(found.space)
        assert cost.params.min <= cost.params.max and cost.macs.min <= cost.macs.max
        (member,) = sample_members(found.space, 1, 0)
        one = check(load_file(Path("one.nas"), member_text(found.space, member, found.module, "")))
        assert one.space is not None
        compile(model_source(network_of(one.space)), "model.py", "exec")


@given(place=st.sampled_from(PLACES), value=numbers | pairs)
def test_a_number_of_the_wrong_kind_is_refused(place: tuple[str, str], value: str) -> None:
    codes = {d.code for d in checked(*place, value).diagnostics.errors}
    if wanted(place[1], value):
        assert codes <= ({"E0322"} if place[0].endswith("pool") else {"E0324"}), codes  # half the kernel; channels
    else:
        assert codes == {"E0322"}


@pytest.mark.parametrize("value", ["0 .. 1", "{yes, no}"])
def test_a_searched_flag_is_two_networks(value: str) -> None:
    space = checked("conv2d", "bias", value).space
    assert space is not None
    cost = cost_of(space)
    assert cost.params.max - cost.params.min == 8  # the bias of 8 filters
