"""Reading ahead: order, errors, bounds and the end of the thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from singleshot.runtime.streaming import read_ahead


def ticking(taken: list[int], count: int) -> Iterator[int]:
    for number in range(count):
        taken.append(number)
        yield number


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "read ahead"]


def test_items_come_in_order() -> None:
    assert list(read_ahead(ticking([], 50), 3)) == list(range(50))
    assert list(read_ahead([], 3)) == []


def test_no_more_is_read_than_asked_for() -> None:
    taken: list[int] = []
    items = read_ahead(ticking(taken, 100), 3)
    assert next(items) == 0
    time.sleep(0.2)
    assert len(taken) <= 5  # the one taken, three that wait, and one that waits for a place
    items.close()


def test_the_thread_ends_when_the_items_are_not_wanted_any_more() -> None:
    items = read_ahead(ticking([], 1000), 2)
    next(items)
    assert readers()
    items.close()
    assert not readers()


def test_errors_of_the_items_are_raised_after_those_before() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("a bad frame")

    items = read_ahead(failing(), 3)
    assert next(items) == 1
    with pytest.raises(ValueError, match="bad frame"):
        next(items)
    assert not readers()
