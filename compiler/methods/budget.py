"""What a budget of training steps makes of a method's options: the one place where it is said, for every method.

A method states how many steps its options take (`Method.steps`), and which of its options a budget sets
(`Method.grows`); what is here suits methods over a SuperNet and those that train members one by one.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from nasc.compiler.methods.search_options import SearchOptions
from nasc.compiler.methods.supernet import GradientOptions, SupernetOptions
from nasc.compiler.methods.values import Options, first_problem
from nasc.dsl.diagnostics import NascError

if TYPE_CHECKING:
    from nasc.compiler.methods.plugins import Method

MOST = 1_000_000
"""The largest value that a budget gives an option."""


class TooLittleError(NascError):
    """A budget that is too little for the smallest search of a method."""


def steps_of(options: Any, images: int) -> int:
    """The updates of weights, and of architecture weights, that a search with so many training images makes.

    Over a SuperNet of candidates: its warm-up's, then those of both kinds in each epoch (PruNet, A.2.1). Else each of
    `samples` networks, one where there is no such option, is trained for `epochs` epochs on `split` of the images, or
    on all; options without epochs train nothing.
    """
    part = round(getattr(options, "split", 1.0) * images)
    if isinstance(options, SupernetOptions):
        warmup = images if options.warmup_images == "all" else part
        searching = passed(part, options.batch) + passed(images - part, options.batch)
        return options.warmup * passed(warmup, options.batch) + (options.epochs - options.warmup) * searching
    epochs: int = getattr(options, "samples", 1) * getattr(options, "epochs", 0)
    return epochs * passed(part, options.batch)


def passed(images: int, batch: int) -> int:
    """The steps of one pass over images: whole batches, or one that is less where there are too few."""
    return max(1, images // batch)


def changed(options: Options, **values: Any) -> Any:
    """Options with other values. Other `epochs` keep the share of the `warmup`. Raises `NascError`."""
    # Without defaults: one may depend on another option.
    given = {**options.model_dump(by_alias=True, exclude_unset=True), **values}
    if "epochs" in values and isinstance(options, GradientOptions) and "warmup" not in values:
        given["warmup"] = options.warmup * values["epochs"] // options.epochs
    try:
        return type(options).model_validate(given)
    except ValidationError as error:
        raise NascError(first_problem(error)) from None


def warmed_up(options: GradientOptions, warmup: Any) -> Any:
    """Options with a warm-up of so many epochs, however few epochs they have: a budget is to set these.

    Raises `NascError` for what is no number of epochs.
    """
    epochs = min(max(options.epochs, warmup + 1), MOST) if isinstance(warmup, int) else options.epochs
    return changed(options, warmup=warmup, epochs=epochs)


def least(method: Method, options: SearchOptions, keep_warmup: bool = False) -> Any:
    """The options of the smallest search of a method: all that a budget sets is 1, or just leaves one epoch to search
    behind a warm-up that is kept; and one member is looked at."""
    found: Any = changed(options, samples=1) if "samples" in method.options.model_fields else options
    for name in _growing(method):
        found = _with(found, name, _fewest(found, name, keep_warmup), keep_warmup)
    return found


def within(method: Method, options: SearchOptions, images: int, budget: int, keep_warmup: bool = False) -> Any:
    """The options of a method that use a budget of steps as far as whole numbers let them.

    What a budget sets is set one after another, each to the most that fits while those behind it stay as stated; it
    is 1 where nothing fits, which leaves room for less of those. The warm-up keeps its share of the epochs, or with
    `keep_warmup` its number of them. Raises `TooLittleError`.
    """
    found: Any = options
    for name in _growing(method):
        fewest = _fewest(found, name, keep_warmup)

        def at(value: int, name: str = name, before: Any = found) -> Any:
            return _with(before, name, value, keep_warmup)

        fitting = bisect_right(range(fewest, MOST + 1), budget, key=lambda value: method.steps(at(value), images))
        found = at(fewest + max(0, fitting - 1))
    if (steps := method.steps(found, images)) > budget:
        warmup = f" with a warm-up of {found.warmup:,} epochs" if keep_warmup and found.warmup else ""
        raise TooLittleError(f"its smallest search{warmup} takes {steps:,} steps, and {budget:,} are allowed")
    return found


def _fewest(options: Any, name: str, keep_warmup: bool) -> int:
    """The least value that a budget may give an option."""
    return options.warmup + 1 if keep_warmup and name == "epochs" else 1


def _with(options: Any, name: str, value: int, keep_warmup: bool) -> Any:
    """Options with another value of what a budget sets."""
    return changed(options, **{name: value}, **({"warmup": options.warmup} if keep_warmup else {}))


def _growing(method: Method) -> tuple[str, ...]:
    """What a budget sets of the options that there are."""
    return tuple(name for name in method.grows if name in method.options.model_fields)
