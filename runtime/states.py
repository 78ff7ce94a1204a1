"""The networks that a search can still reach, as a `.nas` file after each epoch: each file contains the next."""

from __future__ import annotations

from pathlib import Path

from nasc.compiler.reachable import Reachable, reachable_text
from nasc.compiler.write_files import write_file
from nasc.runtime.search_context import Source

FOLDER = "states"


class StateFiles:
    """RUN/states/epoch_090.nas and so on."""

    def __init__(self, out: Path, source: Source, provenance: str) -> None:
        self.folder, self.source, self.provenance = out / FOLDER, source, provenance

    def write(self, reachable: Reachable, epoch: int, epochs: int) -> Path:
        """The state after epoch `epoch` (from 1) of `epochs`."""
        path = self.folder / f"epoch_{epoch:0{max(3, len(str(epochs)))}}.nas"
        note = f"{self.provenance}: every network still reachable after epoch {epoch} of {epochs}"
        source = self.source
        write_file(path, reachable_text(source.space, source.network, reachable, source.module, note).encode())
        return path
