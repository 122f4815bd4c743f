"""What trackers are told of an epoch and of a run's end, by the same names in each of them."""

from __future__ import annotations

from collections.abc import Mapping

from vision_lora.training.loop.listener import losses_of

PICTURES = ("predictions.png", "curves.png")  # in the run's folder


def scalars(row: Mapping[str, float]) -> dict[str, float]:
    """The numbers of an epoch.

    Examples:
        >>> scalars({"epoch": 2, "lr": 0.01, "box": 1.5, "map50_95": 0.2, "map50": 0.3, "images_per_second": 40.0})
        {'loss/box': 1.5, 'val/map50_95': 0.2, 'val/map50': 0.3, 'lr': 0.01, 'images_per_second': 40.0}
    """
    return {
        **{f"loss/{name}": value for name, value in losses_of(row).items()},
        **{f"val/{name}": row[name] for name in ("map50_95", "map50")},
        **{name: row[name] for name in ("lr", "images_per_second")},
    }
