"""A picture that stands still is told from one that does not."""

from vision_lora.streaming.sources.freeze import MEMORY, FreezeWatch


def test_a_living_picture_is_never_frozen() -> None:
    watch = FreezeWatch(after=1.0)
    assert not any(watch.see(number, number * 0.2) for number in range(1000))


def test_an_encoder_that_repeats_its_period_shows_nothing_new() -> None:
    watch = FreezeWatch(after=5.0)
    states = [watch.see(number % 50, number * 0.2) for number in range(400)]
    assert not any(states[:50])
    assert all(states[75:])


def test_a_new_picture_ends_it() -> None:
    watch = FreezeWatch(after=1.0)
    assert [watch.see(1, now) for now in (0.0, 0.9, 1.0, 5.0)] == [False, False, True, True]
    assert not watch.see(2, 5.2)


def test_memory_is_bounded_and_looks_are_rare() -> None:
    watch = FreezeWatch(after=1.0)
    for number in range(10 * MEMORY):
        watch.see(number, number * 0.2)
    assert len(watch._seen) == MEMORY
    assert not watch.due(10 * MEMORY * 0.2 - 0.1)
    assert watch.due(10 * MEMORY * 0.2 + 0.01)
