"""How long a run is: when its curve is flat, the end of its learning rate, and what it says of both."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from singleshot.commands.train import train_command
from singleshot.train import loop
from singleshot.train.checkpoint import checkpoints, load_latest
from singleshot.train.length import LEAST_GAIN, Length
from singleshot.train.optimizer import learning_rate
from singleshot.train.prepare import prepare
from singleshot.train.recipe import MODERN
from singleshot.train.run_log import read_metrics
from singleshot.train.step import TrainStep
from singleshot.train.timer import StepTimer
from train_fixtures import OPTIONS, assert_same_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

RUN = Length(3000, 100)  # 30 validations
# mAP of a run on bccd (205 images, 40 epochs), in percent
BCCD = (
    48.1, 74.0, 80.1, 82.2, 84.4, 86.2, 86.4, 86.3, 86.3, 86.2, 86.3, 86.4, 86.3, 86.3, 86.4, 86.1, 86.2, 86.1, 86.1,
    86.2, 86.2, 86.3, 86.2, 86.1, 86.0, 86.0, 85.9, 85.9, 85.9, 85.9,
)  # fmt: skip


def curve(figures: Sequence[float]) -> list[tuple[int, float]]:
    """Validations of `RUN`, from percent."""
    return [(100 * number, figure / 100) for number, figure in enumerate(figures, 1)]


def end_of(figures: Sequence[float], run: Length = RUN) -> int:
    """After how many steps a run with these validations ends."""
    validations = curve(figures)
    for count in range(1, len(validations) + 1):
        if run.flat_since(validations[:count]) is not None:
            return replace(run, tail_from=validations[count - 1][0]).last_step
    return run.steps


# --- the rule


def test_a_recorded_run_ends_after_two_thirds_with_the_same_map() -> None:
    """Flat from its seventh validation on; the full run's last model has 85.9%."""
    assert RUN.flat_since(curve(BCCD[:15])) is None
    assert RUN.flat_since(curve(BCCD[:16])) == 800  # the mean of three reaches its height with the eighth
    assert end_of(BCCD) == 1600 + 375
    assert max(BCCD[:20]) == max(BCCD)


@pytest.mark.parametrize(
    "figure",
    [
        lambda x: 50 + 36 * x,
        lambda x: 80 + 6 * x,
        lambda x: 60 + 25 * x**0.5,
        lambda x: 0.0 if x < 0.7 else 100 * (x - 0.7),  # has not begun to learn
    ],
    ids=["steep", "slow", "root", "late"],
)
def test_a_curve_that_rises_is_never_flat(figure: Callable[[float], float]) -> None:
    assert end_of([figure(number / 30) for number in range(1, 31)]) == 3000


@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_noise_around_a_height_ends_it_and_noise_on_a_rise_rarely_does(noise: float) -> None:
    """Of a hundred drawn curves each. What the cut ones miss is less than what two validations differ by."""
    draw = random.Random(0)
    ends, missed = [], []
    for _ in range(100):
        flat = [86 * (1 - 0.5**number) + draw.gauss(0, noise) for number in range(1, 31)]
        rising = [60 + 24 * (number / 30) ** 0.4 for number in range(1, 31)]
        ends.append(end_of(flat))
        stop = end_of([figure + draw.gauss(0, noise) for figure in rising])
        missed.append(rising[-1] - rising[stop // 100 - 1])
    assert sum(end < 3000 for end in ends) >= 50
    assert sum(missed) / 100 < noise
    assert sorted(missed)[90] < 1.5 * noise + 0.5


def test_the_limits_by_hand() -> None:
    """Eight points of the curve without half a point of gain, after 40% of the run, and an eighth saved at least."""
    level = [50.0] * 30
    assert RUN.flat_since(curve(level[:11])) is None  # 1,100 of 3,000 steps
    assert RUN.flat_since(curve(level[:12])) == 300
    gains = [50.0] * 6 + [50.0 + 100 * LEAST_GAIN + 0.01] * 6
    assert RUN.flat_since(curve(gains)) is None
    assert RUN.flat_since(curve([50.0] * 6 + [50.0 + 100 * LEAST_GAIN - 0.01] * 6)) == 300
    assert RUN.flat_since(curve([50.0] * 6 + [45.0] * 3 + [50.0] * 9)) == 300  # back from a dip is no gain
    assert RUN.flat_since(curve([4.9] * 12)) is None
    late = [(step, 0.5) for step in range(100, 2300, 100)]
    assert RUN.flat_since(late) == 300  # 800 steps are left, of which a tail takes 375
    assert RUN.flat_since([*late, (2300, 0.5)]) is None
    assert replace(RUN, tail_from=1200).flat_since(curve(level[:13])) is None


def test_many_validations_are_flat_for_a_quarter_of_the_run() -> None:
    often = Length(3000, 10)  # 300 validations
    level = [(10 * number, 0.5) for number in range(1, 301)]
    rise = [(step, 0.5 if step <= 1100 else 0.6) for step, _ in level]
    assert often.flat_since(level[:120]) == 30
    assert often.flat_since(rise[:170]) is None
    assert often.flat_since(rise[:190]) is not None


# --- the end of the schedule


def test_the_rate_falls_from_where_it_is_to_nothing() -> None:
    tail = replace(RUN, tail_from=1500)
    assert tail.last_step == 1875
    rates = [tail.learning_rate(step, MODERN) for step in range(1875)]
    assert rates[:1501] == [learning_rate(step, 3000, MODERN) for step in range(1501)]
    assert all(later < earlier for earlier, later in pairwise(rates[1500:]))
    middle = (1500 + 1875) // 2
    assert rates[middle] == pytest.approx(rates[1500] / 2, rel=0.01)
    assert rates[-1] < 1e-4 * rates[1500]


def test_a_run_that_ends_early_validates_at_its_end() -> None:
    tail = replace(RUN, tail_from=1600)
    done = [step for step in range(1, 1976) if tail.validates_after(step)]
    assert done[-3:] == [1800, 1900, 1975]
    assert tail.validations_after(1600) == 4
    near = replace(RUN, steps=2960, tail_from=1660)
    assert near.last_step == 2030
    assert [step for step in range(1900, 2031) if near.validates_after(step)] == [1900, 2030]  # not 2000, so near


def test_the_time_left_follows() -> None:
    timer = StepTimer(RUN, images_a_step=1, images_a_validation=0, now=iter(range(10_000)).__next__)
    for done, _ in enumerate(timer.waiting([[]] * 50), 1):
        if done == 40:
            break
    whole = timer.seconds_left(1600)
    timer.length = replace(RUN, tail_from=1600)
    short = timer.seconds_left(1600)
    assert whole is not None
    assert short is not None
    assert short / whole == pytest.approx(375 / 1400, rel=0.01)


# --- runs

LONG = replace(OPTIONS, iterations=None, validate_every=None, checkpoint_every=3, batch_size=4)


@pytest.fixture
def level_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every validation of a run says 50%; a run has 6 epochs or 14 steps, and looks flat after four validations."""
    original = loop.evaluate

    def evaluate(*arguments: Any, **named: Any) -> Any:
        return replace(original(*arguments, **named), mean_ap=0.5)

    monkeypatch.setattr(loop, "evaluate", evaluate)
    monkeypatch.setattr("singleshot.train.settings.LEAST_STEPS", 1)
    monkeypatch.setattr("singleshot.train.settings.DEFAULT_EPOCHS", 6)
    for name, value in (("FEWEST_FLAT", 1), ("FLAT_SHARE", 9), ("TAIL_SHARE", 4)):
        monkeypatch.setattr(f"singleshot.train.length.{name}", value)


@pytest.mark.usefixtures("level_curve")
def test_a_run_ends_early_and_says_so(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    plan = prepare([str(data)], replace(LONG, out=out))
    assert plan.stops_early
    assert train_command([str(data)], replace(LONG, out=out)) == 0
    said = capsys.readouterr().err
    assert "no gain of 0.5 points since epoch" in said
    assert "of 6 epochs: no gain since epoch" in said
    assert "useful after" in said
    newest = load_latest(out / "checkpoints")
    assert newest is not None
    assert newest.state.tail_from is not None
    assert newest.state.step == replace(plan.length, tail_from=newest.state.tail_from).last_step < plan.steps
    rows = read_metrics(out / "metrics.jsonl")
    assert rows[-1]["step"] == newest.state.step
    assert [row["seconds"] for row in rows if "per_class" in row] == sorted(
        row["seconds"] for row in rows if "per_class" in row
    )
    report = (out / "report.html").read_text()
    assert "of 6 epochs: no gain since epoch" in report
    assert "useful after" in report
    assert train_command([str(data)], replace(LONG, out=out, resume=True)) == 0  # nothing more is learnt
    assert checkpoints(out / "checkpoints")[-1].name == f"step-{newest.state.step:08d}"


@pytest.mark.usefixtures("level_curve")
def test_a_run_cut_in_its_tail_ends_with_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train_command([str(data)], replace(LONG, out=tmp_path / "whole")) == 0
    whole = load_latest(tmp_path / "whole/checkpoints")
    assert whole is not None
    assert whole.state.tail_from is not None
    original = TrainStep.__call__
    cuts: Iterator[int] = iter([whole.state.tail_from, whole.state.tail_from + 2])
    cut = next(cuts)

    def step_or_cut(*arguments: Any, step: int, **named: Any) -> Any:
        nonlocal cut
        if step == cut:
            cut = next(cuts, -1)
            raise KeyboardInterrupt
        return original(*arguments, step=step, **named)

    monkeypatch.setattr(TrainStep, "__call__", step_or_cut)
    options = replace(LONG, out=tmp_path / "cut")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_command([str(data)], options)
        options = replace(options, resume=True)
    assert train_command([str(data)], options) == 0
    assert_same_weights(tmp_path / "whole/last", tmp_path / "cut/last")


@pytest.mark.parametrize(
    "given",
    [{"epochs": 20.0}, {"iterations": 40}, {"full_length": True}, {"patience": 9}, {"val_split": "none"}],
    ids=lambda given: next(iter(given)),
)
def test_a_length_that_is_given_is_kept(given: dict[str, Any], data: Path, tmp_path: Path) -> None:
    assert not prepare([str(data)], replace(LONG, out=tmp_path, **given)).stops_early
