"""The editions of the language: `nas 1` fixes the grammar and what the standard library's blocks mean, for good.

A file of an edition that this nasc does not know is not looked at any further: by another grammar, everything in it
might be called a mistake.
"""

from __future__ import annotations

import re

from nasc.dsl.diagnostics import Diagnostics, Source, Span

EDITION = 1
"""The newest edition, which is written. A file that states none is of the first, however many there come to be."""

_FIRST_LINE = re.compile(r"(?:[ \t\n]|//[^\n]*\n)*+nas[ \t\n]+([0-9]{1,100})\b")


def is_known(source: Source, diagnostics: Diagnostics) -> bool:
    """Whether this nasc can read the edition that a text states; a diagnostic where it cannot."""
    found = _FIRST_LINE.match(source.text)
    if found is None or int(found[1]) == EDITION:
        return True
    from nasc import __version__

    wanted, span = int(found[1]), Span(source, *found.span(1))
    newer = wanted > EDITION
    diagnostics.add(
        "E0107",
        f"this file is written in `nas {wanted}`; nasc {__version__} reads `nas {EDITION}`",
        span,
        "a newer edition" if newer else "there is no such edition",
        help=f"it takes a nasc newer than {__version__}" if newer else "the first edition is `nas 1`",
    )
    return False
