"""The search methods: for each its options, how it relaxes a network, and where its run-time half is.

A method is a plug-in with two halves. The compile-time half is a `Method`; the run-time half a function that a search
imports when it starts, so that compiling never loads torch. An installed package adds its own through an entry point
of the group `nasc.methods` whose name is the method's and whose object is a `Method`. It is imported when a file or a
command names it and not before, so one that is broken is in nobody else's way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from nasc.compiler.elaborate import Space
from nasc.compiler.fullest import Fullest, fullest
from nasc.compiler.ir import Network
from nasc.compiler.methods.budget import passed, steps_of
from nasc.compiler.methods.evolution import EvolutionOptions
from nasc.compiler.methods.fbnet import FbnetOptions
from nasc.compiler.methods.figs import FigsOptions
from nasc.compiler.methods.morphnet import MorphnetOptions
from nasc.compiler.methods.others import NetAdaptV2Options, NssOptions
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.random_members import RandomOptions
from nasc.compiler.methods.relax import (
    RelaxedLayer,
    allows_threshold,
    most_candidates,
    relax,
    relax_to_mixture,
    require_labels,
    require_threshold,
)
from nasc.compiler.methods.search_options import SearchOptions
from nasc.compiler.methods.spos import SposOptions
from nasc.compiler.methods.values import Options
from nasc.compiler.methods.width_multiplier import WidthMultiplierOptions
from nasc.compiler.network import network_of
from nasc.dsl.diagnostics import NascError, did_you_mean

GROUP = "nasc.methods"


def _nothing(layers: tuple[RelaxedLayer, ...], options: Any) -> None:
    """No further condition."""


def _unsure(network: Network, options: Any) -> bool:
    return False


def _chain(space: Space, options: Any) -> Network:
    return network_of(space)


@dataclass(frozen=True)
class Method:
    """A search method.

    `options` models its section; of a method that runs, it derives from `SearchOptions`. `search` is the run-time half
    as `package.module:function`, which takes a `nasc.runtime.search_context.Context` and returns an `Outcome`; empty
    for a method that cannot run yet. `relax` makes the SuperNet's candidates of a network and raises `NascError` for a
    choice that it has no relaxation for; None for a method that needs no SuperNet. `require` raises `NascError` where
    candidates and options do not go together. `suits` may tell from a network alone, quickly, that `require` will have
    nothing against its candidates: an editor asks at every keystroke. Where it is False, they are made to find out.

    `network` is what of a space a search with options is compiled for. A method whose SuperNet is no chain of
    candidates writes `supernet.py` itself: `source` makes it of a space, options and the method's `about`. Both raise
    `Refused` or `DiagnosticError` at a place that they cannot relax.

    What `nasc compare` asks: `steps` tells how many steps of training the options take with so many training images,
    of which `grows` are what a budget sets (`nasc.compiler.methods.budget`), and `strength` is the one whose values
    lead to networks of other costs.
    """

    name: str
    about: str
    options: type[Options]
    search: str = ""
    relax: Callable[[Network], tuple[RelaxedLayer, ...]] | None = None
    require: Callable[[tuple[RelaxedLayer, ...], Any], None] = _nothing
    suits: Callable[[Network, Any], bool] = _unsure
    steps: Callable[[Any, int], int] = steps_of
    grows: tuple[str, ...] = ("epochs",)
    strength: str = "alpha"
    network: Callable[[Space, Any], Network] = _chain
    source: Callable[[Space, Any, str], str] | None = None

    @property
    def has_supernet(self) -> bool:
        """Does a search train a generated SuperNet?"""
        return self.relax is not None or self.source is not None


def _prunet_threshold(layers: tuple[RelaxedLayer, ...], options: PrunetOptions) -> None:
    require_threshold(layers, options.threshold.first)


def _prunet_suits(network: Network, options: PrunetOptions) -> bool:
    return allows_threshold(most_candidates(network), options.threshold.first)


def _fullest_network(space: Space, options: Any) -> Network:
    return _fullest(space, options).network


def _fullest_source(space: Space, options: Any, about: str) -> str:
    # Not above: writing code loads numpy, and checking a file does not need it.
    from nasc.compiler.lower_masked import masked_source
    from nasc.compiler.masks import masked

    return masked_source(masked(_fullest(space, options)), about)


def _fullest(space: Space, options: Any) -> Fullest:
    found = fullest(space, options.merges if isinstance(options, FigsOptions) else True)
    require_labels(found.network)
    return found


def _one_supernet(options: SposOptions, images: int) -> int:
    """The steps of the one SuperNet; looking at members with its weights trains nothing."""
    return options.epochs * passed(round(options.split * images), options.batch)


_METHODS = (
    Method(
        "prunet",
        "PruNet's tiered pruning",
        PrunetOptions,
        "nasc.runtime.methods.prunet:search",
        relax,
        _prunet_threshold,
        _prunet_suits,
    ),
    Method(
        "fbnet",
        "FBNet's Gumbel-Softmax mixture",
        FbnetOptions,
        "nasc.runtime.methods.fbnet:search",
        relax_to_mixture,
        suits=lambda network, options: True,
    ),
    Method(
        "random",
        "members drawn at random",
        RandomOptions,
        "nasc.runtime.methods.random_members:search",
        grows=("epochs", "samples"),
    ),
    Method(
        "evolution",
        "regularised evolution",
        EvolutionOptions,
        "nasc.runtime.methods.evolution:search",
        grows=("epochs", "samples"),
    ),
    Method(
        "spos",
        "Single Path One-Shot",
        SposOptions,
        "nasc.runtime.methods.spos:search",
        steps=_one_supernet,
        network=_fullest_network,
        source=_fullest_source,
    ),
    Method(
        "width_multiplier",
        "the width multiplier",
        WidthMultiplierOptions,
        "nasc.runtime.methods.width_multiplier:search",
        strength="multipliers",
    ),
    Method(
        "morphnet",
        "MorphNet",
        MorphnetOptions,
        "nasc.runtime.methods.morphnet:search",
        network=_fullest_network,
        source=_fullest_source,
    ),
    Method(
        "figs",
        "FiGS",
        FigsOptions,
        "nasc.runtime.methods.figs:search",
        network=_fullest_network,
        source=_fullest_source,
    ),
    Method("netadapt_v2", "NetAdaptV2", NetAdaptV2Options),
    Method("nss", "NSS", NssOptions),
)
OWN = {method.name: method for method in _METHODS}
"""The methods of nasc itself, which an installed package cannot replace."""


def method_names() -> tuple[str, ...]:
    """All names that `find_method` knows: those of nasc first, then those of installed packages."""
    return (*OWN, *_installed())


def find_method(name: str) -> Method:
    """The method of a name. Raises `NascError` for an unknown one, and for one that cannot be loaded."""
    if name in OWN:
        return OWN[name]
    point = _installed().get(name)
    if point is None:
        names = method_names()
        help = did_you_mean(name, names) or f"methods: {', '.join(names)}"
        raise NascError(f"there is no search method `{name}`", help=help)
    return _loaded(point)


def runnable() -> tuple[str, ...]:
    """The names of the methods that a search module can be made for; those of installed packages are not tried."""
    return (*(name for name, method in OWN.items() if method.search), *_installed())


@cache
def _installed() -> dict[str, EntryPoint]:
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: point for point in points if point.name not in OWN}


@cache
def _loaded(point: EntryPoint) -> Method:
    place = f"the search method `{point.name}` ({point.value})"
    try:
        method = point.load()
    except Exception as error:  # whatever another package's import raises
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise NascError(f"{place} cannot be loaded: {reason}", "mend or remove the package that adds it") from error
    if not isinstance(method, Method) or method.name != point.name:
        raise NascError(f"{place} is no `Method` of that name", help="docs/methods.md shows how to add a method")
    if not (method.search and issubclass(method.options, SearchOptions)):
        raise NascError(
            f"{place} needs a run-time half, and options that derive from `SearchOptions`",
            help="docs/methods.md shows how to add a method",
        )
    return method
