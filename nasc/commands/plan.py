"""`nasc plan`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nasc.commands.common import PATH, amount, example, format_option, open_checked, print_json, set_option
from nasc.completing import methods, nas_files
from nasc.dsl.diagnostics import NascError

if TYPE_CHECKING:
    from nasc.compiler.plan import Plan
    from nasc.runtime.plan_times import Ceilings

DATA = {"digits": 1258, "fashion": 55_000, "synthetic": 1024}
"""Training images of the data that nasc knows by name."""
SHOWN_LAYERS = 3
_UNITS = {"": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@click.command(
    epilog=example(
        "nasc plan --calibrate",
        "nasc plan spaces/digits.nas --data digits",
        "nasc plan spaces/gpunet1.nas --batch 256 --device cuda --memory 40GiB --data 1281167",
    )
)
@click.argument("file", type=PATH, required=False, shell_complete=nas_files)
@click.option(
    "--method", shell_complete=methods, help="Search with this method.  [default: the file's first that can run]"
)
@click.option("--batch", type=click.IntRange(min=1), help="Images a step.  [default: the method's]")
@click.option(
    "--data", metavar="NAME|IMAGES", help="digits, fashion, synthetic, or how many training images there are."
)
@click.option("--device", default="cpu", show_default=True, help="What to search on: cpu, cuda, cuda:1, …")
@click.option("--memory", metavar="SIZE", help="What may be taken, such as 40GiB.  [default: the device's]")
@click.option(
    "--amp", type=click.Choice(["auto", "on", "off"]), default="auto", help="Mixed precision; auto: on a GPU."
)
@click.option("--checkpoint-activations", is_flag=True, help="The search will be given this option, to save memory.")
@click.option("--calibrate", is_flag=True, help="First measure the device, for a minute or less, and remember it.")
@set_option
@format_option
def command(
    file: Path | None,
    method: str | None,
    batch: int | None,
    data: str | None,
    device: str,
    memory: str | None,
    amp: str,
    checkpoint_activations: bool,
    calibrate: bool,
    sets: tuple[str, ...],
    form: str,
) -> None:
    """Say what a search of FILE will take before it starts: memory, time per step and in all, and which batch fits.

    Bytes follow from the network alone. Times need the device to have been measured once, by --calibrate, which can
    stand without a FILE.
    """
    limit = _bytes(memory) if memory else None
    ceilings = _calibrated(device) if calibrate else _known(device)
    if file is None:
        if not calibrate:
            raise click.UsageError("Missing argument 'FILE'.")
        return
    plan = make_plan(file, method, batch, sets, device, amp, checkpoint_activations)
    found = _found(plan, device, ceilings, limit, _images(data))
    if form == "json":
        print_json(found)
    else:
        click.echo("\n".join(_lines(found)))


def _calibrated(device: str) -> Ceilings:
    from nasc.runtime.calibrate import calibrate
    from nasc.runtime.plan_times import store_ceilings

    ceilings = calibrate(device)
    click.echo(f"measured {ceilings.model}, {ceilings.threads} threads: {store_ceilings(ceilings)}", err=True)
    return ceilings


def _known(device: str) -> Ceilings | None:
    from nasc.runtime.plan_times import load_ceilings

    return load_ceilings(device)


def make_plan(
    file: Path,
    method: str | None = None,
    batch: int | None = None,
    sets: tuple[str, ...] = (),
    device: str = "cpu",
    amp: str = "auto",
    recompute: bool = False,
) -> Plan:
    """The plan of a search of a file with the masks that it starts with; see `nasc.compiler.plan.plan_of`.

    Raises `NascError` as `nasc compile` does, and for a method without a SuperNet.
    """
    from nasc.compiler.compile import method_options
    from nasc.compiler.methods.prunet import PrunetOptions
    from nasc.compiler.methods.refused import relaxed
    from nasc.compiler.methods.relax import Candidate
    from nasc.compiler.methods.supernet import SupernetOptions
    from nasc.compiler.network import network_of
    from nasc.compiler.opened import space_of
    from nasc.compiler.plan import plan_of
    from nasc.compiler.plan_supernet import first_and_last
    from nasc.runtime.methods.masks import Masks, MaskSettings

    checked = open_checked(file, sets)
    network = network_of(space_of(checked))
    chosen, options = method_options(checked, method)
    if chosen.relax is None or not isinstance(options, SupernetOptions):
        what = "of masks, which plan does not know yet" if chosen.source is not None else ""
        why = f"has a SuperNet {what}" if what else "searches without a SuperNet: there is nothing to plan"
        raise NascError(f"`{chosen.name}` {why}", help="plan --method prunet")
    layers = relaxed(chosen.relax, network, space_of(checked))
    chosen.require(layers, options)

    cpu = device == "cpu"
    element = 2 if amp == "on" or (amp == "auto" and device.startswith("cuda")) else 4

    def first_masks(candidate: Candidate) -> tuple[int, ...]:
        if not isinstance(options, PrunetOptions):
            return first_and_last(candidate)
        masks = Masks(candidate.widths, MaskSettings(options.small, options.large))
        return masks.small, masks.large

    return plan_of(network, layers, options, first_masks, batch, element, heap=cpu, recompute=recompute)


def _images(data: str | None) -> int | None:
    if data is None or data in DATA:
        return DATA.get(data or "")
    if not re.fullmatch(r"[1-9][0-9]{0,11}", data):
        raise NascError(
            f"`{data}` is neither data known by name nor a number of images", help=f"data: {', '.join(DATA)}"
        )
    return int(data)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([kMGT]?)(?:i?B)?", text)
    if found is None:
        raise NascError(f"`{text}` is no amount of memory", help="write it as 40GiB or 800MiB")
    return int(float(found[1]) * _UNITS[found[2]])


# ------------------------------------------------------------------------------------------------- what is found


def _found(
    plan: Plan, device: str, ceilings: Ceilings | None, memory: int | None, images: int | None
) -> dict[str, Any]:
    """The plan as plain data: bytes and seconds."""
    if memory is None and ceilings is not None:
        memory = ceilings.memory
    process = ceilings.process if ceilings is not None else 0
    peak = plan.peak()
    fits = None if memory is None else plan.largest_batch(memory - process)
    layers = sorted(plan.weights_step.layers, key=lambda layer: layer.kept.at(plan.batch), reverse=True)
    return {
        "space": plan.network.name,
        "device": device,
        "batch": plan.batch,
        "layers": sum(not layer.fixed for layer in plan.layers),
        "candidates": plan.candidates,
        "macs": plan.macs,
        "bytes": {
            "parameters": plan.stored.parameters,
            "statistics": plan.stored.statistics,
            "gradients": plan.stored.parameters,
            "optimizers": plan.optimizer_state,
            "activations": {
                "weights_step": plan.weights_step.kept.at(plan.batch),
                "architecture_step": plan.architecture_step.kept.at(plan.batch),
            },
            "peak": peak,
            "process": process,
        },
        "largest_layers": {layer.address: layer.kept.at(plan.batch) for layer in layers[:SHOWN_LAYERS]},
        "memory": memory,
        "fits": None if memory is None else peak + process <= memory,
        "largest_batch": fits,
        "points": plan.points,
        "seconds": None if ceilings is None else _seconds(plan, ceilings, images),
        "changes": []
        if fits is None or fits >= plan.batch
        else _changes(plan, fits, memory or 0, [x.address for x in layers]),
    }


def _seconds(plan: Plan, ceilings: Ceilings, images: int | None) -> dict[str, Any]:
    from nasc.runtime.plan_times import full_steps, search_time

    steps = full_steps(plan, ceilings)
    whole = None if images is None else search_time(plan, ceilings, images)
    return {
        "weights_step": steps.weights,
        "architecture_step": steps.architecture,
        "profiling": plan.points * ceilings.point,
        "warmup": None if whole is None else whole.warmup,
        "search": None if whole is None else [whole.warmup + whole.least, whole.warmup + whole.most],
        "unpruned": None if whole is None else whole.warmup + whole.unpruned,
    }


def _changes(plan: Plan, fits: int, memory: int, largest: list[str]) -> list[str]:
    """What would make it fit."""
    found = [f"a batch of {fits} at most"] if fits else ["even one image is too much for this memory"]
    spatial = plan.network.input.spatial
    room = memory - plan.resting
    if room > 0 and len(spatial) == 2:
        side = int(min(spatial) * min(1.0, room / (plan.peak() - plan.resting)) ** 0.5)
        found.append(f"an input of about {side} x {side}, for activations grow with its area")
    count = {layer.address: len(layer.candidates) for layer in plan.layers}
    crowded = next((address for address in largest if count[address] > 1), None)
    if crowded is not None:
        found.append(
            f"fewer candidates in its first layers: `{crowded}` keeps the most, for {count[crowded]} of them; "
            "how fine the widths are makes no difference to PruNet"
        )
    return found


# ------------------------------------------------------------------------------------------------- text


def _lines(found: dict[str, Any]) -> list[str]:
    sizes, activations = found["bytes"], found["bytes"]["activations"]
    lines = [
        f"{found['space']}: {found['candidates']} candidates in {found['layers']} layers, "
        f"{amount(found['macs'])} MACs an image; batch {found['batch']} on {found['device']}",
        "",
        f"parameters        {_size(sizes['parameters'])}",
        f"gradients         {_size(sizes['gradients'])}",
        f"optimisers        {_size(sizes['optimizers'])}",
        f"activations kept  {_size(activations['weights_step'])} to train weights, "
        f"{_size(activations['architecture_step'])} to train architecture weights",
        "  most of it in   " + ", ".join(f"{a} {_size(b)}" for a, b in found["largest_layers"].items()),
        f"peak memory       {_size(sizes['peak'])}"
        + (f", and {_size(sizes['process'])} of the process itself" if sizes["process"] else ""),
    ]
    return [*lines, *_fit_lines(found), *_time_lines(found)]


def _fit_lines(found: dict[str, Any]) -> list[str]:
    if found["memory"] is None:
        return []
    if found["fits"]:
        return [f"it fits           into {_size(found['memory'])}; so does any batch up to {found['largest_batch']}"]
    return [f"it does not fit   into {_size(found['memory'])}. To change:", *(f"  - {c}" for c in found["changes"])]


def _time_lines(found: dict[str, Any]) -> list[str]:
    seconds, points = found["seconds"], found["points"]
    if seconds is None:
        device = "" if found["device"] == "cpu" else f" --device {found['device']}"
        return ["", f"times unknown     `nasc plan --calibrate{device}` measures this device, once"]
    lines = [
        "",
        f"a step            {_time(seconds['weights_step'])} for weights, "
        f"{_time(seconds['architecture_step'])} for architecture weights, before anything is pruned",
    ]
    if points:
        lines.append(f"profiling         {points:,} latencies, about {_time(seconds['profiling'])} on one engine here")
    if seconds["search"] is None:
        return [*lines, "the whole search  unknown: --data says how many images there are"]
    least, most = seconds["search"]
    span = _time(most) if least == most else f"{_time(least)} .. {_time(most)}, by how soon candidates are pruned"
    return [*lines, f"warm-up           {_time(seconds['warmup'])}", f"the whole search  {span}"]


def _size(count: int) -> str:
    for size, unit in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 1000 * size else f"{count / size:.0f} {unit}"
    return f"{count} B"


def _time(seconds: float) -> str:
    for length, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= length:
            count = seconds / length
            return f"{count:,.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"
    return f"{seconds * 1e3:.3g} ms"
