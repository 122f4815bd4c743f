"""Waits grow up to the cap, and differ."""

from vision_lora.streaming.sources.backoff import Backoff


def test_waits_double_up_to_the_cap_and_begin_again() -> None:
    backoff = Backoff(cap=5.0)
    limits = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    for limit in limits:
        assert limit / 2 <= backoff.wait() <= limit
    backoff.reset()
    assert backoff.wait() <= 0.1


def test_two_cameras_do_not_keep_step() -> None:
    first, second = Backoff(5.0), Backoff(5.0)
    assert [first.wait() for _ in range(5)] != [second.wait() for _ in range(5)]


def test_weeks_of_tries() -> None:
    backoff = Backoff(1.0)
    assert all(backoff.wait() <= 1.0 for _ in range(5000))
