"""The `nasc` command line: a group that loads a command's module only when the command runs."""

from __future__ import annotations

import importlib
import keyword
import os
import sys
import traceback
from typing import Any

import click
from click.shell_completion import CompletionItem

from nasc import __version__
from nasc.dsl.diagnostics import DiagnosticError, NascError, did_you_mean

COMMANDS = {
    "new": "Write a commented file to start a space from.",
    "check": "Find every error and warning in .nas files.",
    "fmt": "Lay .nas files out in the one canonical way.",
    "count": "Count the members of a space, exactly.",
    "cost": "Parameters and multiply-accumulates of a network or space.",
    "show": "Print the elaborated network as a table, or draw it.",
    "sample": "Draw members of a space, uniformly.",
    "widen": "Open a network's widths again: a space around it to search next.",
    "contains": "Ask whether every network of B is in A.",
    "diff": "List what differs between two files.",
    "import": "Turn block strings, or an exported PyTorch program, into a .nas file.",
    "compile": "Write a SuperNet and its search module, or one network as code.",
    "plan": "Say what a search will take: memory, time, and which batch fits.",
    "profile": "Measure the blocks of a compiled folder.",
    "table": "Show, export, import, merge and compare latency tables.",
    "search": "Run the search module of a compiled folder.",
    "compare": "Compare search methods on a space under one budget.",
    "train": "Train one network from scratch.",
    "eval": "Measure the accuracy of a trained network.",
    "report": "Write a run's report with pictures.",
    "doc": "Print the documentation of blocks.",
    "explain": "Explain the code of an error or warning.",
    "engines": "List the engines that latency can be measured with.",
    "lsp": "Serve an editor with the Language Server Protocol.",
    "completion": "Print what a shell needs to complete commands and files.",
    "demo": "Search, train and measure a small network from start to end.",
}
"""Every command with its line in `nasc --help`; each is the `command` of its module in `nasc.commands`."""


class Commands(click.Group):
    """Finds commands by name without importing the others, and turns mistakes into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"nasc.commands.{_module(cmd_name)}").command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=about) for name, about in COMMANDS.items() if name.startswith(incomplete)]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if not ctx.resilient_parsing and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"there is no command `{args[0]}`{'; ' + near if near else ''}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            click.echo("; ".join(["\ninterrupted", *stop.args]), err=True)
            ctx.exit(130)
        except NascError as error:
            click.echo(message_of(error), err=True)
            ctx.exit(1)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:
            click.echo(_bug(error), err=True)
            ctx.exit(1)


def _module(command: str) -> str:
    """The name of a command's module: `import_` for `import`, which is a word of Python."""
    return f"{command}_" if keyword.iskeyword(command) else command


def message_of(error: NascError) -> str:
    """What a person reads of a mistake: the diagnostics with their places, or the message and the mend."""
    if isinstance(error, DiagnosticError):
        from nasc.dsl.render import render

        return render(error.diagnostics, color=colored()).rstrip("\n")
    return f"error: {error.message}" + (f"\n  = help: {error.help}" if error.help else "")


def colored() -> bool:
    """Whether standard error takes colours (https://no-color.org)."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def _bug(error: Exception) -> str:
    if os.environ.get("NASC_TRACEBACK"):
        return "".join(traceback.format_exception(error)).rstrip("\n")
    return (
        f"error: this is a bug in nasc: {type(error).__name__}: {error}\n"
        "  = help: NASC_TRACEBACK=1 shows where; please report it with that"
    )


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExample:\n  nasc check mine.nas && nasc compile mine.nas -o build/mine",
)
@click.version_option(__version__, prog_name="nasc")
def main() -> None:
    """Compile, profile and search neural-architecture-search spaces written as .nas files."""
