"""Small files around what the example of a code is about."""

from __future__ import annotations

HEAD = "  head global_pool | linear\n"


def space(stages: str, top: str = "", head: str = HEAD, blocks: str = "", word: str = "space") -> str:
    """A small file around what an example is about."""
    between = f"{blocks}\n\n" if blocks else ""
    items = [
        f"  {line}\n" for line in ("input image 3 x 32 x 32", "output classes 10", top, *stages.split("\n")) if line
    ]
    return f"{between}{word} a {{\n{''.join(items)}{head}}}\n"


def block(text: str) -> str:
    return space("stage s b", blocks=text)
