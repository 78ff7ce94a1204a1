"""The search of a compiled folder: from its space, SuperNet and the costs of all candidates to the found network."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from nasc.compiler.compile import space_hash
from nasc.compiler.ir import Network
from nasc.compiler.methods.prunet import PrunetOptions
from nasc.compiler.methods.relax import RelaxedLayer, relax, require_threshold
from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError
from nasc.runtime.costs import Costs, formula_costs, table_costs
from nasc.runtime.data import load_data
from nasc.runtime.manifest_file import load_manifest
from nasc.runtime.member_latency import table_environment
from nasc.runtime.methods.prunet import Prunet
from nasc.runtime.prefix import initialise
from nasc.runtime.progress import Progress, standard_progress
from nasc.runtime.search_run import BEST, KIND, RESULT, VERSION, SearchRun, amount, run_epochs
from nasc.runtime.seeds import derived_generator
from nasc.runtime.surroundings import surroundings
from nasc.runtime.table import LatencyTable

SPACE, SOURCE = "space.json", "space.nas"
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Job:
    """What a generated search module knows: its space, its SuperNet, and the options of the file's search section."""

    space: str
    space_hash: str
    folder: Path
    supernet: type[nn.Module]
    input_shape: tuple[int, int, int]
    classes: int
    method: str
    options: dict[str, Any]


class Settings(BaseModel):
    """What a user says beside the method's options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    out: Path | None = None
    table: Path | None = None
    steps: int | None = Field(None, ge=1)
    resume: bool = False
    device: str = "auto"
    threads: int | None = Field(None, ge=1)


@dataclass(frozen=True)
class SearchResult:
    """The end of a search. `cost` (in `unit`) and `loss` are the found network's and the SuperNet's, `choices` what
    `member_from_choices` takes, `best` the found network's file where one was written."""

    choices: dict[str, Any]
    cost: float
    unit: str
    loss: float
    cross_entropy: float
    best: Path | None


def options_of(job: Job, changes: dict[str, Any]) -> PrunetOptions:
    """The job's options with changes. Fewer epochs keep the share of the warm-up. Raises `NascError`."""
    given = {**job.options, **changes}
    if "epochs" in changes and "warmup" not in changes:
        before = PrunetOptions.model_validate(job.options)
        given["warmup"] = before.warmup * int(changes["epochs"]) // before.epochs
    try:
        return PrunetOptions.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        raise NascError(f"{place}: {message}" if place else message) from None


def search(job: Job, options: PrunetOptions, settings: Settings, progress: Progress | None = None) -> SearchResult:
    """Run a search, or go on with one, in the folder `settings.out` (a trial of `steps` may do without).

    Raises `NascError` for a folder that is not a compiled space, for missing latencies, data that does not suit,
    a run that is already there, and a loss that is not finite; the last epoch's checkpoint stays.
    """
    network = read_space(job)
    layers = relax(network)
    require_threshold(layers, options.threshold.first)
    costs = _costs(job, layers, options, settings)
    data = load_data(settings.data, input_shape=job.input_shape, classes=job.classes, seed=options.seed)
    with surroundings(settings.device, settings.threads, options.batch) as device, _folder(settings) as out:
        supernet = job.supernet()
        initialise(supernet, derived_generator(options.seed, "initialise"))
        method = Prunet(supernet, layers, costs, options)
        supernet.to(device)
        run = SearchRun(method, data, options, device, progress or standard_progress(), settings.steps)
        identity = {"space": job.space, "space_hash": job.space_hash, "method": job.method, "steps": settings.steps}
        run_epochs(run, out, identity, settings.resume)
        return _finish(job, run, out, kept=settings.out is not None)


def read_space(job: Job) -> Network:
    """The network of the compiled folder. Raises `NascError` where it is missing, malformed or another's."""
    path = job.folder / SPACE
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise NascError(f"{path} is larger than any space", help="compile the space again")
        network = Network.model_validate_json(path.read_bytes())
    except OSError as error:
        raise NascError(f"cannot read {path}: {error.strerror}", help="compile the space again") from None
    except (ValidationError, ValueError, ArithmeticError, RecursionError):
        raise NascError(f"{path} is not a compiled space", help="compile the space again") from None
    if space_hash(network) != job.space_hash:
        raise NascError(f"{path} and search.py are not of the same space", help="compile the space again")
    return network


def shown(folder: Path) -> str:
    """A folder as a person in the working directory would write it, quoted for a shell."""
    resolved, here = folder.resolve(), Path.cwd().resolve()
    return shlex.quote(str(resolved.relative_to(here) if resolved.is_relative_to(here) else folder))


def _costs(job: Job, layers: Sequence[RelaxedLayer], options: PrunetOptions, settings: Settings) -> Costs:
    if options.cost != "latency":
        return formula_costs(layers, options.cost)
    if settings.table is None:
        raise NascError(
            "a search for latency needs a latency table",
            help=f"`nasc profile {shown(job.folder)} --table latency.db` measures one, then add --table latency.db; "
            "or search for --cost macs",
        )
    with LatencyTable(settings.table, readonly=True) as table:
        return table_costs(layers, load_manifest(job.folder), table, table_environment(table))


@contextmanager
def _folder(settings: Settings) -> Iterator[Path]:
    """The run's folder; for a trial without one, a temporary one."""
    if settings.out is not None:
        yield settings.out
    elif settings.steps is None:
        raise NascError("a search needs a folder for its run", help="name one with --out")
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def _finish(job: Job, run: SearchRun, out: Path, kept: bool) -> SearchResult:
    """Write the result and the found network."""
    method, options = run.method, run.options
    choices = method.choices()
    unit, cost = method.costs.unit, method.chosen_cost()
    note = (
        f"found by PruNet in {job.space}: {run.options.epochs} epochs on {run.data.name}, "
        f"alpha {method.alpha:g}, lambda {method.lambda_:g}, seed {options.seed}; {amount(cost)} {unit}"
    )
    text = member_of(job.folder, choices, note)
    best = out / BEST if text is not None else None
    if best is not None and text is not None:
        write_file(best, text.encode())
    result = {
        "kind": KIND,
        "version": VERSION,
        "space": job.space,
        "space_hash": job.space_hash,
        "method": job.method,
        "data": run.data.name,
        "cost": {"kind": options.cost, "unit": unit, "found": cost},
        "loss": run.last.get("loss"),
        "cross_entropy": run.last.get("cross_entropy"),
        "alpha": method.alpha,
        "lambda": method.lambda_,
        "seed": options.seed,
        "epochs": run.epoch,
        "seconds": round(run.seconds, 3),
        "choices": {address: _plain_choice(choice) for address, choice in choices.items()},
        "options": options.model_dump(mode="json", by_alias=True),
    }
    write_file(out / RESULT, json.dumps(result, indent=2).encode() + b"\n")
    loss, entropy = (float(run.last.get(name) or 0.0) for name in ("loss", "cross_entropy"))
    return SearchResult(choices, cost, unit, loss, entropy, best if kept else None)


def _plain_choice(choice: Any) -> Any:
    if choice is None:
        return None
    number, values = choice
    return {"variant": number, "values": {name: v if isinstance(v, int) else str(v) for name, v in values.items()}}


def member_of(folder: Path, choices: dict[str, Any], note: str) -> str | None:
    """The `.nas` text of the member that was chosen; None in a folder without the space's own text."""
    source = folder / SOURCE
    if not source.is_file():
        return None
    from nasc.compiler.member import member_from_choices, member_text
    from nasc.compiler.network import network_of
    from nasc.compiler.opened import open_file, space_of

    checked = open_file(source)
    space = space_of(checked)
    return member_text(space, member_from_choices(network_of(space), choices), checked.module, note)
