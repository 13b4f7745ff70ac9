"""Boxes of Label Studio's brush masks: RGBA pixels as run lengths in a stream of bits; alpha is the mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from singleshot.data.outlines import Box

MOST_PIXELS = 50_000_000


def box_of_brush(data: Any, *, height: int, width: int) -> Box:
    """The upright box of a mask.

    The stream holds a count of values (32 bits), the bits of a value less one (5), four lengths of run counts less one
    (4 each), then runs: whether one value is repeated (1 bit), which length the count has (2), the count less one, and
    the value, or as many values.

    Raises:
        ValueError: no such stream, of another image's size, or an empty mask.
    """
    if not isinstance(data, list) or not all(type(value) is int and 0 <= value < 256 for value in data):
        raise ValueError(f"a brush mask must be a list of bytes, got {str(data)[:40]}")
    if width * height > MOST_PIXELS:
        raise ValueError(f"a brush mask of at most {MOST_PIXELS:,} pixels, got {width} x {height}")
    bits = _Bits(bytes(data))
    count, value_bits = bits.take(32), bits.take(5) + 1
    if count != 4 * width * height:
        raise ValueError(f"a brush mask of {width} x {height} pixels holds {4 * width * height} values, got {count}")
    run_bits = [bits.take(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.bool_)
    place = 0
    while place < count:
        repeated = bits.take(1)
        end = min(count, place + 1 + bits.take(run_bits[bits.take(2)]))
        if repeated:
            values[place:end] = bits.take(value_bits) > 0
        else:
            values[place:end] = [bits.take(value_bits) > 0 for _ in range(end - place)]
        place = end
    rows, columns = np.nonzero(values[3::4].reshape(height, width))
    if not len(rows):
        raise ValueError("the mask holds no pixel")
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


class _Bits:
    """A stream of bits, the highest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def take(self, count: int) -> int:
        """The next bits as a number. Raises ValueError behind the end."""
        end = self._place + count
        if end > 8 * len(self._data):
            raise ValueError("a brush mask ends within a number")
        first, last = self._place // 8, (end + 7) // 8
        number = int.from_bytes(self._data[first:last]) >> (8 * last - end)
        self._place = end
        return number & ((1 << count) - 1)
