"""Overlaps by hand, boxes without an area among them, and the greedy matching of COCO."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from vision_lora.pictures.boxes import common, cut, iou, take


def test_iou_of_each_box_with_each() -> None:
    a = np.array([[0, 0, 10, 10], [0, 0, 5, 10]], np.float32)
    b = np.array([[5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 10, 10]], np.float32)
    assert iou(a, b) == pytest.approx(np.array([[1 / 3, 0, 1], [0, 0, 0.5]]))
    assert common(a, b) == pytest.approx(np.array([[50, 0, 100], [0, 0, 50]]))


def test_iou_is_torchvisions() -> None:
    corners = np.random.default_rng(0).uniform(0, 100, (2, 40, 2, 2)).astype(np.float32)
    first, second = np.concatenate([corners.min(2), corners.max(2)], -1)
    theirs = box_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    assert iou(first, second) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_boxes_without_an_area_overlap_with_nothing(count: int) -> None:
    point, line = [3, 3, 3, 3], [0, 3, 9, 3]
    boxes = np.array([point, line, [0, 0, 9, 9]][: 3 * count], np.float32).reshape(-1, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert iou(boxes, boxes).tolist() == ([[0, 0, 0], [0, 0, 0], [0, 0, 1]] if count else [])


def test_what_boxes_apart_have_in_common_has_no_area() -> None:
    apart = cut(np.array([0, 0, 4, 4], np.float32), np.array([[6, 6, 9, 9], [4, 0, 9, 9]], np.float32))
    assert (apart[:, 2:] <= apart[:, :2]).any(1).all()


@pytest.mark.parametrize(
    ("overlap", "least", "expected"),
    [
        ([[0.6, 0.9], [0.7, 0.8]], [0.5], [[1, 0]]),  # each the best of what is left
        ([[0.6, 0.6]], [0.5], [[1]]),  # of equals the last
        ([[0.5, 0.0]], [0.5], [[0]]),  # as much as is asked for is enough
        ([[0.4], [0.9]], [0.5, 0.95], [[-1, 0], [-1, -1]]),
        ([[0.9, 0.2], [0.8, 0.0]], [0.5], [[0, -1]]),  # a box is taken once
        (np.zeros((2, 0)), [0.5], [[-1, -1]]),
        (np.zeros((0, 3)), [0.5], [[]]),
    ],
)
def test_who_takes_which_box(overlap: list[list[float]], least: list[float], expected: list[list[int]]) -> None:
    assert take(np.array(overlap, np.float32), least).tolist() == expected


@given(st.integers(0, 1000), st.integers(0, 6), st.integers(0, 6))
def test_no_box_is_taken_twice_and_none_is_left_to_take(seed: int, n: int, m: int) -> None:
    overlap = np.random.default_rng(seed).uniform(0, 1, (n, m))
    for level, taken in zip((0.3, 0.7), take(overlap, [0.3, 0.7]), strict=True):
        of = taken[taken >= 0]
        assert len(set(of.tolist())) == len(of)
        assert all(overlap[row, box] >= level for row, box in enumerate(taken) if box >= 0)
        left = np.setdiff1d(np.arange(m), of)
        assert not (overlap[np.flatnonzero(taken < 0)][:, left] >= level).any()
