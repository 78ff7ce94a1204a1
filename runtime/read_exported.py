"""The graph of a file of `torch.export.save` (.pt2) as statements, for `nasc import --exported`. None of it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nasc.dsl.diagnostics import NascError
from nasc.runtime.teacher_program import OR_ONNX, SAVED, held_inputs, open_program, read_archive

Array = NDArray[Any]
_CHECKS = ("torch.ops.aten._assert_", "torch.ops.aten.sym_constrain_range", "_operator.")


@dataclass(frozen=True)
class Ref:
    """A value that an argument refers to by its name."""

    name: str


@dataclass(frozen=True)
class Statement:
    """One call of an operator: `outputs = operator(arguments)`.

    `operator` is `conv2d`, of any overload. Arguments are by the names of the operator's schema, without those left at
    their defaults: numbers, words, None, `Ref`s, lists of these. `shape` is the first output's, with None where a size
    is open. `module` is the path of the innermost module that made the call, "" for the outermost.
    """

    operator: str
    arguments: Mapping[str, Any]
    outputs: tuple[str, ...]
    shape: tuple[int | None, ...]
    module: str


@dataclass(frozen=True)
class Exported:
    """A program of one input and one output; `held` are the stored tensors that statements refer to, as float32."""

    input: str
    input_shape: tuple[int | None, ...]
    statements: tuple[Statement, ...]
    output: str
    held: Mapping[str, Array]


def read_exported(path: Path) -> Exported:
    """Read the archive. Raises NascError where it is damaged, or holds what could run code."""
    return _guarded(path, lambda: _read(path))


def run_exported(path: Path, images: Array) -> Array:
    """What the program gives for float32 images N x C x H x W, statement by statement. Raises NascError."""
    with torch.inference_mode():
        return _guarded(path, lambda: _numbers(open_program(path, torch.device("cpu")).run(torch.from_numpy(images))))


def _guarded(path: Path, found: Any) -> Any:
    try:
        return found()
    except NascError as error:
        help = error.help.removesuffix(OR_ONNX) if error.help else None
        raise NascError(error.message.replace(f"the teacher {path}", str(path)), help=help) from None
    except OSError as error:
        raise NascError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # whatever a damaged or hostile file provokes; none of it can have run code
        line = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise NascError(f"{path} is not a readable exported program: {line}", help=SAVED) from error


def _read(path: Path) -> Exported:
    module, stored = read_archive(path)
    graph = module["graph"]
    held, user = held_inputs(module["signature"], stored, torch.device("cpu"), path)
    shapes = {name: _shape(meta) for name, meta in graph["tensor_values"].items()}
    statements = tuple(_statement(node, shapes) for node in graph["nodes"] if not node["target"].startswith(_CHECKS))
    (output,) = graph["outputs"]
    arrays = {name: _numbers(tensor) for name, tensor in held.items()}
    return Exported(user, shapes[user], statements, output["as_tensor"]["name"], arrays)


def _numbers(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.detach().float().numpy())


def _shape(meta: Mapping[str, Any]) -> tuple[int | None, ...]:
    return tuple(int(size["as_int"]) if "as_int" in size else None for size in meta["sizes"])


def _statement(node: Mapping[str, Any], shapes: Mapping[str, tuple[int | None, ...]]) -> Statement:
    outputs: list[str] = []
    for output in node["outputs"]:
        ((kind, entry),) = output.items()
        if kind in ("as_tensor", "as_tensors"):
            outputs += [each["name"] for each in (entry if kind == "as_tensors" else [entry])]
    stack = node["metadata"].get("nn_module_stack", "").split(";")[-1].split(",")
    return Statement(
        operator=node["target"].removeprefix("torch.ops.aten.").split(".")[0],
        arguments={entry["name"]: _argument(entry["arg"]) for entry in node["inputs"]},
        outputs=tuple(outputs),
        shape=shapes.get(outputs[0], ()) if outputs else (),
        module=stack[1] if len(stack) > 1 else "",
    )


def _argument(argument: Mapping[str, Any]) -> Any:
    """An argument: a union of one entry, which says what it is."""
    ((kind, value),) = argument.items()
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return Ref(value["name"])
        case "as_tensors":
            return [Ref(each["name"]) for each in value]
        case "as_optional_tensor" | "as_sym_int" | "as_sym_float":
            return _argument(value)
        case "as_sym_ints" | "as_optional_tensors":
            return [_argument(each) for each in value]
        case "as_name":
            return Ref(value)
        case "as_float":
            return float(value)
        case "as_floats":
            return [float(each) for each in value]
    return value
