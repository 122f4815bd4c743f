"""A video of a strip that runs past a camera, with the true place of each defect in every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_lora.errors import OutputError
from vision_lora.pictures.videos import VideoFile
from vision_lora.rendering.camera import Camera
from vision_lora.rendering.defects import DEFECTS
from vision_lora.rendering.light import Light, shade
from vision_lora.rendering.noise import fractal
from vision_lora.rendering.relief import Relief
from vision_lora.rendering.scene import set_up
from vision_lora.rendering.shapes import step
from vision_lora.rendering.surfaces import rolled
from vision_lora.rendering.write import command
from vision_lora.system.outputs import write_json

WIDTH, HEIGHT, FPS, SECONDS = 640, 360, 25, 10
SPEED = 8  # pixels a frame, leftwards

_BELT = 26  # pixels of belt above and below the strip
_DEFECTS = 4  # in a stretch of the strip as long as a frame
_SEED = 108  # apart from the seeds of the pictures


@dataclass(frozen=True)
class Track:
    """A defect on the strip: its class and its box, x1, y1, x2, y2 in pixels, x from the strip's beginning."""

    kind: str
    box: tuple[int, int, int, int]

    def box_in(self, frame: int) -> tuple[int, int, int, int] | None:
        """Its box in a frame, cut to the picture; None where it is not in it."""
        left, right = self.box[0] - SPEED * frame, self.box[2] - SPEED * frame
        if right <= 0 or left >= WIDTH:
            return None
        return max(left, 0), self.box[1], min(right, WIDTH), self.box[3]


@dataclass(frozen=True, eq=False)
class Line:
    """A strip, the lamps and the camera that it runs past, and what is wrong with it."""

    strip: Relief
    light: Light
    camera: Camera
    tracks: tuple[Track, ...]


def draw_line(seed: int, frames: int = FPS * SECONDS) -> Line:
    """A strip long enough for a video; its first stretch, in view at the start, is sound."""
    rng = np.random.default_rng([seed, _SEED])
    length = WIDTH + SPEED * (frames - 1)
    strip = _on_belt(rng, rolled(rng, (HEIGHT, length), 0.0, hot=False))
    stage = set_up(rng, strip.cut((slice(0, HEIGHT), slice(0, WIDTH))))
    tracks = []
    kinds = list(DEFECTS)
    rng.shuffle(kinds)
    for start in range(WIDTH, length - WIDTH // 2, WIDTH):
        window = (slice(0, HEIGHT), slice(start, min(start + WIDTH, length)))
        stretch = stage.moved_to(strip.cut(window))
        stretch.taken[: _BELT + 6] = True
        stretch.taken[-_BELT - 6 :] = True
        for _ in range(_DEFECTS):
            kinds.append(kinds.pop(0))  # all classes in turn
            found = stretch.put(rng, kinds[-1], clear=1.6, whole=True)
            if found is not None:
                x1, y1, x2, y2 = found.box
                tracks.append(Track(found.kind, (x1 + start, y1, x2 + start, y2)))
    return Line(strip, stage.light, stage.camera, tuple(sorted(tracks, key=lambda track: track.box[0])))


def write_video(folder: Path, seed: int = 0, frames: int = FPS * SECONDS) -> Path:
    """Write `conveyor.mp4` and, beside it, `conveyor.json` with the tracks.

    The JSON has, for each defect, its class, the first frame that shows any of it (`enters`), the first that shows no
    more of it (`leaves`, null where the video ends before), and its box in every frame between.

    Args:
        folder: where to; made if it is not there.
        seed: of everything.
        frames: how many.

    Returns:
        The path of the video.

    Raises:
        OutputError: it cannot be written.
    """
    line = draw_line(seed, frames)
    rng = np.random.default_rng([seed, _SEED, 1])
    video = folder / "conveyor.mp4"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{video}: cannot be written ({error.strerror}); give a folder that can") from None
    with VideoFile(video, FPS) as file:
        for frame in range(frames):
            file.write(take(line, frame, rng))
    write_json(folder / "conveyor.json", _truth(line.tracks, seed, frames))
    return video


def take(line: Line, frame: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One frame of the video, (360, 640, 3) RGB."""
    view = line.strip.cut((slice(0, HEIGHT), slice(SPEED * frame, SPEED * frame + WIDTH)))
    light = shade(view, line.light, (0, 0), (HEIGHT / 2, WIDTH / 2))
    return line.camera.expose(line.camera.develop(light, (slice(0, HEIGHT), slice(0, WIDTH))), rng)


def _on_belt(rng: np.random.Generator, strip: Relief) -> Relief:
    """Lay a strip on a rubber belt that shows above and below it."""
    shape = (strip.height.shape[0], strip.height.shape[1])
    rows = np.arange(shape[0], dtype=np.float64)[:, None]
    inside = step(np.minimum(rows, shape[0] - 1 - rows), _BELT - 1.5, _BELT + 1.5)
    rubber = fractal(rng, shape, 3.0, 2)
    strip.height[:] = inside * (strip.height + 1.5) + (1 - inside) * 0.25 * rubber
    black = 0.07 * np.exp(0.15 * rubber)[..., None]
    strip.albedo[:] = inside[..., None] * strip.albedo + (1 - inside[..., None]) * black
    strip.gloss[:] *= 0.02 + 0.98 * inside
    return strip


def _truth(tracks: Sequence[Track], seed: int, frames: int) -> dict[str, object]:
    rows = []
    for number, track in enumerate(tracks):
        boxes = {frame: box for frame in range(frames) if (box := track.box_in(frame)) is not None}
        if boxes:
            leaves = max(boxes) + 1
            rows.append(
                {
                    "id": number,
                    "class": track.kind,
                    "enters": min(boxes),
                    "leaves": leaves if leaves < frames else None,
                    "boxes": [[frame, *box] for frame, box in boxes.items()],
                }
            )
    return {
        "made by": command(seed),
        "video": "conveyor.mp4",
        "width": WIDTH,
        "height": HEIGHT,
        "fps": FPS,
        "frames": frames,
        "pixels_per_frame": SPEED,
        "tracks": rows,
    }
