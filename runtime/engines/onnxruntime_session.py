"""ONNX Runtime sessions for timing: one thread, no spinning, inputs and outputs bound; and the blocks timed with them.

Binding matters at small sizes: a call that is not bound costs several microseconds more.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nasc.runtime.engines.cpu_timing import TooSlow

if TYPE_CHECKING:
    import numpy as np


Runs = tuple[Callable[[], object], Callable[[float], float]]
"""Two ways to run a model with everything bound: the timed one, and a first run within a time limit.

Run options, which a run can be stopped by, would add twenty microseconds to every timed call.
"""


def bind(model: bytes) -> Runs:
    """A model on one core of the CPU."""
    return bind_to(model, "CPUExecutionProvider", {}, "cpu")


def bind_to(model: bytes, provider: str, options: Mapping[str, str], device: str) -> Runs:
    """A model that runs with a provider alone, its inputs and outputs in the memory of a device."""
    import onnxruntime

    settings = _session_options()
    if device != "cpu":
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = onnxruntime.InferenceSession(model, settings, providers=[(provider, dict(options))])
    binding = session.io_binding()
    for value in session.get_inputs():
        array = _input_array(value.type, _static(value))
        binding.bind_ortvalue_input(value.name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
    for value in session.get_outputs():
        room = onnxruntime.OrtValue.ortvalue_from_shape_and_type(_static(value), _element(value.type), device, 0)
        binding.bind_ortvalue_output(value.name, room)
    return partial(session.run_with_iobinding, binding), partial(_first_run, session, binding)


def _session_options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    return options


def _static(value: Any) -> list[int]:
    if not all(isinstance(size, int) for size in value.shape):
        raise ValueError(f"`{value.name}` has an open shape: {value.shape}")
    return cast(list[int], value.shape)


_ELEMENTS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


def _element(kind: str) -> Any:
    import numpy as np

    if kind not in _ELEMENTS:
        raise ValueError(f"a tensor of type {kind}; known are {', '.join(_ELEMENTS)}")
    return np.dtype(_ELEMENTS[kind]).type


def _input_array(kind: str, shape: list[int]) -> np.ndarray[Any, Any]:
    """Seeded normal values, as zeros and denormals have speeds of their own; token number 0, which always exists."""
    import numpy as np

    element = _element(kind)
    if element is np.int64:
        return np.zeros(shape, dtype=np.int64)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32).astype(element)


def _first_run(session: Any, binding: Any, limit_s: float) -> float:
    """Microseconds of the first run. Raises `TooSlow` once it takes longer than `limit_s`."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    timer = threading.Timer(limit_s, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    began = time.perf_counter()
    try:
        session.run_with_iobinding(binding, options)
    except Exception:
        if time.perf_counter() - began >= limit_s:
            raise TooSlow(f"one run takes longer than {limit_s:g} s") from None
        raise
    finally:
        timer.cancel()
    return (time.perf_counter() - began) * 1e6


def effective_precision(model: bytes) -> str:
    """`fp32` where the optimised graph casts to 32-bit floats, as it does where the CPU has no 16-bit kernels."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "optimised.onnx")
        options = _session_options()
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(path).graph.node
    casts = any(n.op_type == "Cast" and any(a.i == onnx.TensorProto.FLOAT for a in n.attribute) for n in nodes)
    return "fp32" if casts else "fp16"


@cache
def yardsticks() -> tuple[bytes, bytes]:
    """The canary, a 3 x 3 convolution of 32 channels on 16 x 16, and an Identity on 8 numbers."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def model(name: str, op: str, shape: list[int], weights: list[onnx.TensorProto], **attributes: Any) -> bytes:
        node = helper.make_node(op, ["x", *(w.name for w in weights)], ["y"], **attributes)
        ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in "xy"]
        graph = helper.make_graph([node], name, ends[:1], ends[1:], weights)
        opset = helper.make_opsetid("", 17)
        return cast(bytes, helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString())

    filters = np.random.default_rng(0).standard_normal((32, 32, 3, 3), dtype=np.float32)
    convolution = model("canary", "Conv", [1, 32, 16, 16], [numpy_helper.from_array(filters, "w")], pads=[1, 1, 1, 1])
    return convolution, model("identity", "Identity", [1, 8, 1, 1], [])
