"""The side of an engine's process that serves: `python -m nasc.runtime.worker_main CHANNEL LIFE`, two descriptors.

The first message names the engine by its `module:class`; each that follows names a call. Each gets one answer.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from nasc.compiler.ir import Graph
from nasc.compiler.manifest import Target
from nasc.dsl.diagnostics import NascError
from nasc.runtime.device import Environment
from nasc.runtime.engines import Engine, TimingOptions, load_engine
from nasc.runtime.engines.base import build_plan, form_of
from nasc.runtime.engines.beat import listen
from nasc.runtime.models import model_of, why_not
from nasc.runtime.worker_process import ALIVE, Message, receive, send


def main() -> None:
    """Serve until nobody asks any more."""
    # Control-C reaches every process of the terminal; who started this one decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(int(sys.argv[2]),), daemon=True).start()
    channel = Connection(int(sys.argv[1]))
    server = _Server()
    try:
        while True:
            request = receive(channel)
            listen(lambda: send(channel, Message({ALIVE: True})))
            send(channel, server.answer(request))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _end_with_parent(life: int) -> None:
    """Nothing is ever written there: reading ends when the parent has ended, and a timing in progress is of no use."""
    os.read(life, 1)
    os._exit(1)


class _Server:
    def __init__(self) -> None:
        self.engine: Engine
        self._calls: dict[str, Callable[[Message], Message]] = {
            "begin": self._begin,
            "environment": self._environment,
            "model": self._model,
            "measure": self._measure,
        }

    def answer(self, request: Message) -> Message:
        """What a call returns, or the reason why it does not."""
        try:
            return self._calls[request.value["call"]](request)
        except NascError as error:
            return Message({"error": error.message, "help": error.help})
        except Exception as error:
            status, reason = why_not(error)
            return Message({"status": status, "reason": reason})

    def _begin(self, request: Message) -> Message:
        self.engine = load_engine(request.value["place"], TimingOptions.model_validate(request.value["options"]))
        return Message({"available": self.engine.available()})

    def _environment(self, request: Message) -> Message:
        target = Target.model_validate(request.value["target"])
        return Message({"environment": self.engine.environment(target).model_dump(mode="json")})

    def _model(self, request: Message) -> Message:
        """A plan, of a graph in the message; a row's status and reason where there is none."""
        value = request.value
        graph, target = Graph.model_validate(value["graph"]), Target.model_validate(value["target"])
        try:
            model = model_of(graph, target, form_of(self.engine))
            plan = build_plan(self.engine, model, Environment.model_validate(value["environment"]))
        except Exception as error:
            status, reason = why_not(error)
            return Message({"status": status, "reason": reason})
        return Message({}, [plan])

    def _measure(self, request: Message) -> Message:
        environment = Environment.model_validate(request.value["environment"])
        session = self.engine.measure(request.blobs, environment, request.value["reference_us"])
        rows: list[Any] = [row.model_dump(mode="json") for row in session.measurements]
        return Message({"measurements": rows, "reference_us": session.reference_us})


if __name__ == "__main__":
    main()
