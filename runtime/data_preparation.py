"""How images are made ready for a network: training images are augmented, the others cropped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nasc.dsl.diagnostics import NascError
from nasc.runtime.augment import Augment, Augmentation, InTurn
from nasc.runtime.augment_policy import LARGEST_MAGNITUDE, Policy

AugmentKind = Literal["standard", "policy", "none"]
SMALLEST_CROP = 0.1


@dataclass(frozen=True)
class Preparation:
    """`augment`: nothing, a source's standard augmentation, or that followed by a `Policy` of this `magnitude` (0 to
    10) and `deviation`. `crop`: images that are not trained on are resized so that the network sees their central
    part of this fraction of each side (`crop_pct` of timm; A.2.2 and Table 4).

    Raises NascError for a setting out of range.
    """

    augment: AugmentKind = "standard"
    magnitude: float = 9.0
    deviation: float = 0.5
    crop: float = 1.0

    def __post_init__(self) -> None:
        if self.augment not in ("standard", "policy", "none"):
            raise NascError(f"unknown augmentation `{self.augment}`", help="it is `standard`, `policy` or `none`")
        if not 0 <= self.magnitude <= LARGEST_MAGNITUDE:
            raise NascError(f"the magnitude of a policy lies between 0 and 10, not at {self.magnitude}")
        if not 0 <= self.deviation < math.inf:
            raise NascError(f"the deviation of a policy's magnitude is 0 or more, not {self.deviation}")
        if not SMALLEST_CROP <= self.crop <= 1:
            raise NascError(f"the crop fraction lies between {SMALLEST_CROP} and 1, not at {self.crop}")

    def augmentation(
        self, name: str, standard: Augment, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> Augmentation | None:
        """What is applied to training batches of the data `name`, normalised with `mean` and `std`, as in timm:
        crop and flip first, then the policy."""
        if self.augment == "none":
            return None
        if self.augment == "standard":
            return standard
        if len(mean) not in (1, 3):
            raise NascError(
                f"the augmentation policy wants images of 1 or 3 channels, those of `{name}` are given {len(mean)}",
                help="choose the augmentation `standard`",
            )
        return InTurn((standard, Policy(mean, std, self.magnitude, self.deviation)))

    def require_none(self, name: str) -> None:
        """Raise NascError if the images of `name`, which are ready when they come, would have to be prepared."""
        if self.augment == "policy":
            raise NascError(
                f"`{name}` gives images that are already normalised: the augmentation policy has no pixels to work on",
                help="choose the augmentation `standard`, or augment in the code that makes the images",
            )
        if self.crop != 1:
            raise NascError(
                f"`{name}` gives images of the network's size: they cannot be cropped", help="leave crop at 1"
            )
