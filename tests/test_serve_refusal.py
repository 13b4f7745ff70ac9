"""Refusals that never reach the application: which requests they are for, and that a connection goes on after them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from serve_process import Answer, Connection, get, post

from singleshot import Detector
from singleshot.photographs import PHOTOGRAPHS
from singleshot.serve.app import create_app
from singleshot.serve.http_server import Entering, HttpServer
from singleshot.serve.problems import Problem
from singleshot.serve.refusal import plain_post, refusal
from singleshot.serve.settings import ServeSettings

BODY = PHOTOGRAPHS[0].path.read_bytes()


def test_a_plain_request_is_known_with_what_is_missing() -> None:
    whole = post("/v1/detect?score=0.5", b"0123456789")
    assert plain_post(whole, max_body_bytes=10) == ("/v1/detect", 0)
    assert plain_post(whole[:-4], max_body_bytes=10) == ("/v1/detect", 4)


HEAD = b"POST /v1/detect HTTP/1.1\r\nHost: a\r\n"
NOT_PLAIN = {
    "part of a head": HEAD + b"Content-Length: 5\r\n",
    "another method": get("/v1/detect", "Content-Length: 5"),
    "no length": HEAD + b"\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "a length behind a bare line feed": HEAD + b"Content-Length: 5\r\nX: a\nContent-Length: 6\r\n\r\n",
    "a length of two numbers": HEAD + b"Content-Length: 5, 5\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\n",
    "a length in a folded line": HEAD + b"X: a\r\n Content-Length: 5\r\n\r\n",
    "a folded line": HEAD + b"Content-Length: 5\r\n 6\r\n\r\n",
    "chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a body that is asked for": HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    "the end of a connection": HEAD + b"Content-Length: 5\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": HEAD.replace(b"1.1", b"1.0") + b"Content-Length: 5\r\n\r\n",
    "a space in the path": HEAD.replace(b"/v1/", b"/v1 /") + b"Content-Length: 5\r\n\r\n",
    "a body above the limit": HEAD + b"Content-Length: 11\r\n\r\n",
    "two requests": post("/v1/detect", b"12345") + get("/"),
}


@pytest.mark.parametrize("data", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_all_others_take_the_long_way(data: bytes) -> None:
    assert plain_post(data, max_body_bytes=10) is None


def with_full_server(work: Callable[[int, Any], None]) -> None:
    """Run `work` beside a server that has no room, with its port and the application."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(Detector.load(), ServeSettings(decoders=1, read_timeout=2))
    problem = Problem(503, "64 images wait already: try again later", {"Retry-After": "7"})

    def refuse(_count: int) -> None:
        raise problem

    async def serve() -> None:
        started = asyncio.Event()
        server = HttpServer(app, ServeSettings(decoders=1, read_timeout=2, drain=0), started.set)
        running = asyncio.create_task(server._serve([listener]))  # without its signals
        await started.wait()
        app.state.service.require_room = refuse
        try:
            await asyncio.to_thread(work, listener.getsockname()[1], app)
        finally:
            server.should_exit = True
            await running

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    thread.join()


def test_both_ways_give_the_same_answer_and_the_connection_goes_on() -> None:
    answers: list[Answer] = []

    def work(port: int, app: Any) -> None:
        with Connection(port) as connection:
            for path in ("/v1/detect", "/v2/models/a/infer"):
                request = post(path, BODY)
                connection.socket.sendall(request[:-2000])
                time.sleep(0.2)
                connection.socket.sendall(request[-2000:-1000])
                time.sleep(0.2)
                answers.append(connection.ask(request[-1000:]))
                answers.append(connection.ask(post("/v1/detect", BODY, "Connection: keep-alive")))
                answers.append(connection.ask(get("/v2/health/live")))
        counted = app.state.metrics.exposition()[0].decode()
        assert 'singleshot_requests_total{path="/v1/detect",status="503"} 3.0' in counted

    with_full_server(work)
    fast, slow, live, of_v2, _, live_again = answers
    assert (fast.status, fast.body) == (slow.status, slow.body)
    assert (live.status, live_again.status) == (200, 200)
    assert fast.headers["retry-after"] == slow.headers["retry-after"] == "7"
    assert set(slow.headers) <= set(fast.headers) | {"date"}
    assert json.loads(of_v2.body)["error"] == json.loads(of_v2.body)["detail"]


def test_a_body_that_never_ends_is_given_up() -> None:
    ends: list[bytes] = []

    def work(port: int, _app: Any) -> None:
        with Connection(port) as connection:
            request = post("/v1/detect", BODY)
            assert connection.ask(request[: len(request) // 2]).status == 503
            connection.socket.settimeout(0.3)
            for byte in range(30):  # slowly, for longer than the deadline of 2 seconds
                connection.socket.sendall(request[byte : byte + 1])
                with contextlib.suppress(TimeoutError):
                    ends.append(connection.socket.recv(1))
                    break

    with_full_server(work)
    assert ends == [b""]


def test_requests_that_come_at_once_count_before_the_application_sees_them() -> None:
    async def work() -> list[int]:
        entering, counts = Entering(), []
        for _ in range(3):
            counts.append(entering.count)
            entering.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return [*counts, entering.count]

    assert asyncio.run(work()) == [0, 1, 2, 0]
    service = create_app(Detector.load(), ServeSettings(queue=16)).state.service
    service._running = True
    room = service.room.left()
    assert service.full(room - 1) is None
    problem = service.full(room)
    assert problem.status == 503
    assert "Retry-After" in problem.headers


def test_a_refusal_is_whole() -> None:
    content = refusal(Problem(503, "full", {"Retry-After": "1"}), "/v2/models/a/infer")
    head, _, body = content.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert b"content-security-policy" in head.lower()
    assert json.loads(body)["error"] == "full"
