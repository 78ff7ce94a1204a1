"""Who is at work on a latency table: a name for this process, and whether the process behind a name still lives."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path


def new_owner() -> str:
    """A name for one run of this process, never given twice: `host:pid:start:random`."""
    return f"{_host()}:{os.getpid()}:{_started(os.getpid())}:{secrets.token_hex(4)}"


def is_gone(owner: str) -> bool:
    """Has the process behind an owner's name certainly ended? Of another machine's, nobody here knows."""
    host, _, rest = owner.rpartition(":")[0].rpartition(":")[0].rpartition(":")
    if host != _host() or not rest.isdecimal():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return owner.split(":")[-2] != _started(int(rest))


def _host() -> str:
    """This machine, and in it the room (a container) in which process numbers count."""
    try:
        room = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        room = 0
    return f"{socket.gethostname()}/{room}"


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks, as its number may be given to another one later; 0 where unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"
