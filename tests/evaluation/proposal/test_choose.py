"""Greedy k-center with weights, on points where one can see what is right."""

from __future__ import annotations

import pytest
import torch

from vision_lora.evaluation.proposal.choose import choose

LABELLED = torch.tensor([[0.0, 0.0]])
POINTS = torch.tensor([[0.1, 0.0], [4.0, 0.0], [4.1, 0.0], [0.0, 3.0], [0.0, -2.0]])


def never(index: int, center: int) -> bool:
    return False


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1.0, 1, 1, 1, 1], [2, 3, 4]),  # far from all before; 1 is beside 2, and 0 beside the label
        ([1.0, 1, 0.9, 1, 1], [1, 3, 4]),
        ([1.0, 0.1, 0.1, 0.1, 1], [4, 2, 3]),  # weighted: the sure ones have to be farther away
        ([0.0, 0, 0, 0, 0], [2, 3, 4]),  # nothing is uncertain: distance alone
        ([0.0, 0, 0, 0, 1], [4, 2, 3]),
    ],
)
def test_far_and_uncertain_pictures_come_first(weights: list[float], expected: list[int]) -> None:
    chosen, copies = choose(POINTS, LABELLED, torch.tensor(weights), 3, never)
    assert [one.place for one in chosen] == expected
    assert copies == 0


def test_what_shows_the_same_as_its_nearest_center_is_passed_over() -> None:
    """0 is asked about beside the labelled picture, 1 beside picture 2, which is number 1 + 2."""
    asked = []

    def same(index: int, center: int) -> bool:
        asked.append((index, center))
        return (index, center) in ((0, 0), (1, 3))

    chosen, copies = choose(POINTS, LABELLED, torch.ones(5), 99, same)
    assert [one.place for one in chosen] == [2, 3, 4]
    assert copies == 2
    assert {(0, 0), (1, 3)} <= set(asked)


def test_channels_of_any_scale_count_alike() -> None:
    scaled = torch.tensor([1e4, 1e-3])
    plain = choose(POINTS, LABELLED, torch.ones(5), 5, never).chosen
    other = choose(POINTS * scaled, LABELLED * scaled, torch.ones(5), 5, never).chosen
    assert [one.place for one in plain] == [one.place for one in other]


def test_a_channel_that_never_changes_says_nothing() -> None:
    still = torch.full((5, 1), 7.0)
    chosen = choose(torch.cat((POINTS, still), 1), torch.tensor([[0.0, 0, 7]]), torch.ones(5), 5, never).chosen
    assert [one.place for one in chosen][:3] == [2, 3, 4]
