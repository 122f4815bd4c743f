"""Pictures with pre-labels on disk, once, with what each kind of labelling tool imports beside them.

YOLO's `data.yaml`, `images/train` and `labels/train` are also CVAT's "Ultralytics YOLO Detection 1.0",
`annotations/instances_train.json` is its "COCO 1.0". `label_studio.json` has the boxes as predictions: Label Studio
shows them, and a person makes annotations of them.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from vision_lora.datasets.sample import Sample
from vision_lora.datasets.write import write_coco, yolo_labels, yolo_yaml
from vision_lora.errors import OutputError, reason
from vision_lora.evaluation.proposal.rank import Proposal
from vision_lora.pictures.images import read_image, write_picture
from vision_lora.system.outputs import plain, write_json, write_text

_KEPT = (".jpg", ".jpeg", ".png")  # every tool opens these; any other picture becomes a PNG
_STEM = 60  # letters of a picture's own name: no file system has room for more than 255 bytes


def write_proposal(out: Path, proposals: Sequence[Proposal], names: Sequence[str], *, model: str) -> None:
    """Write copies of the pictures, numbered in their order, with pre-labels and with `proposed.csv`, which says why.

    Args:
        out: a folder that does not exist, or is empty.
        proposals: the pictures.
        names: of the classes.
        model: what the tools call the one that made the pre-labels.

    Raises:
        DataError: a picture cannot be read any more.
        OutputError: something cannot be written.
    """
    images, labels = out / "images" / "train", out / "labels" / "train"
    try:
        for folder in (images, labels, out / "annotations"):
            folder.mkdir(parents=True, exist_ok=True)
        copies = [_copy(one.sample, images, number) for number, one in enumerate(proposals, 1)]
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({reason(error)}); give another place") from error
    for sample in copies:
        rows = yolo_labels(sample.boxes, sample.classes, sample.width, sample.height)
        write_text(labels / f"{sample.path.stem}.txt", rows)
    write_text(out / "data.yaml", yolo_yaml({"train": "images/train"}, names))
    write_coco(out / "annotations" / "instances_train.json", copies, names, str(images.resolve()))
    tasks = [_task(sample, one, names, model) for sample, one in zip(copies, proposals, strict=True)]
    write_json(out / "label_studio.json", tasks)
    write_text(out / "label_studio.xml", _labelling_config(names))
    write_text(out / "proposed.csv", _table(copies, proposals))


def _copy(sample: Sample, folder: Path, number: int) -> Sample:
    """The picture's copy, under a name that sorts by rank and is no other's."""
    kept = sample.path.suffix.lower() in _KEPT
    ending = sample.path.suffix.lower() if kept else ".png"
    copy = folder / f"{number:04d}-{plain(sample.path.stem)[:_STEM]}{ending}"
    if kept:
        shutil.copyfile(sample.path, copy)
    else:
        write_picture(copy, read_image(sample.path))
    return replace(sample, path=copy)


def _task(sample: Sample, one: Proposal, names: Sequence[str], model: str) -> dict[str, Any]:
    """A picture as Label Studio's JSON has it ("Import pre-annotated data"): boxes in per cent of the picture.

    The picture's address is of local storage, below `LOCAL_FILES_DOCUMENT_ROOT`.
    """
    width, height = sample.width, sample.height
    rows = zip(sample.boxes.astype(float).tolist(), sample.classes.tolist(), one.scores, strict=True)
    regions = [
        {
            "id": f"{sample.path.stem[:4]}-{place}",
            "type": "rectanglelabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": score,
            "value": {
                "x": 100 * x1 / width,
                "y": 100 * y1 / height,
                "width": 100 * (x2 - x1) / width,
                "height": 100 * (y2 - y1) / height,
                "rotation": 0,
                "rectanglelabels": [names[kind]],
            },
        }
        for place, ((x1, y1, x2, y2), kind, score) in enumerate(rows)
    ]
    address = f"/data/local-files/?d={quote(f'images/train/{sample.path.name}')}"
    # By this score Label Studio sorts tasks, the lowest first: those that the detector is most unsure of.
    prediction = {"model_version": model, "score": round(1 - one.uncertainty, 4), "result": regions}
    return {"data": {"image": address}, "predictions": [prediction]}


def _labelling_config(names: Sequence[str]) -> str:
    """Label Studio's labelling configuration for these classes."""
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in names)
    return (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <RectangleLabels name="label" toName="image">\n{labels}  </RectangleLabels>\n</View>\n'
    )


def _table(copies: Sequence[Sample], proposals: Sequence[Proposal]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["picture", "source", "uncertainty", "distance", "boxes"])
    for copy, one in zip(copies, proposals, strict=True):
        numbers = (f"{one.uncertainty:.4f}", f"{one.distance:.4f}", len(one.scores))
        rows.writerow([copy.path.name, one.sample.path, *numbers])
    return text.getvalue()
