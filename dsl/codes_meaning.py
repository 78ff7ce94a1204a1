"""The codes of what a well-formed file may get wrong (E03xx), and of warnings (W0xxx)."""

from __future__ import annotations

from nasc.dsl.code_info import CodeInfo

MEANING: dict[str, CodeInfo] = {}
