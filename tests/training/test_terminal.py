"""What `train` says: five lines before, steps of the epoch meanwhile, few lines at the end."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.training import tiny
from vision_lora.adapters.plan import Entry, Plan
from vision_lora.training import session, terminal
from vision_lora.training.loop.listener import Brief
from vision_lora.training.runs.summary import RunSummary
from vision_lora.training.terminal import Clock, Terminal

ROW = {"box": 1.5, "images_per_second": 20.0, "loading": 0.1}
TOPICS = ["data", "learns", "recipe", "device", "results"]


def log() -> Console:
    """Not a terminal."""
    return Console(file=io.StringIO(), width=300, soft_wrap=True)


def said(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSummary, list[str], list[str]]:
    """A run, what a log says of it, and what a log says that hears all."""
    root = tmp_path_factory.mktemp("told")
    consoles = log(), log()
    listeners = [Terminal(console, verbose=verbose) for console, verbose in zip(consoles, (False, True), strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("save_curves", "save_prediction_grid"):
            patch.setattr(session, name, lambda *_: None)
        config = tiny.options(tiny.data(root / "data"), root / "run", epochs=2, placement="neck")
        summary = session.train(config, session.Listeners(listeners))
    return summary, *(said(console) for console in consoles)


def test_five_lines_say_what_it_will_do(run: tuple[RunSummary, list[str], list[str]]) -> None:
    summary, lines, _ = run
    assert lines[0] == "opening pictures"
    assert [line.split()[0] for line in lines[1:6]] == TOPICS
    data, learns, recipe, device, results = (line.partition(" ")[2].strip() for line in lines[1:6])
    assert "train 8 pictures with 8 boxes of 2 classes; val 8 pictures with 8 boxes of 2 classes" in data
    assert data.endswith("classes: scratch, dent")
    assert f"{summary.trainable_parameters:,} of {summary.total_parameters:,} parameters" in learns
    assert "an adapter on starter: lora of rank 2 in" in learns
    assert "(placement neck)" in learns
    size = re.search(r"a file of about ([\d.]+) MB", learns)
    assert size is not None
    assert float(size[1]) == pytest.approx(summary.adapter_bytes / 1e6, rel=0.1, abs=0.03)
    assert recipe.startswith("2 epochs of 2 steps; pictures of 64 px, 4 a step; AdamW at a rate of 0.004")
    assert device == "cpu, 32-true, CPU threads: 1, processes that load pictures: 0"
    assert results == f"{summary.out} (layer by layer: {summary.out / 'plan.txt'})"


def test_then_a_line_an_epoch_and_three_at_the_end(run: tuple[RunSummary, list[str], list[str]]) -> None:
    summary, lines, _ = run
    assert [line[:9] for line in lines[6:8]] == ["epoch   1", "epoch   2"]
    assert lines[8] == ""
    best, file, then = lines[9:]
    assert best.startswith(f"best: val mAP50-95 {summary.val.map50_95:.4f}, mAP50 ")
    assert file.startswith(f"file: {summary.result} (")
    assert then.startswith("next: python -m vision_lora.predict --model starter --adapter ")


def test_layers_are_in_the_folder_and_told_on_demand(run: tuple[RunSummary, list[str], list[str]]) -> None:
    summary, lines, verbose = run
    written = (summary.out / "plan.txt").read_text().splitlines()
    parts = sum(count for count in summary.parameters_by_part.values())
    assert parts == sum(int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", written[-1]))
    assert "model.0.conv" in written[0]
    layers = [line.rstrip() for line in written[:-2]]
    assert len(layers) > 80
    assert verbose[6 : 6 + len(layers)] == layers
    assert not set(layers) & set(lines)
    assert any("scratch" in line and "mAP50-95" in line for line in verbose[-6:])


def brief(epochs: int = 3) -> Brief:
    plan = Plan((Entry("a", "conv 3x3", (1, 1), "lora", 1, 2, ""),))
    return Brief(tiny.options(Path("d"), Path("o"), epochs=epochs), Path("o"), {"data": "d"}, plan, resumed=True)


def test_a_bar_counts_the_steps_of_its_epoch() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    shown = Terminal(console)
    shown.opening()
    shown.started(brief())
    for epoch, step in ((1, 1), (1, 4), (2, 1)):
        shown.stepped(epoch, step, 4, ROW)
        shown.progress.refresh()
    task = shown.progress.tasks[0]
    assert (task.completed, task.total) == (1, 4)
    shown.closed()
    output = "\n".join(said(console))
    assert "opening pictures" in output
    assert "epoch 1/3" in output
    assert "4/4" in output
    assert "epoch 2/3" in output
    assert "/12" not in output


def test_a_log_hears_of_long_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: now))
    console = log()
    shown = Terminal(console)
    shown.started(brief(epochs=2))
    for step in range(1, 11):
        now = step * 20.0
        shown.stepped(1, step, 10, ROW)
    lines = [line for line in said(console) if line.startswith("epoch")]
    assert [line.split()[3] for line in lines] == ["5/10", "9/10"]  # 80 s without a word
    assert lines[-1].endswith("0:03:40 left")  # 11 steps of 20 s


def test_the_time_left_counts_anew_where_another_candidate_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: now))
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    shown = Terminal(console)
    shown.started(brief(epochs=2))
    shown.stepped(2, 1, 10, ROW)  # a resumed run, in the first candidate's second epoch
    shown.noted("race: the second candidate")
    for step in (1, 2):
        now = step * 20.0
        shown.stepped(1, step, 10, ROW)
    shown.closed()
    assert shown.progress.tasks[0].fields["told"].endswith("0:06:00 left")  # 18 steps of 20 s


def test_the_time_left_counts_from_where_a_resumed_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: now))
    clock = Clock(50)
    assert clock.left(50, 100) == ""
    now = 110.0
    assert clock.left(60, 100) == "  0:00:40 left"


def test_skipped_labels_are_counted_and_the_first_is_told() -> None:
    skipped = ("a.txt, line 1: class 9", "b.txt, line 2: class 8")
    summary = tiny.summary(Path("out"), skipped=skipped)
    for verbose, told in ((False, ["a.txt", "summary.json"]), (True, ["a.txt", "b.txt"])):
        console = log()
        Terminal(console, verbose=verbose).ended(summary)
        text = "\n".join(said(console))
        assert "skipped 2 broken labels or pictures" in text
        assert all(part in text for part in told)
        assert ("b.txt" in text) is verbose
