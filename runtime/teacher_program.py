"""A teacher from a file of `torch.export.save` (.pt2), read without `torch.export.load`.

`torch.export.load` unpickles parts of the archive with `weights_only=False`, evaluates text as symbolic expressions and
compiles code from the names of the graph, so a stranger's file could run any code. Here the archive's JSON is
interpreted: weights are raw numbers, and of operators only the ones in `_OPERATORS` are called.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nasc.dsl.diagnostics import NascError
from nasc.runtime.teacher_network import TeacherNetwork

_MAJOR = 8
"""The major version of the schema that is understood (torch/_export/serde/schema.py)."""

_REPEATED = 1 << 20
"""A stored tensor may have so many elements by repeating its numbers."""

SAVED = "write it with `torch.export.save(torch.export.export(model.eval(), (images,)), FILE)`, PyTorch 2.8 or later"
"""How such a file is made."""

OR_ONNX = ", or export it to ONNX"
"""What helps a teacher too."""

_MODEL = "models/model.json"
_FOLDERS = (
    ("data/weights/", "data/weights/model_weights_config.json"),
    ("data/constants/", "data/constants/model_constants_config.json"),
)

_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}

# What image classifiers consist of. Nothing here reads or writes a file, or memory that is not a tensor's.
_CLASSIFIERS = """
conv2d convolution linear addmm mm bmm baddbmm matmul scaled_dot_product_attention
batch_norm _native_batch_norm_legit_no_training layer_norm native_layer_norm group_norm native_group_norm
relu relu_ relu6 relu6_ silu silu_ hardswish hardswish_ hardsigmoid hardsigmoid_ hardtanh hardtanh_ sigmoid sigmoid_
tanh tanh_ gelu elu elu_ leaky_relu leaky_relu_ mish mish_ softplus softmax _softmax log_softmax _log_softmax
exp log sqrt rsqrt square pow abs neg reciprocal erf clamp clamp_ clamp_min clamp_max
add add_ sub sub_ rsub mul mul_ div div_ maximum minimum
mean sum amax amin var var_mean linalg_vector_norm
max_pool2d max_pool2d_with_indices avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d
upsample_bilinear2d upsample_nearest2d upsample_bicubic2d pad constant_pad_nd channel_shuffle pixel_shuffle
flatten view reshape _unsafe_view unflatten permute transpose t squeeze unsqueeze expand expand_as repeat roll flip
cat stack split split_with_sizes chunk unbind slice select narrow index
clone contiguous detach detach_ alias lift_fresh_copy to _to_copy type_as dropout dropout_ feature_dropout
eq ne ge gt le lt logical_not logical_and any where masked_fill
arange zeros ones full zeros_like ones_like full_like sym_size
"""
_OPERATORS = frozenset(_CLASSIFIERS.split())
_ARITHMETIC = {
    f"_operator.{name}": getattr(operator, name) for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "getitem")
}
_COMPARISONS = frozenset(f"_operator.{name}" for name in ("eq", "ne", "ge", "gt", "le", "lt"))
_CHECKS = ("torch.ops.aten._assert_", "torch.ops.aten.sym_constrain_range")
"""With the comparisons, statements that only check sizes: how their names begin."""

Values = dict[str, Any]


def open_program(path: Path, device: torch.device) -> TeacherNetwork:
    """The network of a .pt2 file with one input and one output, on `device`.

    Raises NascError for what is not understood or not allowed; a damaged file raises other exceptions too.
    """
    module, stored = read_archive(path)
    held, user = held_inputs(module["signature"], stored, device, path)
    interpreter = _Program(module["graph"], held, user, device, path)
    return TeacherNetwork(interpreter, interpreter.input_shape, hashlib.sha256(path.read_bytes()).hexdigest())


def read_archive(path: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """The JSON of the archive's graph with its signature, and the stored tensors by name; raises as `open_program`."""
    with zipfile.ZipFile(path) as archive:
        root = _root(archive, path)
        program = json.loads(archive.read(root + _MODEL))
        if program["schema_version"]["major"] != _MAJOR:
            raise NascError(f"the teacher {path} has another version of the format, {program['schema_version']}")
        weights, constants = (_tensors(archive, root, folder, config, path) for folder, config in _FOLDERS)
    return program["graph_module"], {**weights, **constants}


def _root(archive: zipfile.ZipFile, path: Path) -> str:
    """The folder in which everything in the archive lies."""
    found = [name for name in archive.namelist() if name.endswith("/" + _MODEL)]
    # The format stores plainly: what claims to be small cannot unfold to be large.
    if len(found) != 1 or any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise NascError(
            f"the teacher {path} is not an archive of one exported program",
            help=SAVED + OR_ONNX,
        )
    return found[0].removesuffix(_MODEL)


def _tensors(archive: zipfile.ZipFile, root: str, folder: str, config: str, path: Path) -> dict[str, Tensor]:
    """The stored tensors by name. Raises NascError where one is pickled."""
    found = {}
    for name, entry in json.loads(archive.read(root + config))["config"].items():
        if entry["use_pickle"] or entry["tensor_meta"] is None:
            raise NascError(
                f"the teacher {path} stores `{name}` as a pickle, which could run code",
                help="export it without custom objects and subclasses of tensors" + OR_ONNX,
            )
        found[name] = _tensor(archive.read(root + folder + entry["path_name"]), entry["tensor_meta"])
    return found


def _tensor(body: bytes, meta: Mapping[str, Any]) -> Tensor:
    """A tensor from its raw numbers. Raises ValueError where it would reach beyond them."""
    sizes, strides = ([int(size["as_int"]) for size in meta[key]] for key in ("sizes", "strides"))
    offset, dtype = int(meta["storage_offset"]["as_int"]), _DTYPES[meta["dtype"]]
    if min([*sizes, *strides, offset]) < 0 or len(sizes) != len(strides) or meta["layout"] != 7:
        raise ValueError("a stored tensor has an impossible layout")
    if 0 in sizes:
        return torch.empty(sizes, dtype=dtype)
    numbers = torch.frombuffer(bytearray(body), dtype=dtype)
    # Strides of 0 repeat numbers: what is small must not unfold to be large.
    ends = offset + sum((n - 1) * stride for n, stride in zip(sizes, strides, strict=True)) >= len(numbers)
    if ends or math.prod(sizes) > max(len(numbers), _REPEATED):
        raise ValueError("a stored tensor is cut off")
    return numbers.as_strided(sizes, strides, offset).clone()


def held_inputs(
    signature: Mapping[str, Any], stored: Mapping[str, Tensor], device: torch.device, path: Path
) -> tuple[Values, str]:
    """The graph's inputs that are stored, by their names, and the name of the one that is not."""
    held: Values = {}
    user = []
    for spec in signature["input_specs"]:
        ((kind, entry),) = spec.items()
        if kind == "user_input":
            user.append(entry["arg"]["as_tensor"]["name"])
        else:
            held[entry["arg"]["name"]] = stored[entry[f"{kind}_name"]].to(device)
    results = [kind for spec in signature["output_specs"] for kind in spec]
    if "buffer_mutation" in results:
        raise _in_training(path)
    if len(user) != 1 or results != ["user_output"]:
        raise NascError(f"the teacher {path} takes {len(user)} inputs and gives {results}: it must take one to one")
    return held, user[0]


def _in_training(path: Path) -> NascError:
    return NascError(
        f"the teacher {path} was exported as it is in training",
        help="call `.eval()` on the network before `torch.export.export`",
    )


class _Program:
    """Runs a graph statement by statement. Raises NascError for operators that are not allowed."""

    def __init__(self, graph: Mapping[str, Any], held: Values, user: str, device: torch.device, path: Path) -> None:
        self.held, self.user, self.device, self.path = held, user, device, path
        sizes = graph["tensor_values"][user]["sizes"]
        self.input_shape = tuple(int(size["as_int"]) if "as_int" in size else None for size in sizes)
        self.nodes = [
            (self._function(node), node)
            for node in graph["nodes"]
            if not node["target"].startswith(_CHECKS) and node["target"] not in _COMPARISONS
        ]
        self.output = graph["outputs"][0]

    def __call__(self, images: Tensor) -> Tensor:
        # A copy, because the graph may work in place.
        values: Values = {**self.held, self.user: images.clone()}
        for function, node in self.nodes:
            _assign(values, node["outputs"], self._call(function, node, values))
        found = self._value(self.output, values)
        assert isinstance(found, Tensor)
        return found

    def _function(self, node: Mapping[str, Any]) -> Callable[..., Any]:
        target = node["target"]
        if any(entry["name"] in ("train", "training") and entry["arg"].get("as_bool") for entry in node["inputs"]):
            raise _in_training(self.path)
        if target in _ARITHMETIC:
            return _ARITHMETIC[target]
        match target.split("."):
            case ["torch", "ops", "aten", name, overload] if name in _OPERATORS:
                found = getattr(getattr(torch.ops.aten, name), overload)
                if isinstance(found, torch._ops.OpOverload):
                    return found
        raise NascError(
            f"the teacher {self.path} has the operator `{target}`, which is not one of those that may be run",
            help="write the network without it" + OR_ONNX,
        )

    def _call(self, function: Callable[..., Any], node: Mapping[str, Any], values: Values) -> Any:
        found = [(entry["name"], self._value(entry["arg"], values)) for entry in node["inputs"]]
        if node["target"] in _ARITHMETIC:
            return function(*(value for _, value in found))
        return function(**dict(found))

    def _value(self, argument: Mapping[str, Any], values: Values) -> Any:
        """An argument: a union of one entry, which says what it is."""
        ((kind, value),) = argument.items()
        match kind:
            case "as_none":
                return None
            case "as_tensor":
                return values[value["name"]]
            case "as_tensors":
                return [values[each["name"]] for each in value]
            case "as_optional_tensor":
                return self._value(value, values)
            case "as_optional_tensors":
                return [self._value(each, values) for each in value]
            case "as_int" | "as_ints" | "as_bool" | "as_bools" | "as_string":
                return value
            case "as_float":
                return float(value)
            case "as_floats":
                return [float(each) for each in value]
            case "as_sym_int" | "as_sym_float" | "as_sym_bool":
                return self._value(value, values)
            case "as_sym_ints" | "as_sym_floats" | "as_sym_bools":
                return [self._value(each, values) for each in value]
            case "as_name":
                return values[value]
            case "as_scalar_type":
                return _DTYPES[value]
            case "as_memory_format":
                return _MEMORY_FORMATS[value]
            case "as_device":
                return self.device
            case "as_layout" if value == 7:
                return torch.strided
        raise ValueError(f"an argument is {kind}")


def _assign(values: Values, outputs: Sequence[Mapping[str, Any]], result: Any) -> None:
    results = [result] if len(outputs) == 1 else result
    for output, value in zip(outputs, results, strict=True):
        ((kind, entry),) = output.items()
        if kind == "as_tensors":
            values.update({each["name"]: part for each, part in zip(entry, value, strict=True)})
        elif kind == "as_tensor":
            values[entry["name"]] = value
        elif kind != "as_none":
            values[entry["as_name"]] = value
