"""Whether the options of a `search` section suit the space that the file holds."""

from __future__ import annotations

from collections.abc import Iterable

from nasc.compiler.elaborate import Space
from nasc.compiler.methods.plugins import find_method
from nasc.compiler.methods.sections import read_section
from nasc.compiler.methods.values import OptionError
from nasc.compiler.network import network_of
from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, NascError


def check_methods(space: Space, sections: Iterable[syntax.Section], diagnostics: Diagnostics) -> None:
    """Record the options that a method cannot search this space with.

    What a method cannot search at all is no mistake of the file: compiling for that method says it.
    """
    for section in sections:
        try:
            _check_options(space, section)
        except OptionError as mistake:
            prop = next((p for p in section.properties if p.name == mistake.option), None)
            span = section.name_span if prop is None else prop.span
            diagnostics.add("E0363", mistake.message, span, help=mistake.help)
        except NascError:
            continue


def _check_options(space: Space, section: syntax.Section) -> None:
    method, options = find_method(section.name), read_section(section, Diagnostics())
    if method.relax is None or options is None:
        return
    network = network_of(space)
    if not method.suits(network, options):
        method.require(method.relax(network), options)
