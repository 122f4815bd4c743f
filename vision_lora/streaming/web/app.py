"""What the page asks and is told: numbers and live pictures, and changes of what a source is watched with."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from vision_lora.errors import VisionLoraError
from vision_lora.streaming.incoming import read_change
from vision_lora.streaming.service import Service
from vision_lora.streaming.web.access import COOKIE, Access, Guard
from vision_lora.streaming.web.connections import Connections
from vision_lora.streaming.web.metrics import exposition

STATIC = Path(__file__).with_name("static")
PICTURES = 12.0  # most pictures of a source that a page gets a second
NUMBERS = 1.0  # seconds between two sets of numbers
SILENCE = 30.0  # seconds after which a browser that asks for no more pictures is gone
YEAR = 365 * 86400
SHOWN = 24  # alarms, and other events, on the page


def make_app(service: Service, access: Access, connections: Connections | None = None) -> Guard:
    """The page as an ASGI application.

    Args:
        service: what it shows and changes.
        access: who may see it.
        connections: that it is asked through.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=STATIC), "static")
    _add_pages(app, access)
    _add_numbers(app, service)
    _add_cameras(app, service)
    return Guard(app, access, connections)


def _add_pages(app: FastAPI, access: Access) -> None:
    @app.get("/")
    def page() -> Response:
        return FileResponse(STATIC / "page.html")

    @app.get("/login")
    def ask_token() -> Response:
        return FileResponse(STATIC / "login.html")

    @app.post("/login")
    async def login(request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        if not await access.login(form.get("token", [""])[0], request.scope["connection"]):
            return RedirectResponse("/login?wrong", 303)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, access.cookie, max_age=YEAR, httponly=True, samesite="strict")
        return answer


def _add_numbers(app: FastAPI, service: Service) -> None:
    @app.get("/api/state")
    def state() -> Response:
        return _json(describe(service))

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(exposition(service), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz")
    async def healthz() -> Response:
        health = service.health()
        return PlainTextResponse(health, 503 if health == "failing" else 200)


def _add_cameras(app: FastAPI, service: Service) -> None:
    @app.post("/api/sources/{name}")
    async def change(name: str, request: Request) -> Response:
        # A form of another web site can send JSON, but cannot say that it does.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _json({"error": "expected Content-Type: application/json"}, 415)
        try:
            wanted = read_change(await request.body())
            choice = await run_in_threadpool(service.change, name, **wanted)
        except VisionLoraError as error:
            return _json({"error": str(error)}, 400)
        return _json(choice.as_dict())

    @app.get("/api/crops/{key}")
    def crop(key: str) -> Response:
        picture = service.crops.shown(key)
        return Response(status_code=404) if picture is None else Response(picture, media_type="image/jpeg")

    @app.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        with suppress(WebSocketDisconnect):
            try:
                await _send_live(service, socket)
            except (TimeoutError, asyncio.TimeoutError):  # two kinds before Python 3.11
                await socket.close(1001)


async def _send_live(service: Service, socket: WebSocket) -> None:
    """Answer each `more` with what is new, so that a slow browser gets fewer pictures instead of a queue of old ones.

    Whatever a browser sends counts as `more`. An answer is text, JSON: `state` once a second, and `pictures`, whose
    JPEGs follow as one binary message each.
    """
    sent: dict[str, int] = {}
    told = float("-inf")
    while True:
        if (await asyncio.wait_for(socket.receive(), SILENCE))["type"] == "websocket.disconnect":
            return
        asked = time.monotonic()
        news: list[tuple[str, Any]] = []
        while not news and time.monotonic() - told < NUMBERS:
            await asyncio.sleep(1 / PICTURES / 4)
            frames = ((name, service.view.newest(name)) for name in service.sources)
            news = [(name, frame) for name, frame in frames if frame is not None and sent.get(name) != frame.number]
        sent.update({name: frame.number for name, frame in news})
        jpegs = [await run_in_threadpool(service.view.jpeg, name, frame) for name, frame in news]
        answer: dict[str, Any] = {
            "pictures": [{"source": name, "number": frame.number, "boxes": frame.boxes} for name, frame in news]
        }
        if time.monotonic() - told >= NUMBERS:
            answer["state"], told = await run_in_threadpool(describe, service), time.monotonic()
        await socket.send_text(json.dumps(answer))
        for jpeg in jpegs:
            await socket.send_bytes(jpeg)
        await asyncio.sleep(max(0.0, asked + 1 / PICTURES - time.monotonic()))


def describe(service: Service) -> dict[str, Any]:
    """All that the page shows in numbers, as JSON takes it."""
    recent = service.journal.recent()
    sources = []
    for name, reading in service.readings().items():
        choice = service.detecting.choices[name]
        sources.append(
            {
                "name": name,
                "address": service.sources[name].address.shown,
                **asdict(reading),
                "choice": {**choice.as_dict(), "own": dict(choice.own)},
                "classes": service.attached.classes(choice.adapter),
                "zones": service.sources[name].zones,
            }
        )
    return {
        "health": service.health(),
        "uptime": time.monotonic() - service.began,
        "adapters": service.registry.names(),
        "sources": sources,
        "alarms": [event for event in recent if event["kind"] == "alarm"][-SHOWN:],
        "events": [event for event in recent if event["kind"] != "alarm"][-SHOWN:],
    }


def _json(value: Any, status: int = 200) -> Response:
    """JSON in ASCII: a file's name may hold what UTF-8 cannot."""
    return Response(json.dumps(value), status, media_type="application/json")
