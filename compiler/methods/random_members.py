"""The options of random search: members drawn uniformly, each trained by itself, the best of them taken."""

from __future__ import annotations

from pydantic import Field

from nasc.compiler.methods.member_options import MemberOptions


class RandomOptions(MemberOptions):
    """`search random { … }`: the baseline of every other method."""

    samples: int = Field(20, ge=1, le=1_000_000, description="members that are drawn and trained; chosen")
