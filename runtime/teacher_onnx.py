"""A teacher from an ONNX file, run by ONNX Runtime.

The file may come from a stranger. Loading it runs no code: operators of libraries are refused, and external data is
read only by `onnx.load`, which takes it from plain files in the model's own folder and from nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nasc.dsl.diagnostics import NascError
from nasc.runtime.teacher_network import TeacherNetwork

_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})


def open_onnx(path: Path, device: torch.device, threads: int) -> TeacherNetwork:
    """The network of an ONNX file with one input and one output, on a GPU if ONNX Runtime has one and `device` is one.

    Raises NascError for another signature and for operators beyond ONNX's own; whatever `onnx` and ONNX Runtime raise
    for a damaged file or an operator set they do not know is passed on.
    """
    import onnx
    import onnxruntime

    model = onnx.load(path)
    _require_plain(model, path)
    body = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(body, options, providers=_providers(device))
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)":
        raise NascError(
            f"the teacher {path} takes {len(inputs)} inputs ({', '.join(i.type for i in inputs)}) and gives "
            f"{len(outputs)} outputs: a teacher takes one float32 tensor of images and gives one of logits"
        )
    name, result = inputs[0].name, outputs[0].name

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([result], {name: images.cpu().contiguous().numpy()})
        return torch.from_numpy(logits).to(images.device)

    shape = tuple(size if isinstance(size, int) else None for size in inputs[0].shape)
    return TeacherNetwork(run, shape, hashlib.sha256(body).hexdigest())


def _providers(device: torch.device) -> list[Any]:
    import onnxruntime

    if device.type != "cuda" or "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": device.index or 0}), "CPUExecutionProvider"]


def _require_plain(model: Any, path: Path) -> None:
    """Raise NascError for operators that ONNX does not define, and for data that was left in other files."""
    import onnx

    own = {function.domain for function in model.functions}
    for part in _messages(model):
        if isinstance(part, onnx.NodeProto) and part.domain not in _DOMAINS | own:
            raise NascError(
                f"the teacher {path} has the operator `{part.op_type}` of `{part.domain}`, which is not ONNX's own",
                help="export it with standard operators only",
            )
        if isinstance(part, onnx.TensorProto) and part.data_location == onnx.TensorProto.EXTERNAL:
            raise NascError(f"the teacher {path} keeps the data of `{part.name}` in another file")


def _messages(message: Any) -> Iterator[Any]:
    """A message of protocol buffers and all messages within it."""
    yield message
    for _, value in message.ListFields():
        parts = [value] if hasattr(value, "ListFields") else value
        if not isinstance(parts, str | bytes | int | float):
            yield from (inner for part in parts if hasattr(part, "ListFields") for inner in _messages(part))
