"""From boxes to alarms: things are followed, and each defect is one alarm."""

from __future__ import annotations

import numpy as np
import pytest

from vision_lora.errors import ConfigError
from vision_lora.pictures.detections import Detections
from vision_lora.streaming.alarms.rules import Alarm
from vision_lora.streaming.alarms.watch import Watch
from vision_lora.streaming.choices.choice import Choice
from vision_lora.streaming.sources.inbox import Frame

NAMES = ("person", "scratch", "dent")  # one general class, two of the adapter
SIZE = (200, 100)
Box = tuple[str, float, tuple[float, float, float, float]]  # class, score, corners


def frame(number: int, *, alone: bool = False, fps: float = 10.0) -> Frame:
    return Frame(
        "line", number, 0, 0, number / fps, SIZE, lambda: np.zeros((1, 1, 3), np.uint8), str(number), "", alone
    )


def found(*boxes: Box) -> Detections:
    return Detections(
        np.array([box for _, _, box in boxes], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in boxes], np.float32),
        np.array([NAMES.index(name) for name, _, _ in boxes], np.int64),
        NAMES,
        1,
    )


def watch(
    pictures: list[list[Box]],
    choice: Choice | None = None,
    *,
    min_frames: int = 3,
    alone: bool = False,
    **zones: object,
) -> list[tuple[int, Alarm]]:
    """The alarms with the number of the picture that they came with."""
    watcher = Watch(zones, min_frames)  # type: ignore[arg-type]
    choice = choice or Choice("line", "both", 0.5)
    return [
        (number, alarm)
        for number, boxes in enumerate(pictures)
        for alarm in watcher.look(frame(number, alone=alone), found(*boxes), choice)[1]
    ]


def moving(name: str, count: int, *, score: float = 0.9, y: float = 20, step: float = 4) -> list[list[Box]]:
    return [[(name, score, (10 + step * n, y, 40 + step * n, y + 20))] for n in range(count)]


def test_one_alarm_for_one_defect_after_enough_pictures() -> None:
    alarms = watch(moving("scratch", 30))
    assert [(number, alarm.name, alarm.frames) for number, alarm in alarms] == [(2, "scratch", 3)]


def test_two_pictures_of_a_flicker_are_none() -> None:
    pictures = moving("scratch", 2) + [[] for _ in range(30)] + moving("dent", 2)
    assert watch(pictures) == []


def test_two_defects_and_the_same_place_later_are_three_alarms() -> None:
    both = [a + b for a, b in zip(moving("scratch", 10), moving("dent", 10, y=60), strict=True)]
    later = [[] for _ in range(30)] + moving("scratch", 10)
    alarms = watch(both + later)
    assert [alarm.name for _, alarm in alarms] == ["scratch", "dent", "scratch"]
    assert len({alarm.track for _, alarm in alarms}) == 3


def test_a_defect_that_is_missed_for_some_pictures_is_the_same() -> None:
    pictures = moving("scratch", 40, step=2)
    for number in (8, 9, 10, 20):
        pictures[number] = []
    assert len(watch(pictures)) == 1


def test_a_defect_whose_score_falls_is_followed_and_named_by_all_pictures() -> None:
    pictures = moving("scratch", 20, step=2)
    for number in (5, 6, 7):
        pictures[number] = [("scratch", 0.3, pictures[number][0][2])]
    pictures[2] = [("dent", 0.6, pictures[2][0][2])]
    alarms = watch(pictures, min_frames=4)
    assert [(number, alarm.name) for number, alarm in alarms] == [(3, "scratch")]


def test_thresholds_of_classes() -> None:
    choice = Choice("line", "both", 0.5, {"dent": 0.8, "scratch": 0.2})
    assert [alarm.name for _, alarm in watch(moving("scratch", 9, score=0.3), choice)] == ["scratch"]
    assert watch(moving("dent", 9, score=0.7), choice) == []
    assert [alarm.name for _, alarm in watch(moving("dent", 9, score=0.85), choice)] == ["dent"]


def test_what_the_base_knows_is_no_defect_unless_it_is_asked_for() -> None:
    people = moving("person", 9)
    assert watch(people) == []
    assert len(watch(people, Choice("line", "general", 0.5))) == 1
    assert len(watch(people, Choice(None, "both", 0.5))) == 1
    assert len(watch(people, Choice("line", "both", 0.5, {"person": 0.5}))) == 1
    assert watch(people, Choice("line", "general", 0.5, {"scratch": 0.5})) == []


def test_a_person_in_front_of_a_scratch_is_another_thing() -> None:
    watcher, choice = Watch({}, 2), Choice("line", "both", 0.5)
    for number in range(6):
        box = (10.0, 10.0, 60.0, 60.0)
        tracks, _ = watcher.look(frame(number), found(("person", 0.9, box), ("scratch", 0.8, box)), choice)
    assert tracks[0] != tracks[1]
    assert min(tracks) >= 0


def test_zones_count_where_the_centre_is() -> None:
    left = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
    in_both = watch(moving("scratch", 30, step=4), left=left)
    assert [(number, alarm.zone) for number, alarm in in_both] == [(2, "left")]
    right = [[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]
    entering = watch(moving("scratch", 30, step=4), right=right)
    # The centre, 25 + 4 n of 200 px, reaches the right half in picture 19; that and the two after it count.
    assert [(number, alarm.zone) for number, alarm in entering] in ([(20, "right")], [(21, "right")])
    assert watch(moving("scratch", 10), right=right) == []


def test_pictures_that_stand_alone_are_enough_by_themselves() -> None:
    alarms = watch([moving("scratch", 1)[0]] * 3, alone=True)
    assert [number for number, _ in alarms] == [0, 1, 2]
    assert len({alarm.track for _, alarm in alarms}) == 3


def test_another_adapter_begins_afresh() -> None:
    watcher = Watch({}, 3)
    first, second = Choice("line", "both", 0.5), Choice("other", "both", 0.5)
    alarms = []
    for number, boxes in enumerate(moving("scratch", 12, step=1)):
        alarms += watcher.look(frame(number), found(*boxes), first if number < 6 else second)[1]
    assert len(alarms) == 2


def test_nothing_is_remembered_for_ever() -> None:
    watcher, choice = Watch({}, 2), Choice("line", "both", 0.5)
    random = np.random.default_rng(0)
    for number in range(2000):
        x, y = random.uniform(0, 150), random.uniform(0, 60)
        watcher.look(frame(number), found(("scratch", 0.9, (x, y, x + 20, y + 20))), choice)
    assert watcher._rules is not None
    assert len(watcher._rules._things) < 60
    assert sum(len(tracker.tracks) for tracker in watcher._tracking._trackers) < 40  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "defects", "adapter": None}, "expected an adapter"),
        ({"mode": "all"}, "expected general, defects or both"),
        ({"confidence": 0}, "confidence: 0"),
        ({"confidence": True}, "confidence: True"),
        ({"thresholds": {"dent": 1.5}}, "threshold of 'dent': 1.5"),
        ({"thresholds": {"dent": "high"}}, "threshold of 'dent': 'high'"),
    ],
)
def test_choices_that_are_none(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Choice(**{"adapter": "line", "mode": "both", "confidence": 0.5, **values})  # type: ignore[arg-type]
