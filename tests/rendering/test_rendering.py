"""Synthetic factory pictures: physics, boxes, and the data set on disk."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from vision_lora.datasets import open_dataset
from vision_lora.errors import OutputError
from vision_lora.rendering import NAMES, ensure_demo, write, write_pictures
from vision_lora.rendering.defects import DEFECTS
from vision_lora.rendering.light import Lamp, Light, shade
from vision_lora.rendering.lookalikes import LOOKALIKES
from vision_lora.rendering.noise import fractal, grain, streaks
from vision_lora.rendering.relief import Relief
from vision_lora.rendering.scene import draw_scene, set_up
from vision_lora.rendering.shapes import Path as Line
from vision_lora.rendering.shapes import distances
from vision_lora.rendering.surfaces import SURFACES, brushed

FULL = (slice(0, 320), slice(0, 320))


def flat(height: np.ndarray) -> Relief:
    """Matte grey of a given height."""
    shape = height.shape
    return Relief(height, np.ones((*shape, 3)), np.zeros(shape), np.zeros(shape), 0.3, 0.3)


def lamp_from(x: float, y: float) -> Light:
    """One lamp far away, at 45 degrees above the horizon, in a direction in the picture."""
    return Light((Lamp(32 + 1e5 * x, 32 + 1e5 * y, 1e5, 1.0),), (), 0.2, 1e6)


@pytest.mark.parametrize("cell", [1, 1.3, 2, 5, 40, (1, 60), (2.2, 120)])
def test_grain_has_the_deviation_and_the_size_that_it_says(cell: float | tuple[float, float]) -> None:
    fields = [grain(np.random.default_rng(seed), (200, 210), cell) for seed in range(12)]
    assert fields[0].shape == (200, 210)
    assert np.std(fields) == pytest.approx(1, abs=0.12)
    tall, wide = cell if isinstance(cell, tuple) else (cell, cell)
    if tall == wide > 2:
        one = [np.corrcoef(field[:, : -round(wide)].ravel(), field[:, round(wide) :].ravel())[0, 1] for field in fields]
        half = round(wide / 2)
        near = [np.corrcoef(field[:, :-half].ravel(), field[:, half:].ravel())[0, 1] for field in fields]
        assert np.mean(near) > 0.6 > 0.5 > np.mean(one)  # alike at half a feature, strangers at a whole one


@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2, 2.4])
def test_streaks_run_in_the_direction_that_is_asked_for(angle: float) -> None:
    field = streaks(np.random.default_rng(0), (200, 240), angle, 2.0, 60)
    slope_y, slope_x = np.gradient(field)
    along = (np.cos(angle) * slope_x + np.sin(angle) * slope_y).std()
    across = (np.cos(angle) * slope_y - np.sin(angle) * slope_x).std()
    assert field.shape == (200, 240)
    assert along < 0.15 * across


def test_fractal_adds_sizes_without_changing_the_deviation() -> None:
    rng = np.random.default_rng(0)
    assert np.std([fractal(rng, (200, 200), 16, 4) for _ in range(8)]) == pytest.approx(1, abs=0.15)


def test_distances_from_a_line_are_those_of_geometry() -> None:
    line = Line(np.array([[10.0, 20.0], [30.0, 20.0]]), np.array([2.0, 2.0]))
    seen = distances(line, (40, 50), reach=4)
    assert seen.across[20, 20] == 0
    assert seen.across[23, 20] == pytest.approx(1.5)  # 3 px away from a line of half width 2
    assert seen.across[20, 33] == pytest.approx(1.5)  # beyond its end
    assert seen.across[29, 20] == np.inf
    assert seen.along[20, 15] == pytest.approx(0.25)
    far_off = Line(np.array([[-60.0, -50.0], [-40.0, -50.0], [90.0, 70.0]]), np.array([2.0, 2.0, 2.0]))
    assert np.isinf(distances(far_off, (20, 20)).across).any()  # lines may come from outside


def test_slope_that_faces_the_lamp_is_brighter() -> None:
    ramp = 0.3 * np.arange(64.0) * np.ones((64, 1))  # rises to the right: faces left
    level = np.zeros((64, 64))
    left, right = lamp_from(-1, 0), lamp_from(1, 0)
    middle = (slice(16, 48), slice(16, 48))
    lit = {
        name: shade(flat(ramp), light, (0, 0), (32, 32))[middle].mean()
        for name, light in (("left", left), ("right", right))
    }
    plain = shade(flat(level), left, (0, 0), (32, 32))[middle].mean()
    assert lit["left"] > plain > lit["right"]
    # Lambert: ambient 0.2 + 0.55 cos; normal (-0.3, 0, 1) and lamp (-1, 0, 1) give cos = 1.3 / sqrt(1.09 * 2).
    assert lit["left"] == pytest.approx(0.2 + 0.55 * 1.3 / np.sqrt(1.09 * 2), rel=1e-3)


def test_dent_turns_its_shadow_with_the_lamp() -> None:
    mark = DEFECTS["dent"](np.random.default_rng(3), 0.0)
    size = mark.height.shape[0]
    piece = mark.on(flat(np.zeros((size, size))), 0.3)
    half = size // 2
    for x, darker in ((-1, "left"), (1, "right")):
        picture = shade(piece, lamp_from(x, 0), (0, 0), (half, half)).mean(2)
        sides = {"left": picture[:, :half].mean(), "right": picture[:, half:].mean()}
        assert min(sides, key=lambda side: sides[side]) == darker  # the wall next to the lamp lies in its own shadow


def test_highlight_of_brushed_metal_spreads_across_the_marks() -> None:
    """A lamp straight above is mirrored as a line across the lay, as on the bottom of a pan."""
    shape = (161, 161)
    piece = replace(flat(np.zeros(shape)), gloss=np.ones(shape), along=0.05, across=0.5)
    picture = shade(piece, Light((Lamp(80, 80, 200, 1.0),), (), 0.1, 200.0), (0, 0), (80, 80)).mean(2)
    assert picture[80, 80] == picture.max()
    assert picture[150, 80] > 1.5 * picture[80, 150]


@pytest.mark.parametrize("surface", ["brushed", "ground", "rolled", "turned"])
def test_lay_of_a_surface_is_that_of_its_texture(surface: str) -> None:
    angles = []
    for seed in range(3):
        piece = SURFACES[surface](np.random.default_rng(seed), (240, 240))
        rough = piece.height - cv2.GaussianBlur(piece.height, (0, 0), 4)
        slope_y, slope_x = np.gradient(rough)
        along = np.cos(piece.lay) * slope_x + np.sin(piece.lay) * slope_y
        across = np.cos(piece.lay) * slope_y - np.sin(piece.lay) * slope_x
        angles.append(along.std() / across.std())
    assert max(angles) < 0.95
    assert np.mean(angles) < 0.85


@pytest.mark.parametrize("surface", SURFACES)
def test_every_surface_gives_a_usable_picture(surface: str) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        stage = set_up(rng, SURFACES[surface](rng, (160, 160)))
        picture = stage.camera.expose(stage.picture, rng)
        assert picture.shape == (160, 160, 3)
        assert 40 < picture.mean() < 215
        assert picture.std() > 3  # no even grey
        assert (picture == 255).mean() < 0.1


@pytest.mark.parametrize("kind", DEFECTS)
def test_box_fits_what_the_defect_changes_in_the_picture(kind: str) -> None:
    """Held against the picture without it: all that changes clearly is inside, and each side touches a change."""
    seen = 0
    for seed, surface in enumerate(SURFACES):
        rng = np.random.default_rng([seed, 17])
        stage = set_up(rng, SURFACES[surface](rng, (320, 320)))
        before = stage.picture.copy()
        found = stage.put(rng, kind)
        if found is None:
            continue
        seen += 1
        change = cv2.GaussianBlur(np.abs(stage.picture - before).mean(2), (0, 0), 1.0)  # nobody sees a single pixel
        x1, y1, x2, y2 = found.box
        inside = change[y1:y2, x1:x2]
        assert 0 <= x1 < x2 <= 320
        assert 0 <= y1 < y2 <= 320
        outside = change.copy()
        outside[max(y1 - 2, 0) : y2 + 2, max(x1 - 2, 0) : x2 + 2] = 0
        assert outside.max() < 0.5 * inside.max()
        assert inside.max() > 0.03  # eight of 255 grey levels
        for edge in (inside[:2], inside[-2:], inside[:, :2], inside[:, -2:]):
            assert edge.max() > 0.15 * np.percentile(inside, 95)
        assert found.mask[y1:y2, x1:x2].sum() == found.mask.sum()
    assert seen >= 5


def test_picture_with_defects_has_no_seams() -> None:
    """A defect is rendered in its own window; the whole, rendered at once, looks the same."""
    for seed, surface in enumerate(("brushed", "rolled", "cast")):
        stage, found = draw_scene(np.random.default_rng([seed, 5]), (320, 320), surface, list(NAMES), 1)
        assert len(found) >= 5
        assert np.abs(stage.look(stage.relief, FULL) - stage.picture).max() < 1 / 255


def test_defects_of_a_picture_do_not_overlap() -> None:
    _, found = draw_scene(np.random.default_rng(2), (320, 320), "ground", [*NAMES, *NAMES], 0)
    assert len(found) >= 10
    assert np.sum([one.mask for one in found], axis=0).max() == 1


def test_defect_that_cannot_fit_is_left_out() -> None:
    rng = np.random.default_rng(0)
    stage = set_up(rng, brushed(rng, (160, 160)))
    stage.taken[:] = True
    before = stage.picture.copy()
    assert stage.put(rng, "stain") is None
    assert np.array_equal(stage.picture, before)


def test_clearer_defects_change_the_picture_more() -> None:
    def strongest(clear: float) -> float:
        changes = []
        for seed in range(6):
            rng = np.random.default_rng([seed, 3])
            stage = set_up(rng, brushed(rng, (200, 200)))
            before = stage.picture.copy()
            stage.put(rng, "crack", clear=clear)
            changes.append(np.abs(stage.picture - before).max())
        return float(np.median(changes))

    assert strongest(2.0) > 1.2 * strongest(0.8)


@pytest.mark.parametrize("lookalike", LOOKALIKES, ids=lambda lookalike: lookalike.__name__)
def test_every_lookalike_can_be_seen(lookalike) -> None:
    changes = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        stage = set_up(rng, brushed(rng, (240, 240)))
        mark, _ = lookalike(rng, stage.relief)
        after = stage.look(mark.on(stage.relief, 1.0), (slice(0, 240), slice(0, 240)))
        changes.append(np.abs(after - stage.picture).mean(2).max())
    assert np.median(changes) > 0.04


def test_sound_pictures_have_lookalikes_and_no_boxes() -> None:
    labels, decorated = [], 0
    for seed in range(8):
        picture, label = write.draw(np.random.default_rng(seed), "brushed", [])
        labels.append(label)
        rng = np.random.default_rng(seed)
        rng.random()  # whether there is a lookalike
        stage, _ = draw_scene(rng, (320, 320), "brushed", [], 0)
        decorated += not np.array_equal(picture, stage.camera.expose(stage.picture, rng))
    assert labels == [""] * 8
    assert decorated >= 3


@pytest.mark.parametrize(("count", "boxes"), [(160, 51), (40, 13)])
def test_classes_and_surfaces_are_dealt_evenly(count: int, boxes: int) -> None:
    plan = write.deal(np.random.default_rng(0), count)
    kinds = Counter(kind for _, hand in plan for kind in hand)
    assert kinds == dict.fromkeys(NAMES, boxes)
    assert Counter(len(hand) for _, hand in plan)[0] == count // 8
    assert max(len(hand) for _, hand in plan) <= 4
    surfaces = Counter(surface for surface, _ in plan)
    assert set(surfaces) == set(SURFACES)
    assert max(surfaces.values()) - min(surfaces.values()) <= 1


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen pictures instead of 240."""
    monkeypatch.setattr(write, "SPLITS", {"train": 8, "val": 8})


@pytest.mark.usefixtures("few")
def test_data_set_is_read_by_the_reader_and_the_same_again(tmp_path: Path) -> None:
    first = write_pictures(tmp_path / "a", seed=4)
    data = open_dataset(first, strict=True)
    assert data.names == NAMES
    assert {split: len(samples) for split, samples in data.splits.items()} == {"train": 8, "val": 8}
    assert all(len(sample.boxes) == 0 for sample in data.splits["val"] if not _label(sample.path))
    boxes = sum(len(sample.boxes) for sample in data.splits["train"])
    assert boxes == sum(len(_label(sample.path).splitlines()) for sample in data.splits["train"]) >= 12
    write_pictures(tmp_path / "b", seed=4)
    write_pictures(tmp_path / "c", seed=5)
    digests = [_digest(tmp_path / name) for name in "abc"]
    assert digests[0] == digests[1]
    assert set(digests[0].values()).isdisjoint(value for name, value in digests[2].items() if name.endswith(".jpg"))
    assert not list(tmp_path.rglob(".*"))  # nothing half-written stays


def test_bytes_do_not_depend_on_the_processor(tmp_path: Path) -> None:
    """The same pictures without the vector units that numpy and OpenCV choose by machine."""
    code = (
        "import hashlib, sys, numpy as np; from vision_lora.rendering import write\n"
        "for seed, surface in enumerate(('milled', 'brushed', 'rolled')):\n"
        "    picture, label = write.draw(np.random.default_rng(seed), surface, ['scratch', 'stain', 'pit'])\n"
        "    print(hashlib.sha256(picture.tobytes() + label.encode()).hexdigest())\n"
    )
    plain = {"NPY_DISABLE_CPU_FEATURES": "", "OPENCV_CPU_DISABLE": ""}
    poor = {
        "NPY_DISABLE_CPU_FEATURES": " ".join(_numpy_vector_units()),
        "OPENCV_CPU_DISABLE": "SSE4_1,SSE4_2,AVX,FP16,AVX2,FMA3,AVX512-SKX,AVX512-ICL",
    }
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | extra, capture_output=True, text=True, check=True
        ).stdout
        for extra in (plain, poor)
    ]
    assert len(outputs[0].split()) == 3
    assert outputs[0] == outputs[1]


def _numpy_vector_units() -> list[str]:
    """What numpy has chosen on this machine beyond its baseline."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return [str(name) for name in found]


@pytest.mark.usefixtures("few")
def test_demo_is_made_where_it_is_asked_for_and_missing(tmp_path: Path) -> None:
    other = tmp_path / "data" / "own" / "defects.yaml"
    ensure_demo(other)
    ensure_demo("")
    assert not other.parent.exists()
    wanted = tmp_path / "data" / "demo" / "defects.yaml"
    ensure_demo(str(wanted))
    assert len(open_dataset(wanted).splits["train"]) == 8
    picture = wanted.parent / "images" / "train" / "train_000.jpg"
    picture.unlink()
    ensure_demo(wanted)  # there already: left as it is
    assert not picture.exists()


def test_demo_where_it_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        ensure_demo(tmp_path / "data" / "demo" / "defects.yaml")


def _label(picture: Path) -> str:
    return (picture.parents[2] / "labels" / picture.parent.name / f"{picture.stem}.txt").read_text()


def _digest(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
