"""Guesses at the token, in whatever form they come, have one guard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from vision_lora.errors import ConfigError
from vision_lora.streaming.web import access
from vision_lora.streaming.web.access import COOKIE, Access, Guard
from vision_lora.streaming.web.connections import Connection

TOKEN = "a long token, ß"
PENALTY = 0.02
Headers = list[tuple[bytes, bytes]]
RIGHT = b"Bearer " + TOKEN.encode()
GUESSES: dict[str, Headers] = {
    "bearer": [(b"authorization", b"Bearer guess")],
    "in small letters": [(b"authorization", b"bearer guess")],
    "in capitals": [(b"authorization", b"BEARER \xff\xfe")],
    "empty": [(b"authorization", b"Bearer ")],
    "several": [(b"authorization", RIGHT[:-1]), (b"authorization", b"Bearer guess")],
    "a right one among others": [(b"authorization", RIGHT), (b"authorization", b"Bearer guess")],
    "a cookie": [(b"cookie", f"{COOKIE}=guess".encode())],
    "the token as a cookie": [(b"cookie", f"{COOKIE}={TOKEN}".encode())],
    "cookies in one header": [(b"cookie", f"{COOKIE}=a; {COOKIE}=b; x=y".encode())],
    "cookies in several headers": [(b"cookie", f"{COOKIE}=a".encode()), (b"cookie", f"{COOKIE}=b".encode())],
    "beside another kind": [(b"authorization", b"Basic Zm9vOmJhcg=="), (b"cookie", f"{COOKIE}=guess".encode())],
}


class Asked:
    """A page behind a guard, asked without a server."""

    def __init__(self) -> None:
        self.access = Access("0.0.0.0", TOKEN)
        self.guard = Guard(self._page, self.access)
        self.seen = 0

    async def _page(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen += 1

    async def ask(self, headers: Headers, kind: str = "http", path: str = "/api/state", query: bytes = b"") -> Any:
        """The status, or the kind of message where there is none; None where the page was reached."""
        told: list[Any] = []

        async def send(message: Any) -> None:
            told.append(message.get("status", message["type"]))

        async def receive() -> Any:
            return {"type": "http.request"}

        before = self.seen
        scope = {"type": kind, "method": "GET", "path": path, "query_string": query, "headers": headers}
        await self.guard(scope, receive, send)
        return None if self.seen > before else told[0]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "PENALTY", PENALTY)


def timed(work: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, float]:
    began = time.monotonic()
    result = asyncio.run(work())
    return result, time.monotonic() - began


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("way", GUESSES)
def test_every_guess_takes_its_time(way: str, kind: str) -> None:
    asked = Asked()

    async def guess() -> list[Any]:
        return [await asked.ask(GUESSES[way], kind) for _ in range(2)]

    answers, took = timed(guess)
    assert answers == ([401, 401] if kind == "http" else ["websocket.close"] * 2)
    assert took >= 2 * PENALTY


def test_guesses_by_all_ways_at_once_are_answered_one_by_one() -> None:
    asked = Asked()

    async def guess() -> list[Any]:
        tokens = [asked.access.login("guess", Connection()) for _ in range(5)]
        return await asyncio.gather(*tokens, *(asked.ask(headers, "http") for headers in GUESSES.values()))

    answers, took = timed(guess)
    assert answers == [False] * 5 + [401] * len(GUESSES)
    assert took >= (5 + len(GUESSES)) * PENALTY


def test_who_knows_the_token_does_not_wait_for_who_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "PENALTY", 30.0)
    asked = Asked()

    async def both() -> list[Any]:
        guesses = [asyncio.ensure_future(asked.ask(headers)) for headers in GUESSES.values()]
        await asyncio.sleep(0.01)
        cookie = f"x=y; {COOKIE}={asked.access.cookie}".encode()
        right: list[Headers] = [
            [(b"authorization", RIGHT)],
            [(b"authorization", b"bearer  " + RIGHT[7:])],
            [(b"cookie", cookie)],
            [(b"authorization", b"Basic Zm9vOmJhcg=="), (b"cookie", cookie)],
        ]
        answers = [await asked.ask(headers) for headers in right]
        answers.append(await asked.access.login(TOKEN, Connection()))
        for guess in guesses:
            guess.cancel()
        return answers

    answers, took = timed(both)
    assert answers == [None, None, None, None, True]
    assert took < 10


def test_who_does_not_guess_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "PENALTY", 30.0)
    asked = Asked()

    async def ask() -> list[Any]:
        query = b"token=" + TOKEN.encode()
        return [
            await asked.ask([]),
            await asked.ask([(b"cookie", b"other=1")]),
            await asked.ask([(b"authorization", b"Basic Zm9vOmJhcg==")]),
            await asked.ask([], query=query),  # an address is written down in too many places to hold a secret
            await asked.ask([], "websocket", query=query),
            await asked.ask(GUESSES["a cookie"], path="/login"),  # with a cookie of yesterday's token
        ]

    answers, took = timed(ask)
    assert answers == [401, 401, 401, 401, "websocket.close", None]
    assert took < 10


def test_a_guess_whose_client_has_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or else who connects, guesses and goes could fill the queue without end."""
    monkeypatch.setattr(access, "PENALTY", 30.0)

    async def guess() -> list[bool]:
        guard, connections = Access("0.0.0.0", TOKEN), [Connection() for _ in range(20)]
        guesses = [asyncio.ensure_future(guard.login("guess", one)) for one in connections]
        await asyncio.sleep(0.01)
        for one in connections:
            one.gone.set_result(None)
        return await asyncio.gather(*guesses)

    answers, took = timed(guess)
    assert answers == [False] * 20
    assert took < 10


@pytest.mark.parametrize("origin", [b"http://[", b"null", b"http://h\xe4", b"", b"http://page.evil", b"https://page@e"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_another_origin_is_refused_however_it_is_written(origin: bytes, kind: str) -> None:
    headers = [(b"host", b"page"), (b"authorization", RIGHT), (b"origin", origin)]
    answer = asyncio.run(Asked().ask(headers, kind))
    assert answer == (403 if kind == "http" else "websocket.close")


def test_a_token_that_is_no_text_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="--token: expected text in UTF-8"):
        Access("0.0.0.0", "secret-\udcff")
