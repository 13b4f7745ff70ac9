"""Whose turn with the engine it is: that of many images at once, or of one alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Turns:
    """Lets many in at once, or one alone, who goes before those that come later.

    An image that was in an engine when it crashed is tried again alone: if the next one crashes, too, it was this
    image, and no other is to blame.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._alone = False
        self._waiting_alone = 0

    @contextmanager
    def turn(self, *, alone: bool) -> Iterator[None]:
        """Wait for one's turn, and have it until the end of the block."""
        with self._changed:
            self._waiting_alone += alone
            self._changed.wait_for(lambda: self._is_free(alone=alone))
            self._waiting_alone -= alone
            self._inside += 1
            self._alone = alone
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._alone = False
                self._changed.notify_all()

    def _is_free(self, *, alone: bool) -> bool:
        if alone:
            return not self._inside
        return not self._alone and not self._waiting_alone
