"""The verb `camera` as a user runs it: as a process, with signals, exit codes, and its outputs on disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.streaming.build import (
    MjpegServer,
    RtspServer,
    adapter_files,
    draw_squares,
    free_port,
    need_rtsp,
    results_of,
    running,
    wait_until,
    write_video,
)
from vision_lora.adapters.file import save_adapter
from vision_lora.camera import main
from vision_lora.detectors.new_adapter import new_adapter
from vision_lora.detectors.yolo import YoloDetector
from vision_lora.streaming.records.events import read_events

ROOT = Path(__file__).parents[1]
SMALL = ["--model", "yolov8n.yaml", "--imgsz", "64"]  # random weights: it finds nothing, quickly


def start(*words: object, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vision_lora.camera", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 40) -> tuple[str, str]:
    """What it still prints until it ends; where it does not, what its threads are doing."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        pytest.fail(f"still there after {seconds} s: {process.communicate()[1]}")


def wait_for(process: subprocess.Popen[str], words: str) -> str:
    """Lines of its output up to the one with these words."""
    assert process.stdout is not None
    told = ""
    while words not in told:
        line = process.stdout.readline()
        assert line, f"{words!r} never came: {told}{process.stderr.read() if process.stderr else ''}"
        told += line
    return told


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "belt.mp4", draw_squares(12))


def test_a_video_ends_by_itself_with_a_summary(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--source", str(video), *SMALL, "--events", str(tmp_path / "events.jsonl")]
    assert main([*words, "--segments", str(tmp_path / "segments")]) == 0
    printed = capsys.readouterr()
    assert "belt: 12 of 12 pictures detected (dropped: none); no alarms" in printed.out
    assert not printed.err
    kinds = [event["kind"] for event in read_events(tmp_path / "events.jsonl")]
    assert kinds == ["started", "ended", "stopped"]
    assert len(list((tmp_path / "segments").glob("*.mp4"))) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "m"], "--source"),
        (["--source", "gone.mp4", *SMALL], "gone.mp4: no such file or folder"),
        (["--source", "0", "--serve", "0", "--model", "gone.pt"], "gone.pt: no such checkpoint"),
        (["--source", "0", "--serve", "0", "--adapter", "gone.safetensors"], "gone.safetensors: no such adapter file"),
        (["--source", "{url: 0, adapter: gone.safetensors}", "--serve", "0", *SMALL], "gone.safetensors: no such"),
        (["--source", "0", "--serve", "0", "--adapters", "gone", *SMALL], "--adapters gone: no such folder"),
        (["--source", "rtsp://u:p@h/s", *SMALL], "nobody would hear of an alarm: expected --serve, --events"),
        (["--source", "clip.mp4", "--source", "/dev/video0", *SMALL], "nobody would hear of an alarm"),
        (["--source", "foo://h/s", "--serve", "0", *SMALL], "foo://h/s: no such file or folder"),
        (["--source", "0", "--source", "{url: 0, mode: x}", *SMALL], "source 2: mode 'x'"),
        (["--source", "0", *SMALL, "--serve", "0", "--host", "0.0.0.0"], "--host 0.0.0.0: others could watch"),
        (["--source", "0", *SMALL, "--events", "gone/events.jsonl"], "--events gone/events.jsonl"),
        (["--source", "0", *SMALL, "--mode", "defects"], "source 1: mode defects: expected an adapter"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VISION_LORA_TOKEN", raising=False)
    assert main(words) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert message in errors[0]


def test_what_is_not_installed_is_named(
    video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision_lora.camera.EXTRA", ("av", "no_such_package"))
    assert main(["--source", str(video), *SMALL]) == 2
    assert "camera needs no_such_package: pip install 'vision-lora[camera]'" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(number: signal.Signals, tmp_path: Path) -> None:
    still, events = draw_squares(1)[0], tmp_path / "events.jsonl"
    with MjpegServer(lambda _: still, fps=20) as camera:
        words = ["--source", camera.url, *SMALL, "--events", events, "--segments", tmp_path / "segments"]
        process = start(*words, "--serve", 0)
        wait_for(process, "watching")
        wait_until(lambda: "live" in [event["kind"] for event in read_events(events)], what="a picture")
        time.sleep(0.5)
        process.send_signal(number)
        out, errors = finish(process)
    assert process.returncode == 0, errors
    assert "pictures detected" in out
    assert [event["kind"] for event in read_events(events)] == ["started", "live", "stopped"]
    (segment,) = (tmp_path / "segments").iterdir()
    assert cv2.VideoCapture(str(segment)).read()[0], "the recording is finished"


def test_further_signals_change_nothing(tmp_path: Path) -> None:
    """Nothing is half written, nothing is told but the end, whenever they come."""
    still, events = draw_squares(1)[0], tmp_path / "events.jsonl"
    with MjpegServer(lambda _: still, fps=20) as camera:
        words = ["--source", camera.url, *SMALL, "--events", events, "--segments", tmp_path / "segments"]
        process = start(*words, "--serve", 0)
        wait_for(process, "watching")
        wait_until(lambda: "live" in [event["kind"] for event in read_events(events)], what="a picture")
        wait_until(lambda: list((tmp_path / "segments").iterdir()), what="a recording")
        for number, gap in ((signal.SIGTERM, 0.0), (signal.SIGINT, 0.05), (signal.SIGTERM, 0.0)):
            process.send_signal(number)
            time.sleep(gap)
        out, errors = finish(process)
    assert (process.returncode, "Traceback" in errors) == (0, False), errors
    assert "pictures detected" in out
    assert [event["kind"] for event in read_events(events)] == ["started", "live", "stopped"]
    (segment,) = (tmp_path / "segments").iterdir()
    assert cv2.VideoCapture(str(segment)).read()[0], "the recording is finished"


def test_no_output_ever_holds_a_password(tmp_path: Path) -> None:
    """Right and wrong passwords, a query, a stream that breaks: nothing printed, written or served holds them."""
    need_rtsp()
    secrets = ("hunter2pw", "wr0ngpw!", "qu3rysecret", "a-token-of-the-plant")
    config = tmp_path / "plant.yaml"
    with RtspServer(password="hunter2pw") as camera, MjpegServer(lambda _: draw_squares(1)[0], fps=10) as other:
        config.write_text(
            "model: yolov8n.yaml\nimgsz: 64\ntimeout: 1\nmax_backoff: 0.2\nsource:\n"
            f"- {{url: '{camera.url.replace('//', '//line:hunter2pw@')}', name: right}}\n"
            f"- {{url: '{camera.url.replace('//', '//line:wr0ngpw!@')}', name: wrong}}\n"
            f"- {other.url}?user=a&pwd=qu3rysecret\n"
            f"- rtsp://line:hunter2pw@127.0.0.1:{free_port()}/gone\n"
        )
        outputs = tmp_path / "out"
        outputs.mkdir()
        words = ["--config", config, "--events", outputs / "events.jsonl", "--crops", outputs / "crops"]
        process = start(*words, "--serve", 0, VISION_LORA_TOKEN="a-token-of-the-plant")
        told = wait_for(process, "watching")
        page = next(word for word in told.split() if word.startswith("http://127.0.0.1"))

        def served(path: str) -> str:
            request = urllib.request.Request(page + path, headers={"Authorization": f"Bearer {secrets[3]}"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                return str(answer.read().decode())

        def states() -> dict[str, str]:
            return {row["name"]: row["state"] + row["cause"] for row in json.loads(served("api/state"))["sources"]}

        wanted = {"right": "live", "wrong": "lostwrong password", "127.0.0.1": "live", "127.0.0.1-2": "lostrefused"}
        wait_until(lambda: states() == wanted, what=str(states()))
        camera.kill()
        wait_until(lambda: states()["right"].startswith("lost"), what="noticed")
        request = urllib.request.Request(
            page + "api/sources/wrong",
            b'{"confidence": 0.5}',
            {"Authorization": f"Bearer {secrets[3]}", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()
        answers = "".join(served(path) for path in ("", "api/state", "metrics", "healthz", "login"))
        process.terminate()
        out, errors = finish(process)
    assert process.returncode == 1  # a camera never came up
    written = "".join(file.read_text() for file in outputs.rglob("*") if file.is_file())
    assert "wrong password" in written
    assert "events.state.json" in os.listdir(outputs)
    for secret in secrets:
        for place in (told, out, errors, answers, written):
            assert secret not in place


def _renamed(detector: YoloDetector, file: Path, names: dict[str, str]) -> None:
    """An adapter whose classes are some of the base's own under new names: it finds them without any training."""
    adapter = new_adapter(detector, list(names), imgsz=320)
    with torch.no_grad():
        for layer, rows in adapter.class_rows.items():
            own = detector.network.get_submodule(layer)
            picked = [detector.names.index(name) for name in names.values()]
            rows.weight.copy_(own.weight[picked].flatten(1))
            rows.bias.copy_(own.bias[picked])
    save_adapter(adapter, file)


def test_a_real_detector_switches_between_adapters_while_it_streams(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real weights, real photographs, two adapters; five pictures a second, none dropped by a switch."""
    weights = shared / "weights" / "yolo11n.pt"
    detector = YoloDetector.load(str(weights))
    _renamed(detector, tmp_path / "day.safetensors", {"worker": "person"})
    _renamed(detector, tmp_path / "night.safetensors", {"intruder": "person"})
    folder = shared / "datasets" / "coco128" / "images" / "val2017"
    people = [cv2.imread(str(file)) for file in sorted(folder.iterdir())]
    with_people = [picture for picture in people if picture is not None]
    found = detector.predict([picture[..., ::-1] for picture in with_people[:40]], 160)
    counts = [sum(one.name(i) == "person" and one.scores[i] > 0.6 for i in range(len(one))) for one in found]
    photograph = with_people[int(np.argmax(counts))]
    results = results_of(monkeypatch)
    with (
        MjpegServer(lambda _: photograph, fps=5) as camera,
        running(
            detector,
            source=[{"url": camera.url, "name": "gate", "adapter": str(tmp_path / "day.safetensors")}],
            adapters=str(tmp_path),
            imgsz=160,
            mode="defects",
        ) as at_work,
    ):
        at_work.wait_for_picture("gate")
        wait_until(lambda: len(results) > 2, 20, "results")
        first, before = len(results), at_work.read("gate").dropped
        for turn in range(6):
            name, seen = (("night", "intruder"), ("day", "worker"))[turn % 2]
            at_work.service.change("gate", adapter=name)
            changed = time.monotonic()
            wait_until(lambda changed=changed: sum(one.frame.captured > changed for one in results) >= 2, 20)
            after = [one for one in results if one.frame.captured > changed]
            assert {one.found.name(i) for one in after for i in range(len(one.found))} == {seen}
        assert at_work.read("gate").dropped == before
        alarms = at_work.read("gate").alarms
    numbers = [one.frame.number for one in results[first:]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert alarms["worker"] >= 3
    assert alarms["intruder"] >= 3


def test_a_restart_with_real_weights_repeats_nothing(shared: Path, tmp_path: Path) -> None:
    photographs = shared / "datasets" / "coco128" / "images" / "val2017"
    (tmp_path / "in").mkdir()
    for file in sorted(photographs.iterdir())[:6]:
        shutil.copy(file, tmp_path / "in")
    words = ["--source", str(tmp_path / "in"), "--model", str(shared / "weights" / "yolo11n.pt"), "--imgsz", "320"]
    words += ["--events", str(tmp_path / "events.jsonl")]
    assert main(words) == 0
    first = [event["id"] for event in read_events(tmp_path / "events.jsonl") if event["kind"] == "alarm"]
    assert len(first) > 5
    assert main(words) == 0
    again = [event["id"] for event in read_events(tmp_path / "events.jsonl") if event["kind"] == "alarm"]
    assert again == first


def test_adapters_for_a_camera_can_be_listed_by_folder(tmp_path: Path, video: Path) -> None:
    adapters = adapter_files(tmp_path / "adapters", line1=("scratch",), line2=("dent",))
    words = ["--source", str(video), *SMALL, "--adapter", str(adapters / "line1.safetensors")]
    assert main([*words, "--adapters", str(adapters), "--mode", "defects"]) in (0, 2)
