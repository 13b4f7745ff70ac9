"""A camera on the network, as far as a test needs one: an RTSP server that plays an MPEG-TS file once, over TCP."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track0\r\n"
MORE = {
    "OPTIONS": b"Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n",
    "DESCRIBE": b"Content-Type: application/sdp\r\nContent-Length: %d\r\n" % len(SDP),
    "SETUP": b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
    "PLAY": b"Session: 1\r\n",
}
AT_ONCE = 7 * 188
"""Bytes of transport stream in an RTP packet, RFC 2250."""


@contextmanager
def playing(file: Path) -> Iterator[str]:
    """The address of a server that plays the file to the first who asks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=_serve, args=(server, file.read_bytes()), daemon=True).start()
        yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/camera"


def _serve(server: socket.socket, data: bytes) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as requests:
        method = ""
        while method != "PLAY":
            method = requests.readline().decode().split(" ")[0]
            sequence = b""
            while line := requests.readline().strip():
                if line.lower().startswith(b"cseq"):
                    sequence = line + b"\r\n"
            body = SDP if method == "DESCRIBE" else b""
            connection.sendall(b"RTSP/1.0 200 OK\r\n" + sequence + MORE.get(method, b"") + b"\r\n" + body)
        for number, start in enumerate(range(0, len(data), AT_ONCE)):
            packet = struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, number * 900, 1) + data[start : start + AT_ONCE]
            connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
