"""`nasc table`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from nasc.commands.common import PATH, example, format_option, print_json
from nasc.commands.common import table as columns

if TYPE_CHECKING:
    from nasc.runtime.table_contents import Contents, Key
    from nasc.runtime.table_merge import Difference, Keep, Merged

SHOWN = 10
"""Points that `diff` lists."""


@click.group(epilog=example("nasc table show latency.db", "nasc table diff monday.db tuesday.db"))
def command() -> None:
    """Look into latency tables, share them, put them together and compare them.

    Latencies of different devices, engines or settings are never mixed: their environment is part of every row's key.
    """


def _contents(path: Path) -> Contents:
    from nasc.runtime.table import LatencyTable
    from nasc.runtime.table_contents import read_contents

    with LatencyTable(path, readonly=True) as opened:
        return read_contents(opened)


keep_option = click.option(
    "--keep",
    type=click.Choice(["newer", "first"]),
    default="newer",
    show_default=True,
    help="Which of two rows under one key stays. With `newer`, one with a latency goes before a failure.",
)


# ------------------------------------------------------------------------------------------------- show


@command.command(epilog=example("nasc table show latency.db"))
@click.argument("file", type=PATH)
@format_option
def show(file: Path, form: str) -> None:
    """Say what the table FILE holds, environment by environment."""
    from nasc.runtime.table_summary import summaries

    found = summaries(_contents(file))
    if form == "json":
        print_json([summary.as_json() for summary in found])
    elif found:
        click.echo("\n\n".join(summary.text() for summary in found))
    else:
        click.echo("no environments", err=True)


# ------------------------------------------------------------------------------------------------- export


@command.command(epilog=example("nasc table export latency.db -o latency.jsonl"))
@click.argument("file", type=PATH)
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), help="[default: by OUT's ending, or jsonl]")
@click.option("-o", "--out", type=PATH, metavar="OUT", help="Write to this file.  [default: standard output]")
@click.option("--env", metavar="ID", help="Only this environment: its id in `nasc table show`, or how that begins.")
def export(file: Path, form: str | None, out: Path | None, env: str | None) -> None:
    """Write the table FILE as text, sorted, so that equal tables give equal texts.

    JSON lines hold all of a table; CSV holds its rows with their environments, without the blocks' graphs.
    """
    from nasc.runtime.table_exchange import to_csv, to_jsonl
    from nasc.runtime.table_summary import environment_named

    contents = _contents(file)
    if env is not None:
        contents = contents.of(environment_named(contents, env))
    if (form or _by_ending(out) or "jsonl") == "csv":
        data = "".join(to_csv(contents)).encode()
    else:
        data = "".join(f"{line}\n" for line in to_jsonl(contents)).encode()
    if out is None:
        click.echo(data, nl=False)
        return
    from nasc.compiler.write_files import write_file

    write_file(out, data)
    click.echo(f"wrote {out}", err=True)


def _by_ending(path: Path | None) -> str | None:
    return {".csv": "csv", ".jsonl": "jsonl"}.get(path.suffix.lower()) if path else None


# ------------------------------------------------------------------------------------------------- import


@command.command(
    "import",
    epilog=example(
        "nasc table import latency.db colleague.jsonl",
        "nasc table import s8.db op_lut.json --format fbnet --manifest build/fbnet --engine caffe2",
    ),
)
@click.argument("table", type=PATH)
@click.argument("source", metavar="FROM", type=PATH)
@click.option("--format", "form", type=click.Choice(["jsonl", "csv", "fbnet"]), help="[default: by FROM's ending]")
@click.option("--manifest", type=PATH, metavar="DIR", help="fbnet: the compiled folder whose blocks to look up.")
@click.option("--engine", metavar="NAME", help="fbnet: what to call the engine, which the file does not say.")
@click.option("--device", metavar="NAME", help="fbnet: which of the file's devices.  [default: the only one]")
@keep_option
def import_(
    table: Path,
    source: Path,
    form: str | None,
    manifest: Path | None,
    engine: str | None,
    device: str | None,
    keep: Keep,
) -> None:
    """Put what `export` wrote, or FBNet's lookup table of operators, into TABLE: all of it, or nothing.

    TABLE is made where there is none; its own rows stay unless those of FROM are newer. Of a lookup table (format
    `fbnet`) each block's latency is the sum of its operators', entered as an estimate.
    """
    form = form or _by_ending(source)
    if form is None:
        raise click.UsageError(f"say what {source} is with --format")
    _refuse_foreign_options(form, manifest, engine, device)
    found = _read(source, form, manifest, engine, device)
    _report(_merged_into(table, [(str(source), found)], keep))


def _refuse_foreign_options(form: str, *options: object) -> None:
    if form != "fbnet" and any(option is not None for option in options):
        raise click.UsageError("--manifest, --engine and --device are for --format fbnet")


def _read(source: Path, form: str, manifest: Path | None, engine: str | None, device: str | None) -> Contents:
    if form == "fbnet":
        from nasc.runtime.manifest_file import load_manifest
        from nasc.runtime.table_fbnet import read_fbnet

        if manifest is None or engine is None:
            raise click.UsageError("a lookup table lists operators: --manifest and --engine are needed")
        return read_fbnet(source, load_manifest(manifest), engine, device)
    from nasc.runtime.table_exchange import read_csv, read_jsonl

    return read_csv(source) if form == "csv" else read_jsonl(source)


# ------------------------------------------------------------------------------------------------- merge


@command.command(epilog=example("nasc table merge all.db monday.db tuesday.db"))
@click.argument("out", type=PATH)
@click.argument("sources", metavar="FROM...", type=PATH, nargs=-1, required=True)
@keep_option
def merge(out: Path, sources: tuple[Path, ...], keep: Keep) -> None:
    """Put the rows of the tables FROM into OUT, which is made where there is none; its own rows come first.

    Latencies are relative to their environment's reference. Where a table of the same environment has another one, its
    latencies are multiplied so that they are relative to the first's.
    """
    _report(_merged_into(out, [(str(source), _contents(source)) for source in sources], keep))


def _merged_into(out: Path, sources: list[tuple[str, Contents]], keep: Keep) -> Merged:
    from nasc.runtime.table import LatencyTable
    from nasc.runtime.table_contents import update
    from nasc.runtime.table_merge import merge

    merged: list[Merged] = []

    def change(before: Contents) -> Contents:
        merged.append(merge([(str(out), before), *sources], keep))
        return merged[0].contents

    with LatencyTable(out) as table:
        update(table, change)
    return merged[0]


def _report(merged: Merged) -> None:
    from nasc.runtime.table_merge import ANOTHER_STATE

    for source in merged.sources:
        if not source.rows:
            continue
        click.echo(f"{source.name}: {source.kept} of {source.rows} rows")
        for env_id, factor in source.scaled.items():
            click.echo(f"  environment {env_id[:12]}: latencies multiplied by {factor:.4g}, its reference differs")
            if abs(factor - 1) > ANOTHER_STATE:
                click.echo(f"warning: {source.name} was measured on a machine in another state", err=True)


# ------------------------------------------------------------------------------------------------- diff


@command.command(epilog=example("nasc table diff monday.db tuesday.db --tolerance 3"))
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="How far a latency may be from the other.",
)
@format_option
@click.pass_context
def diff(context: click.Context, a: Path, b: Path, tolerance: float, form: str) -> None:
    """Hold the latencies of the tables A and B against each other; B's are taken relative to A's references.

    The exit code is 1 where a point differs by more than the tolerance or has a latency in one table and a failure in
    the other, and where the tables have no key in common.
    """
    from nasc.dsl.diagnostics import NascError
    from nasc.runtime.table_merge import difference

    first, second = _contents(a), _contents(b)
    found = difference(first, second)
    if not found.pairs and not found.failed and (found.only_a or found.only_b):
        raise NascError(f"{a} and {b} have no key in common", help=_why_apart(first, second))
    beyond = found.beyond(tolerance / 100)
    if form == "json":
        print_json(_as_json(found, beyond))
    else:
        click.echo("\n".join(_lines(found, beyond, tolerance)))
    context.exit(1 if beyond else 0)


def _why_apart(a: Contents, b: Contents) -> str:
    if {*a.environments} & {*b.environments}:
        return "they hold other blocks, or other widths of them"
    names = ["; ".join(str(known.environment) for known in side.environments.values())[:300] for side in (a, b)]
    return f"their environments differ: {names[0] or 'none'} against {names[1] or 'none'}"


def _lines(found: Difference, beyond: int, tolerance: float) -> list[str]:
    estimated = sum(pair.estimated for pair in found.pairs)
    lines = [f"{len(found.pairs)} points in both" + (f", {estimated} of them with an estimate" if estimated else "")]
    lines += [f"environment {e[:12]}: B's latencies multiplied by {f:.4g}" for e, f in found.scaled.items()]
    if found.quartiles:
        low, median, high = found.quartiles
        lines.append(f"B / A: median {median:.4f}, quartiles {low:.4f} and {high:.4f}")
    lines.append(f"only in A: {len(found.only_a)}; only in B: {len(found.only_b)}; failed in one: {len(found.failed)}")
    lines.append(f"{beyond} differ by more than {tolerance:g} %")
    rows = [[*_named(p.key), f"{p.a:.1f}", f"{p.b:.1f}", f"{p.ratio:.4f}"] for p in found.largest(SHOWN)]
    if rows:
        head = ["block", "environment", "point", "A µs", "B µs", "B / A"]
        lines += ["", columns(head, rows, frozenset({3, 4, 5}))]
    return lines


def _named(key: Key) -> tuple[str, str, str]:
    return key[0][:12], key[1][:12], key[2]


def _as_json(found: Difference, beyond: int) -> dict[str, Any]:
    names: tuple[Literal["block"], Literal["environment"], Literal["point"]] = ("block", "environment", "point")
    keys = {"failed": found.failed, "only_a": found.only_a, "only_b": found.only_b}
    finite = [pair for pair in found.largest(len(found.pairs)) if pair.distance < float("inf")]
    return {
        "points": len(found.pairs),
        "beyond": beyond,
        "quartiles": found.quartiles,
        "scaled": dict(found.scaled),
        "largest": [
            {**dict(zip(names, p.key, strict=True)), "a": p.a, "b": p.b, "ratio": p.ratio} for p in finite[:SHOWN]
        ],
        **{name: [dict(zip(names, key, strict=True)) for key in each] for name, each in keys.items()},
    }
