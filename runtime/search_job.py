"""A search of a compiled folder, whatever the method: what it works with, and what it leaves behind.

RUN/best.nas            the found network, one member of the space
RUN/model.py            the same as plain PyTorch
RUN/best.safetensors    its weights, inherited from the SuperNet (or trained, by methods without one)
RUN/model.onnx          both, for deployment
RUN/usage.py            what is in a picture; with preprocessing.json and README.md, where the data is of pictures
RUN/result.json         what was found and how
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import Subset

from nasc.compiler.compile import space_hash
from nasc.compiler.ir import Network
from nasc.compiler.lower_onnx import network_onnx
from nasc.compiler.lower_torch import model_source
from nasc.compiler.member import member_text
from nasc.compiler.methods.plugins import Method, find_method
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.write_files import write_file
from nasc.dsl.diagnostics import NascError
from nasc.runtime.checkpoint import restore_weights, save_weights
from nasc.runtime.data import DataSplits, Images, load_data, size
from nasc.runtime.evaluate import evaluate
from nasc.runtime.member_model import module_of
from nasc.runtime.progress import Progress, SilentProgress, amount, counted, standard_progress
from nasc.runtime.ranks import ranks_of
from nasc.runtime.search_context import Context, Job, Outcome, SearchResult, Settings, Source
from nasc.runtime.surroundings import surroundings
from nasc.runtime.sweep_table import SWEEP
from nasc.runtime.targets import target_lines
from nasc.runtime.usage import usage_files

SPACE, SOURCE = "space.json", "space.nas"
BEST, MODEL, WEIGHTS, ONNX, RESULT = "best.nas", "model.py", "best.safetensors", "model.onnx", "result.json"
KIND, VERSION = "search", 2
_MAX_BYTES = 64 << 20


def options_of(job: Job, changes: dict[str, Any]) -> Any:
    """The job's options with changes. Fewer epochs keep the share of the warm-up. Raises `NascError`."""
    model = find_method(job.method).options
    given, epochs = {**job.options, **changes}, changes.get("epochs")
    if isinstance(epochs, int) and "warmup" not in changes and "warmup" in job.options:
        before: Any = model.model_validate(job.options)
        given["warmup"] = before.warmup * epochs // before.epochs
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        unknown = problem["type"] == "extra_forbidden"
        message = "there is no such option" if unknown else problem["msg"].removeprefix("Value error, ")
        raise NascError(f"{place}: {message}" if place else message) from None


def search(job: Job, options: Any, settings: Settings, progress: Progress | None = None) -> SearchResult:
    """Run a search, or go on with one, in the folder `settings.out` (a trial of `steps` may do without).

    Raises `NascError` for a folder that is not a compiled space, for missing latencies, data that does not suit,
    a run that is already there, and a loss that is not finite; the last epoch's checkpoint stays.
    """
    method = find_method(job.method)
    if settings.out is not None and (settings.out / SWEEP).exists():
        raise NascError(
            f"{settings.out} holds a sweep", help="continue it with all of its values, or name another folder"
        )
    source = read_space(job)
    data = data_of(job, options, settings)
    with (
        surroundings(settings.device, settings.threads, options.batch) as device,
        _folder(settings) as out,
        ranks_of(device) as ranks,
    ):
        context = Context(
            job=job,
            method=method,
            options=options,
            settings=settings,
            source=source,
            data=data,
            device=device,
            out=out,
            progress=(progress or standard_progress()) if ranks.first else SilentProgress(),
            identity={
                "space": job.space, "space_hash": job.space_hash, "method": job.method, "steps": settings.steps,
            },
            ranks=ranks,
        )  # fmt: skip
        if ranks.world > 1 and not method.has_supernet:
            raise NascError(f"the method `{method.name}` runs in one process", help="start it without torchrun")
        if not method.has_supernet and (settings.checkpoint_activations or settings.channels_last != "auto"):
            raise NascError(
                f"the method `{method.name}` has no SuperNet",
                help="leave --checkpoint-activations and --channels-last out: they say how one is trained",
            )
        result = _finish(context, _run_time_half(method)(context))
        ranks.wait()  # what the first one writes is there when any of them returns
        return result


def data_of(job: Job, options: Any, settings: Settings) -> DataSplits:
    """The images of a search. Raises `NascError` where they do not suit the space."""
    return load_data(
        settings.data,
        input_shape=job.input_shape,
        classes=job.classes,
        seed=settings.split_seed(options),
        augment=options.augment,
        magnitude=options.magnitude,
        deviation=options.deviation,
        class_fraction=options.class_fraction,
    )


def _run_time_half(method: Method) -> Callable[[Context], Outcome]:
    """The function that a method names. Raises `NascError` where it is not there."""
    if not method.search:
        raise NascError(f"the method `{method.name}` cannot run yet")
    module, _, name = method.search.partition(":")
    try:
        found: Callable[[Context], Outcome] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NascError(f"the search of the method `{method.name}` is not there: {error}") from error
    return found


def read_space(job: Job) -> Source:
    """The space of the compiled folder. Raises `NascError` where it is missing, malformed or another's."""
    network = _read_network(job)
    path = job.folder / SOURCE
    if not path.is_file():
        raise NascError(f"there is no {path}", help="compile the space again")
    checked = open_file(path)
    space = space_of(checked)
    if find_method(job.method).network(space, options_of(job, {})) != network:
        raise NascError(f"{path} and {job.folder / SPACE} are not of the same space", help="compile the space again")
    return Source(checked.module, space, network)


def _read_network(job: Job) -> Network:
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


# ------------------------------------------------------------------------------------------------ the end


@dataclass(frozen=True)
class _Found:
    """The found network with its weights."""

    text: str
    network: Network
    state: dict[str, Tensor]
    accuracy: float


def _finish(context: Context, outcome: Outcome) -> SearchResult:
    """Write what was found."""
    found = _found(context, outcome)
    if found is not None:
        _write(context, outcome, found)
    return SearchResult(
        cost=outcome.cost,
        unit=outcome.unit,
        loss=outcome.loss,
        cross_entropy=outcome.cross_entropy,
        accuracy=found.accuracy if found else None,
        best=context.out / BEST if found and context.settings.out is not None else None,
        details=outcome.details,
    )


def _found(context: Context, outcome: Outcome) -> _Found | None:
    if outcome.member is None or outcome.state is None or not context.ranks.first:
        return None
    source = context.source
    text = member_text(source.space, outcome.member, source.module, _provenance(context, outcome))
    network = network_of(space_of(open_file("<found>", text)))
    state = outcome.state(network)
    module = module_of(network)
    restore_weights(module, state, "the SuperNet")
    batch, settings = context.options.batch, context.settings
    scores = evaluate(module.to(context.device), _looked_at(context), batch, context.device, settings.workers)
    return _Found(text, network, state, scores.top1)


def _looked_at(context: Context) -> Images:
    """The validation images; for a trial, as few as it has steps."""
    images, steps = context.data.val, context.settings.steps
    return images if steps is None else Subset(images, range(min(size(images), steps * context.options.batch)))


def _provenance(context: Context, outcome: Outcome) -> str:
    names = ("alpha", "lambda")
    values = [f"{name} {outcome.details[name]:g}" for name in names if name in outcome.details]
    values.append(f"seed {context.options.seed}")
    long = f"{counted(outcome.epochs, 'epoch')} on {context.data.name}"
    cost = "; ".join([f"{amount(outcome.cost)} {outcome.unit}", *target_lines(outcome.details)])
    return f"found by {context.method.about} in {context.job.space}: {long}, {', '.join(values)}; {cost}"


def _write(context: Context, outcome: Outcome, found: _Found) -> None:
    """The found network's files, the result last: where it is, the run is done."""
    out = context.out
    arrays = {name: tensor.cpu().numpy() for name, tensor in found.state.items()}
    save_weights(out / WEIGHTS, found.state)
    write_file(out / MODEL, model_source(found.network).encode())
    write_file(out / ONNX, network_onnx(found.network, arrays).SerializeToString(deterministic=True))
    for name, content in usage_files(context.data, found.network.name, WEIGHTS).items():
        write_file(out / name, content)
    write_file(out / BEST, found.text.encode())
    job, options = context.job, context.options
    result = {
        "kind": KIND,
        "version": VERSION,
        "space": job.space,
        "space_hash": job.space_hash,
        "method": job.method,
        "data": context.data.name,
        "cost": {"kind": options.cost, "unit": outcome.unit, "found": outcome.cost},
        "loss": outcome.loss,
        "cross_entropy": outcome.cross_entropy,
        "accuracy": found.accuracy,
        "seed": options.seed,
        "epochs": outcome.epochs,
        "seconds": round(outcome.seconds, 3),
        **outcome.details,
        "options": options.model_dump(mode="json", by_alias=True),
    }
    write_file(out / RESULT, json.dumps(result, indent=2).encode() + b"\n")
