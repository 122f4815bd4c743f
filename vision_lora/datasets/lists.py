"""Lists of pictures, one a line, as `train:` and `val:` of a `data.yaml` may name them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from vision_lora.datasets.sample import Sample
from vision_lora.system.outputs import write_text


def write_list(path: Path, samples: Iterable[Sample], *, within: Path | None = None) -> None:
    """Write the pictures of samples down, each once.

    Args:
        path: the `.txt` to write.
        samples: whose pictures; tiles of one picture are one line.
        within: folder to which the lines are relative, where the list lies in it; by default they are absolute.

    Raises:
        OutputError: it cannot be written; says where it was kept.
    """
    pictures = dict.fromkeys(sample.path for sample in samples)
    lines = [
        str(picture.absolute()) if within is None else f"./{os.path.relpath(picture, within)}" for picture in pictures
    ]
    write_text(path, "".join(f"{line}\n" for line in lines))
