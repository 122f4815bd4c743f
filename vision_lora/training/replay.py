"""Pictures that a joint run replays: what the old classes look like, at every size at which they may be met."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from vision_lora.config import TrainConfig
from vision_lora.datasets.augment import load_recipe
from vision_lora.datasets.leaves import leaves
from vision_lora.datasets.loader import TrainLoader, train_loader
from vision_lora.datasets.open import open_pictures

LEAVES = 128  # drawn pictures that stand in where there is none to replay


class Replay:
    """Batches of pictures without labels, as many an epoch as training has.

    Defects are often learned on smaller pictures than the base was trained on, where everyday objects are small too.
    Photographs are therefore opened at the base's own side, and a window of each batch, anything from the side of
    training to the whole picture, is shown at the side of training: objects appear as large as the base knows them.

    Args:
        loader: gives the pictures at their own side.
        side: of the pictures to train on, pixels.
        seed: of the windows.
    """

    def __init__(self, loader: TrainLoader, side: int, seed: int) -> None:
        self._loader = loader
        self._side = side
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch's pictures and windows come next."""
        self._epoch = epoch
        self._loader.set_epoch(epoch)

    def __iter__(self) -> Iterator[Tensor]:
        """Batches of (B, 3, side, side), uint8 RGB."""
        random = torch.Generator().manual_seed(self._seed * 10_000 + self._epoch)
        for batch in self._loader:
            yield window(batch.images, self._side, random)


def window(images: Tensor, side: int, random: torch.Generator) -> Tensor:
    """A square part of a batch, the same in each picture, at a given side.

    Args:
        images: (B, 3, S, S) uint8.
        side: of the result, and least side of the part, pixels; not more than S.
        random: draws size and place.
    """
    whole = images.shape[-1]
    edge = int(torch.randint(side, whole + 1, (), generator=random))
    top, left = torch.randint(0, whole - edge + 1, (2,), generator=random).tolist()
    part = images[..., top : top + edge, left : left + edge]
    if edge == side:
        return part
    return F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True).round().byte()


def open_replay(config: TrainConfig, side: int, steps: int, fabric: Fabric) -> Replay:
    """The pictures of `--replay`, or for want of any dead leaves, which look alike at any size.

    Args:
        config: the recipe.
        side: of the pictures that the base was trained on, pixels.
        steps: batches of an epoch.
        fabric: devices.

    Raises:
        DataError: no picture there.
    """
    drawn = config.replay is None
    samples = leaves(LEAVES, config.imgsz, config.seed) if drawn else open_pictures(config.replay or "")
    batch = max(config.devices, config.batch // 2)
    loader = train_loader(
        samples,
        config.imgsz if drawn else max(config.imgsz, side),
        batch,
        recipe=load_recipe("replay"),
        seed=config.seed + 1,
        workers=config.workers,
        min_draws=steps * batch,
        pin_memory=fabric.device.type == "cuda",
        shard=(fabric.global_rank, fabric.world_size),
    )
    return Replay(loader, config.imgsz, config.seed)
