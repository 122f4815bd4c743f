"""Choose the pictures to label next, and write them with pre-labels for labelling tools."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vision_lora.errors import DataError
from vision_lora.options.command_line import run_verb
from vision_lora.options.detect import ProposeConfig

if TYPE_CHECKING:
    from vision_lora.datasets.sample import Sample


def run(config: ProposeConfig, console: Console) -> None:
    """Look at all pictures, choose, write, and print what was chosen."""
    # late: torch takes seconds, --help should not
    from vision_lora.datasets import open_dataset
    from vision_lora.detectors.load import load_detector
    from vision_lora.evaluation.proposal.rank import rank
    from vision_lora.evaluation.proposal.write import write_proposal
    from vision_lora.system.outputs import check_new_folder

    out = check_new_folder("out", config.out)
    assert out is not None, "it is required"
    dataset = open_dataset(config.data).sure()
    labelled = [sample for samples in dataset.splits.values() for sample in samples]
    pool = _unlabelled(config, labelled)
    detector = load_detector(config.model, config.adapter, config.device)
    imgsz = config.imgsz or detector.imgsz
    ranked = rank(detector, pool, labelled, count=config.count, imgsz=imgsz, batch=config.batch)
    names = () if detector.adapter is None else detector.adapter.card.names
    write_proposal(out, ranked.proposals, names, model=Path(config.adapter).stem)
    if len(ranked.proposals) < config.count:
        rest = f"; {ranked.copies} others are near-copies of what is labelled or chosen" if ranked.copies else ""
        console.print(f"--count {config.count}: there are only {len(ranked.proposals)}, so all are taken{rest}")
    boxes = sum(len(one.sample.boxes) for one in ranked.proposals)
    console.print(f"{len(ranked.proposals)} of {len(pool)} pictures, with {boxes} boxes to correct: {out}")


def _unlabelled(config: ProposeConfig, labelled: Sequence[Sample]) -> list[Sample]:
    """The pictures of the source that are no files of the dataset."""
    from vision_lora.datasets.open import open_pictures

    known = {os.path.realpath(sample.path) for sample in labelled}
    found = open_pictures(config.source)
    pool = [sample for sample in found if os.path.realpath(sample.path) not in known]
    if not pool:
        raise DataError(
            f"{config.source}: all {len(found)} pictures in it are in {config.data}; expected some without labels"
        )
    return pool


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; gives the exit code."""
    return run_verb(ProposeConfig, "propose", run, argv)


if __name__ == "__main__":
    sys.exit(main())
