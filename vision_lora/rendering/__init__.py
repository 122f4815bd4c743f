"""Synthetic factory pictures: metal surfaces under lamps, with defects, to try everything without own data.

A picture is rendered, not painted: a relief (height, colour, gloss) is lit by lamps and seen by a camera, so a scratch
is bright or dark, or hardly there, by where the light comes from. All arithmetic is in float64 and rounded once to
8 bits: processors that differ in the last digit of a sine still give the same bytes.
"""

from vision_lora.rendering.write import NAMES, ensure_demo, write_pictures

__all__ = ["NAMES", "ensure_demo", "write_pictures"]
