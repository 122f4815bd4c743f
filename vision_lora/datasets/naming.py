"""A `data.yaml` for a folder that lacks one."""

from __future__ import annotations

import logging

from vision_lora.datasets.formats.unnamed import Unnamed
from vision_lora.datasets.lists import write_list
from vision_lora.datasets.split import hold_out
from vision_lora.errors import DataError
from vision_lora.system.outputs import write_text

log = logging.getLogger(__name__)


def write_yaml(found: Unnamed, *, seed: int = 0) -> None:
    """Write the yaml, and where no pictures are set apart for val, lists of those that are from now on.

    Args:
        found: the folder.
        seed: of the choice; the same seed chooses the same pictures.

    Raises:
        DataError: too few pictures, one that cannot be decoded, or something lies where the lists would.
        OutputError: it cannot be written there.
    """
    dataset, splits, folder = found.read(), dict(found.splits), found.folder
    held = ""
    if "val" not in splits:
        dataset = hold_out(dataset, seed=seed)
        for split in ("train", "val"):
            if (folder / f"{split}.txt").exists():
                raise DataError(
                    f"--yes: {folder / f'{split}.txt'} is there already; if it lists pictures, name it in {found.yaml} "
                    f"(`{split}: {split}.txt`), else move it away"
                )
        for split in ("train", "val"):
            write_list(folder / f"{split}.txt", dataset.splits[split], within=folder)
            splits[split] = f"{split}.txt"
        val = len(dataset.splits["val"])
        held = f"; {val} of its {found.pictures} pictures are held out for val, listed in {folder / 'val.txt'}"
    write_text(found.yaml, "".join(f"{line}\n" for line in found.lines(splits)))
    log.warning(
        "%s: written, with the classes %s: give them your own names there%s", found.yaml, ", ".join(found.names), held
    )
