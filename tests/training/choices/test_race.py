"""`--rank auto`: the winner's run is the one that it would have been alone, and a race goes on where it was ended."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.training import tiny
from vision_lora.adapters.file import load_adapter
from vision_lora.errors import ConfigError
from vision_lora.inspect import main as inspect
from vision_lora.training import session
from vision_lora.training.choices import race
from vision_lora.training.choices.batch_size import decide
from vision_lora.training.choices.race import CANDIDATES, LEAD, SHARE, Candidate, choose, laps

pytestmark = pytest.mark.usefixtures("without_plots")


class Killed(BaseException):
    """Ends a run without its having a say."""


class Listening(tiny.Watch):
    """Keeps what is noted, and the epochs between; may end the run at a step of a candidate."""

    def __init__(self, end: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.told: list[str] = []
        self._end = end

    def noted(self, line: str) -> None:
        self.told.append(line)

    def stepped(self, epoch: int, step: int, steps: int, row: Mapping[str, float]) -> None:
        if self._end == (len(self.told), epoch):
            raise Killed


def test_a_candidate_that_costs_more_has_to_be_ahead() -> None:
    assert choose([]) == 0
    assert choose([0.5]) == 0
    assert choose([0.5, 0.5 + LEAD / 2, 0.5 + LEAD * 1.5]) == 2
    assert choose([0.5, 0.5 + LEAD * 2, 0.5 + LEAD * 2.5]) == 1
    assert choose([math.nan, 0.1]) == 0
    assert [candidate.rank for candidate in CANDIDATES] == sorted(candidate.rank for candidate in CANDIDATES)


def test_losers_take_no_more_than_their_share() -> None:
    for epochs in range(1, 301):
        assert (len(CANDIDATES) - 1) * laps(epochs) <= 0.15 * epochs
    assert laps(math.ceil(1 / SHARE)) == 1


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A race of one epoch of two between ranks that a head's small layers bear."""
    monkeypatch.setattr(race, "SHARE", 0.5)
    monkeypatch.setattr(race, "CANDIDATES", (Candidate(1, "frozen"), Candidate(2, "live")))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("winner", [0, 1])
def test_the_winners_run_is_its_own_wherever_the_race_was_ended(
    winner: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(race, "choose", lambda scores: winner)
    candidate = race.CANDIDATES[winner]
    dataset = tiny.data(tmp_path / "data")
    tiny.run(tiny.options(dataset, tmp_path / "alone", epochs=2, rank=candidate.rank, norm=candidate.norm))
    watch = Listening()
    run = tiny.run(tiny.options(dataset, tmp_path / "auto", epochs=2, rank="auto"), watch)
    assert tiny.same(tmp_path / "alone", tmp_path / "auto")
    assert (tmp_path / "alone" / "plan.txt").read_text() == (tmp_path / "auto" / "plan.txt").read_text()
    assert watch.epochs == [1, 1, 2]
    assert watch.told[:2] == [
        "race: rank 1 with frozen statistics, 1 epoch",
        "race: rank 2 with live statistics, 1 epoch",
    ]
    assert watch.told[2:] == [run.chosen]
    assert run.chosen.startswith(f"rank auto: {candidate}: mAP50-95 on val 0.")
    assert (run.rank, run.norm) == (candidate.rank, candidate.norm)
    assert json.loads((run.out / "summary.json").read_text())["chosen"] == run.chosen
    assert load_adapter(run.result).card.metrics["chosen"] == run.chosen
    assert inspect([str(run.result)]) == 0
    assert f'chosen "{run.chosen}"' in " ".join(capsys.readouterr().out.split())
    assert not (run.out / "race").exists()

    # In the second candidate's epoch, or in the winner's second: nothing is trained twice.
    end, rest = ((2, 1), [1, 2]) if winner == 0 else ((3, 2), [2])
    with pytest.raises(Killed):
        tiny.run(tiny.options(dataset, tmp_path / "cut", epochs=2, rank="auto"), Listening(end))
    again = Listening()
    tiny.resume(tmp_path / "cut", again)
    assert tiny.same(tmp_path / "alone", tmp_path / "cut")
    assert again.epochs == rest


def test_a_run_that_is_too_short_takes_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(session, "decide", lambda data, *more: asked.append(data.config) or decide(data, *more))
    watch = Listening()
    run = tiny.run(tiny.options(tiny.data(tmp_path / "data"), tmp_path / "run", epochs=1, rank="auto"), watch)
    assert watch.told == [
        "rank auto: rank 8 with frozen statistics: the run is too short for a race, which takes 10 epochs or more"
    ]
    assert watch.epochs == [1]
    assert run.rank == 8
    assert [(config.rank, config.norm) for config in asked] == [(32, "live")], "the batch has to fit whoever wins"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"method": "full"}, "--method full: expected lora with --rank auto"),
        ({"variant": "ssf"}, "--variant ssf: expected lora or rslora or dora with --rank auto"),
        ({"norm": "live"}, "--norm live: expected frozen with --rank auto"),
        ({"joint": True}, "--joint True: expected False with --rank auto"),
        ({"on": "a.safetensors"}, "--on a.safetensors: expected none with --rank auto"),
        ({"budget": "5%"}, "--budget 5%: expected none with --rank auto"),
        ({"devices": 2}, "--devices 2: expected 1 with --rank auto"),
    ],
)
def test_what_leaves_nothing_to_choose_is_refused(more: dict[str, object], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        tiny.options(tmp_path, tmp_path / "out", rank="auto", **more)
