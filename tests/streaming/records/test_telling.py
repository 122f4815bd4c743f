"""Which pictures are worth a label."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest

from vision_lora.pictures.detections import Detections
from vision_lora.streaming.choices.choice import Choice
from vision_lora.streaming.detecting import DetectedFrame
from vision_lora.streaming.records.telling import TellingFrames
from vision_lora.streaming.sources.inbox import Frame

BLACK = np.zeros((8, 8, 3), np.uint8)
CHOICE = Choice("line1", "defects", 0.5)


class Never(Random):
    """Nothing is kept without a reason."""

    def expovariate(self, lambd: float = 1.0) -> float:
        return float("inf")


def detected(
    number: int, *scores: float, fps: float = 10, choice: Choice = CHOICE, alone: bool = False
) -> DetectedFrame:
    clock = 5.0 if alone else number / fps
    frame = Frame("line", number, clock, clock, clock, (8, 8), lambda: BLACK, str(number), alone=alone)
    found = np.array(scores, np.float32)
    kinds = np.zeros(len(found), np.int64)
    return DetectedFrame(
        frame, BLACK, Detections(np.zeros((len(found), 4), np.float32), found, kinds, ("pit",), 0), choice
    )


def kept(frames: list[tuple[DetectedFrame, list[int]]], random: Random | None = None) -> list[tuple[str, int]]:
    telling = TellingFrames(random or Never())
    looked = [telling.look(one, np.array(tracks, np.int64), np.full(len(tracks), 0.5)) for one, tracks in frames]
    return [(told.reason, told.detected.frame.number) for told in looked if told is not None]


@pytest.mark.parametrize(
    ("scores", "unsure"),
    [((0.41,), True), ((0.59,), True), ((0.39,), False), ((0.95,), False), ((0.95, 0.48), True), ((), False)],
)
def test_unsure_is_a_score_near_its_threshold(scores: tuple[float, ...], unsure: bool) -> None:
    assert kept([(detected(0, *scores), [-1] * len(scores))]) == ([("unsure", 0)] if unsure else [])


def test_at_most_one_a_second_of_the_source_s_time() -> None:
    frames = [(detected(number, 0.5), [-1]) for number in range(35)]
    assert kept(frames) == [("unsure", number) for number in (0, 10, 20, 30)]


def test_pictures_that_stand_alone_have_no_time() -> None:
    assert len(kept([(detected(number, 0.5, alone=True), [-1]) for number in range(5)])) == 5


def test_where_a_thing_was_not_seen_in_between_that_picture_is_kept() -> None:
    """Seen, gone in picture 2, weak in 3, back in 4; a second one leaves for good."""
    seen = [([0.9, 0.9], [4, 7]), ([0.9, 0.9], [4, 7]), ([], []), ([0.3], [4]), ([0.9], [4]), ([0.9], [4])]
    frames = [(detected(number, *scores), tracks) for number, (scores, tracks) in enumerate(seen)]
    assert kept(frames) == [("flicker", 2)]


def test_what_leaves_and_never_comes_back_does_not_flicker() -> None:
    assert kept([(detected(number, 0.9), [number // 2]) for number in range(20)]) == []


def test_a_number_of_another_tracker_is_another_thing() -> None:
    other = Choice("line2", "defects", 0.5)
    frames = [(detected(0, 0.9), [4]), (detected(1), []), (detected(2, 0.9, choice=other), [4])]
    assert kept(frames) == []


def test_of_the_rest_about_one_a_minute() -> None:
    """An hour of two pictures a second in which nothing is doubted: 60 are expected, standard deviation about 8."""
    told = Counter(reason for reason, _ in kept([(detected(n, fps=2), []) for n in range(7200)], Random(0)))
    assert told.keys() == {"random"}
    assert 30 <= told["random"] <= 90
