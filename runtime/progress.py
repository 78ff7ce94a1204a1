"""Progress on standard error: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINE_SECONDS = 10.0


class Progress(Protocol):
    """What a long job tells about itself. Units are the job's own: steps, measurements, runs."""

    def start(self, title: str, total: int, done: int = 0) -> None:
        """Begin a job of `total` units, of which an interrupted run has `done` behind it."""

    def advance(self, text: str = "") -> None:
        """One more unit is done; `text` says how it stands (loss, accuracy)."""

    def line(self, text: str) -> None:
        """Something to keep on the screen, such as an epoch's result."""

    def stop(self) -> None:
        """The job ended, well or not."""


class SilentProgress:
    """Tells nothing; for callers that show progress of their own."""

    def start(self, title: str, total: int, done: int = 0) -> None: ...

    def advance(self, text: str = "") -> None: ...

    def line(self, text: str) -> None: ...

    def stop(self) -> None: ...


class PlainProgress:
    """A line at most every `LINE_SECONDS`, for logs and pipes."""

    def start(self, title: str, total: int, done: int = 0) -> None:
        self._title, self._total, self._done, self._first = title, total, done, done
        self._started = self._printed = time.monotonic()

    def advance(self, text: str = "") -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._printed >= LINE_SECONDS:
            self._printed = now
            left = (now - self._started) / (self._done - self._first) * (self._total - self._done)
            self.line(f"{self._title} {self._done}/{self._total}  {text}  {duration(left)} left")

    def line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def stop(self) -> None: ...


class LiveProgress:
    """A bar with the time left, on a terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    def start(self, title: str, total: int, done: int = 0) -> None:
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bar.add_task(title, total=total, completed=done, text="")
        self._bar.start()

    def advance(self, text: str = "") -> None:
        self._bar.update(self._task, advance=1, text=text)

    def line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        self._bar.stop()


def standard_progress() -> Progress:
    """The live bar where standard error is a terminal, plain lines elsewhere."""
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()


def is_first() -> bool:
    """Is this the process that speaks for all? `torchrun` numbers those of one search."""
    return os.environ.get("RANK", "0") == "0"


def loading(data: str) -> None:
    """Say what takes the first seconds of a command, before it is imported."""
    if is_first():
        print(f"loading PyTorch and the data {data}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as a person says them: `42s`, `3m05s`, `2h07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def amount(value: float) -> str:
    """A large number as people say it."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 10 * factor:
            return f"{value / factor:.4g}{letter}"
    return f"{value:.4g}"


def shown(folder: Path) -> str:
    """A folder as a person in the working directory would write it, quoted for a shell."""
    resolved, here = folder.resolve(), Path.cwd().resolve()
    return shlex.quote(str(resolved.relative_to(here) if resolved.is_relative_to(here) else folder))


def counted(number: int, what: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
