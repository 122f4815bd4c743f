"""The page's server: who may see it, what it tells, what it changes; real HTTP and WebSocket on a real port."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.streaming.build import (
    MjpegServer,
    Running,
    adapter_files,
    draw_squares,
    free_port,
    running,
    wait_until,
)
from tests.streaming.test_incoming import NO_ADAPTER, WRONG
from vision_lora.errors import ConfigError
from vision_lora.streaming.web.access import COOKIE
from vision_lora.streaming.web.server import Page

TOKEN = "a long token of the plant"


class Client:
    """HTTP to a page, with whatever headers."""

    def __init__(self, page: Page) -> None:
        self.port = int(page.url.rstrip("/").rpartition(":")[2])

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        if isinstance(body, dict):
            body, headers = json.dumps(body), {"Content-Type": "application/json", **headers}
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        told = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return told

    def get(self, path: str, **headers: str) -> bytes:
        status, _, body = self.ask("GET", path, **headers)
        assert status == 200, (path, status, body)
        return body


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter_files(tmp_path_factory.mktemp("adapters"), line1=("scratch", "dent"), line2=("stain",))


@pytest.fixture(scope="module")
def at_work(adapters: Path) -> Iterator[Running]:
    pictures = draw_squares(50)
    with MjpegServer(lambda number: pictures[number % 50], fps=20) as camera:
        line = {
            "url": camera.url.replace("//", "//user:geheim@") + "?pwd=geheim",
            "name": "line",
            "adapter": str(adapters / "line1.safetensors"),
            "zones": {"belt": [[0, 0], [1, 0], [1, 1]]},
        }
        gone = {"url": f"rtsp://user:geheim@127.0.0.1:{free_port()}/s", "name": "gone"}
        with running(source=[line, gone], adapters=str(adapters)) as service:
            service.wait_for_picture("line")
            wait_until(lambda: service.read("line").alarms, what="an alarm")
            yield service


@pytest.fixture(scope="module")
def client(at_work: Running) -> Iterator[Client]:
    page = Page("127.0.0.1", 0, None)
    page.serve(at_work.service)
    yield Client(page)
    page.stop()


@pytest.fixture(scope="module")
def guarded(at_work: Running) -> Iterator[Client]:
    """The same behind a token."""
    page = Page("127.0.0.1", 0, TOKEN)
    page.serve(at_work.service)
    yield Client(page)
    page.stop()


def test_state_tells_all_numbers(client: Client, at_work: Running) -> None:
    state = json.loads(client.get("/api/state"))
    assert state["health"] == "degraded"
    assert state["adapters"] == ["line1", "line2"]
    line, gone = state["sources"]
    assert (line["name"], line["state"], line["size"], line["classes"]) == (
        "line",
        "live",
        [160, 120],
        ["scratch", "dent"],
    )
    assert line["received"] > 0
    assert len(line["latency"]) == 3
    assert len(line["minutes"]) == 60
    assert (gone["state"], gone["cause"], gone["received"]) == ("lost", "refused", 0)
    alarm = state["alarms"][-1]
    crop = cv2.imdecode(np.frombuffer(client.get(f"/api/crops/{alarm['id']}"), np.uint8), cv2.IMREAD_COLOR)
    assert crop is not None
    assert client.ask("GET", "/api/crops/0000")[0] == 404


def test_no_password_in_anything_that_is_told(client: Client) -> None:
    for path in ("/", "/api/state", "/metrics", "/healthz", "/static/page.js"):
        assert b"geheim" not in client.get(path), path


def test_metrics_are_prometheus_and_true(client: Client, at_work: Running) -> None:
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").decode())}
    samples = {
        (
            sample.name,
            sample.labels.get("source"),
            sample.labels.get("cause") or sample.labels.get("class"),
        ): sample.value
        for family in families.values()
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }
    assert samples["vision_lora_up", "line", None] == 1
    assert samples["vision_lora_up", "gone", None] == 0
    assert samples["vision_lora_losses_total", "gone", "refused"] >= 1
    assert samples["vision_lora_alarms_total", "line", "scratch"] >= 1
    assert 0 < samples["vision_lora_detected_total", "line", None] <= at_work.read("line").detected
    assert samples["vision_lora_failing", None, None] == 0
    buckets = [sample for sample in families["vision_lora_latency_seconds"].samples if sample.name.endswith("_bucket")]
    line = [sample.value for sample in buckets if sample.labels["source"] == "line"]
    assert line == sorted(line)
    assert line[-1] == samples["vision_lora_latency_seconds_count", "line", None]


def test_a_change_is_made_and_a_wrong_one_is_explained(client: Client, at_work: Running) -> None:
    status, _, body = client.ask("POST", "/api/sources/line", {"adapter": "line2", "thresholds": {"stain": 0.3}})
    assert status == 200
    assert json.loads(body) == {"adapter": "line2", "mode": "defects", "confidence": None, "thresholds": {"stain": 0.3}}
    assert at_work.service.detecting.choices["line"].adapter == "line2"
    cases: list[tuple[str, Any, int, str]] = [
        ("line", {"adapter": "../../secret"}, 400, "no adapter '../../secret'"),
        ("line", {"confidence": 7}, 400, "confidence: 7"),
        ("gone2", {"mode": "both"}, 400, "no source"),
        ("line", {"colour": "red"}, 400, "colour"),
        ("line", {"mode": "everything"}, 400, "mode"),
        ("line", {"mode": None}, 400, "mode"),
    ]
    for source, body, expected, message in cases:
        status, _, told = client.ask("POST", f"/api/sources/{source}", body)
        assert (status, message in told.decode()) == (expected, True), told
    assert client.ask("POST", "/api/sources/line", {"adapter": "line1", "thresholds": {}})[0] == 200


@pytest.mark.parametrize(
    "body", [body for body in WRONG if body != NO_ADAPTER], ids=lambda body: body[:40].decode("latin-1")
)
def test_nothing_that_is_sent_ends_it(client: Client, at_work: Running, body: bytes) -> None:
    before = at_work.service.detecting.choices["line"]
    status, _, told = client.ask("POST", "/api/sources/line", body, Content_Type="application/json")
    assert (status, list(json.loads(told))) == (400, ["error"])
    assert at_work.service.detecting.choices["line"] is before


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/sources/..%2f..%2fline", 404),
        ("/api/sources/%00", 400),
        ("/api/sources/%ff%fe", 400),
        ("/api/sources/%ED%A0%80", 400),
        ("/api/sources/%1b%5b2J", 400),
        ("/api/sources/" + "l" * 8000, 400),
    ],
)
def test_no_such_source_however_it_is_called(client: Client, path: str, status: int) -> None:
    answer = client.ask("POST", path, {"mode": "both"})
    assert answer[0] == status
    assert len(answer[2]) < 400


def test_live_pictures_with_their_boxes(client: Client) -> None:
    with connect(f"ws://127.0.0.1:{client.port}/api/live") as socket:
        numbers, states = [], 0
        for _ in range(15):
            socket.send("more")
            answer = json.loads(socket.recv(5))
            states += "state" in answer
            for picture in answer["pictures"]:
                assert picture["source"] == "line"
                numbers.append(picture["number"])
                jpeg = socket.recv(5)
                assert isinstance(jpeg, bytes)
                shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
                assert shown is not None
                (box,) = [box for box in picture["boxes"] if box["defect"]]
                x = round((box["box"][0] + box["box"][2]) / 2 * shown.shape[1])
                y = round((box["box"][1] + box["box"][3]) / 2 * shown.shape[0])
                assert shown[y, x].min() > 200, "the box is where the square is in this very picture"
        assert numbers == sorted(set(numbers))
        assert len(numbers) > 8
        assert states >= 1
        with pytest.raises(TimeoutError):
            socket.recv(0.4)  # nothing comes that was not asked for


def test_everything_needs_the_token_but_the_way_in(guarded: Client) -> None:
    for path in ("/", "/api/state", "/metrics", "/api/crops/1"):
        status, headers, body = guarded.ask("GET", path)
        assert status == 401, path
        assert headers["www-authenticate"] == "Bearer"
        assert b"line" not in body
    assert guarded.ask("POST", "/api/sources/line", {"mode": "general"})[0] == 401
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{guarded.port}/api/live")
    status, headers, _ = guarded.ask("GET", "/", Accept="text/html")
    assert (status, headers["location"]) == (303, "/login")
    for path in ("/login", "/static/page.css", "/healthz"):
        guarded.get(path)
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/login/../api/state"):
        assert guarded.ask("GET", path)[0] in (401, 404), path


def test_bearer_and_cookie(guarded: Client) -> None:
    assert json.loads(guarded.get("/api/state", Authorization=f"Bearer {TOKEN}"))
    for wrong in (f"Bearer {TOKEN[:-1]}", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer \xe4"):
        assert guarded.ask("GET", "/api/state", Authorization=wrong)[0] == 401
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    status, headers, _ = guarded.ask("POST", "/login", urlencode({"token": "wrong"}), **form)
    assert (status, headers["location"]) == (303, "/login?wrong")
    assert "set-cookie" not in headers
    status, headers, _ = guarded.ask("POST", "/login", urlencode({"token": TOKEN}), **form)
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    pair = cookie.partition(";")[0]
    assert json.loads(guarded.get("/api/state", Cookie=pair))
    with connect(f"ws://127.0.0.1:{guarded.port}/api/live", additional_headers={"Cookie": pair}) as socket:
        socket.send("more")
        assert "state" in json.loads(socket.recv(5))
    for wrong in (f"{COOKIE}=", f"{COOKIE}={'0' * 64}", pair[:-1], f"x{pair}"):
        assert guarded.ask("GET", "/api/state", Cookie=wrong)[0] == 401
    assert guarded.ask("POST", "/login", "token=" + "x" * 100_000, **form)[0] == 413


def test_other_web_sites_cannot_use_a_browser_on_this_machine(client: Client, at_work: Running) -> None:
    before = at_work.service.detecting.choices["line"]
    status, _, _ = client.ask("POST", "/api/sources/line", {"mode": "general"}, Origin="http://evil.example")
    assert status == 403
    assert client.ask("POST", "/api/sources/line", {"mode": "general"}, Origin="null")[0] == 403
    assert client.ask("GET", "/api/state", Host="evil.example")[0] == 421
    assert client.ask("GET", "/api/state", Host=f"localhost:{client.port}")[0] == 200
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{client.port}/api/live", origin="http://evil.example")  # type: ignore[arg-type]
    assert client.ask("POST", "/api/sources/line", '{"mode": "general"}', Content_Type="text/plain")[0] == 415
    assert at_work.service.detecting.choices["line"] == before
    own = f"http://127.0.0.1:{client.port}"
    assert client.ask("POST", "/api/sources/line", {"mode": "both"}, Origin=own)[0] == 200


def test_headers_keep_the_page_to_itself(client: Client) -> None:
    _, headers, body = client.ask("GET", "/")
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers
    for file in (body, client.get("/static/page.css"), client.get("/static/page.js"), client.get("/login")):
        assert b"//cdn" not in file
        assert file.replace(b"http://www.w3.org/2000/svg", b"").count(b"http://") == 0
        assert b"https://" not in file


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/api/sources/../../etc/passwd"])
def test_nothing_else_is_served(client: Client, path: str) -> None:
    assert client.ask("GET", path)[0] in (404, 405)


def test_health(client: Client, at_work: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/healthz") == b"degraded"
    monkeypatch.setattr(at_work.service.detecting, "beat", at_work.service.detecting.beat - 1000)
    monkeypatch.setattr("vision_lora.streaming.service.STUCK", -1.0)
    assert client.ask("GET", "/healthz")[::2] == (503, b"failing")


def test_a_page_for_others_needs_a_token_that_is_not_easily_guessed() -> None:
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0: others could watch; expected --token"):
        Page("0.0.0.0", 0, None)
    with pytest.raises(ConfigError, match="--token: 5 letters"):
        Page("0.0.0.0", 0, "12345")
    with pytest.raises(ConfigError, match="--serve"):
        Page("203.0.113.7", 0, TOKEN)
    page = Page("127.0.0.1", 0, None)
    with pytest.raises(ConfigError, match="--serve"):
        Page("127.0.0.1", int(page.url.rstrip("/").rpartition(":")[2]), None)
