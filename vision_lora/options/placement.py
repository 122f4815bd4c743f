"""Placement: which layers of a detector an adapter changes; each is a part of the one before."""

from __future__ import annotations

from typing import Literal

Placement = Literal["all", "deep", "neck", "head"]
PLACEMENTS: dict[Placement, tuple[str, ...]] = {
    "all": ("backbone", "neck", "head"),
    "deep": ("backbone", "neck", "head"),  # but for the early layers, see `vision_lora.detectors.network.survey`
    "neck": ("neck", "head"),
    "head": ("head",),
}

# Training pictures from which on adapting the early layers too is worth it: mAP on val is higher without them at 60
# pictures of NEU-DET, and lower at the demo's 160 and at NEU-DET's 1,260 (data/results/neu-det/early.json).
MANY = 100


def placement_for(pictures: int) -> Placement:
    """Where the adapter goes unless the recipe says so, by the number of training pictures."""
    return "all" if pictures >= MANY else "deep"
