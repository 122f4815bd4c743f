"""Batches: what is in them, and that nothing but seed and epoch decides it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.datasets.build import picture, yolo
from vision_lora.datasets import Sample, open_dataset
from vision_lora.datasets.batches.augment import Recipe, load_recipe
from vision_lora.datasets.batches.batch import ROOM, Batch
from vision_lora.datasets.batches.loader import Loading, class_balance, eval_loader, train_loader
from vision_lora.datasets.tiles import cut_tiles
from vision_lora.errors import DataError
from vision_lora.pictures.images import letterbox, read_image

NONE = Recipe("none")


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Seven pictures of 64 x 48 with one box each."""
    return open_dataset(yolo(tmp_path, [f"{i % 3} 0.5 0.5 0.{i + 2} 0.5\n" for i in range(7)])).splits["train"]


def epochs(samples: list[Sample], count: int = 2, **options: object) -> list[Batch]:
    chosen = {"recipe": load_recipe("surface"), "seed": 0, "loading": Loading(0)} | options
    loader = train_loader(samples, 96, 3, **chosen)  # type: ignore[arg-type]
    batches = []
    for epoch in range(count):
        loader.set_epoch(epoch)
        batches += list(loader)
        assert len(batches) == (epoch + 1) * len(loader)
    return batches


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets) for a, b in zip(one, other, strict=True)
    )


def test_eval_batches_are_the_letterboxed_pictures_in_order(samples: list[Sample]) -> None:
    batches = list(eval_loader(samples, 96, 3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(7))
    batch = batches[1]
    assert (batch.images.shape, batch.images.dtype) == ((3, 3, 96, 96), torch.uint8)
    expected, scale, pad = letterbox(read_image(samples[3].path), 96)
    np.testing.assert_array_equal(batch.images[0].permute(1, 2, 0).numpy(), expected)
    assert (float(batch.scales[0]), tuple(batch.pads[0].tolist())) == (scale, pad)
    index, kind, *box = batch.targets[1].tolist()
    assert (index, kind) == (1, float(samples[4].classes[0]))
    np.testing.assert_allclose(box, samples[4].boxes[0] * scale + np.tile(pad, 2), rtol=1e-6)


def test_without_a_recipe_training_sees_the_same_pictures(samples: list[Sample]) -> None:
    seen = {
        int(i): image for b in epochs(samples, 1, recipe=NONE) for i, image in zip(b.indices, b.images, strict=True)
    }
    assert len(seen) == 7
    for batch in eval_loader(samples, 96, 7):
        for index, image in zip(batch.indices, batch.images, strict=True):
            assert torch.equal(image, seen[int(index)])


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(samples: list[Sample], workers: int) -> None:
    assert same(epochs(samples), epochs(samples, loading=Loading(workers)))


def test_spawned_workers_share_the_pictures(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes do not fork (Windows, macOS), the cache has to survive being sent."""
    from torch.utils.data import DataLoader

    plain = epochs(samples)
    monkeypatch.setattr(
        "vision_lora.datasets.batches.loader.DataLoader",
        lambda *args, **options: DataLoader(*args, **options, multiprocessing_context="spawn"),
    )
    assert same(plain, epochs(samples, loading=Loading(1)))
    assert same(plain, epochs(samples, loading=Loading(1, cache_gib=0.0)))


def test_seed_and_epoch_decide(samples: list[Sample]) -> None:
    first = epochs(samples)
    assert same(first, epochs(samples))
    assert not same(first[:3], first[3:])
    assert not same(first, epochs(samples, seed=1))


def test_a_file_serves_as_well_as_memory_and_goes(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    loader = train_loader(samples, 96, 7, recipe=NONE, seed=0, loading=Loading(0, cache_gib=0.0))
    assert len(list(tmp_path.glob("*.pictures"))) == 1
    assert same(list(loader), list(train_loader(samples, 96, 7, recipe=NONE, seed=0, loading=Loading(0))))
    del loader
    assert not list(tmp_path.glob("*.pictures"))


def test_a_full_disk_is_one_line(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="GiB free"):
        train_loader(samples, 96, 7, recipe=NONE, seed=0)


def test_pictures_broken_inside_are_left_out_and_told(samples: list[Sample], caplog: pytest.LogCaptureFixture) -> None:
    """Damage that only decoding shows; an evaluation must not skip anything."""
    data = bytearray(samples[2].path.read_bytes())
    data[60:900] = bytes(840)
    samples[2].path.write_bytes(data)
    loader = train_loader(samples, 96, 3, recipe=NONE, seed=0, loading=Loading(0))
    assert sorted(int(i) for batch in loader for i in batch.indices) == [0, 1, 3, 4, 5, 6]
    assert [problem.file for problem in loader.problems] == [samples[2].path]
    assert "1 training pictures cannot be decoded" in caplog.text
    with pytest.raises(DataError, match=r"2\.png"):
        train_loader(samples, 96, 3, recipe=NONE, seed=0, strict=True)
    with pytest.raises(DataError, match=r"2\.png"):
        list(eval_loader(samples, 96, 3))
    with pytest.raises(DataError, match=r"2\.png"):
        train_loader(samples[2:3], 96, 3, recipe=NONE, seed=0)


def test_no_pictures() -> None:
    with pytest.raises(DataError, match="no training picture"):
        train_loader([], 96, 3, recipe=NONE, seed=0)


def test_pictures_without_boxes_make_batches(samples: list[Sample]) -> None:
    empty = [replace(sample, boxes=sample.boxes[:0], classes=sample.classes[:0]) for sample in samples]
    for batch in [*epochs(empty), *eval_loader(empty, 96, 3)]:
        assert batch.targets.shape == (0, 6)


def test_a_small_set_is_drawn_several_times_each_anew(samples: list[Sample]) -> None:
    batches = epochs(samples, 1, min_draws=21)
    drawn = torch.cat([batch.indices for batch in batches])
    assert torch.bincount(drawn).tolist() == [3] * 7
    images = torch.cat([batch.images for batch in batches])[drawn == 0]
    assert not torch.equal(images[0], images[1])


def test_rare_classes_are_drawn_more_often(samples: list[Sample]) -> None:
    rare = [replace(sample, classes=np.array([int(index == 6)])) for index, sample in enumerate(samples)]
    weights = class_balance(rare)
    np.testing.assert_allclose(weights, [1, 1, 1, 1, 1, 1, np.sqrt(3.5)])
    drawn = torch.cat([batch.indices for batch in epochs(rare, 20, balanced=True)])
    counts = torch.bincount(drawn)
    assert counts[6] > 1.5 * counts[0]
    assert (counts[:6] >= 15).all()
    empty = [replace(sample, boxes=sample.boxes[:0], classes=sample.classes[:0]) for sample in samples]
    assert class_balance(empty).tolist() == [1] * 7


def test_tiles_train_like_pictures(samples: list[Sample]) -> None:
    tiles = cut_tiles(samples, 32, 0.25)
    batches = list(eval_loader(tiles, 32, 64))
    assert sum(len(batch) for batch in batches) == len(tiles) == 7 * 6
    np.testing.assert_array_equal(batches[0].images[1].permute(1, 2, 0).numpy(), tiles[1].read())
    assert len(epochs(tiles, 1)) == 14


def test_batches_move(samples: list[Sample]) -> None:
    batch = next(iter(eval_loader(samples, 96, 3)))
    moved = batch.to("meta")
    assert moved.images.device.type == moved.targets.device.type == moved.indices.device.type == "meta"


def test_pictures_that_are_measured_again_are_decoded_once(
    samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(Sample, "read", lambda self: (read.append(self.path), read_image(self.path))[1])
    batches = eval_loader(samples, 96, 3, again=True)
    first, second = ([batch.images for batch in batches] for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert len(read) == len(samples)
    monkeypatch.setattr("vision_lora.datasets.batches.loader.KEPT_GIB", 2.5 * 96 * 96 * 3 / 2**30)  # room for two
    read.clear()
    batches = eval_loader(samples, 96, 3, again=True)
    for _ in range(2):
        list(batches)
    assert len(read) == 2 * len(samples) - 2


def test_a_smaller_batch_shows_the_same(samples: list[Sample]) -> None:
    batch = next(iter(eval_loader(samples, 96, 3)))
    small = batch.resized(48)
    assert small.images.shape == (3, 3, 48, 48)
    assert small.images.dtype == torch.uint8
    boxes = batch.images.float().view(3, 3, 48, 2, 48, 2).mean((3, 5))  # averages of 2 x 2 pixels, all but antialiased
    assert (small.images.float() - boxes).abs().mean() < 12
    torch.testing.assert_close(small.targets[:, 2:] * 2, batch.targets[:, 2:])
    torch.testing.assert_close(small.targets[:, :2], batch.targets[:, :2])
    torch.testing.assert_close(small.scales * 2, batch.scales)
    torch.testing.assert_close(small.pads * 2, batch.pads)
    assert batch.resized(96) is batch


def test_a_grey_sixteen_bit_picture_trains(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", mode="I;16")
    sample = Sample(path, 64, 48, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    assert next(iter(eval_loader([sample], 64, 1))).images.shape == (1, 3, 64, 64)


def test_room_for_boxes_grows_in_few_steps_and_keeps_every_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for count in (0, 1, 7, 40, 300):
        rows = torch.rand(count, 6, generator=generator) + 1
        rows[:, 0] = torch.randint(0, 4, (count,), generator=generator)
        none = torch.zeros(4)
        boxes = Batch(torch.zeros(4, 3, 8, 8), rows, none, none, none).with_room().targets
        assert boxes.shape[1] % ROOM == 0
        assert (boxes.shape[1] // ROOM).bit_count() == 1
        for index in range(4):
            mine = boxes[index][boxes[index, :, 0] > 0]
            assert torch.equal(mine, rows[rows[:, 0] == index][:, 1:])
