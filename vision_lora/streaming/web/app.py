"""What the page asks and is told: numbers and live pictures, and changes of what a source is watched with."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from vision_lora.detections import Mode
from vision_lora.errors import VisionLoraError
from vision_lora.streaming.service import Service
from vision_lora.streaming.web.access import COOKIE, Access, Guard
from vision_lora.streaming.web.metrics import exposition

STATIC = Path(__file__).with_name("static")
PICTURES = 12.0  # most pictures of a source that a page gets a second
NUMBERS = 1.0  # seconds between two sets of numbers
LONGEST_FORM = 4096  # bytes
YEAR = 365 * 86400
SHOWN = 24  # alarms, and other events, on the page


class Change(BaseModel):
    """What a source shall be watched with; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    adapter: str | None = None
    mode: Mode = "both"
    confidence: float = 0.25
    thresholds: dict[str, float] = {}


def make_app(service: Service, access: Access) -> Guard:
    """The page as an ASGI application.

    Args:
        service: what it shows and changes.
        access: who may see it.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=STATIC), "static")
    _add_pages(app, access)
    _add_numbers(app, service)
    _add_cameras(app, service)
    return Guard(app, access)


def _add_pages(app: FastAPI, access: Access) -> None:
    @app.get("/")
    def page() -> Response:
        return FileResponse(STATIC / "page.html")

    @app.get("/login")
    def ask_token() -> Response:
        return FileResponse(STATIC / "login.html")

    @app.post("/login")
    async def login(request: Request) -> Response:
        form = b""
        async for part in request.stream():
            form += part
            if len(form) > LONGEST_FORM:
                return PlainTextResponse("too long", 413)
        given = parse_qs(form.decode("utf-8", "replace")).get("token", [""])[0]
        if not await access.login(given):
            return RedirectResponse("/login?wrong", 303)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, access.cookie, max_age=YEAR, httponly=True, samesite="strict")
        return answer


def _add_numbers(app: FastAPI, service: Service) -> None:
    @app.get("/api/state")
    def state() -> Response:
        return JSONResponse(describe(service))

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(exposition(service), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz")
    def healthz() -> Response:
        health = service.health()
        return PlainTextResponse(health, 503 if health == "failing" else 200)


def _add_cameras(app: FastAPI, service: Service) -> None:
    @app.post("/api/sources/{name}")
    def change(name: str, wanted: Change) -> Response:
        try:
            choice = service.change(name, **wanted.model_dump(exclude_unset=True))
        except VisionLoraError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(choice.as_dict())

    @app.get("/api/crops/{key}")
    def crop(key: str) -> Response:
        picture = service.crops.shown(key)
        return Response(status_code=404) if picture is None else Response(picture, media_type="image/jpeg")

    @app.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        with suppress(WebSocketDisconnect):
            await _send_live(service, socket)


async def _send_live(service: Service, socket: WebSocket) -> None:
    """Answer each `more` with what is new, so that a slow browser gets fewer pictures instead of a queue of old ones.

    An answer is text, JSON: `state` once a second, and `pictures`, whose JPEGs follow as one binary message each.
    """
    sent: dict[str, int] = {}
    told = float("-inf")
    while True:
        await socket.receive_text()
        asked = time.monotonic()
        news: list[tuple[str, Any]] = []
        while not news and time.monotonic() - told < NUMBERS:
            await asyncio.sleep(1 / PICTURES / 4)
            sights = ((name, service.view.newest(name)) for name in service.sources)
            news = [(name, sight) for name, sight in sights if sight is not None and sent.get(name) != sight.number]
        sent.update({name: sight.number for name, sight in news})
        jpegs = [await run_in_threadpool(service.view.jpeg, name, sight) for name, sight in news]
        answer: dict[str, Any] = {
            "pictures": [{"source": name, "number": sight.number, "boxes": sight.boxes} for name, sight in news]
        }
        if time.monotonic() - told >= NUMBERS:
            answer["state"], told = await run_in_threadpool(describe, service), time.monotonic()
        await socket.send_json(answer)
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
                "choice": choice.as_dict(),
                "classes": service.attached.classes(choice.adapter),
                "zones": service.sources[name].zones,
            }
        )
    return {
        "health": service.health(),
        "uptime": time.monotonic() - service.began,
        "adapters": service.shelf.names(),
        "sources": sources,
        "alarms": [event for event in recent if event["kind"] == "alarm"][-SHOWN:],
        "events": [event for event in recent if event["kind"] != "alarm"][-SHOWN:],
    }
