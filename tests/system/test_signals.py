"""A signal may come at any moment, also while another one is handled: nothing hangs, and what ends, ends well."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from vision_lora.system.signals import NUMBERS, Stop, stopped_by_signals


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The handlers are those of before; what would be done as Python ends is noted instead."""
    noted: list[Any] = []
    monkeypatch.setattr("atexit.register", noted.append)
    before = [signal.getsignal(number) for number in NUMBERS]
    yield noted
    assert [signal.getsignal(number) for number in NUMBERS] == before


@pytest.mark.parametrize("numbers", [[one, two] for one in NUMBERS for two in NUMBERS])
def test_a_second_signal_changes_nothing(numbers: list[int]) -> None:
    with stopped_by_signals() as stop:
        assert not stop.is_set()
        for number in numbers:
            os.kill(os.getpid(), number)
            assert stop.is_set()
        assert stop.wait(60)


def test_a_signal_between_any_two_steps_of_a_wait() -> None:
    """The handler runs before each instruction of `wait`; with a lock in it, one of these would wait for itself."""
    moments = 0

    def step(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal moments
        frame.f_trace_opcodes = True
        if event == "opcode":
            moments += 1
            signal.raise_signal(signal.SIGTERM)
        return step

    with stopped_by_signals() as stop:
        tracing = sys.gettrace()
        sys.settrace(step)
        try:
            stop.wait(0.1)
            stop.set()
        finally:
            sys.settrace(tracing)
        assert stop.is_set()
    assert moments > 5


def test_doubled_signals_at_random_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_lora.system.signals.STEP", 1e-3)
    chance = random.Random(8)
    for _ in range(100):
        with stopped_by_signals() as stop:
            pause, gap = chance.uniform(0, 2e-3), chance.choice([0.0, chance.uniform(0, 2e-4), chance.uniform(0, 2e-3)])
            numbers = chance.choices(NUMBERS, k=2)

            def send(pause: float = pause, gap: float = gap, numbers: list[Any] = numbers) -> None:
                time.sleep(pause)
                os.kill(os.getpid(), numbers[0])
                time.sleep(gap)
                os.kill(os.getpid(), numbers[1])

            sender = threading.Thread(target=send)
            sender.start()
            assert stop.wait(20)
            sender.join()


def test_a_storm_of_signals() -> None:
    with stopped_by_signals() as stop:
        for _ in range(2000):
            signal.raise_signal(signal.SIGINT)
        assert stop.wait(0)


def test_any_thread_may_stop() -> None:
    stop = Stop()
    threading.Timer(0.02, stop.set).start()
    began = time.monotonic()
    assert stop.wait()
    assert time.monotonic() - began < 5


def test_a_wait_ends_in_time() -> None:
    began = time.monotonic()
    assert not Stop().wait(0.12)
    assert 0.12 <= time.monotonic() - began < 5
    assert not Stop().wait(0)


def test_after_a_stop_no_signal_disturbs_the_end_of_python(later: list[Any]) -> None:
    with stopped_by_signals():
        pass
    assert not later
    with stopped_by_signals():
        signal.raise_signal(signal.SIGTERM)
    (ignore,) = later
    before = {number: signal.getsignal(number) for number in NUMBERS}
    ignore()
    for number, handler in before.items():
        signal.raise_signal(number)
        signal.signal(number, handler)
