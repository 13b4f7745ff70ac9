"""uvicorn with what it lacks: deadlines for heads of requests, a limit of connections, a drain that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from singleshot.serve.problems import MEDIA_TYPE, Problem
from singleshot.serve.refusal import plain_post, refusal
from singleshot.serve.settings import ServeSettings

BETWEEN_REQUESTS = {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}
NOTHING = (b"", False)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
MOST_HEAD_BYTES = 65_536
SMALL_CHUNK = 512
MOST_SMALL_CHUNKS = 4000
"""Of a request. Other requests wait while chunks are parsed, each of which takes time however small it is."""


class Entering:
    """How many requests came in this turn of the event loop: the application sees them in the next, all at once."""

    count = 0

    def add(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count one, until the next turn."""
        if not self.count:
            loop.call_soon(self._clear)
        self.count += 1

    def _clear(self) -> None:
        self.count = 0


class LimitedConnection(h11.Connection):
    """The state of a connection, which refuses a body in very many small chunks.

    Attributes:
        refusal: what it has refused, once it has.
    """

    refusal = ""
    _small_chunks = 0

    def next_event(self) -> Any:
        """The next event. Raises `h11.RemoteProtocolError` at what is no HTTP, or one chunk too many."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._small_chunks = 0
        elif isinstance(event, h11.Data) and event.chunk_start and len(event.data) < SMALL_CHUNK:
            self._small_chunks += 1
            if self._small_chunks > MOST_SMALL_CHUNKS:
                self.refusal = f"more than {MOST_SMALL_CHUNKS:,} chunks of less than {SMALL_CHUNK} bytes in one body"
                raise h11.RemoteProtocolError(self.refusal)
        return event


class TimedProtocol(H11Protocol):
    """HTTP of one connection: closed where bytes come for too long without a whole head of a request.

    This also ends bodies of requests that were answered before their end: what is left of them is read, so that the
    client sees the answer, but not for ever.
    """

    conn: LimitedConnection
    _late: asyncio.TimerHandle | None = None
    read_timeout = 20.0
    max_connections = 1000
    max_body_bytes = 0
    _missing = 0  # bytes of a refused request that are still to come

    entering = Entering()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = LimitedConnection(h11.SERVER, MOST_HEAD_BYTES)

    @staticmethod
    def full(_entering: int) -> Problem | None:
        """Why no image is taken now, beside so many that are on their way; None: one is."""
        return None

    @staticmethod
    def on_response(path: str, status: int, seconds: float) -> None:
        """Called for a request that never reached the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; it now has to send."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.close()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        if self._refuse(data):
            return
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._stop_waiting()

    def _refuse(self, data: bytes) -> bool:
        """Answer a plain request for which there is no room, or throw away what is left of it; see `refusal.py`."""
        if self._missing:
            data, rest = data[: self._missing], data[self._missing :]
            self._missing -= len(data)
        else:
            if self.conn.states != BETWEEN_REQUESTS or self.conn.trailing_data != NOTHING:
                return False
            if not data.startswith(b"POST ") or self.flow.write_paused:  # who reads no answers is not answered faster
                return False
            problem = self.full(self.entering.count)
            post = None if problem is None else plain_post(data, max_body_bytes=self.max_body_bytes)
            if problem is None or post is None:
                self.entering.add(self.loop)
                return False
            self._unset_keepalive_if_required()
            self.transport.write(refusal(problem, post.path))
            self.on_response(post.path, problem.status, 0.0)
            self._missing, rest = post.missing, b""
            self._stop_waiting()
            self._wait()  # for all that is missing
        if not self._missing:
            self._stop_waiting()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        if rest:  # the next request
            self.data_received(rest)
        return True

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, as all errors are answered."""
        content = json.dumps(Problem(400, self.conn.refusal or msg).to_dict()).encode()
        headers = [("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(content))), ("Connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=content), h11.EndOfMessage()):
            with contextlib.suppress(h11.LocalProtocolError):  # an answer has begun already
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(self.read_timeout, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class HttpServer(uvicorn.Server):
    """Serves an application until a signal; then it says that it is not ready, stops listening, and answers the rest.

    Attributes:
        stopped_by: the signal.
    """

    def __init__(self, app: Starlette, settings: ServeSettings, on_start: Callable[[], None]) -> None:
        names = ("read_timeout", "max_connections", "max_body_bytes")
        calls = {"full": staticmethod(app.state.service.full), "on_response": staticmethod(app.state.metrics.count)}
        limits = {name: getattr(settings, name) for name in names}
        protocol = type("Protocol", (TimedProtocol,), {**limits, **calls, "entering": Entering()})
        super().__init__(
            uvicorn.Config(
                app, http=protocol, ws="none", lifespan="on", log_config=None, access_log=False, server_header=False,
                timeout_graceful_shutdown=math.ceil(settings.read_timeout + settings.deadline),
                timeout_keep_alive=settings.keep_alive,  # type: ignore[arg-type]  # seconds of asyncio, fractions too
                h11_max_incomplete_event_size=MOST_HEAD_BYTES, proxy_headers=False,
            )
        )  # fmt: skip
        self._service = app.state.service
        self._drain = settings.drain
        self._on_start = on_start
        self.stopped_by: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start decoders and engine, then listen."""
        await super().startup(sockets)
        self._on_start()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; whether to end: at a signal, or where there is no engine any more."""
        self.should_exit = self.should_exit or self._service.failure is not None
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Not ready; after a moment not listening; then answer what was asked, and end."""
        self._service.draining = True
        self.server_state.default_headers.append((b"connection", b"close"))  # of answers yet to come, too
        await asyncio.sleep(self._drain)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal to stop ends the server in order, a second one at once."""
        previous: dict[int, Any] = {number: signal.signal(number, self._stop) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _stop(self, number: int, _frame: object) -> None:
        if self.stopped_by is not None:
            os._exit(128 + number)  # decoders and engine end when their pipes close
        self.stopped_by, self.should_exit = number, True
