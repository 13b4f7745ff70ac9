"""Where a run's time goes, and how much of it is left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from singleshot.train.length import Length

Group = TypeVar("Group")

RECENT = 100  # steps that the speed is taken from
SLOW_START = 3  # first steps, not timed: they allocate memory and start the loader's processes
FORWARD_SHARE = 1 / 3  # of a training step: what an image takes in a validation, until one was timed
MUCH_WAITING = 0.15  # fraction of the time; above it, preparing images limits the speed


class StepTimer:
    """Times steps and validations; estimates the time left, and what limits the speed.

    Args:
        length: of the run; set the attribute where it ends early.
        images_a_step: images of a step.
        images_a_validation: images of a validation; 0 without one.
        now: clock in seconds; tests pass their own.
    """

    def __init__(
        self,
        length: Length,
        *,
        images_a_step: int,
        images_a_validation: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.length = length
        self._images = images_a_step, images_a_validation
        self._now = now
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._validation: float | None = None
        self._seen = 0
        self._waited = self._worked = self._pause = 0.0

    def waiting(self, groups: Iterable[Group]) -> Iterator[Group]:
        """The same groups; times how long each was waited for and how long the step on it took."""
        iterator = iter(groups)
        while True:
            asked = self._now()
            try:
                group = next(iterator)
            except StopIteration:
                return
            got = self._now()
            self._pause = 0.0
            yield group
            self._seen += 1
            if self._seen > SLOW_START:
                worked = self._now() - got - self._pause
                self._waited += got - asked
                self._worked += worked
                self._recent.append(got - asked + worked)

    def validated(self, seconds: float) -> None:
        """Note the time of a validation, which is no part of the step before it."""
        self._validation = seconds
        self._pause += seconds

    @property
    def seconds_per_step(self) -> float:
        """Mean of the recent steps."""
        return sum(self._recent) / len(self._recent)

    def seconds_left(self, done: int) -> float | None:
        """Seconds left after `done` steps; None as long as nothing was timed."""
        if not self._recent:
            return None
        step = self.seconds_per_step
        of_step, of_validation = self._images
        validation = self._validation
        if validation is None:
            validation = step * FORWARD_SHARE * of_validation / of_step
        return (self.length.last_step - done) * step + self.length.validations_after(done) * validation

    def bottleneck(self, *, workers: int, cores: int) -> str:
        """What limits the speed, and what would help."""
        waiting = self._waited / max(self._waited + self._worked, 1e-9)
        if waiting < MUCH_WAITING:
            return f"computing limits the speed: {waiting:.0%} of the time went to waiting for images"
        more_workers = f"try more --workers (now {workers}; {cores} cores)"
        advice = more_workers if workers < cores else "the disk or the cores are full"
        return f"preparing images limits the speed: {waiting:.0%} of the time went to waiting for them; {advice}"


def format_duration(seconds: float) -> str:
    """A duration in words.

    >>> format_duration(50), format_duration(170), format_duration(5400)
    ('50 s', '3 min', '1 h 30 min')
    """
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
