"""A process of ours that may die: requests and answers as JSON and bytes, a time limit, and why it ended if it did.

Nothing is pickled. The process sees the end of a pipe when its parent ends, however that ends, and ends too.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, Any

from nasc.runtime.measurement import Status

LAST_WORDS = 800
"""How many of the last bytes that a process wrote to standard error are worth keeping."""
END_SECONDS = 5.0
ALIVE = "alive"
"""A message with this is no answer: there is one to come."""


class Lost(Exception):
    """A request without an answer, and the status of the row that says so."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status


@dataclass(frozen=True)
class Message:
    """What goes over the pipe: a value that is plain JSON, and blocks of bytes."""

    value: Mapping[str, Any]
    blobs: Sequence[bytes] = ()


def send(channel: Connection, message: Message) -> None:
    """Write a message. Raises `OSError` where nobody reads."""
    channel.send_bytes(json.dumps({**message.value, "blobs": len(message.blobs)}).encode())
    for blob in message.blobs:
        channel.send_bytes(blob)


def receive(channel: Connection) -> Message:
    """Read a message. Raises `EOFError` or `OSError` where nobody writes any more."""
    value = json.loads(channel.recv_bytes())
    return Message(value, [channel.recv_bytes() for _ in range(value.pop("blobs"))])


class WorkerProcess:
    """A Python process that runs `module` with two pipes: one for messages, and one that only tells that we live."""

    def __init__(self, module: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        # Appending, so that the file can be emptied while the process writes to it.
        fcntl.fcntl(self._errors, fcntl.F_SETFL, fcntl.fcntl(self._errors, fcntl.F_GETFL) | os.O_APPEND)
        self._channel, theirs = Pipe()
        their_life, self._life = os.pipe()
        try:
            self._process = _start(module, theirs.fileno(), their_life, self._errors)
        finally:
            theirs.close()
            os.close(their_life)
        self.busy = False

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def ask(self, message: Message, seconds: float, silence: float | None = None) -> Message:
        """The answer to a request.

        Raises `Lost` where the process ended, or was ended, without one: after `seconds`, or after `silence` seconds
        without a sign of life, once it has given the first.
        """
        self.busy = True
        os.ftruncate(self._errors.fileno(), 0)
        killed_before = _kernel_kills()
        try:
            send(self._channel, message)
            answer = self._answer(seconds, seconds if silence is None else silence)
        except (EOFError, OSError):
            raise self._death(killed_before) from None
        self.busy = False
        return answer

    def _answer(self, seconds: float, silence: float) -> Message:
        until, wait = time.monotonic() + seconds, seconds
        while self._channel.poll(max(0.0, min(wait, until - time.monotonic()))):
            answer = receive(self._channel)
            if ALIVE not in answer.value:
                return answer
            wait = silence
        self.kill()
        if time.monotonic() >= until:
            raise Lost("timeout", self._with_last_words(f"no answer within {seconds:g} s"))
        raise Lost("timeout", self._with_last_words(f"no sign of life for {silence:g} s"))

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def close(self) -> None:
        """End the process, well where it is idle, and give everything back."""
        self._channel.close()
        if self.busy:
            self.kill()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        os.close(self._life)
        self._errors.close()

    def _death(self, killed_before: int | None) -> Lost:
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return Lost("crash", self._with_last_words("the engine closed its pipe"))
        if code != -signal.SIGKILL:
            words = self._last_words()
            status: Status = "out_of_memory" if "bad_alloc" in words or "MemoryError" in words else "crash"
            return Lost(status, self._with_last_words(_ending(code)))
        if killed_before is not None and _kernel_kills() == killed_before:
            return Lost("crash", self._with_last_words("killed by SIGKILL"))
        return Lost("out_of_memory", self._with_last_words("killed by the system for want of memory (SIGKILL)"))

    def _with_last_words(self, reason: str) -> str:
        words = self._last_words()
        return f"{reason}; it wrote last: {words}" if words else reason

    def _last_words(self) -> str:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - LAST_WORDS))
        return self._errors.read().decode(errors="replace").replace("\0", "").strip()


def _start(module: str, channel: int, life: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    # -P: no module is taken from the working directory, unless our own path has it.
    command = [sys.executable, "-P", "-m", module, str(channel), str(life)]
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
        pass_fds=(channel, life),
        env={**os.environ, "PYTHONPATH": path},
    )


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _kernel_kills() -> int | None:
    """How many processes this system has killed for want of memory; None where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    except (OSError, ValueError, StopIteration):
        return None
