"""A `.nas` file with one member as a PyTorch module: the generated `model.py`, loaded."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from nasc.compiler.count import count_members
from nasc.compiler.identifiers import class_name
from nasc.compiler.network import network_of
from nasc.compiler.opened import open_file, space_of
from nasc.compiler.primitives.forms import sizes_of
from nasc.dsl.diagnostics import NascError

if TYPE_CHECKING:
    from torch import nn

    from nasc.compiler.ir import Network


@dataclass(frozen=True)
class Loaded:
    """A network as a module, with what data must suit it: the input and the number of classes.

    The input is (C, H, W) of images, or the number of tokens alone, which then are the classes.
    """

    module: nn.Module
    network: Network
    input_shape: tuple[int, ...]
    classes: int


def load_model(file: Path, drop_path: float = 0.0) -> Loaded:
    """Build the network of a file; its residual branches are dropped in training at the base rate `drop_path`.

    Raises `NascError` for a space, and for what cannot be compiled yet.
    """
    space = space_of(open_file(file))
    if count_members(space) != 1:
        raise NascError(
            f"{file} has open decisions: only one network can be trained",
            help="draw members with `nasc sample`, or search the space",
        )
    network = network_of(space)
    kind, sizes = network.output
    if kind not in ("classes", "tokens") or network.input.ids != (kind == "tokens"):
        raise NascError(f"{file} gives {kind}: only classifiers of images and language models can be trained yet")
    return Loaded(module_of(network, drop_path), network, sizes_of(network.input), int(sizes[0]))


def module_of(network: Network, drop_path: float = 0.0) -> nn.Module:
    """An instance of the `model.py` of a one-member network, with freshly initialised weights."""
    from nasc.compiler.lower_torch import model_source

    return imported(model_source(network, drop_path), class_name(network.name, ()))


def imported(source: str, name: str) -> nn.Module:
    """An instance of a class of generated code; of the `.nas` file it holds but checked names and numbers."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.py")
        path.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_file_location("nasc_generated_model", path)
        assert spec is not None and spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    module: nn.Module = getattr(loaded, name)()
    return module
