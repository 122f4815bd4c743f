"""What happens to real cameras: they are unplugged, hang, stall, send rubbish, change. The feed comes back."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.streaming.build import RtspServer, Running, need_rtsp, running, wait_until
from tests.streaming.network import Network

# A camera that is back gives a picture after: waiting for the next try, connecting, and the next keyframe.
BACK_WITHIN = 1.0
QUICK = {"timeout": 1.0, "max_backoff": 0.2, "freeze": 1.5}


@pytest.fixture(scope="module", autouse=True)
def _rtsp() -> None:
    need_rtsp()


@pytest.fixture
def camera() -> Iterator[RtspServer]:
    with RtspServer() as server:
        yield server


@contextmanager
def through_a_network(camera: RtspServer) -> Iterator[tuple[Network, Running]]:
    """A camera behind a network of the test's, and a service that has had a picture of it."""
    with Network(camera.port) as network:
        url = f"rtsp://127.0.0.1:{network.port}/line"
        with running(source=[{"url": url, "name": "line"}], **QUICK) as at_work:
            at_work.wait_for_picture("line")
            yield network, at_work


def test_a_camera_that_is_killed_and_comes_back_ten_times() -> None:
    camera = RtspServer()
    with running(source=[{"url": camera.url, "name": "line"}], **QUICK) as at_work:
        at_work.wait_for_picture("line")
        process = psutil.Process()
        waits, threads, descriptors = [], threading.active_count(), process.num_fds()
        for _ in range(10):
            camera.kill()
            wait_until(lambda: at_work.read("line").state == "lost", what="noticed")
            camera = RtspServer(camera.port)
            waits.append(at_work.wait_for_picture("line"))
        camera.kill()
        wait_until(lambda: at_work.read("line").state == "lost")
        wait_until(lambda: threading.active_count() <= threads, what="threads end")
        # The servers' own pipes are closed by `kill`; the reader's connection is gone with the camera.
        wait_until(lambda: process.num_fds() <= descriptors, what="descriptors are closed")
        read = at_work.read("line")
        assert read.connects == 11
        assert read.losses["ended"] >= 10
        assert set(read.losses) <= {"ended", "refused"}  # refused: tried while no server was there, if at all
        assert at_work.kinds("line").count("lost") == 11
        assert at_work.kinds("line").count("live") == 11
    assert max(waits) <= BACK_WITHIN, waits


def test_a_network_that_hangs_without_closing(camera: RtspServer) -> None:
    with through_a_network(camera) as (network, at_work):
        network.mode = "hang"
        wait_until(lambda: at_work.read("line").losses.get("timeout", 0) >= 2, what="noticed, and tried in vain")
        network.mode = "pass"
        assert at_work.wait_for_picture("line") <= BACK_WITHIN
        at_work.wait_for_picture("line")
        assert at_work.read("line").state == "live"


def test_a_stall_of_five_seconds_needs_no_new_connection(camera: RtspServer) -> None:
    with running(source=[{"url": camera.url, "name": "line"}], timeout=8.0) as at_work:
        at_work.wait_for_picture("line")
        os.kill(camera.process.pid, signal.SIGSTOP)
        time.sleep(5)
        before = at_work.received("line")
        os.kill(camera.process.pid, signal.SIGCONT)
        assert wait_until(lambda: at_work.received("line") > before, what="pictures again") <= BACK_WITHIN
        assert at_work.read("line").connects == 1
        assert not at_work.read("line").losses


def test_corrupt_packets_are_dropped_counted_and_survived(camera: RtspServer) -> None:
    with through_a_network(camera) as (network, at_work):
        network.mode = "corrupt"
        wait_until(lambda: at_work.read("line").dropped.get("corrupt", 0) >= 5, 30, "broken packets are noticed")
        network.mode = "pass"
        assert at_work.wait_for_picture("line") <= BACK_WITHIN
        assert at_work.read("line").connects == 1
        assert not at_work.read("line").losses


def test_a_garbled_connection_is_given_up_and_made_again(camera: RtspServer) -> None:
    """Where no packet can be told from the next, only the time limit notices; a new connection brings the feed back."""
    with through_a_network(camera) as (network, at_work):
        network.mode = "garble"
        wait_until(lambda: sum(at_work.read("line").losses.values()) >= 3, 60, "the connection is given up")
        network.mode = "pass"
        assert at_work.wait_for_picture("line") <= BACK_WITHIN


def test_a_picture_that_changes_its_size(camera: RtspServer) -> None:
    with running(source=[{"url": camera.url, "name": "line"}], **QUICK) as at_work:
        at_work.wait_for_picture("line")
        for size in ((320, 240), (96, 64)):
            camera.tell(f"size {size[0]}x{size[1]}")
            wait_until(lambda size=size: at_work.read("line").size == size, what=str(size))
            shape = (size[1], size[0], 3)
            wait_until(lambda shape=shape: at_work.service.view.newest("line").picture.shape == shape, what="detected")
        assert at_work.read("line").connects == 1
        resized = [event["size"] for event in at_work.service.journal.recent() if event["kind"] == "resized"]
        assert resized == [[320, 240], [96, 64]]


def test_a_frozen_picture_is_told_and_so_is_its_end(camera: RtspServer) -> None:
    with running(source=[{"url": camera.url, "name": "line"}], **QUICK) as at_work:
        at_work.wait_for_picture("line")
        time.sleep(2)
        assert at_work.read("line").state == "live"
        camera.tell("freeze")
        wait_until(lambda: at_work.read("line").state == "frozen", what="frozen")
        assert at_work.service.health() == "degraded"
        camera.tell("thaw")
        assert wait_until(lambda: at_work.read("line").state == "live", what="live again") <= BACK_WITHIN
        assert [kind for kind in at_work.kinds("line") if kind != "alarm"] == ["live", "frozen", "moving"]


def test_a_wrong_password_is_tried_again_until_it_is_right() -> None:
    with RtspServer(password="secret-7") as camera:
        url = camera.url.replace("//", "//line:wrong-7@")
        with running(source=[{"url": url, "name": "line"}], **QUICK) as at_work:
            wait_until(lambda: at_work.read("line").losses.get("wrong password", 0) >= 3)
            assert at_work.kinds("line") == ["lost"]
            camera.kill()
            with RtspServer(camera.port, password="wrong-7"):
                assert at_work.wait_for_picture("line") <= BACK_WITHIN


def test_three_cameras_keep_their_rate_while_a_fourth_is_dead() -> None:
    """The fourth hangs, as a camera does whose processor has crashed: connections are taken and never answered."""
    with RtspServer(fps=20) as camera, Network(camera.port) as network:
        sources = [{"url": camera.url, "name": f"line-{number}"} for number in range(3)]
        sources.append({"url": f"rtsp://127.0.0.1:{network.port}/line", "name": "fourth"})
        with running(source=sources, **QUICK) as at_work:
            for source in sources:
                at_work.wait_for_picture(source["name"])

            def rates() -> list[float]:
                before = [at_work.read(f"line-{number}").detected for number in range(3)]
                began = time.monotonic()
                time.sleep(3)
                span = time.monotonic() - began
                return [(at_work.read(f"line-{number}").detected - before[number]) / span for number in range(3)]

            kept = []
            for _ in range(3):  # in turn, and the middle one: whatever else a machine does must not decide
                healthy = rates()
                network.mode = "hang"
                wait_until(lambda: at_work.read("fourth").state == "lost", what="the fourth is lost")
                alone = rates()
                network.mode = "pass"
                wait_until(lambda: at_work.read("fourth").state == "live", what="the fourth is back")
                kept.append(min(after / before for before, after in zip(healthy, alone, strict=True)))
            assert statistics.median(kept) >= 0.95, kept
