from __future__ import annotations

import pytest

from singleshot.train.length import Length
from singleshot.train.timer import StepTimer


class Time:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def run(time: Time, timer: StepTimer, *, waits: float, works: float, validates: float, every: int, until: int) -> None:
    def groups():
        while True:
            time.seconds += waits
            yield []

    for done, _ in enumerate(timer.waiting(groups()), 1):
        time.seconds += works * (20 if done <= 3 else 1)  # the first ones are slow
        if done % every == 0:
            time.seconds += validates
            timer.validated(validates)
        if done > until:
            return


def timer_of(time: Time, every: int) -> StepTimer:
    return StepTimer(Length(1000, every), images_a_step=16, images_a_validation=480, now=time)


def test_what_is_left_is_right_after_the_first_epoch() -> None:
    time = Time()
    timer = timer_of(time, 50)
    assert timer.seconds_left(0) is None
    run(time, timer, waits=0.1, works=0.9, validates=20, every=50, until=50)
    assert timer.seconds_left(50) == pytest.approx(950 * 1.0 + 19 * 20)


def test_before_a_validation_its_time_is_estimated() -> None:
    time = Time()
    timer = timer_of(time, 50)
    run(time, timer, waits=0, works=1, validates=0, every=1000, until=20)
    assert timer.seconds_left(20) == pytest.approx(980 + 20 * 30 / 3)


@pytest.mark.parametrize(
    ("waits", "workers", "text"),
    [
        (0.02, 1, "computing limits the speed: 2% of the time"),
        (1.0, 1, "preparing images limits the speed: 50% of the time went to waiting for them; try more --workers"),
        (1.0, 4, "the disk or the cores are full"),
    ],
)
def test_what_limits_the_speed_is_told(waits: float, workers: int, text: str) -> None:
    time = Time()
    timer = timer_of(time, 50)
    run(time, timer, waits=waits, works=1, validates=0, every=1000, until=30)
    assert text in timer.bottleneck(workers=workers, cores=4)
