"""What `check` found, as JSON and as a page that explains itself."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.checking.check import Report, box_counts, picture_counts
from vision_lora.datasets.sample import Sample
from vision_lora.errors import DataError
from vision_lora.pictures.images import encode_picture, letterbox, read_image
from vision_lora.system.outputs import write_text
from vision_lora.text.page import jpeg, page

_PAIRS = 24  # pictures that a page shows of a kind: enough to judge by, small enough to mail
_SIDE = 200  # pixels of a thumbnail
_PLACES = 50  # places listed for a finding; the JSON has all

_STYLE = """
.error { color: #b00020 } .warning { color: #a05a00 } .note { color: #555; font-size: 1rem }
figure { display: inline-block; margin: .5em .5em .5em 0; vertical-align: top }
figure svg { width: auto } figure img { max-width: 100%; height: auto }
figcaption { font-size: 12px; color: #555; max-width: 420px; overflow-wrap: anywhere }
li { overflow-wrap: anywhere; font-size: 13px } svg text { font: 11px system-ui, sans-serif }
"""


def as_json(report: Report) -> dict[str, Any]:
    """The whole report as plain values; pictures are named by path."""
    paths = [str(sample.path) for sample in report.samples]
    return {
        "source": str(report.dataset.source),
        "names": list(report.dataset.names),
        "failed": report.failed,
        "splits": {row["split"]: row for row in summary(report)},
        "balance": asdict(report.dataset.balance),
        "findings": [
            {"severity": item.severity, "kind": item.kind, "message": item.message, "where": item.where}
            for item in report.findings
        ],
        "overlaps": [
            {
                "pictures": [paths[pair.first], paths[pair.second]],
                "splits": [report.splits[pair.first], report.splits[pair.second]],
                "correlation": round(pair.correlation, 4),
                "shift": [pair.dx, pair.dy],
            }
            for pair in report.overlaps
        ],
        "proposed_split": dict(zip(paths, report.proposal, strict=True)) if report.proposal else {},
    }


def summary(report: Report) -> list[dict[str, Any]]:
    """Pictures and boxes by split and class."""
    count = len(report.dataset.names)
    return [
        {
            "split": split,
            "pictures": len(samples),
            "without_boxes": sum(not len(sample.boxes) for sample in samples),
            "boxes": sum(len(sample.boxes) for sample in samples),
            "ignored_regions": sum(len(sample.ignored) for sample in samples),
            "pictures_by_class": picture_counts(samples, count).tolist(),
            "boxes_by_class": box_counts(samples, count).tolist(),
        }
        for split, samples in report.dataset.splits.items()
    ]


def write_json(report: Report, path: Path) -> None:
    """Write the report as JSON.

    Raises:
        OutputError: the file cannot be written; says where it was kept.
    """
    _write(path, json.dumps(as_json(report), indent=1, ensure_ascii=False) + "\n")


def write_html(report: Report, path: Path, more: Iterable[str] = ()) -> None:
    """Write the report as one page that needs no other file.

    Args:
        report: from `check_dataset`.
        path: the file.
        more: HTML to put behind the findings.

    Raises:
        OutputError: the file cannot be written; says where it was kept.
    """
    body = [_verdict(report), *_findings(report), *more, *_tables(report), *_plots(report)]
    body += [*_pair_pictures(report), *_double_pictures(report), *_class_pictures(report)]
    _write(path, page(f"Check of {report.dataset.source}", body, style=_STYLE))


def _write(path: Path, text: str) -> None:
    with suppress(OSError):  # told when the file is written, and kept elsewhere
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _verdict(report: Report) -> str:
    if report.failed:
        return "<p class=error><b>Training on this dataset, or its score, would suffer: see the errors.</b></p>"
    return "<p><b>Nothing found that would spoil training.</b></p>"


def _findings(report: Report) -> Iterable[str]:
    yield "<h2>Findings</h2>"
    for item in report.findings:
        yield f"<p class={item.severity}><b>{item.severity}: {item.kind}.</b> {html.escape(item.message)}</p>"
        if item.where:
            more = f"<li>and {len(item.where) - _PLACES} more, in the JSON" if len(item.where) > _PLACES else ""
            places = "".join(f"<li>{html.escape(place)}" for place in item.where[:_PLACES])
            yield f"<details><summary>{len(item.where)} places</summary><ul>{places}{more}</ul></details>"


def _tables(report: Report) -> Iterable[str]:
    yield "<h2>Pictures and boxes</h2><p>A picture counts for each class that it has a box of.</p>"
    rows = summary(report)
    yield "<table><tr><th>class" + "".join(f"<th>{row['split']}: pictures<th>boxes" for row in rows)
    for index, name in enumerate(report.dataset.names):
        cells = "".join(f"<td>{row['pictures_by_class'][index]}<td>{row['boxes_by_class'][index]}" for row in rows)
        yield f"<tr><td>{html.escape(name)}{cells}"
    yield "<tr><th>all" + "".join(f"<th>{row['pictures']}<th>{row['boxes']}" for row in rows)
    yield "<tr><td>without boxes" + "".join(f"<td>{row['without_boxes']}<td>" for row in rows) + "</table>"
    yield f"<p>{html.escape(str(report.dataset.balance))}</p>"


def _plots(report: Report) -> Iterable[str]:
    boxed = [sample for sample in report.samples if len(sample.boxes)]
    if not boxed:
        return
    relative = np.concatenate([s.boxes / (s.width, s.height, s.width, s.height) for s in boxed])
    sides = np.sqrt((relative[:, 2:] - relative[:, :2]).prod(1))
    centres = (relative[:, 2:] + relative[:, :2]) / 2
    yield "<h2>Where boxes are and how large</h2>"
    counts, _ = np.histogram(sides, bins=20, range=(0, 1))
    yield _figure(_bars(counts), "boxes by size: square root of the share of the picture, 0 to 1")
    grid, _, _ = np.histogram2d(centres[:, 1], centres[:, 0], bins=20, range=((0, 1), (0, 1)))
    yield _figure(_heat(grid), "centres of boxes in the picture: the darker, the more")


def _pair_pictures(report: Report) -> Iterable[str]:
    crossing = report.crossing()
    pairs = crossing or report.overlaps
    if not pairs:
        return
    which = "in different splits" if crossing else "in the same split"
    # The weakest are the ones to doubt, so half of the sheet is theirs.
    shown = pairs if len(pairs) <= _PAIRS else [*pairs[: _PAIRS // 2], *pairs[-_PAIRS // 2 :]]
    yield f"<h2>Overlapping pictures</h2><p>{len(pairs)} pairs {which}; the {len(shown)} surest and weakest:</p>"
    for pair in shown:
        samples = report.samples[pair.first], report.samples[pair.second]
        splits = report.splits[pair.first], report.splits[pair.second]
        told = " | ".join(f"{sample.path.name} ({split})" for sample, split in zip(samples, splits, strict=True))
        caption = f"{told}: correlation {pair.correlation:.2f}, shifted {pair.dx:+.1%}, {pair.dy:+.1%}"
        yield _figure("".join(_thumbnail(sample) for sample in samples), caption)


def _double_pictures(report: Report) -> Iterable[str]:
    if report.doubled:
        yield "<h2>Doubled boxes</h2>"
    for index, first, second in report.doubled[:_PAIRS]:
        sample = report.samples[index]
        yield _figure(_thumbnail(sample), f"{sample.path.name}: boxes {first + 1} and {second + 1}")


def _class_pictures(report: Report) -> Iterable[str]:
    yield "<h2>Examples</h2>"
    for index, name in enumerate(report.dataset.names[:_PAIRS]):
        shown = [sample for sample in report.samples if index in sample.classes][:3]
        if shown:
            yield _figure("".join(_thumbnail(sample) for sample in shown), name)


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _thumbnail(sample: Sample) -> str:
    """The picture with its boxes, as an <img> that holds its own data; nothing where it cannot be decoded."""
    try:
        image, scale, pad = letterbox(read_image(sample.path), _SIDE)
    except DataError:
        return "(unreadable)"
    draw_boxes(image, sample.boxes * scale + np.tile(np.array(pad), 2))
    return jpeg(encode_picture(image, ".jpg", quality=80), (_SIDE, _SIDE), sample.path.name)


def draw_boxes(image: NDArray[np.uint8], boxes: NDArray[Any]) -> None:
    """Draw boxes into a picture, in place; corners in its pixels, (n, 4)."""
    for x1, y1, x2, y2 in boxes.round().astype(int).tolist():
        cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), (230, 60, 30), 1)


def _bars(counts: Sequence[int] | NDArray[Any]) -> str:
    top = max(1, int(max(counts)))
    bars = "".join(
        f"<rect x={20 * i} y={150 - 140 * int(n) / top:.1f} width=18 height={140 * int(n) / top:.1f} fill=#4878a8>"
        f"<title>{int(n)}</title></rect>"
        for i, n in enumerate(counts)
    )
    return f"<svg width={20 * len(counts)} height=150>{bars}</svg>"


def _heat(grid: NDArray[Any]) -> str:
    top = max(1.0, float(grid.max()))
    cells = "".join(
        f"<rect x={8 * x} y={8 * y} width=8 height=8 fill=#4878a8 opacity={grid[y, x] / top:.2f} />"
        for y in range(grid.shape[0])
        for x in range(grid.shape[1])
    )
    return f"<svg width=160 height=160 style='border:1px solid #ddd'>{cells}</svg>"
