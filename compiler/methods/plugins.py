"""The search methods: for each its options, how it relaxes a network, and where its run-time half is.

A method is a plug-in with two halves. The compile-time half is a `Method`; the run-time half a function that a search
imports when it starts, so that compiling never loads torch. An installed package adds its own through an entry point
of the group `nasc.methods` whose name is the method's and whose object is a `Method`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from nasc.compiler.ir import Network
from nasc.compiler.methods.fbnet import FbnetOptions
from nasc.compiler.methods.others import FigsOptions, NetAdaptV2Options, NssOptions
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.random_members import RandomOptions
from nasc.compiler.methods.relax import RelaxedLayer, relax, relax_to_mixture, require_threshold
from nasc.compiler.methods.values import Options
from nasc.dsl.diagnostics import NascError, did_you_mean

GROUP = "nasc.methods"


def _nothing(layers: tuple[RelaxedLayer, ...], options: Any) -> None:
    """No further condition."""


@dataclass(frozen=True)
class Method:
    """A search method.

    `options` models its section; `seeds`, `alpha`, `cost` and `class_fraction` are what every runnable method has.
    `search` is the run-time half as `package.module:function`, which takes a `nasc.runtime.search_context.Context` and
    returns an `Outcome`; empty for a method that cannot run yet. `relax` makes the SuperNet's candidates of a network
    and raises `NascError` for a choice that it has no relaxation for; None for a method that needs no SuperNet.
    `require` raises `NascError` where candidates and options do not go together.
    """

    name: str
    about: str
    options: type[Options]
    search: str = ""
    relax: Callable[[Network], tuple[RelaxedLayer, ...]] | None = None
    require: Callable[[tuple[RelaxedLayer, ...], Any], None] = _nothing


def _prunet_threshold(layers: tuple[RelaxedLayer, ...], options: PrunetOptions) -> None:
    require_threshold(layers, options.threshold.first)


_OWN = (
    Method(
        "prunet",
        "PruNet's tiered pruning",
        PrunetOptions,
        "nasc.runtime.methods.prunet:search",
        relax,
        _prunet_threshold,
    ),
    Method(
        "fbnet",
        "FBNet's Gumbel-Softmax mixture",
        FbnetOptions,
        "nasc.runtime.methods.fbnet:search",
        relax_to_mixture,
    ),
    Method("random", "members drawn at random", RandomOptions, "nasc.runtime.methods.random_members:search"),
    Method("figs", "FiGS", FigsOptions),
    Method("netadapt_v2", "NetAdaptV2", NetAdaptV2Options),
    Method("nss", "NSS", NssOptions),
)


@cache
def methods() -> dict[str, Method]:
    """All methods by name: those of nasc first, then those of installed packages, which cannot replace them."""
    found = {method.name: method for method in _OWN}
    for name, method in _installed():
        found.setdefault(name, method)
    return found


def _installed() -> Iterator[tuple[str, Method]]:
    for point in entry_points(group=GROUP):
        yield point.name, _loaded(point)


def _loaded(point: EntryPoint) -> Method:
    try:
        method = point.load()
    except Exception as error:  # whatever another package's import raises
        raise NascError(f"the search method `{point.name}` ({point.value}) cannot be loaded: {error}") from error
    if not isinstance(method, Method) or method.name != point.name:
        raise NascError(f"the entry point `{point.name}` ({point.value}) of {GROUP} is no `Method` of that name")
    return method


def find_method(name: str) -> Method:
    """The method of a name. Raises `NascError` for an unknown one."""
    method = methods().get(name)
    if method is None:
        help = did_you_mean(name, methods()) or f"methods: {', '.join(methods())}"
        raise NascError(f"there is no search method `{name}`", help=help)
    return method


def runnable() -> tuple[str, ...]:
    """The methods that a search module can be made for."""
    return tuple(name for name, method in methods().items() if method.search)
