"""What every request passes before anything is done for it: host, origin, token, and limits while its body is read."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from singleshot.serve.problems import Problem
from singleshot.serve.settings import LOOPBACK_NAMES, ServeSettings

WITHOUT_TOKEN = ("/", "/favicon.ico", "/openapi.json", "/v2/health/live", "/v2/health/ready")
"""Paths that tell nothing of the model and use no processor, beside `/static/`: the page asks for the token itself."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


class Gate:
    """Middleware that refuses a request, or passes it on with its limits.

    Args:
        app: what answers.
        settings: whom the server answers, and limits.
        on_response: called with path, status and seconds of each request.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings, on_response: Callable[[str, int, float], None]) -> None:
        self._app, self._settings, self._on_response = app, settings, on_response
        self._held = _HeldBytes()
        self._names = {*LOOPBACK_NAMES, settings.host.lower(), *(name.lower() for name in settings.allowed_hosts)}
        if not settings.on_loopback:
            self._names.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 499  # as nginx counts those whose client went away

        async def send_checked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        body = _Body(receive, self._settings, self._held)
        try:
            problem = self._refusal(scope["path"], Headers(scope=scope))
            if problem is None:
                await self._app(scope, body.receive, send_checked)
            else:
                await problem.response(scope["path"])(scope, receive, send_checked)
        finally:
            body.release()
            self._on_response(scope["path"], status, time.monotonic() - start)

    def _refusal(self, path: str, headers: Headers) -> Problem | None:
        """Why a request is not taken, by its path and headers alone."""
        host = headers.get("host", "")
        if not self._is_known(_name_of(host)):
            return Problem(421, f"this server is not called {host!r}; ssd serve --allowed-hosts NAME allows a name")
        origin = headers.get("origin")
        if origin is not None and _host_of(origin) != host.lower():
            return Problem(403, f"pages of another origin, {origin!r}, are not answered")
        if self._settings.token is not None and not path.startswith("/static/") and path not in WITHOUT_TOKEN:
            sent = headers.get("authorization", "").encode()
            if not hmac.compare_digest(sent, f"Bearer {self._settings.token}".encode()):
                return Problem(401, "expected the header Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            return Problem(415, f"compressed bodies ({encoding[:40]!r}) are not taken: images are compressed already")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._settings.max_body_bytes:
            return _too_large(self._settings)
        return None

    def _is_known(self, name: str) -> bool:
        """Whether clients may call the server so.

        Other addresses than names count where others can reach it: a page that makes its own name point to this machine
        (DNS rebinding) cannot send them.
        """
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return not self._settings.on_loopback


@dataclass
class _HeldBytes:
    """How many bytes all requests together hold."""

    count: int = 0


class _Body:
    """The body of a request: its size, its time, and what all bodies hold are limited while it is read."""

    def __init__(self, receive: Receive, settings: ServeSettings, held: _HeldBytes) -> None:
        self._receive, self._settings, self._held = receive, settings, held
        self._until = time.monotonic() + settings.read_timeout
        self._size = 0
        self._complete = False

    async def receive(self) -> Message:
        """The next part of the body.

        Raises:
            Problem: 408, 413 or 503.
        """
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout(self._until - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            detail = f"the body was not sent within {self._settings.read_timeout:g} s"
            raise Problem(408, detail, {"Connection": "close"}) from None
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._size += size
            self._held.count += size
            self._complete = not message.get("more_body", False)
            if self._size > self._settings.max_body_bytes:
                raise _too_large(self._settings)
            if self._held.count > self._settings.max_held_bytes:
                raise Problem(503, "too many large requests at once: try again later", {"Retry-After": "1"})
        return message

    def release(self) -> None:
        """The request is answered: its bytes are no longer held."""
        self._held.count -= self._size
        self._size = 0


def _too_large(settings: ServeSettings) -> Problem:
    return Problem(413, f"a request has at most {settings.max_body_bytes:,} bytes")


def _name_of(host: str) -> str:
    """The name or address in a Host header, without its port.

    >>> _name_of("LocalHost:8000"), _name_of("[::1]:8000")
    ('localhost', '::1')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _host_of(origin: str) -> str:
    """Name and port of an origin such as `http://localhost:8000`; empty for what is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
