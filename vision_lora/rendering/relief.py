"""What a camera looks at: height, colour and gloss of a piece of metal."""

from __future__ import annotations

from dataclasses import dataclass

from vision_lora.rendering.noise import Array

Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Relief:
    """A piece of metal seen from above.

    Args:
        height: towards the camera, in pixels, (h, w).
        albedo: share of the light that comes back, RGB, (h, w, 3).
        gloss: strength of reflections, 1 for the bare metal, (h, w).
        lay: direction of the machining marks, radians from x towards y, (h, w).
        along: roughness along the marks: how far a reflection spreads, as a slope.
        across: roughness across the marks.
    """

    height: Array
    albedo: Array
    gloss: Array
    lay: Array
    along: float
    across: float

    def cut(self, window: Window) -> Relief:
        """A part of it; the arrays are views."""
        return Relief(
            self.height[window], self.albedo[window], self.gloss[window], self.lay[window], self.along, self.across
        )

    def copy(self) -> Relief:
        """Another piece like it, for what `paste` may change."""
        return Relief(self.height.copy(), self.albedo.copy(), self.gloss.copy(), self.lay, self.along, self.across)

    def paste(self, window: Window, part: Relief) -> None:
        """Write a part back in its place."""
        self.height[window] = part.height
        self.albedo[window] = part.albedo
        self.gloss[window] = part.gloss
