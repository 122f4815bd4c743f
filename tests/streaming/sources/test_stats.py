"""Numbers of a source."""

from __future__ import annotations

import time

import pytest

from vision_lora.streaming.sources import stats as module
from vision_lora.streaming.sources.stats import BUCKETS, LATENCIES, MINUTES, Stats


def test_counts_and_states() -> None:
    stats = Stats()
    assert stats.read().state == "connecting"
    assert stats.enter("live")
    assert not stats.enter("live")
    stats.lost("timeout")
    stats.lost("refused")
    stats.lost("refused")
    stats.dropped("busy")
    stats.connected()
    assert not stats.received((640, 480))
    assert not stats.received((640, 480))
    assert stats.received((320, 240))
    read = stats.read()
    assert (read.state, read.cause, read.losses) == ("live", "refused", {"timeout": 1, "refused": 2})
    assert (read.received, read.connects, read.dropped, read.size) == (3, 1, {"busy": 1}, (320, 240))
    assert read.latency == ()


def test_latency_percentiles_and_buckets() -> None:
    stats = Stats()
    for number in range(100):
        stats.detected((number + 1) / 1000)
    read = stats.read()
    assert read.latency == pytest.approx((0.0505, 0.09505, 0.09901))
    assert read.buckets[: len(BUCKETS)][:6] == (10, 20, 30, 50, 75, 100)
    assert read.buckets[-1] == read.detected == 100
    assert read.latency_sum == pytest.approx(5.05)


def test_rate_of_the_last_seconds_falls_when_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    stats = Stats()
    for _ in range(100):
        now[0] += 0.1
        stats.detected(0.01)
    assert stats.read().fps == pytest.approx(10, rel=0.03)
    now[0] += 2.5
    assert 4 < stats.read().fps < 6
    now[0] += 10
    assert stats.read().fps == 0


def test_alarms_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [6000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    stats = Stats()
    stats.alarmed("scratch")
    stats.alarmed("scratch")
    now[0] += 60
    stats.alarmed("dent")
    now[0] += 120
    read = stats.read()
    assert read.alarms == {"scratch": 2, "dent": 1}
    assert len(read.minutes) == MINUTES
    assert read.minutes[-4:] == [{"scratch": 2}, {"dent": 1}, {}, {}]
    now[0] += 3600
    assert not any(stats.read().minutes)
    assert stats.read().alarms == {"scratch": 2, "dent": 1}


def test_weeks_take_no_more_memory_than_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    stats = Stats()
    for _ in range(3 * LATENCIES):
        now[0] += 61
        stats.detected(0.1)
        stats.alarmed("scratch")
    sizes = [len(stats._latencies), len(stats._results), len(stats._minutes)]
    assert sizes == [LATENCIES, LATENCIES, MINUTES]
    assert time.monotonic() == now[0]
