"""How many images may wait: a burst fills the queue, a queue that stays is kept short."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

BURST_SECONDS = 1.0
"""After so long without a moment in which nothing waited, the queue is a standing one, and is kept short."""
BURST_WORK = 3.0
"""Seconds in which a burst must be done, by the measured rate: of a large network fewer images may wait."""


@dataclass
class Room:
    """How many images may come, after CoDel (Nichols and Jacobson 2012, "Controlling Queue Delay").

    A burst may fill the whole queue, where it is done soon. Where more comes than can be done, a long queue makes every
    client wait and helps none, so it is kept short.

    Attributes:
        queue: images that may ever wait.
        standing: images that may wait in a standing queue.
        parallel: images that the engine works on at once.
        unfinished: images that are accepted and not answered.
        seconds_an_image: a moving average of the time between two results.
    """

    queue: int
    standing: int
    parallel: int
    unfinished: int = 0
    seconds_an_image: float = 0.1
    _last_result: float = 0.0
    _nothing_waited: float = 0.0  # when it was last so

    def left(self) -> int:
        """How many images may come now."""
        now = time.monotonic()
        if self.unfinished <= self.parallel:
            self._nothing_waited = now
        is_burst = now - self._nothing_waited < BURST_SECONDS
        limit = max(self.standing, int(BURST_WORK / self.seconds_an_image)) if is_burst else self.standing
        return min(limit, self.queue) + self.parallel - self.unfinished

    def measure(self) -> None:
        """A result has come."""
        now = time.monotonic()
        if self.unfinished > self.parallel:  # the engine has worked without a pause
            self.seconds_an_image += 0.05 * (min(now - self._last_result, 10.0) - self.seconds_an_image)
        self._last_result = now

    def retry_after(self) -> int:
        """Whole seconds, at least 1, in which what waits now will be done, by the measured rate."""
        return max(1, math.ceil(self.unfinished * self.seconds_an_image))
