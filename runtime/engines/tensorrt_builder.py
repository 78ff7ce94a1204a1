"""Building TensorRT engines ("plans") from ONNX models: the parser, the builder and what they say when they fail.

The module `tensorrt` is an argument: `tensorrt_rtx`, which builds without a GPU, has the same interface. Networks are
strongly typed: a model runs in the precision that it is written in. TensorRT 10 asks for that with a flag, 11 knows
nothing else.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Any

from nasc.runtime.engines.base import NotBuilt
from nasc.runtime.engines.tensorrt_cache import TimingCache

KEPT_MESSAGES = 20

_NO_MEMORY = re.compile(r"out.?of.?memory|failed_allocation|memory_?allocation|bad_alloc|failed to allocate", re.I)
_NO_KERNEL = re.compile(r"could not find any implementation|not supported|unsupported_node|plugin not found", re.I)


def message_log(trt: Any) -> Any:
    """A logger (`trt.ILogger`) whose `errors` are the last messages of error severity."""
    severe = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class MessageLog(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=KEPT_MESSAGES)

        def log(self, severity: Any, message: str) -> None:
            if severity in severe:
                self.errors.append(message)

    return MessageLog()


def failure(errors: Iterable[str], otherwise: str) -> NotBuilt:
    """What went wrong, from the messages of a log; `otherwise` where it holds none."""
    text = "; ".join(" ".join(message.split()) for message in errors) or otherwise
    if _NO_MEMORY.search(text):
        return NotBuilt("out_of_memory", text)
    return NotBuilt("unsupported" if _NO_KERNEL.search(text) else "build_failed", text)


class PlanBuilder:
    """A builder for many models, as starting one takes seconds. Use it in one thread.

    `level` is the builder's optimisation level, 0 to 5: 3 is TensorRT's default, and 0 ignores the timing cache.
    """

    def __init__(self, trt: Any, *, level: int = 3, cache: TimingCache | None = None) -> None:
        self.trt = trt
        self.log = message_log(trt)
        self.builder = trt.Builder(self.log)
        self.config = self.builder.create_builder_config()
        self.config.builder_optimization_level = level
        self.cache = cache
        if cache is not None:
            cache.attach(self.config)

    def build(self, model: bytes) -> bytes:
        """The plan of an ONNX model with fixed shapes. Raises `NotBuilt`."""
        self.log.errors.clear()
        network = self.network(model)
        plan = self.builder.build_serialized_network(network, self.config)
        if plan is None:
            raise failure(self.log.errors, "the builder gave no plan and no reason")
        if self.cache is not None:
            self.cache.keep(self.config)
        return bytes(plan)

    def network(self, model: bytes) -> Any:
        """The network of an ONNX model, as the parser reads it. Raises `NotBuilt`."""
        flags = 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = self.builder.create_network(flags)
        parser = self.trt.OnnxParser(network, self.log)
        if not parser.parse(model):
            raise _parse_error([parser.get_error(i) for i in range(parser.num_errors)])
        return network


def _parse_error(errors: list[Any]) -> NotBuilt:
    if not errors:
        return NotBuilt("build_failed", "the parser refused the model and gave no reason")
    reason = "; ".join(map(_described, errors))
    code = errors[0].code().name
    if code == "MEM_ALLOC_FAILED" or _NO_MEMORY.search(reason):
        return NotBuilt("out_of_memory", reason)
    # An operator that the parser does not know is looked for among the plug-ins, and only missed there.
    unknown = code.startswith("UNSUPPORTED") or "Plugin not found" in reason
    return NotBuilt("unsupported" if unknown else "build_failed", reason)


def _described(error: Any) -> str:
    place = f" in {error.node_operator()} `{error.node_name()}`" if error.node_operator() else ""
    return f"{error.code().name}{place}: {' '.join(error.desc().split())}"
