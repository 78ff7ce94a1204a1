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

from nasc.runtime.engines.tensorrt_cache import TimingCache
from nasc.runtime.measurement import Status

LEVELS = range(6)
"""Builder optimisation levels; 3 is TensorRT's default, 0 ignores the timing cache."""
KEPT_MESSAGES = 20

_NO_MEMORY = re.compile(r"out.?of.?memory|failed_allocation|memory_?allocation|bad_alloc|failed to allocate", re.I)
_NO_KERNEL = re.compile(r"could not find any implementation|not supported", re.I)


class BuildError(Exception):
    """A model that cannot be built or loaded: the status of its row, and the reason in TensorRT's words."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.reason = reason


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


def failure(errors: Iterable[str], otherwise: str) -> BuildError:
    """What went wrong, from the messages of a log; `otherwise` where it holds none."""
    text = "; ".join(" ".join(message.split()) for message in errors) or otherwise
    if _NO_MEMORY.search(text):
        return BuildError("out_of_memory", text)
    return BuildError("unsupported" if _NO_KERNEL.search(text) else "build_failed", text)


class PlanBuilder:
    """A builder for many models, as starting one takes seconds. Use it in one thread."""

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
        """The plan of an ONNX model with fixed shapes. Raises `BuildError`."""
        self.log.errors.clear()
        network = self._parsed(model)
        plan = self.builder.build_serialized_network(network, self.config)
        if plan is None:
            raise failure(self.log.errors, "the builder gave no plan and no reason")
        if self.cache is not None:
            self.cache.keep(self.config)
        return bytes(plan)

    def _parsed(self, model: bytes) -> Any:
        flags = 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = self.builder.create_network(flags)
        parser = self.trt.OnnxParser(network, self.log)
        if not parser.parse(model):
            raise _parse_error([parser.get_error(i) for i in range(parser.num_errors)])
        return network


def _parse_error(errors: list[Any]) -> BuildError:
    if not errors:
        return BuildError("build_failed", "the parser refused the model and gave no reason")
    reason = "; ".join(map(_described, errors))
    code = errors[0].code().name
    if code == "MEM_ALLOC_FAILED" or _NO_MEMORY.search(reason):
        return BuildError("out_of_memory", reason)
    # An operator that the parser does not know is looked for among the plug-ins, and only missed there.
    unknown = code.startswith("UNSUPPORTED") or "Plugin not found" in reason
    return BuildError("unsupported" if unknown else "build_failed", reason)


def _described(error: Any) -> str:
    place = f" in {error.node_operator()} `{error.node_name()}`" if error.node_operator() else ""
    return f"{error.code().name}{place}: {' '.join(error.desc().split())}"
