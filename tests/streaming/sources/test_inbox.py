"""Newest wins for live sources, every picture of files counts; nobody waits for somebody else's camera."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np

from vision_lora.streaming.sources.inbox import AHEAD, Frame, Inbox


def frame(source: str, number: int) -> Frame:
    return Frame(source, number, 0.0, 0.0, 0.0, (4, 4), lambda: np.zeros((4, 4, 3), np.uint8), f"{source}{number}")


def test_the_newest_live_picture_wins_and_the_others_are_counted() -> None:
    dropped: Counter[tuple[str, str]] = Counter()
    inbox = Inbox({"a": True}, lambda source, cause: dropped.update([(source, cause)]))
    for number in range(5):
        assert inbox.put(frame("a", number))
    assert [taken.number for taken in inbox.take(8, 0)] == [4]
    assert inbox.take(8, 0) == []
    assert dropped == {("a", "busy"): 4}


def test_every_picture_of_a_file_comes_in_order_and_its_reader_waits() -> None:
    inbox = Inbox({"a": False}, lambda source, cause: None)
    put: list[int] = []

    def read() -> None:
        for number in range(20):
            inbox.put(frame("a", number))
            put.append(number)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    time.sleep(0.1)
    assert len(put) == AHEAD
    taken = [inbox.take(8, 1)[0].number for _ in range(20)]
    assert taken == list(range(20))
    reader.join(1)
    assert not reader.is_alive()


def test_one_of_each_source_and_who_was_left_out_is_first() -> None:
    inbox = Inbox(dict.fromkeys("abcd", True), lambda source, cause: None)
    order = []
    for number in range(4):
        for name in "abcd":
            inbox.put(frame(name, number))
        order.append("".join(taken.source for taken in inbox.take(3, 0)))
    assert order == ["abc", "dab", "cda", "bcd"]


def test_closing_and_waking_let_nobody_wait() -> None:
    inbox = Inbox({"a": False}, lambda source, cause: None)
    for number in range(AHEAD):
        inbox.put(frame("a", number))
    results: list[bool] = []
    waiting = threading.Thread(target=lambda: results.append(inbox.put(frame("a", 9))), daemon=True)
    waiting.start()
    time.sleep(0.05)
    inbox.close()
    waiting.join(1)
    assert results == [False]
    empty = Inbox({"a": True}, lambda source, cause: None)
    threading.Timer(0.05, empty.wake).start()
    began = time.monotonic()
    assert empty.take(1, 5) == []
    assert time.monotonic() - began < 2
