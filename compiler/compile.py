"""From a `.nas` file to a folder: a SuperNet with its search, or one network as code; and what both need measured.

The files are the same byte for byte for the same file and the same nasc, wherever and whenever they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json

from nasc.compiler.build_manifest import manifest_of, targets_of
from nasc.compiler.count import count_members
from nasc.compiler.elaborate import Space
from nasc.compiler.ir import Network
from nasc.compiler.manifest import canonical_hash
from nasc.compiler.member import used_blocks
from nasc.compiler.methods.plugins import Method, find_method, runnable
from nasc.compiler.methods.refused import relaxed
from nasc.compiler.methods.sections import read_section
from nasc.compiler.methods.values import Options
from nasc.compiler.network import network_of
from nasc.compiler.opened import Checked, open_file, space_of
from nasc.compiler.resize import resized_networks
from nasc.compiler.write_files import require_own, write_folder
from nasc.dsl import syntax
from nasc.dsl.diagnostics import DiagnosticError, Diagnostics, NascError
from nasc.dsl.format import print_file

if TYPE_CHECKING:
    from nasc.compiler.weights import Array


@dataclass(frozen=True)
class CompileResult:
    """What a compilation wrote, and the file it came from as it was checked. `single`: the file has one member."""

    folder: Path
    files: tuple[str, ...]
    single: bool
    checked: Checked


def compile_file(
    path: Path | str,
    out: Path,
    *,
    method: str | None = None,
    target: str | None = None,
    sets: Sequence[str] = (),
    weights: Path | None = None,
    seed: int = 0,
    force: bool = False,
    literal: bool = False,
) -> CompileResult:
    """Compile a file into the folder `out`.

    For a space: `supernet.py`, `search.py`; for one member: `model.py`, `model.onnx`, and `weights.safetensors` drawn
    from `seed` unless `weights` names a file. For both `manifest.json`, `space.json`, and `space.nas`, which is the
    file with its settings applied.
    `method` and `target` choose among the file's `search` and `target` sections; `sets` change values first. `literal`
    writes Prunodes as two masked copies, for comparison.

    Raises `DiagnosticError` for a file with errors or one that cannot be lowered yet, and `NascError` for settings
    and names that fit nothing (a `method` where there is one member), for weights that do not fit, and for a folder
    that holds what nasc did not write.
    """
    require_own(out, force=force)
    checked = open_file(path, sets=sets)
    return compile_checked(
        checked, out, method=method, target=target, weights=weights, seed=seed, force=force, literal=literal
    )


def compile_checked(
    checked: Checked,
    out: Path,
    *,
    method: str | None = None,
    target: str | None = None,
    weights: Path | None = None,
    seed: int = 0,
    force: bool = False,
    literal: bool = False,
) -> CompileResult:
    """Compile a checked file; see `compile_file`."""
    space = space_of(checked)
    targets = targets_of(checked, target)
    single = count_members(space) == 1
    if single and literal:
        raise NascError(f"`{space.name}` is one network: it has no Prunodes", help="leave --prunode out")
    if single and method is not None:
        raise NascError(
            f"`{space.name}` is one network: there is nothing to search",
            help="leave --method out, or open its widths with `nasc widen` first",
        )
    if single:
        network = network_of(space)
        files = _member_files(network, weights, seed)
    elif weights is not None:
        raise NascError(f"`{space.name}` has open decisions: weights are for one member", help="leave --weights out")
    else:
        found, options = method_options(checked, method)
        network = relaxed(lambda given: found.network(given, options), space, space)
        files = _space_files(network, checked, found, options, literal)
    if (blocks := _with_blocks(space, network)) is not None:
        manifest = manifest_of(blocks, targets, resized_networks(checked, blocks, targets))
        files["manifest.json"] = _json(manifest.model_dump(mode="json", by_alias=True))
    files["space.json"] = _json(network.model_dump(mode="json"))
    files["space.nas"] = standalone_text(checked).encode()
    write_folder(out, files, force=force)
    return CompileResult(out, tuple(files), single, checked)


def space_hash(network: Network) -> str:
    """What tells one space from another: the hash of its network."""
    return canonical_hash(network.model_dump(mode="json"))


def standalone_text(checked: Checked) -> str:
    """The text of a checked file as it is compiled: as written, or with settings applied and imports copied in."""
    module, space = checked.module, space_of(checked).syntax
    imports = any(isinstance(item, syntax.Import) for item in module.file.items)
    if space in module.file.items and not imports:
        return module.file.source.text
    items: tuple[syntax.Block | syntax.Space | syntax.Section, ...]
    items = (*used_blocks(space, module), space, *module.searches, *module.targets)
    return print_file(syntax.File(span=module.file.span, source=module.file.source, version=1, items=items))


def _with_blocks(space: Space, network: Network) -> Network | None:
    """The network whose blocks are measured; None for a space that is no chain of blocks, as some methods take it."""
    try:
        return network_of(space)
    except DiagnosticError:
        if network.single:
            raise
        return None


def _space_files(
    network: Network, checked: Checked, found: Method, options: Options, literal: bool
) -> dict[str, bytes]:
    from nasc.compiler.lower_supernet import search_source, supernet_source

    space = space_of(checked)
    layers = relaxed(found.relax, network, space) if found.relax is not None else None
    files = {"search.py": search_source(network, found, options, space_hash(network)).encode()}
    if layers is not None:
        found.require(layers, options)
        files["supernet.py"] = supernet_source(network, layers, found, literal).encode()
    elif found.source is not None:
        source = found.source
        files["supernet.py"] = relaxed(lambda given: source(given, options, found.about), space, space).encode()
    return files


def _member_files(network: Network, weights: Path | None, seed: int) -> dict[str, bytes]:
    from nasc.compiler.lower_onnx import network_onnx
    from nasc.compiler.lower_torch import model_source
    from nasc.compiler.weights import read_weights, seeded_weights

    files = {"model.py": model_source(network).encode()}
    state = seeded_weights(network, seed) if weights is None else read_weights(network, weights)
    files["model.onnx"] = network_onnx(network, state).SerializeToString(deterministic=True)
    if weights is None:
        files["weights.safetensors"] = _safetensors(state)
    return files


def _safetensors(state: dict[str, Array]) -> bytes:
    import numpy
    from safetensors.numpy import save

    written: Callable[..., bytes] = save
    return written({name: numpy.asarray(array, order="C") for name, array in state.items()})


def method_options(checked: Checked, method: str | None) -> tuple[Method, Options]:
    """The method to search with and its options: the one named, or the first of the file's that can run.

    Raises `NascError` for an unknown method, and for one that no search module can be made for yet.
    """
    sections = {section.name: section for section in checked.module.searches}
    able = runnable()
    found = find_method(method or next((n for n in sections if n in able), next(iter(sections), able[0])))
    if not found.search:
        place = f" ({_place(checked, found.name)})" if found.name in sections else ""
        raise NascError(
            f"the method `{found.name}`{place} cannot be compiled yet", help=f"search with --method {' or '.join(able)}"
        )
    options = read_section(sections[found.name], Diagnostics()) if found.name in sections else found.options()
    assert options is not None
    return found, options


def _place(checked: Checked, name: str) -> str:
    section = next(s for s in checked.module.searches if s.name == name)
    line, column = section.name_span.source.position(section.name_span.start)
    return f"{section.name_span.source.name}:{line}:{column}"


def _json(value: object) -> bytes:
    return to_json(value, indent=1) + b"\n"
