"""What a request passes before anything is done for it, and clients that go away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from singleshot import Detector
from singleshot.photographs import CHELSEA
from singleshot.serve.app import create_app
from singleshot.serve.settings import ServeSettings
from singleshot.ssd.detection import RawDetections

CAT = CHELSEA.path.read_bytes()


class Blocked:
    """An engine that waits until it is let go."""

    def __init__(self, detector: Detector) -> None:
        self.spec = detector.spec
        self.images = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def workers(self) -> tuple[()]:
        return ()

    def __call__(self, images: Sequence[np.ndarray], *, score_threshold: float | None = None) -> list[RawDetections]:
        assert score_threshold is None or score_threshold > 0
        assert self.go_on.wait(20)
        self.images += len(images)
        return [RawDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))] * len(
            images
        )


class Client:
    """A client of ASGI that sends a body in parts and may go away."""

    def __init__(self, *parts: bytes, last: bool = True, headers: dict[str, str] | None = None) -> None:
        self.parts = list(parts)
        self.last = last
        self.gone = asyncio.Event()
        self.sent: list[Any] = []
        self.headers = {"host": "localhost", **(headers or {})}

    async def receive(self) -> dict[str, Any]:
        if self.parts:
            return {"type": "http.request", "body": self.parts.pop(0), "more_body": bool(self.parts) or not self.last}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def post(self, app: Any, path: str = "/v1/detect") -> int:
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": headers, "root_path": "", "scheme": "http", "server": None, "client": None,
        }  # fmt: skip
        await app(scope, self.receive, self.send)
        return int(self.sent[0]["status"])


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load()


def test_an_image_whose_client_has_gone_is_not_detected(detector: Detector) -> None:
    async def run() -> None:
        backend = Blocked(detector)
        app = create_app(Detector(backend, name="blocked"), ServeSettings(decoders=1))
        async with app.router.lifespan_context(app):
            at_first = backend.images
            backend.go_on.clear()
            stays, goes = Client(CAT), Client(CAT)
            calls = [asyncio.ensure_future(stays.post(app))]
            await asyncio.sleep(0.2)
            calls.append(asyncio.ensure_future(goes.post(app)))
            await asyncio.sleep(0.2)
            goes.gone.set()
            assert await asyncio.wait_for(calls[1], 5) == 499
            backend.go_on.set()
            assert await calls[0] == 200
            await asyncio.sleep(0.2)
            assert backend.images - at_first == 1
            assert app.state.service.waiting == 0

    asyncio.run(run())


def test_bodies_together_are_limited_and_those_that_stall_end(detector: Detector) -> None:
    async def run() -> None:
        settings = ServeSettings(decoders=1, max_held_bytes=len(CAT) + 20_000, read_timeout=0.5)
        app = create_app(detector, settings)
        async with app.router.lifespan_context(app):
            stalled = Client(bytes(15_000), last=False)
            call = asyncio.ensure_future(stalled.post(app))
            await asyncio.sleep(0.1)
            assert await Client(CAT).post(app) == 200
            assert await Client(CAT, bytes(10_000)).post(app) == 503
            assert await call == 408
            assert await Client(CAT, bytes(10_000)).post(app) == 200

    asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({}, "localhost:8000", 415),
        ({}, "LOCALHOST", 415),
        ({}, "[::1]:8000", 415),
        ({}, "192.0.2.7", 421),
        ({}, "localhost.evil.example", 421),
        ({}, "evil@localhost", 421),
        ({}, "", 421),
        ({"allowed_hosts": ("Cats.example",)}, "cats.example:80", 415),
        ({"host": "0.0.0.0", "token": "secret"}, "192.0.2.7:8000", 415),  # noqa: S104
        ({"host": "0.0.0.0", "token": "secret"}, "evil.example", 421),  # noqa: S104
    ],
)
def test_names_by_which_a_server_answers(detector: Detector, settings: dict[str, Any], host: str, status: int) -> None:
    async def run() -> None:
        app = create_app(detector, ServeSettings(decoders=1, **settings))
        app.state.service._running = True  # nothing of this reaches a decoder
        app.state.service._loop = asyncio.get_running_loop()
        client = Client(b"text", headers={"host": host, "authorization": "Bearer secret"})
        assert await client.post(app) == status

    asyncio.run(run())
