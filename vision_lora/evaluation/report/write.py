"""The report of an evaluation: a page that explains itself, JSON, and CSV of classes, parts and mistakes."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vision_lora.evaluation.assessment import Assessment
from vision_lora.evaluation.parts.verdicts import Share
from vision_lora.evaluation.report.figures import draw
from vision_lora.evaluation.report.gallery import SHOWN, STYLE, gallery, in_words
from vision_lora.evaluation.scoring.breakdown import SIZES
from vision_lora.pictures.plots import svg
from vision_lora.system.outputs import check_file, write_json, write_text
from vision_lora.text.markup import Cell, Strong
from vision_lora.text.page import bullets, page, plot, table

PAGE = "report.html"
_STYLE = f"""{STYLE}
.map td {{ text-align: center }} .map td:first-child {{ text-align: left }}
"""


def check_report(option: str, folder: str | None) -> Path | None:
    """The folder for a report, once it is sure that it can be written at the end of long work.

    Raises:
        ConfigError: it takes no files.
    """
    if folder is None:
        return None
    check_file(option, str(Path(folder) / PAGE), new_parents=True)
    return Path(folder)


def write_report(one: Assessment, folder: Path, title: str, notes: Sequence[str] = ()) -> Path:
    """Write everything; files of an earlier report are replaced.

    Args:
        one: what is told.
        folder: for `report.html`, `report.json`, `classes.csv`, `parts.csv` and `mistakes.csv`.
        title: of the page.
        notes: how it was measured, a line each.

    Returns:
        The page.

    Raises:
        OutputError: a file cannot be written; says where it was kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", {"title": title, **one.to_json(), "notes": list(notes)})
    for name, rows in (("classes", _classes(one)), ("parts", _parts(one)), ("mistakes", _mistakes(one))):
        write_text(folder / f"{name}.csv", _csv(rows))
    write_text(folder / PAGE, page(title, _body(one, folder, notes), style=_STYLE))
    return folder / PAGE


def headline(one: Assessment) -> str:
    """What a plant asks, in two sentences."""
    found, thrown = one.parts.found, one.parts.thrown_away
    told = f"{found.value:.1%} of the bad parts are found ({found.hits} of {found.count})"
    if thrown.count:
        told += f", {thrown.value:.1%} of the good ones are thrown away ({thrown.hits} of {thrown.count})"
    return f"{told}. Thresholds: {one.rule}."


def _body(one: Assessment, folder: Path, notes: Sequence[str]) -> Iterator[str]:
    yield f'<p class="advice">{html.escape(headline(one))}</p>'
    yield bullets([*one.parts.doubts(), *_silent(one)])
    yield "<h2>Classes at their thresholds</h2>"
    yield table(*_class_table(one))
    yield '<div class="plots">'
    yield from (plot(svg(figure, name), label) for name, (figure, label) in draw(one).items())
    yield "</div><h2>By part</h2>"
    yield table(*_part_table(one))
    yield "<h2>What is taken for what</h2>"
    yield '<p class="note">rows: labels; columns: what was detected there; background: missed, or no label</p>'
    names = [*one.outcomes.names, "background"]
    cells = [
        [Strong(str(n)) if i == j and n else str(n or "") for j, n in enumerate(row)]
        for i, row in enumerate(one.confusion.tolist())
    ]
    yield table(["", *names], [[name, *row] for name, row in zip(names, cells, strict=True)])
    yield "<h2>Where it misses</h2>"
    yield from _where(one)
    yield "<h2>Mistakes to look at</h2>"
    count = len(one.mistakes)
    told = f"the first {SHOWN} of {count}" if count > SHOWN else f"{count}"
    yield f'<p class="note">{told}; likely mistakes of the labels first: mistakes.csv has all</p>'
    yield from gallery(one.outcomes, one.mistakes, folder, one.limits)
    yield f"<h2>How it was measured</h2>{bullets([*notes, *_NOTES])}"


_NOTES = (
    "A detection is right where it overlaps a box of its class by an IoU of 0.5 or more; the best score first, each "
    "box once. mAP is COCO's, with all classes that are read from one box; all else takes the best of them, as in use.",
    "A part is bad where one of its pictures has a label, and rejected where a detection reaches its threshold. "
    "Intervals are of 95 %: Wilson's for shares, a bootstrap by part for the ROC area.",
    "How far a label is doubted: a detection without a label by the precision of its class at its score; a label "
    "without a detection by the share of its class's labels that are better supported.",
)


def _silent(one: Assessment) -> Iterator[str]:
    for row in one.rows:
        if not row.boxes:
            yield f"no {row.name} in these pictures: nothing can be said of it"
        elif not row.found:
            yield f"no {row.name} is found at its threshold, {row.threshold:.2f}"


def _class_table(one: Assessment) -> tuple[list[str], list[list[Cell]]]:
    head = [
        "class",
        "boxes",
        "threshold",
        "precision",
        "recall",
        "F1",
        "missed",
        "false alarms",
        "AP50",
        "calibration error",
    ]
    rows: list[list[Cell]] = [
        [
            row.name,
            str(row.boxes),
            f"{row.threshold:.3f}",
            *(f"{value:.3f}" for value in (row.precision, row.recall, row.f1)),
            str(row.boxes - row.found),
            str(row.wrong),
            "-" if row.map50 is None else f"{row.map50:.3f}",
            f"{row.calibration_error:.3f}",
        ]
        for row in one.rows
    ]
    boxes, found, wrong = (sum(getattr(row, name) for row in one.rows) for name in ("boxes", "found", "wrong"))
    precision, recall = found / max(1, found + wrong), found / max(1, boxes)
    f1 = 2 * found / max(1, found + wrong + boxes)
    total = [f"{value:.3f}" for value in (precision, recall, f1)]
    last = [str(boxes - found), str(wrong), f"{one.result.map50:.3f}", f"{one.calibration.error:.3f}"]
    rows.append([Strong(text) for text in ("all", str(boxes), "", *total, *last)])
    return head, rows


def _part_table(one: Assessment) -> tuple[list[str], list[list[Cell]]]:
    rows: list[list[Cell]] = [
        ["bad parts that are found", *_share_cells(one.parts.found)],
        ["good parts that are thrown away", *_share_cells(one.parts.thrown_away)],
    ]
    if one.parts.area is not None and one.parts.area_interval is not None:
        low, high = one.parts.area_interval
        rows.append(["area under the ROC curve", "", f"{one.parts.area:.3f}", f"{low:.3f} to {high:.3f}"])
    return ["", "parts", "share", "95 % interval"], rows


def _share_cells(share: Share) -> list[Cell]:
    if not share.count:
        return ["0", "-", "-"]
    return [f"{share.hits} of {share.count}", f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}"]


def _where(one: Assessment) -> Iterator[str]:
    by_size, by_place = one.places
    yield table(
        ["size", "boxes", "missed", "false alarms"],
        [
            [size, *(str(int(part[index])) for part in (by_size.boxes, by_size.missed, by_size.wrong))]
            for index, size in enumerate(SIZES)
        ],
    )
    yield '<p class="note">small: below 32² pixels; large: above 96². By place: missed of boxes, false alarms</p>'
    rows = [
        [f"{missed} of {boxes}, {wrong}" for boxes, missed, wrong in zip(*cells, strict=True)]
        for cells in zip(by_place.boxes.tolist(), by_place.missed.tolist(), by_place.wrong.tolist(), strict=True)
    ]
    places = ("top", "middle", "bottom")
    yield '<div class="map">' + table(
        ["", "left", "centre", "right"], [[p, *r] for p, r in zip(places, rows, strict=True)]
    )
    yield "</div>"


def _classes(one: Assessment) -> Iterator[Sequence[object]]:
    yield (
        "class",
        "boxes",
        "threshold",
        "precision",
        "recall",
        "f1",
        "missed",
        "false_alarms",
        "map50",
        "calibration_error",
    )
    for row in one.rows:
        numbers = (
            row.precision,
            row.recall,
            row.f1,
            row.boxes - row.found,
            row.wrong,
            row.map50,
            row.calibration_error,
        )
        yield row.name, row.boxes, row.threshold, *numbers


def _parts(one: Assessment) -> Iterator[Sequence[object]]:
    yield "part", "pictures", "bad", "rejected", "score"
    for part in one.parts.parts:
        yield part.name, len(part.pictures), int(part.bad), int(part.rejected), part.score


def _mistakes(one: Assessment) -> Iterator[Sequence[object]]:
    yield "label_doubted", "kind", "picture", "what", "x1", "y1", "x2", "y2"
    for mistake in one.mistakes:
        box = one.outcomes.true_boxes[mistake.box] if mistake.box is not None else one.outcomes.boxes[mistake.detection]
        sample, told = one.outcomes.samples[mistake.picture], in_words(one.outcomes, mistake)
        x, y, *_ = sample.window or (0, 0)  # a tile's boxes count from its corner, the file's from the picture's
        yield (
            round(mistake.suspicion, 4),
            mistake.kind,
            sample.path,
            told,
            *(round(float(value) + at, 1) for value, at in zip(box.reshape(-1), (x, y, x, y), strict=True)),
        )


def _csv(rows: Iterable[Sequence[object]]) -> str:
    with io.StringIO(newline="") as file:
        csv.writer(file).writerows(rows)
        return file.getvalue()
