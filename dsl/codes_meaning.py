"""The codes of what a well-formed file may get wrong (E03xx), and of warnings (W04xx)."""

from __future__ import annotations

from nasc.dsl.code_info import CodeInfo
from nasc.dsl.codes_example import space
from nasc.dsl.codes_names import NAMES, WHOLE
from nasc.dsl.codes_values import SHAPES, VALUES

WARNINGS = {
    "W0401": CodeInfo(
        "an alternative that is there twice",
        "A set or choice lists the same alternative twice. It counts once.",
        "Remove one.",
        space("stage s conv { kernel {3, 3} } -> 8"),
    ),
    "W0402": CodeInfo(
        "something that is never used",
        "A `let`, a local value, a block of the main file, or an import is not used by the space.",
        "Remove it.",
        space("stage s conv { kernel 3 } -> 8", "let w = 16"),
    ),
}

MEANING: dict[str, CodeInfo] = {**WHOLE, **NAMES, **VALUES, **SHAPES, **WARNINGS}
