"""The bytes of a .caffemodel, written for one test."""

from __future__ import annotations

import struct


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def blob(values: list[float], shape: list[int]) -> bytes:
    return field(7, field(1, b"".join(map(varint, shape)))) + field(5, floats(*values))


def new_layer(name: str, *blobs: bytes) -> bytes:
    return field(100, field(1, name.encode()) + field(2, b"Convolution") + b"".join(field(7, b) for b in blobs))
