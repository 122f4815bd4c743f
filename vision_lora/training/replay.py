"""Everyday pictures: a joint pass stays the same on them, and a quiet start tells the new ones from them."""

from __future__ import annotations

from vision_lora.datasets.batches.augment import load_recipe
from vision_lora.datasets.batches.loader import Loading, TrainLoader, train_loader
from vision_lora.datasets.leaves import leaves
from vision_lora.datasets.open import open_pictures
from vision_lora.options.train import TrainConfig

LEAVES = 128  # drawn pictures that stand in where a run has no everyday ones to look at
LARGER = 2  # sides of the pictures to learn from that the replayed ones have, at most


def replay_loader(config: TrainConfig, side: int, steps: int, loading: Loading = Loading(workers=0)) -> TrainLoader:
    """Everyday pictures, or for want of any dead leaves, augmented without labels.

    They are as large as the base was trained on, where that is up to twice the side that defects are learned at: what
    is kept on small pictures is not kept on large ones (data/results/neu-det/joint.json). A batch has about as many
    pixels as half a batch of defects.

    Args:
        config: the recipe, with the side of the pictures to train on.
        side: of the pictures that the base was trained on, pixels.
        steps: batches an epoch.
        loading: processes and memory; `spare` is what the batches to learn from take.
    """
    side, batch = replayed(config.batch_size, config.imgsz, side)
    samples = leaves(LEAVES, side, config.seed) if config.replay is None else open_pictures(config.replay)
    batch = max(config.devices, batch)
    return train_loader(
        samples,
        side,
        batch,
        recipe=load_recipe("replay"),
        seed=config.seed + 1,
        loading=loading,
        min_draws=steps * batch,
    )


def replayed(batch: int, imgsz: int, side: int) -> tuple[int, int]:
    """Side and number of the pictures that are replayed in a step.

    Args:
        batch: pictures to learn from in it.
        imgsz: their side, pixels.
        side: of the pictures that the base was trained on, pixels.

    Examples:
        >>> replayed(16, 320, 640), replayed(16, 1280, 640)
        ((640, 2), (1280, 8))
    """
    side = min(max(side, imgsz), LARGER * imgsz)
    return side, max(1, round(batch / 2 * (imgsz / side) ** 2))
