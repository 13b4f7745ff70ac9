"""How long a run will take on this machine, by the time of its first steps, and what would be shorter."""

from __future__ import annotations

import copy
import time
from contextlib import closing
from dataclasses import dataclass

import torch

from singleshot.train.optimizer import build_optimizer
from singleshot.train.plan import Plan, step_batches
from singleshot.train.settings import DEFAULT_EPOCHS
from singleshot.train.step import TrainStep
from singleshot.train.timer import SLOW_START, format_duration

TIMED_STEPS = 5
"""Steps that are timed, after those that a run starts slowly with ..."""
PATIENCE = 20.0
"""... or as many as fit into so many seconds."""
STOP_AFTER = 5
"""Validations without a gain; what is offered as --patience."""
LONG = 600.0
"""Seconds from which on a run is long, and shorter ones are offered."""


@dataclass(frozen=True)
class Cost:
    """What a run takes.

    Attributes:
        seconds: of the whole run, with its validations.
        seconds_per_step: of one step.
        steps: of the run.
        epochs: of the run.
        at_most: the run ends early where its validations bring nothing more.
    """

    seconds: float
    seconds_per_step: float
    steps: int
    epochs: float
    at_most: bool = False

    def lines(self) -> list[str]:
        """For people: the time, and shorter runs where this one is long."""
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs:g} epochs"
        step = format(self.seconds_per_step, ".0f" if self.seconds_per_step >= 10 else ".2g")
        lines = [
            f"{epochs}, {self.steps:,} steps: about {format_duration(self.seconds)} on this machine ({step} s per step)"
        ]
        if self.at_most:
            lines = [f"at most {lines[0]}; it ends early where the validations bring nothing more"]
        elif self.seconds >= LONG and self.epochs > STOP_AFTER:
            lines.append(
                f"shorter: --patience {STOP_AFTER} stops when five validations in a row are no better than the best"
            )
        if self.seconds >= LONG and self.epochs > DEFAULT_EPOCHS:
            shorter = format_duration(self.seconds * DEFAULT_EPOCHS / self.epochs)
            lines.append(
                f"shorter: --epochs {DEFAULT_EPOCHS} takes about {shorter}; on 40 images, epoch 27 of 200 had an mAP "
                "of 81%, the last 85%"
            )
        return lines


def measure_cost(plan: Plan) -> Cost:
    """Time a few steps on a copy of the plan's network, which stays as it is."""
    model = copy.deepcopy(plan.model).to(memory_format=torch.channels_last).train()
    optimizer = build_optimizer(model, plan.recipe, model.backbone)
    optimizer.learning_rate = 0.0
    train_step = TrainStep(model, optimizer, plan.recipe, autocast=plan.autocast, loss=plan.loss)
    timer = plan.step_timer()
    end = time.monotonic() + PATIENCE
    with torch.random.fork_rng(), closing(step_batches(plan, 0, SLOW_START + TIMED_STEPS)) as groups:
        for step, group in enumerate(timer.waiting(groups)):
            train_step(group, step=step)
            if step > SLOW_START and time.monotonic() > end:
                break
    seconds = timer.seconds_left(0)
    assert seconds is not None
    return Cost(
        seconds=seconds,
        seconds_per_step=timer.seconds_per_step,
        steps=plan.steps,
        epochs=plan.settings.sources["epochs"].value,
        at_most=plan.stops_early,
    )
