"""What each method of a comparison is asked to do: the same data, batch and cost for all, and its own options.

A method that cannot do it is refused, with the reason; the others go on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nasc.compiler.compile import compile_checked, method_options, space_hash
from nasc.compiler.count import count_members
from nasc.compiler.identifiers import class_name
from nasc.compiler.ir import Network
from nasc.compiler.methods.budget import changed, warmed_up
from nasc.compiler.methods.option_text import read_option
from nasc.compiler.methods.plugins import Method, find_method, method_names
from nasc.compiler.methods.search_options import SearchOptions
from nasc.compiler.methods.sections import read_section
from nasc.compiler.methods.supernet import GradientOptions
from nasc.compiler.methods.values import Cost
from nasc.compiler.opened import Checked, space_of
from nasc.compiler.primitives.forms import sizes_of
from nasc.dsl.diagnostics import Diagnostics, NascError, did_you_mean
from nasc.runtime.search_context import CompiledSupernet, Job
from nasc.runtime.search_job import SPACE

SPREAD = 4.0
"""Where one strength is stated, several reach from it divided by this to it times this."""
SHARED = ("batch", "targets", "class_fraction", "augment", "magnitude", "deviation")
"""Options that are the same for all methods, as the file's first `search` section has them."""
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_STEPS = {"steps": 1.0, "ksteps": 1e3}


@dataclass(frozen=True)
class Budget:
    """The most that one search may use."""

    amount: float
    unit: Literal["steps", "seconds"]

    @classmethod
    def read(cls, text: str) -> Budget:
        """From `600s`, `10min`, `2h`, `5000steps` or `5ksteps`. Raises `NascError` for anything else."""
        found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([a-z]+)", text.strip())
        unit = found[2] if found else ""
        if found is None or unit not in {**_SECONDS, **_STEPS} or not float(found[1]):
            raise NascError(f"`{text}` is no budget", help="write it as 600s, 10min, 2h or 5000steps")
        number = float(found[1])
        if unit in _STEPS:
            return cls(math.floor(number * _STEPS[unit]), "steps")
        return cls(number * _SECONDS[unit], "seconds")

    def __str__(self) -> str:
        return f"{self.amount:,.0f} steps" if self.unit == "steps" else f"{self.amount:g} s"


class Asked(BaseModel):
    """What a comparison is asked for.

    `budget` is of each search, `points` the number of searches for each method and seed; `retrain` is the steps that
    each network found is trained for, from `start`. `options` are those of single methods, as METHOD.NAME=VALUE;
    `training` are options of `nasc train`. `reference` is the hypervolume's: a cost and an accuracy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[str, ...] = Field(min_length=1)
    budget: Budget
    data: str
    seeds: tuple[int, ...] = (0, 1, 2)
    points: int = Field(3, ge=1, le=100)
    cost: Cost = "latency"
    table: Path | None = None
    batch: int | None = Field(None, ge=1)
    retrain: int = Field(1000, ge=1)
    start: Literal["scratch", "inherited"] = "scratch"
    training: dict[str, Any] = {}
    options: tuple[str, ...] = ()
    reference: tuple[float, float] | None = None
    device: str = "auto"
    threads: int | None = Field(None, ge=1)
    workers: int = Field(0, ge=0)


@dataclass(frozen=True)
class Plan:
    """A method's part: its search module's job, its options but for the budget, and the values of its strength.

    `keep_warmup`: the warm-up is as many epochs as it says, whatever the budget makes of the epochs.
    """

    method: Method
    job: Job
    options: Any
    strengths: tuple[float, ...]
    keep_warmup: bool

    def at(self, options: Any, point: int, seed: int) -> Any:
        """The options of one search."""
        return options.model_copy(update={self.method.strength: (self.strengths[point],), "seeds": (seed,)})


@dataclass(frozen=True)
class Refusal:
    """A method that cannot take part, and why."""

    method: str
    why: str


def plans_of(checked: Checked, asked: Asked, folder: Path) -> tuple[list[Plan], list[Refusal]]:
    """Compile the space for every method, into `folder`/METHOD.

    Raises `NascError` for a file with one network, for names of methods and options that are not there, and for values
    that they do not have.
    """
    if count_members(space_of(checked)) == 1:
        raise NascError(f"`{space_of(checked).name}` is one network: there is nothing to search", help="name a space")
    given, shared = _own_options(asked), shared_options(checked, asked)
    plans: list[Plan] = []
    refused: list[Refusal] = []
    for name in asked.methods:
        try:
            plans.append(_plan(checked, name, shared, given.get(name, {}), asked.points, folder / name))
        except _Misused as error:
            raise NascError(f"{name}: {error.message}", help=error.help) from None
        except NascError as error:
            refused.append(Refusal(name, error.message))
    return plans, refused


class _Misused(NascError):
    """Options that a person can say otherwise: no reason to leave a method out."""


def _own_options(asked: Asked) -> dict[str, dict[str, Any]]:
    """The options said of single methods, by method. Raises `NascError`."""
    for name in asked.methods:
        if name not in (known := method_names()):
            help = did_you_mean(name, known) or f"methods: {', '.join(known)}"
            raise NascError(f"there is no search method `{name}`", help=help)
    found: dict[str, dict[str, Any]] = {}
    for text in asked.options:
        method, dot, setting = text.partition(".")
        if not dot or method not in asked.methods:
            help = f"such as {asked.methods[0]}.alpha=0.4; methods compared: {', '.join(asked.methods)}"
            raise NascError(f"`{text}` names no option of a method that is compared", help=help)
        model = find_method(method)
        name, value = read_option(setting, model.options)
        if name in (*SHARED, "cost", "seed"):
            raise NascError(f"`{name}` is the same for all methods", help=f"leave `{text}` out")
        if name in model.grows[:1]:
            raise NascError(f"`{method}.{name}` is set by the budget", help=f"leave `{text}` out")
        found.setdefault(method, {})[name] = value
    return found


def shared_options(checked: Checked, asked: Asked) -> dict[str, Any]:
    """What all methods have in common: said at the command line, or by the file's first section of a method."""
    sections = (read_section(section, Diagnostics()) for section in checked.module.searches)
    first = next((options for options in sections if isinstance(options, SearchOptions)), SearchOptions())
    batch = {} if asked.batch is None else {"batch": asked.batch}
    return {**{name: getattr(first, name) for name in SHARED}, **batch, "cost": asked.cost}


def _plan(checked: Checked, name: str, shared: dict[str, Any], own: dict[str, Any], points: int, folder: Path) -> Plan:
    """Raises `NascError` where a method refuses the space or what is asked of all, `_Misused` for its own options."""
    method, stated = method_options(checked, name)
    options = changed(stated, **shared)
    keep_warmup = "warmup" in own and isinstance(options, GradientOptions)
    try:
        if keep_warmup:
            options = warmed_up(options, own["warmup"])
        options = changed(options, **own)
        strengths = strengths_of(method, options, points)
    except NascError as error:
        raise _Misused(error.message, error.help) from None
    compile_checked(checked, folder, method=name)
    network = Network.model_validate_json((folder / SPACE).read_bytes())
    if method.network(space_of(checked), options) != network:
        raise _Misused("its options make another SuperNet than the file's", help="state them in the file instead")
    return Plan(method, _job(network, method, options, folder), options, strengths, keep_warmup)


def strengths_of(method: Method, options: Any, points: int) -> tuple[float, ...]:
    """As many values of the method's strength as there are points: those stated, or a geometric row of them.

    Raises `NascError` where that cannot be, and where another option has several values.
    """
    values: tuple[float, ...] = getattr(options, method.strength)
    varied = said(method)
    for name in ("alpha", "lambda_"):
        if name != method.strength and len(getattr(options, name, (0,))) > 1:
            word = name.rstrip("_")
            raise NascError(
                f"`{word}` is a set, and a comparison varies `{varied}` alone",
                help=f"leave it one value: --option {method.name}.{word}=0.5",
            )
    if len(values) == points:
        return values
    if min(values) <= 0:
        raise NascError(f"a strength of {min(values):g} cannot be varied", help="state as many values as --points")
    found = tuple(float(f"{value:.4g}") for value in _row(values, points))
    for value in found:
        changed(options, **{varied: value})  # may have none so large
    return found


def said(method: Method) -> str:
    """The name of a method's strength, as a file says it."""
    return method.options.model_fields[method.strength].alias or method.strength


def _row(values: Sequence[float], points: int) -> list[float]:
    """A geometric row from the least to the largest of several values, or about a single one; of 1 point its middle."""
    low, high = (min(values), max(values)) if len(values) > 1 else (values[0] / SPREAD, values[0] * SPREAD)
    if points == 1:
        return [math.sqrt(low * high)]
    return [low * (high / low) ** (k / (points - 1)) for k in range(points)]


def _job(network: Network, method: Method, options: Any, folder: Path) -> Job:
    """What the folder's `search.py` would say."""
    return Job(
        space=network.name,
        space_hash=space_hash(network),
        folder=folder,
        supernet=CompiledSupernet(folder, class_name(network.name, ())) if method.has_supernet else None,
        input_shape=sizes_of(network.input),  # type: ignore[arg-type]
        classes=int(network.output[1][0]),
        method=method.name,
        options=options.model_dump(mode="json", by_alias=True),
    )
