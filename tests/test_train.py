"""The verb `train`: how it is stopped, and what it says at the end."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.training import tiny
from vision_lora.train import Terminal, main


def words(data: Path, out: Path, *more: str) -> list[str]:
    given = f"--data {shlex.quote(str(data))} --out {shlex.quote(str(out))} --imgsz 64 --draws 0 --batch 4 --epochs 2"
    return [*shlex.split(given), *["--workers", "0", "--placement", "head", "--device", "cpu", "--threads", "1"], *more]


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_once_with_the_weights_saved(
    first: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Services send SIGTERM, and impatient users a second signal while the weights are written."""
    from vision_lora.training import session

    save = session.save_adapter

    def stepped(*_: object) -> None:
        os.kill(os.getpid(), first)

    def saving(*args: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        save(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Terminal, "stepped", stepped)
    monkeypatch.setattr(session, "save_adapter", saving)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(words(tiny.data(tmp_path / "data"), tmp_path / "run")) == 130
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert told[0].startswith(
        f"interrupted: last weights are in {tmp_path / 'run' / 'last.safetensors'}; continue with"
    )
    monkeypatch.undo()
    assert main(["--resume", str(tmp_path / "run")]) == 0


def test_what_comes_next_can_be_typed_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After --resume too, with the base of the run, and a space in the folder."""

    def validated(_: Terminal, row: Mapping[str, float], **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "a run"
    with monkeypatch.context() as patch:
        patch.setattr(Terminal, "validated", validated)
        assert main(words(tiny.data(tmp_path / "data"), out, "--model", "yolo11n.yaml", "--rank", "2")) == 130
    advice = capsys.readouterr().err.partition("continue with: ")[2]
    assert main(shlex.split(advice)[3:]) == 0
    command = shlex.split(capsys.readouterr().out.partition("next: ")[2])
    assert command[:3] == ["python", "-m", "vision_lora.predict"]
    assert command[3:] == [
        "--model",
        "yolo11n.yaml",
        "--adapter",
        str(out / "adapter.safetensors"),
        "--source",
        "PICTURES",
    ]


def test_signals_stay_the_main_thread_s(tmp_path: Path) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["--resume", str(tmp_path)])))
    thread.start()
    thread.join()
    assert codes == [2]
