"""The command line of a generated search module, which states its space in a `Job` and calls `main`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from nasc.compiler.methods.prunet import PrunetOptions
from nasc.dsl.diagnostics import DiagnosticError, NascError
from nasc.runtime.search_job import Job, SearchResult, Settings, options_of, search, shown
from nasc.runtime.search_run import amount

__all__ = ["Job", "SearchResult", "Settings", "how_to_run", "main", "options_of", "search", "search_command"]

TRIAL_BATCH = 2


def main(job: Job, arguments: Sequence[str] | None = None) -> None:
    """Run a search module's command line, and end the process."""
    command = search_command(job)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        program = f"python {shown(job.folder)}/search.py"
        code = command.main(given or ["--how"], prog_name=program, standalone_mode=False)
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


def search_command(job: Job) -> click.Command:
    """The command of a search module; what it is not told it takes from the file's search section."""
    options: list[click.Parameter] = [
        click.Option(["--data"], help="digits, fashion, fashion:DIR, synthetic, a folder, or package.module:function."),
        click.Option(["--out"], type=click.Path(path_type=Path), metavar="RUN", help="The run's folder."),
        click.Option(["--table"], type=click.Path(path_type=Path), help="Latency table, made by `nasc profile`."),
        click.Option(["--cost"], type=click.Choice(["latency", "macs", "params"]), help="What to weigh against loss."),
        click.Option(["--epochs"], type=click.IntRange(min=1)),
        click.Option(["--warmup"], type=click.IntRange(min=0), help="Epochs that train the weights alone."),
        click.Option(["--batch"], type=click.IntRange(min=1), help="Images a step."),
        click.Option(["--alpha"], type=float, help="Weight of the cost."),
        click.Option(["--lambda", "lambda_"], type=float, help="Factor of a block's output beside the skip."),
        click.Option(["--seed"], type=click.IntRange(min=0)),
        click.Option(
            ["--steps"],
            type=click.IntRange(min=1),
            help=f"A trial: one epoch without warm-up, so many steps of each kind, batch {TRIAL_BATCH} unless given.",
        ),
        click.Option(["--resume"], is_flag=True, help="Go on with the run in RUN."),
        click.Option(["--device"], default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
        click.Option(["--threads"], type=click.IntRange(min=1), help="CPU threads."),
        click.Option(["--how"], is_flag=True, hidden=True),
    ]
    return click.Command(
        "search",
        params=options,
        callback=lambda **given: _run(job, given),
        help=f"Search the space `{job.space}` with PruNet.",
        epilog=f"\b\nExample:\n  python {shown(job.folder)}/search.py --data synthetic --cost macs --steps 1",
    )


def _run(job: Job, given: dict[str, Any]) -> None:
    if given.pop("how"):
        click.echo(how_to_run(job))
        return
    names = ("data", "out", "table", "steps", "resume", "device", "threads")
    about = {name: given.pop(name) for name in names}
    if about["data"] is None:
        raise click.UsageError("Missing option '--data', such as `--data digits` or `--data synthetic`.")
    changes = {("lambda" if name == "lambda_" else name): v for name, v in given.items() if v is not None}
    if about["steps"] is not None:
        changes = {"batch": TRIAL_BATCH, **changes, "epochs": 1, "warmup": 0}
    options = options_of(job, changes)
    _warn_of_sweeps(options)
    result = search(job, options, Settings(**about))
    click.echo(
        f"found: {amount(result.cost)} {result.unit}; SuperNet's loss {result.loss:.4f}, "
        f"cross-entropy {result.cross_entropy:.4f}"
    )
    if result.best is not None:
        click.echo(f"network: {result.best}")


def _warn_of_sweeps(options: PrunetOptions) -> None:
    for name, values in (("alpha", options.alpha), ("lambda", options.lambda_)):
        if len(values) > 1:
            rest = ", ".join(f"{value:g}" for value in values[1:])
            click.echo(f"warning: this run takes {name} {values[0]:g}, not {rest} (see --{name})", err=True)
