"""Batches for training and evaluation."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from vision_lora.datasets.batches.augment import Recipe
from vision_lora.datasets.batches.batch import Batch
from vision_lora.datasets.batches.cache import PictureCache, free_shared_memory
from vision_lora.datasets.batches.mix import Picture, mosaic, paste_defect
from vision_lora.datasets.sample import Boxes, Problem, Problems, Sample
from vision_lora.errors import DataError
from vision_lora.pictures.images import letterbox

log = logging.getLogger(__name__)

PATIENCE = (
    300  # seconds that a batch may take; a worker that was lost, or waits for a disk, would be waited for for ever
)
KEPT_GIB = 1.0  # memory for pictures that are measured again and again
PREFETCHED = 2  # batches that each worker has ready


@dataclass(frozen=True)
class Loading:
    """How training pictures get from the disk into the process that trains.

    Args:
        workers: processes that augment; 0 does it in the one that trains.
        pin_memory: put batches in page-locked memory, for a GPU.
        shard: (k, n): this is the k-th of n processes that train; each batch is divided among them.
        cache_gib: memory for decoded pictures; a larger set is kept in a memory-mapped file.
        spare: bytes of shared memory to leave to others.
    """

    workers: int = 1
    pin_memory: bool = False
    shard: tuple[int, int] = (0, 1)
    cache_gib: float = 4.0
    spare: int = 0


@dataclass(frozen=True)
class _Draw:
    """One picture of one epoch: everything that its augmentation depends on."""

    epoch: int
    position: int
    index: int
    counts: bool = True


_Item = tuple[NDArray[np.uint8], Boxes, NDArray[np.int64], float, tuple[float, float], int]


class _Draws(Sampler[list[_Draw]]):
    """Batches of draws; carries the epoch to the workers, so they may live on between epochs.

    Args:
        weights: how often each picture is drawn, relative to the others, (n,).
        draws: pictures in an epoch.
        batch: pictures in a batch.
        seed: of the order.
        shard: (k, n): every n-th picture of each batch from the k-th on, for the k-th of n processes.
    """

    def __init__(self, weights: NDArray[np.float64], draws: int, batch: int, seed: int, shard: tuple[int, int]) -> None:
        self.shard = shard
        self.bounds = np.cumsum(weights) / weights.sum() * draws
        self.draws = draws
        self.batch = batch
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(self.draws / self.batch)

    def __iter__(self) -> Iterator[list[_Draw]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        # Evenly spaced marks over the weights: every picture comes as often as its weight says, rounded up or down.
        marks = np.arange(self.draws) + rng.random()
        order = rng.permutation(np.searchsorted(self.bounds[:-1], marks, side="right"))
        for start in range(0, len(order), self.batch):
            whole = [
                _Draw(self.epoch, start + place, int(index))
                for place, index in enumerate(order[start : start + self.batch])
            ]
            process, processes = self.shard
            # Processes step together: where a last batch is too small for all, the late ones go along with a picture
            # that does not count.
            yield whole[process::processes] or [replace(whole[-1], counts=False)]


def class_balance(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """How often to draw each picture so that rare classes are seen more (repeat factors, Gupta et al. 2019, LVIS).

    A class in a share f of the pictures, less than the average class's share t, asks for sqrt(t / f); a picture gets
    what its rarest class asks for.

    Returns:
        Weights of 1 and more, (n,).
    """
    present = [np.unique(sample.classes) for sample in samples]
    counts = np.bincount(np.concatenate([np.zeros(0, np.int64), *present]))
    if not counts.any():
        return np.ones(len(samples))
    asked = np.sqrt(counts[counts > 0].mean() / np.maximum(counts, 1)).clip(1)
    return np.array([asked[classes].max(initial=1.0) for classes in present])


class _TrainPictures(TorchDataset[_Item]):
    """Augmented pictures from the cache."""

    def __init__(self, samples: Sequence[Sample], cache: PictureCache, recipe: Recipe, seed: int) -> None:
        scales, pads = cache.scales.numpy(), cache.pads.numpy()
        self.boxes = [_boxes_in_square(sample.boxes, scales[i], pads[i]) for i, sample in enumerate(samples)]
        self.classes = [sample.classes for sample in samples]
        self.areas = [_area(sample, scales[i], pads[i]) for i, sample in enumerate(samples)]
        self.usable = np.array([i for i in range(len(samples)) if i not in cache.errors])
        self.defective = np.array([i for i in self.usable if len(samples[i].boxes)])
        self.cache = cache
        self.recipe = recipe
        self.seed = seed
        self.augment = recipe.build()

    def __getitem__(self, draw: _Draw) -> _Item:
        rng = np.random.default_rng((self.seed, draw.epoch, draw.position))
        picture = self._picture(draw.index)
        if rng.random() < self.recipe.mosaic:
            others = [self._picture(int(index)) for index in rng.choice(self.usable, 3)]
            picture = mosaic([picture, *others], rng, self.recipe.min_visibility)
        if rng.random() < self.recipe.copy_paste and len(self.defective):
            picture = paste_defect(picture, self._picture(int(rng.choice(self.defective))), rng)
        # A copy: some transforms work in place, and the cache is everyone's.
        image, boxes, classes = self.augment(picture.image.copy(), picture.boxes, picture.classes, rng)
        scale, (pad_x, pad_y) = float(self.cache.scales[draw.index]), self.cache.pads[draw.index].tolist()
        return image, boxes, classes, scale, (pad_x, pad_y), draw.index if draw.counts else -1

    def _picture(self, index: int) -> Picture:
        return Picture(self.cache.pictures[index].numpy(), self.boxes[index], self.classes[index], self.areas[index])


class _EvalPictures(TorchDataset[_Item]):
    """Letterboxed pictures, decoded when asked for, and the first `room` of them kept."""

    def __init__(self, samples: Sequence[Sample], imgsz: int, room: int) -> None:
        self.samples = samples
        self.imgsz = imgsz
        self.room = room
        self._kept: dict[int, _Item] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> _Item:
        if index in self._kept:
            return self._kept[index]
        sample = self.samples[index]
        image, scale, pad = letterbox(sample.read(), self.imgsz)
        item = image, _boxes_in_square(sample.boxes, scale, np.array(pad)), sample.classes, scale, pad, index
        if len(self._kept) < self.room:
            self._kept[index] = item
        return item


class Batches:
    """Batches of one epoch, again and again. Made by `eval_loader`."""

    def __init__(self, loader: DataLoader[_Item]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._loader)


class TrainLoader(Batches):
    """Shuffled, augmented batches; the same for the same seed and epoch, whatever the number of workers.

    Made by `train_loader`.

    Attributes:
        problems: pictures that could not be decoded and are left out.
        workers: processes that load them.
        in_flight: bytes of shared memory that its batches take on their way here.
    """

    def __init__(self, loader: DataLoader[_Item], draws: _Draws, problems: list[Problem], in_flight: int) -> None:
        super().__init__(loader)
        self._draws = draws
        self.problems = problems
        self.workers = loader.num_workers
        self.in_flight = in_flight

    def pictures(self, index: int) -> int:
        """Pictures in a batch of an epoch, over all processes."""
        return min(self._draws.batch, self._draws.draws - index * self._draws.batch)

    def whole(self) -> Batches:
        """The same batches where several processes divide them, whole; loaded in this process."""
        draws = copy.copy(self._draws)
        draws.shard = (0, 1)
        loader = DataLoader(self._loader.dataset, batch_sampler=draws, collate_fn=_collate, generator=torch.Generator())
        return Batches(loader)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the augmentations of the next iteration."""
        self._draws.epoch = epoch


def train_loader(
    samples: Sequence[Sample],
    imgsz: int,
    batch: int,
    *,
    recipe: Recipe,
    seed: int,
    loading: Loading = Loading(),
    strict: bool = False,
    balanced: bool = False,
    min_draws: int = 0,
) -> TrainLoader:
    """Decode the training pictures once and serve augmented batches of them.

    Args:
        samples: the training split.
        imgsz: side of the square pictures in pixels.
        batch: pictures in a batch; the last batch of an epoch may be smaller.
        recipe: augmentation, from `load_recipe`.
        seed: order and augmentation follow from it and the epoch.
        loading: processes and memory; changes nothing of what is served.
        strict: refuse a picture that cannot be decoded instead of leaving it out.
        balanced: draw pictures of rare classes more often (`class_balance`).
        min_draws: pictures in an epoch, at least; a smaller set is drawn several times, each time augmented anew.

    Raises:
        DataError: no sample, or none can be decoded, or strict and one cannot.
    """
    if not samples:
        raise DataError("no training picture; expected at least one: check the dataset's train split")
    workers, in_flight, free = _within_memory(loading, imgsz, batch)
    cache = PictureCache(samples, imgsz, budget_gib=loading.cache_gib, shared=free - in_flight)
    problems = _left_out(samples, cache, strict=strict)
    weights = class_balance(samples) if balanced else np.ones(len(samples))
    weights[sorted(cache.errors)] = 0
    draws = _Draws(weights, max(min_draws, round(weights.sum())), batch, seed, loading.shard)
    loader = DataLoader(
        _TrainPictures(samples, cache, recipe, seed),
        batch_sampler=draws,
        num_workers=workers,
        prefetch_factor=PREFETCHED if workers else None,
        timeout=PATIENCE if workers else 0,
        collate_fn=_collate,
        worker_init_fn=_quiet_worker,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # for its workers' seeds: none of the run's own random numbers is taken
        pin_memory=loading.pin_memory,
    )
    return TrainLoader(loader, draws, problems, in_flight)


def _within_memory(loading: Loading, imgsz: int, batch: int) -> tuple[int, int, int]:
    """Worker processes that shared memory has room for, bytes of it that their batches take, and those that are free.

    Workers hand their batches over in shared memory, of which containers often have 64 MiB: what is written beyond it
    kills the worker.
    """
    workers, processes = loading.workers, loading.shard[1]
    in_flight = (workers * PREFETCHED + 2) * math.ceil(batch / processes) * imgsz * imgsz * 3 if workers else 0
    free = free_shared_memory() // processes - loading.spare
    if in_flight <= free:
        return workers, in_flight, free
    log.warning(
        "shared memory has %d MiB free, and batches of %d pictures from worker processes need %d: pictures are "
        "loaded in the training process instead, more slowly; give the container more (docker run --shm-size=2g)",
        max(0, free) >> 20,
        batch,
        in_flight >> 20,
    )
    return 0, 0, free


def _left_out(samples: Sequence[Sample], cache: PictureCache, *, strict: bool) -> list[Problem]:
    """Pictures that cannot be learned from, noted in the cache's `errors` as well.

    Raises:
        DataError: there are no others, or strict and one cannot be decoded.
    """
    undecoded = len(cache.errors)
    for i, sample in enumerate(samples):
        if sample.hidden:  # as background it would teach that its objects are none
            cache.errors.setdefault(i, f"{sample.path}: to be ignored as a whole")
    problems = [
        Problem(samples[i].path, "", reason.removeprefix(f"{samples[i].path}: "), "a whole picture")
        for i, reason in sorted(cache.errors.items())
    ]
    told = f"{len(problems)} training pictures cannot be decoded or learned from"
    if (strict and undecoded) or len(problems) == len(samples):
        raise Problems(found=problems).ending(told)
    if problems:
        log.warning("%s and are left out; the first: %s", told, problems[0])
    return problems


def eval_loader(samples: Sequence[Sample], imgsz: int, batch: int, *, again: bool = False) -> Batches:
    """Batches of unaugmented pictures in the order of `samples`.

    Args:
        samples: the split to evaluate.
        imgsz: side of the square pictures in pixels.
        batch: pictures in a batch; the last one may be smaller.
        again: the split is gone through after each epoch; as many decoded pictures are kept as have room.

    Raises:
        DataError: while iterating, a picture cannot be decoded: an evaluation must not skip any.
    """
    return Batches(
        DataLoader(
            _EvalPictures(samples, imgsz, room=int(KEPT_GIB * 2**30 / (3 * imgsz * imgsz)) if again else 0),
            batch,
            collate_fn=_collate,
            generator=torch.Generator(),
        )
    )


def _boxes_in_square(boxes: Boxes, scale: float, pad: NDArray[np.generic]) -> Boxes:
    """Boxes in pixels of the letterboxed picture, (n, 4) float32."""
    return (boxes * scale + np.tile(pad, 2)).astype(np.float32)


def _area(sample: Sample, scale: float, pad: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """The part of the letterboxed square that the picture fills, in pixels."""
    x, y = int(pad[0]), int(pad[1])
    return x, y, x + max(1, round(sample.width * scale)), y + max(1, round(sample.height * scale))


def _collate(items: list[_Item]) -> Batch:
    images = torch.from_numpy(np.stack([item[0] for item in items])).permute(0, 3, 1, 2)  # (B, 3, S, S)
    rows = [
        np.column_stack([np.full(len(boxes), place), classes, boxes])
        for place, (_, boxes, classes, *_) in enumerate(items)
    ]
    targets = torch.from_numpy(np.concatenate(rows).astype(np.float32))
    scales = torch.tensor([item[3] for item in items], dtype=torch.float32)
    pads = torch.tensor([item[4] for item in items], dtype=torch.float32)
    return Batch(images, targets, scales, pads, torch.tensor([item[5] for item in items]))


def _quiet_worker(_: int) -> None:
    """One thread per worker process: OpenCV's own threads would fight the other workers for the cores."""
    cv2.setNumThreads(0)
