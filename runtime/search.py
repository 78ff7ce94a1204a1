"""The command line of a generated search module, which states its space in a `Job` and calls `main`.

What searches is imported when it is to search: it takes seconds, which help and mistakes need not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from nasc.compiler.methods.member_options import MemberOptions
from nasc.compiler.methods.option_text import read_option
from nasc.compiler.methods.plugins import find_method
from nasc.dsl.diagnostics import DiagnosticError, NascError
from nasc.runtime.bounds import COUNTS, TIMES, parse_amount
from nasc.runtime.progress import amount, is_first, loading, shown
from nasc.runtime.search_context import CompiledSupernet, Job, SearchResult, Settings

__all__ = ["CompiledSupernet", "Job", "SearchResult", "Settings", "how_to_run", "main", "search_command"]

TRIAL_BATCH = 2


def main(job: Job, arguments: Sequence[str] | None = None) -> None:
    """Run a search module's command line, and end the process."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        program = f"python {shown(job.folder)}/search.py"
        code = search_command(job).main(given or ["--how"], prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted; --resume goes on from the last epoch", err=True)
        sys.exit(130)
    except DiagnosticError as error:
        from nasc.dsl.render import render

        click.echo(render(error.diagnostics).rstrip("\n"), err=True)
        sys.exit(1)
    except NascError as error:
        click.echo(f"error: {error.message}" + (f"\n  = help: {error.help}" if error.help else ""), err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def how_to_run(job: Job) -> str:
    """Commands that can be run as they stand."""
    program = f"python {shown(job.folder)}/search.py"
    return (
        f"Try it (one step on made-up images):\n"
        f"  {program} --data synthetic --cost macs --steps 1\n"
        f"Measure the blocks, then search for latency:\n"
        f"  nasc profile {shown(job.folder)} --table latency.db\n"
        f"  {program} --data DATA --table latency.db --out runs/{job.space}\n"
        f"All options: {program} --help"
    )


class _Numbers(click.ParamType[tuple[int | float, ...]]):
    """Numbers between commas: more than one make a sweep."""

    name = "numbers"

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | float, ...]:
        try:
            return tuple(self.kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a number, or numbers between commas", param, ctx)


def search_command(job: Job) -> click.Command:
    """The command of a search module; what it is not told it takes from the file's search section."""
    method = find_method(job.method)
    program, names = f"python {shown(job.folder)}/search.py", _option_names(method.options)
    lines = (
        f"{program} --data synthetic --cost macs --steps 1",
        f"{program} --data digits --cost macs {_example(names)} --retrain 20 --out sweep",
    )
    several = ", ".join(f"--{name}" for name in ("alpha", "lambda") if name in names) + " or --seed"
    has_warmup = "warmup" in names or hasattr(method.options, "warmup")  # an option, or all of the epochs
    warmup = ", from one warm-up" if has_warmup else ""
    return click.Command(
        "search",
        context_settings={"help_option_names": ["-h", "--help"]},
        params=[*_section_options(names, method.options), *_setting_options(has_warmup)],
        callback=lambda **given: _run(job, given),
        help=f"Search the space `{job.space}` by {method.about}.\n\nSeveral values of {several} "
        f"(between commas, or as sets in the file) make a sweep: all combinations{warmup}.",
        epilog="\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines),
    )


def _example(names: list[str]) -> str:
    return "--alpha 0.2,0.6" if "alpha" in names else "--seed 0,1,2"


def _option_names(model: Any) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _section_options(names: list[str], model: Any) -> list[click.Parameter]:
    """Options of the method's section."""
    weighs = model.model_fields["alpha"].alias == "lambda"
    found: dict[str, click.Parameter] = {
        "cost": click.Option(["--cost"], type=click.Choice(["latency", "macs", "params"]), help="What to weigh."),
        "targets": click.Option(
            ["--targets"],
            metavar="sum|worst|NAME",
            help="What a latency is of the file's several targets: their mean by weight, the worst, or one of them.",
        ),
        "epochs": click.Option(["--epochs"], type=click.IntRange(min=1)),
        "warmup": click.Option(["--warmup"], type=click.IntRange(min=0), help="Epochs that train the weights alone."),
        "batch": click.Option(["--batch"], type=click.IntRange(min=1), help="Images a step."),
        "alpha": click.Option(["--alpha"], type=_Numbers(float), help="Weight of the cost."),
        "lambda": click.Option(
            ["--lambda", "lambda_"],
            type=_Numbers(float),
            help="Weight of the cost." if weighs else "Factor of a block's output beside the skip.",
        ),
        "seed": click.Option(["--seed"], type=_Numbers(int)),
    }
    if "target" in names:
        weight = "" if issubclass(model, MemberOptions) else ": the search finds its own weight of the cost"
        found["target"] = click.Option(
            ["target", "--target", "--target-latency"],
            metavar="COST",
            help="The most that the found network may cost, such as 700us (then latency is searched for), or 25M with "
            f"--cost macs{weight}.",
        )
    every = click.Option(
        ["--set", "sets"],
        multiple=True,
        metavar="NAME=VALUE",
        help=f"Any option of the section, as the file writes it; repeatable: {', '.join(names)}.",
    )
    return [*(option for name, option in found.items() if name in names), every]


def _setting_options(warmup: bool) -> list[click.Parameter]:
    path = click.Path(path_type=Path)
    from_warmup = click.Option(["--warmup-from"], type=path, metavar="FILE", help="Start from another run's warmup.pt.")
    return [
        click.Option(["--data"], help="digits, fashion, fashion:DIR, synthetic, a folder, or package.module:function."),
        click.Option(["--out"], type=path, metavar="RUN", help="The run's folder."),
        click.Option(["--table"], type=path, help="Latency table, made by `nasc profile`."),
        click.Option(["--resume"], is_flag=True, help="Go on with the run or sweep in RUN."),
        *([from_warmup] if warmup else []),
        click.Option(
            ["--retrain"], type=click.IntRange(min=1), metavar="EPOCHS", help="Train a sweep's winners from scratch."
        ),
        click.Option(
            ["--train", "training"],
            multiple=True,
            metavar="NAME=VALUE",
            help="An option of `nasc train` for --retrain, such as rate=0.05; repeatable.",
        ),
        click.Option(
            ["--steps"],
            type=click.IntRange(min=1),
            help=f"A trial: one epoch without warm-up, so many steps of each kind, batch {TRIAL_BATCH} unless given.",
        ),
        click.Option(["--tensorboard"], is_flag=True, help="Write RUN/tensorboard beside metrics.jsonl."),
        click.Option(["--device"], default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
        click.Option(
            ["--amp"],
            type=click.Choice(["auto", "on", "off"]),
            default="auto",
            show_default=True,
            help="Mixed precision; auto: on a GPU.",
        ),
        click.Option(
            ["--channels-last"],
            type=click.Choice(["auto", "on", "off"]),
            default="auto",
            show_default=True,
            help="Keep a SuperNet's images channels last; auto: on a CPU without mixed precision.",
        ),
        click.Option(
            ["--checkpoint-activations"],
            is_flag=True,
            help="Save memory: the backward pass computes a SuperNet's blocks again.",
        ),
        click.Option(["--threads"], type=click.IntRange(min=1), help="CPU threads."),
        click.Option(["--workers"], type=click.IntRange(min=0), default=0, help="Processes that read images."),
        click.Option(
            ["--format", "form"],
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            help="For whom to print.",
        ),
        click.Option(
            ["--accumulate"],
            type=click.IntRange(min=1),
            default=1,
            help="Parts that a batch is computed in, one after another, to save memory.",
        ),
        click.Option(["--how"], is_flag=True, hidden=True),
    ]


def _run(job: Job, given: dict[str, Any]) -> None:
    if given.pop("how"):
        click.echo(how_to_run(job))
        return
    if given["data"] is None:
        raise click.UsageError("Missing option '--data', such as `--data digits` or `--data synthetic`.")
    loading(given["data"])
    from nasc.runtime.search_job import options_of, search
    from nasc.runtime.sweep import Retraining, at, points_of, sweep
    from nasc.runtime.sweep_table import sweep_table

    form = given.pop("form")
    retraining = Retraining.of(given.pop("retrain"), given.pop("training"))
    settings = Settings(**{name: given.pop(name) for name in Settings.model_fields if name in given})
    options = options_of(job, _changes(job, given, trial=settings.steps is not None))
    if settings.table is not None and options.cost != "latency" and is_first():
        click.echo(f"note: --table is not looked at: the search is for {options.cost}, not for latency", err=True)
    points = points_of(options)
    if settings.steps is not None and len(points) > 1:
        click.echo(f"a trial is the first of {len(points)} runs: {points[0].words}", err=True)
        options, points = at(options, points[0]), points[:1]
    if len(points) > 1:
        swept = sweep(job, options, settings, retraining)
        click.echo(swept.model_dump_json(indent=2, by_alias=True) if form == "json" else sweep_table(swept))
        return
    if retraining is not None and settings.steps is None:
        raise NascError("--retrain is for sweeps", help="`nasc train RUN/best.nas` trains one network")
    _report(job, search(job, options, settings), form)


def _changes(job: Job, given: dict[str, Any], trial: bool) -> dict[str, Any]:
    """Options of the section that are said otherwise at the command line."""
    changes = dict(read_option(text, find_method(job.method).options) for text in given.pop("sets"))
    changes |= {name.rstrip("_"): value for name, value in given.items() if value is not None}
    if isinstance(changes.get("target"), str):
        cost = str(changes.get("cost") or job.options.get("cost", "latency"))
        changes |= _target(changes["target"], cost, said="cost" in changes)
    if trial:
        names = _option_names(find_method(job.method).options)
        short = {name: value for name, value in (("epochs", 1), ("warmup", 0)) if name in names}
        changes = {"batch": TRIAL_BATCH, **changes, **short}
    return changes


def _target(text: str, cost: str, said: bool) -> dict[str, Any]:
    """The target in the unit of its cost. A time is a latency; MACs and parameters have none. Raises `NascError`."""
    time = text.strip().endswith("s")
    if time and said and cost != "latency":
        help = "leave --cost out, or write a number such as --target 25M"
        raise NascError(f"--target {text} is a time, and --cost is {cost}", help=help)
    if time:
        return {"cost": "latency", "target": parse_amount(text, TIMES)}
    if cost == "latency":
        raise NascError(f"--target {text} has no unit", help="write --target 700us, or say --cost macs or params")
    return {"target": parse_amount(text, COUNTS)}


def _report(job: Job, result: SearchResult, form: str) -> None:
    from nasc.runtime.targets import target_lines

    if not is_first():
        return
    target = result.details.get("target")
    if isinstance(target, int | float) and result.cost > target * (1 + 1e-9):
        click.echo(f"warning: the target of {amount(target)} {result.unit} was not met", err=True)
    if form == "json":
        click.echo(json.dumps(asdict(result), indent=2, default=str))
        return
    inherited, whose = (" with its inherited weights", "SuperNet's ") if job.supernet is not None else ("", "")
    accuracy = "" if result.accuracy is None else f"; accuracy{inherited} {result.accuracy:.1%}"
    click.echo(
        f"found: {amount(result.cost)} {result.unit}; {whose}loss {result.loss:.4f}, "
        f"cross-entropy {result.cross_entropy:.4f}{accuracy}"
    )
    for line in target_lines(result.details):
        click.echo(line)
    if result.best is not None:
        click.echo(f"network: {result.best}")
