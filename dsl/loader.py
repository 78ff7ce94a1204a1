"""A `.nas` file with all that it imports, and the standard library.

A file reads nothing but `.nas` files at or below the main file's directory, wherever symbolic links lead: a diagnostic
shows lines of the files it is about, so that a free path could show any file of the machine.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from nasc.dsl import syntax
from nasc.dsl.diagnostics import Diagnostics, Label, Source
from nasc.dsl.parser import parse, parse_file
from nasc.dsl.read import read_text

LIBRARY = Path(__file__).parent / "library"
MAXIMUM_DEPTH = 16  # of imports within imports
MAXIMUM_FILES = 64


@dataclass(frozen=True)
class Module:
    """A file and what it can see. It is whole only if `diagnostics.errors` is empty."""

    file: syntax.File
    blocks: dict[
        str, syntax.Block
    ]  # the library's, those of imports, the file's own; a later one shadows the library's
    library: frozenset[str]  # the names in `blocks` that are the library's
    space: syntax.Space | None
    searches: tuple[syntax.Section, ...]
    targets: tuple[syntax.Section, ...]
    diagnostics: Diagnostics
    sources: tuple[Source, ...]  # the file, then what it imports, each once


def load(
    path: Path | str,
    text: str | None = None,
    primitives: frozenset[str] = frozenset(),
    unsaved: Mapping[Path, str] = MappingProxyType({}),
) -> Module:
    """Load a file, or `text` under the file's name. `primitives` are the names that no block may take.

    `unsaved` are the texts that stand for imported files, by resolved path: those open in an editor.

    Never raises for anything a file says: a file that cannot be read or understood gives diagnostics.
    """
    diagnostics = Diagnostics()
    file, found = parse_file(path) if text is None else parse(text, str(path))
    diagnostics.found += found.found
    files = [file, *_Imports(Path(path), diagnostics, unsaved).collect(file)]
    own = _blocks(files, primitives, diagnostics)
    sections = [item for item in file.items if isinstance(item, syntax.Section)]
    return Module(
        file=file,
        blocks={**standard_library(), **own},
        library=frozenset(standard_library()) - own.keys(),
        space=_space(file, diagnostics),
        searches=tuple(section for section in sections if section.kind == "search"),
        targets=tuple(section for section in sections if section.kind == "target"),
        diagnostics=diagnostics,
        sources=tuple(each.source for each in files),
    )


@functools.cache
def standard_library() -> Mapping[str, syntax.Block]:
    """Return the library's blocks, which every file sees; parsed once per process."""
    blocks: dict[str, syntax.Block] = {}
    for path in sorted(LIBRARY.glob("*.nas")):
        file, diagnostics = parse(path.read_text(encoding="utf-8"), f"<library>/{path.name}")
        diagnostics.raise_errors()
        blocks |= {item.name: item for item in file.items if isinstance(item, syntax.Block)}
    return MappingProxyType(blocks)


def _blocks(files: list[syntax.File], primitives: frozenset[str], diagnostics: Diagnostics) -> dict[str, syntax.Block]:
    """The blocks of a file and its imports. No two may have one name: their users could not be told apart."""
    blocks: dict[str, syntax.Block] = {}
    for item in (item for file in files for item in file.items if isinstance(item, syntax.Block)):
        if item.name in primitives:
            diagnostics.add(
                "E0211",
                f"`{item.name}` is a primitive operator and cannot be defined anew",
                item.name_span,
                help="give the block another name",
            )
        elif item.name in blocks:
            first = Label(blocks[item.name].name_span, "the other one")
            diagnostics.add("E0210", f"there are two blocks `{item.name}`", item.name_span, labels=[first])
        else:
            blocks[item.name] = item
    return blocks


def _space(file: syntax.File, diagnostics: Diagnostics) -> syntax.Space | None:
    spaces = [item for item in file.items if isinstance(item, syntax.Space)]
    for further in spaces[1:]:
        first = Label(spaces[0].name_span, "the first")
        diagnostics.add(
            "E0212",
            "a file holds at most one space or network",
            further.name_span,
            "a further one",
            [first],
            "put it into a file of its own",
        )
    return spaces[0] if spaces else None


@dataclass
class _Imports:
    """Collects the files that a main file imports, each once."""

    main: Path
    diagnostics: Diagnostics
    unsaved: Mapping[Path, str]
    root: Path | None = None
    seen: set[Path] = field(default_factory=set)

    def collect(self, file: syntax.File) -> list[syntax.File]:
        """Return the imported files, in the order of their first import."""
        if not any(isinstance(item, syntax.Import) for item in file.items):
            return []
        try:
            self.root, main = self.main.parent.resolve(), self.main.resolve()
        except (OSError, RuntimeError, ValueError):
            return []
        return self._below(file, (main,))

    def _below(self, file: syntax.File, chain: tuple[Path, ...]) -> list[syntax.File]:
        """What a file imports; `chain` are the paths from the main file down to it."""
        found: list[syntax.File] = []
        for item in file.items:
            if isinstance(item, syntax.Import):
                path = self._path(item, chain)
                if path is not None:
                    found += self._file(item, path, chain)
        return found

    def _file(self, item: syntax.Import, path: Path, chain: tuple[Path, ...]) -> list[syntax.File]:
        self.seen.add(path)
        text = self.unsaved.get(path)
        if text is None:
            text = read_text(path, self.diagnostics, item.span, shown=item.path)
        if text is None:
            return []
        file, found = parse(text, self._shown(path))
        self.diagnostics.found += found.found
        return [file, *self._below(file, (*chain, path))]

    def _path(self, item: syntax.Import, chain: tuple[Path, ...]) -> Path | None:
        """The file an import names, links resolved; None where it is refused or already there."""
        path = self._resolved(item, chain[-1].parent)
        if path is None:
            return None
        if path in chain:
            return self._refuse("E0207", f"`{item.path}` imports itself, by way of this file", item)
        if path in self.seen:
            return None
        if len(chain) > MAXIMUM_DEPTH or len(self.seen) >= MAXIMUM_FILES:
            return self._refuse(
                "E0208", f"more than {MAXIMUM_FILES} imports, or {MAXIMUM_DEPTH} within one another", item
            )
        return path

    def _resolved(self, item: syntax.Import, folder: Path) -> Path | None:
        if Path(item.path).suffix != ".nas":
            return self._refuse("E0206", f"`{item.path}` is not a `.nas` file", item)
        try:
            path = (folder / item.path).resolve()
        except (OSError, RuntimeError, ValueError):
            return self._refuse("E0202", f"`{item.path}` cannot be read", item)
        if Path(item.path).is_absolute() or self.root is None or not path.is_relative_to(self.root):
            return self._refuse(
                "E0205",
                f"`{item.path}` is not in the main file's directory",
                item,
                "an import names a file beside the main file or in a directory below, by a relative path",
            )
        if path.suffix != ".nas":
            return self._refuse("E0206", f"`{item.path}` leads to what is not a `.nas` file", item)
        return path

    def _refuse(self, code: str, message: str, item: syntax.Import, help: str | None = None) -> Path | None:
        self.diagnostics.add(code, message, item.span, help=help)
        return None

    def _shown(self, path: Path) -> str:
        """The imported file's name as seen from where the main file's name is."""
        return str(self.main.parent / path.relative_to(self.root or self.main.parent))
