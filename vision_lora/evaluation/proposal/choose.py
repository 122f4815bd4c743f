"""Which pictures together say the most: uncertain ones, that differ from what is labelled and from each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Chosen(NamedTuple):
    """A picture that was chosen.

    Attributes:
        place: which one, 0 to n - 1.
        distance: of its features from the nearest ones that were labelled or chosen before it.
    """

    place: int
    distance: float


class Choice(NamedTuple):
    """What was chosen.

    Attributes:
        chosen: in their order, the most telling one first.
        copies: how many were passed over as near-copies of what is labelled or chosen already.
    """

    chosen: list[Chosen]
    copies: int


def choose(features: Tensor, labelled: Tensor, weights: Tensor, count: int, same: Callable[[int, int], bool]) -> Choice:
    """Greedy k-center (Sener & Savarese 2018, algorithm 1), each distance weighted with the picture's uncertainty.

    Labelled pictures are the first centers; then the picture with the largest product of uncertainty and distance from
    its nearest center becomes the next one. Features are standardised, as channels of different layers have scales of
    their own.

    Args:
        features: of the pictures to choose from, (n, d).
        labelled: of those that are labelled, (m, d), m > 0.
        weights: uncertainty of the pictures, (n,); where none is above 0, the distance alone counts.
        count: how many to choose; fewer where there are no more.
        same: whether a picture (index from 0 to n - 1) is a near-copy of its nearest center: a labelled picture (0 to
            m - 1), or picture i of those to choose from (m + i). Such a one is passed over.
    """
    every = torch.cat((labelled, features))
    deviation, mean = torch.std_mean(every, 0, correction=0)
    every = (every - mean) / deviation.clamp(min=1e-6)
    centers, places = every[: len(labelled)], every[len(labelled) :]
    distances, nearest = torch.cdist(places, centers).min(1)
    free = torch.ones(len(places), dtype=torch.bool)
    chosen: list[Chosen] = []
    copies = 0
    while len(chosen) < count and free.any():
        gains = weights * distances
        gains = (gains if gains[free].max() > 0 else distances).masked_fill(~free, -1)
        index = int(gains.argmax())
        free[index] = False
        if same(index, int(nearest[index])):
            copies += 1
            continue
        chosen.append(Chosen(index, float(distances[index]) / features.shape[1] ** 0.5))
        moved = (places - places[index]).norm(dim=1)
        nearest[moved < distances] = len(labelled) + index
        distances = torch.minimum(distances, moved)
    return Choice(chosen, copies)
