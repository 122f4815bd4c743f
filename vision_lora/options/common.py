"""Words and kinds of value that options of several verbs share."""

from __future__ import annotations

from typing import Literal

Variant = Literal["lora", "rslora", "dora", "lora-fa", "ssf"]
Split = Literal["train", "val", "test"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Workers = int | Literal["auto"]

BASE = "base detector: starter, which ships with the package; an official name, downloaded once; or a checkpoint's path"
PLACED = "which layers are adapted: all; deep: not where the picture is still large; neck (and head); head"
OWN_SIZE = "side of the square pictures that the detector sees, pixels, a multiple of 32; 0: their own, from 320 to 640"
