"""The demo data set on disk: pictures, YOLO labels, and `defects.yaml`, the same bytes for the same seed."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vision_lora.errors import ConfigError, OutputError
from vision_lora.pictures.images import write_picture
from vision_lora.rendering.defects import DEFECTS
from vision_lora.rendering.scene import draw_scene
from vision_lora.rendering.surfaces import SURFACES
from vision_lora.system.outputs import write_whole

log = logging.getLogger(__name__)

NAMES: tuple[str, ...] = tuple(DEFECTS)
SPLITS = {"train": 160, "val": 40, "test": 40}
SIDE = 320  # pixels
COMMAND = "python -m vision_lora.demo --seed"

_SOUND = 1 / 8  # share of the pictures without defects
_DEFECTS = 2.2  # in a picture that has some, on average
_MOST = 4
_LOOKALIKE = {"sound": 0.6, "defective": 0.3}  # share of the pictures with something that may be taken for a defect
_PLACE = ("data", "demo", "defects.yaml")


def ensure_demo(path: Path | str) -> None:
    """Make the demo data where a path asks for it and it is not there yet; any other path is left alone.

    Args:
        path: a dataset's path as the user gave it; the demo's ends in `data/demo/defects.yaml`.

    Raises:
        OutputError: it cannot be written.
    """
    file = Path(path)
    if file.parts[-3:] != _PLACE or file.exists():
        return
    log.warning("%s is not there yet: drawing %d demo pictures, about 15 s", file, sum(SPLITS.values()))
    write_pictures(file.parent)


def is_there(file: Path, command: str) -> bool:
    """Whether a file of the demo has been made already, with this command.

    Raises:
        ConfigError: there is one, but of another seed, with another number of pictures, or of someone else.
    """
    if not file.exists():
        return False
    made_by = f'made by": "{command}"' if file.suffix == ".json" else f"made by: {command}\n"
    if made_by not in file.read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(
            f"--out {file.parent}: has another {file.name}; give a new folder, or --exist-ok to replace it"
        )
    return True


def command(seed: int, test: int | None = None) -> str:
    """What makes the data with this seed, and so many test pictures where there are more or fewer than usual."""
    return f"{COMMAND} {seed}" + ("" if test is None else f" --test {test}")


def write_pictures(folder: Path, seed: int = 0, test: int | None = None) -> Path:
    """Draw the demo data set.

    Every picture is drawn from its own seed, so splits share no piece of metal. Classes and surfaces are dealt out
    evenly to each split. `defects.yaml` comes last: where it is, all the rest is.

    Args:
        folder: where to; made if it is not there.
        seed: of everything.
        test: pictures of the test split, to tell by what 40 do not; train and val are the same whatever it is.

    Returns:
        The path of `defects.yaml`.

    Raises:
        OutputError: a file cannot be written.
    """
    counts = SPLITS if test is None else {**SPLITS, "test": test}
    try:
        for kind in ("images", "labels"):
            for split in counts:
                (folder / kind / split).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); give a folder that can") from None
    for number, (split, count) in enumerate(counts.items()):
        plan = deal(np.random.default_rng([seed, number]), count)
        for index, (surface, kinds) in enumerate(plan):
            picture, label = draw(np.random.default_rng([seed, number, index]), surface, kinds)
            name = f"{split}_{index:03d}"
            write_picture(folder / "images" / split / f"{name}.jpg", picture)
            write_whole(folder / "labels" / split / f"{name}.txt", label.encode())
        drawn = {f"{split}_{index:03d}" for index in range(count)}
        for file in (*folder.glob(f"images/{split}/{split}_*.jpg"), *folder.glob(f"labels/{split}/{split}_*.txt")):
            if file.stem not in drawn and file.stem.removeprefix(f"{split}_").isdecimal():
                file.unlink()  # of an earlier call that drew more
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(NAMES))
    splits = "".join(f"{split}: images/{split}\n" for split in counts)
    text = f"# Synthetic, made by: {command(seed, test)}\npath: .\n{splits}names:\n{names}"
    write_whole(folder / "defects.yaml", text.encode())
    return folder / "defects.yaml"


def deal(rng: np.random.Generator, count: int) -> list[tuple[str, list[str]]]:
    """What to draw in the pictures of a split: surface and defects of each, all equally often over the split."""
    sound = round(count * _SOUND)
    rounds = round((count - sound) * _DEFECTS / len(NAMES))
    cards = [name for name in NAMES for _ in range(rounds)]
    rng.shuffle(cards)
    hands: list[list[str]] = [[] for _ in range(count - sound)]
    for index, card in enumerate(cards):
        open_hands = [hand for hand in hands if len(hand) < _MOST] if index >= len(hands) else [hands[index]]
        open_hands[int(rng.integers(len(open_hands)))].append(card)
    hands += [[] for _ in range(sound)]
    rng.shuffle(hands)
    surfaces = [name for _ in range(count // len(SURFACES) + 1) for name in SURFACES][:count]
    rng.shuffle(surfaces)
    return list(zip(surfaces, hands, strict=True))


def draw(rng: np.random.Generator, surface: str, kinds: list[str]) -> tuple[NDArray[np.uint8], str]:
    """One picture, (320, 320, 3) RGB, and its label in YOLO's form."""
    share = _LOOKALIKE["defective" if kinds else "sound"]
    lookalikes = int(rng.random() < share) + int(not kinds and rng.random() < share / 2)
    stage, found = draw_scene(rng, (SIDE, SIDE), surface, kinds, lookalikes)
    lines = []
    for one in found:
        x1, y1, x2, y2 = (value / SIDE for value in one.box)
        numbers = " ".join(f"{value:.6f}" for value in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))
        lines.append(f"{NAMES.index(one.kind)} {numbers}\n")
    return stage.camera.expose(stage.picture, rng), "".join(lines)
