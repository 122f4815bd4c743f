"""Few-shot subsets: so many pictures of each class, each subset inside the larger ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vision_lora.datasets.sample import Sample


def few_shot(samples: Sequence[Sample], shots: Sequence[int], classes: int, seed: int) -> dict[int, list[int]]:
    """Choose pictures so that each class is in at least k of them, for growing k.

    The pictures are shuffled once. For each k, from the smallest on, the classes take turns, the one in the fewest
    pictures of the dataset first, until each is in k of the chosen pictures. A class takes the picture that shows the
    fewest boxes of classes that have their k already, so that common classes do not flood the subset, and of equals
    the first in the shuffled order. A class with fewer than k pictures gives all it has. Pictures without boxes are in
    no subset.

    Args:
        samples: the training split.
        shots: pictures of each class, 1 or more, in any order.
        classes: number of classes.
        seed: of the shuffle.

    Returns:
        For each of `shots` the positions in `samples`, ascending; those of a smaller one are among a larger one's.

    Examples:
        >>> from pathlib import Path
        >>> picture = lambda *c: Sample(Path("x"), 9, 9, np.zeros((len(c), 4), "f4"), np.array(c, int))
        >>> chosen = few_shot([picture(0), picture(1), picture(), picture(0, 1)], [1, 2], 2, seed=0)
        >>> chosen[2]
        [0, 1, 3]
    """
    order = np.random.default_rng(seed).permutation(len(samples)).tolist()
    boxes = np.stack([np.bincount(sample.classes, minlength=classes) for sample in samples])  # (n, classes)
    rarest_first = np.argsort((boxes > 0).sum(0), kind="stable").tolist()
    chosen: set[int] = set()
    have = np.zeros(classes, np.int64)  # chosen pictures that show each class
    subsets: dict[int, list[int]] = {}
    for k in sorted(set(shots)):
        for turn in range(1, k + 1):
            for c in rarest_first:
                if have[c] >= turn:
                    continue
                free = [index for index in order if index not in chosen and boxes[index, c]]
                if free:
                    full = have >= k
                    best = min(free, key=lambda index: int(boxes[index, full].sum()))
                    chosen.add(best)
                    have += boxes[best] > 0
        subsets[k] = sorted(chosen)
    return subsets


def pictures_per_class(samples: Sequence[Sample], classes: int) -> list[int]:
    """How many of the pictures show each class, (classes,)."""
    present = [np.unique(sample.classes) for sample in samples]
    counts: list[int] = np.bincount(np.concatenate([np.zeros(0, np.int64), *present]), minlength=classes).tolist()
    return counts
