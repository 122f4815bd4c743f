"""One way in: recognise what a path holds and read it."""

from __future__ import annotations

import logging
from pathlib import Path

from vision_lora.datasets.coco import read_coco
from vision_lora.datasets.sample import Dataset, Problems
from vision_lora.datasets.yolo import read_yaml
from vision_lora.errors import DataError

log = logging.getLogger(__name__)

_EXPECTED = "expected a data.yaml, a COCO .json, or a folder that holds one of them"


def open_dataset(path: Path | str, *, strict: bool = False) -> Dataset:
    """Open a dataset, whatever its format.

    Args:
        path: a YOLO `data.yaml` (its splits may also name COCO JSON files), a COCO JSON, or a folder with one of them.
        strict: stop at the first broken annotation or picture instead of skipping it.

    Returns:
        The dataset; what was skipped is in its `problems` and counted in the log.

    Raises:
        DataError: nothing there, nothing recognised, nothing usable in a split, or strict and something is broken.

    Examples:
        >>> data = open_dataset("shared/datasets/neu-det/data.yaml")  # doctest: +SKIP
        >>> data.names[0], len(data.splits["train"])  # doctest: +SKIP
        ('crazing', 1260)
    """
    path = Path(path)
    problems = Problems(strict)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; {_EXPECTED}")
    if path.is_dir():
        path = _recognise(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        dataset = read_yaml(path, problems)
    elif path.suffix.lower() == ".json":
        names, samples = read_coco(path, problems)
        if not samples:
            raise DataError(f"{path}: no usable picture; expected at least one")
        dataset = Dataset(path, names, {"train": samples}, problems.found)
    else:
        raise DataError(f"{path}: a {path.suffix or 'nameless'} file; {_EXPECTED}")
    if dataset.problems:
        log.warning(
            "%s: skipped %d broken pictures or annotations; the first: %s",
            path,
            len(dataset.problems),
            dataset.problems[0],
        )
    return dataset


def _recognise(folder: Path) -> Path:
    """The file in a folder that says what the dataset is."""
    for name in ("data.yaml", "defects.yaml", "dataset.yaml", "data.yml"):
        if (folder / name).is_file():
            return folder / name
    found = sorted(folder.glob("*.json"))
    if len(found) == 1:
        return found[0]
    raise DataError(f"{folder}: {len(found)} .json files and no data.yaml; {_EXPECTED}")
