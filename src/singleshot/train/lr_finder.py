"""Learning-rate range test: a short run whose rate rises until the loss does (Smith 2017, section 3.3)."""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from singleshot.errors import NonFiniteLossError, RequestError, WorkerLostError
from singleshot.files import write_json
from singleshot.report.charts import smoothed
from singleshot.report.page import RateSearch
from singleshot.train.plan import Plan, step_batches
from singleshot.train.signals import Stopped, catch_signals
from singleshot.train.step import TrainStep

STEPS = 100
LOWEST, HIGHEST = 1e-3, 30.0
"""Rates tried, as multiples of the recipe's."""
WORSE = 2.0
"""The search ends when the smoothed loss is this many times its lowest."""
SMOOTHED_OVER = 10
LINE_EVERY = 20
"""Rates between two lines of progress where there is no terminal."""
RESULT = "learning-rate.json"
ADVICE = "the search has to begin anew"


def find_learning_rate(plan: Plan, console: Console) -> RateSearch:
    """Try rising rates on the plan's network, whose weights are spoilt, and write the result into the plan's folder.

    Raises:
        RequestError: several processes, or a loss that never falls.
        Stopped: by a signal; nothing was found.
    """
    if plan.ranks.world > 1:
        raise RequestError("--find-rate runs in one process")
    rates = np.geomspace(LOWEST, HIGHEST, STEPS) * plan.recipe.learning_rate
    losses: list[float] = []
    console.print(f"trying {STEPS} rates, a step each; the weights are thrown away")
    with (
        catch_signals(console.print, what="ending after this step") as signals,
        closing(_losses(plan, rates, console)) as losses_by_rate,
    ):
        try:
            for rate, loss in zip(rates, losses_by_rate, strict=False):
                losses.append(loss)
                if signals.received is not None:
                    raise Stopped(signals.received, len(losses), advice=ADVICE)
                if not math.isfinite(loss) or (len(losses) > 2 * SMOOTHED_OVER and _is_worse(losses)):
                    console.print(f"the loss rises at a rate of {rate:.2g}")
                    break
            else:
                console.print(f"the loss did not rise up to the highest rate tried, {rates[-1]:.2g}")
        except WorkerLostError as error:
            if signals.received is None:
                raise
            raise Stopped(signals.received, len(losses), advice=ADVICE) from error
    search = _search(rates[: len(losses)], np.array(losses), recipe_rate=plan.recipe.learning_rate)
    write_json(plan.folder / RESULT, asdict(search))
    return search


def read_rate_search(folder: Path) -> RateSearch | None:
    """The result of an earlier search in this folder; None where there was none."""
    try:
        search = RateSearch(**json.loads((folder / RESULT).read_text()))
        numbers = [*search.rates, *search.losses, search.suggested, search.recipe]
        whole = len(search.rates) == len(search.losses) > 0 and all(math.isfinite(number) for number in numbers)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return search if whole and min(*search.rates, search.suggested, search.recipe) > 0 else None


def _search(rates: np.ndarray, losses: np.ndarray, *, recipe_rate: float) -> RateSearch:
    """The rate at which the smoothed loss falls most steeply, over the rates up to its lowest."""
    finite = np.isfinite(losses)
    rates, losses = rates[finite], losses[finite]
    curve = smoothed(losses, window=SMOOTHED_OVER)
    lowest = int(curve.argmin()) if len(curve) else 0
    if lowest < SMOOTHED_OVER:
        raise RequestError(
            "the loss fell at no rate: look at the data (ssd data check), or give a lower --learning-rate"
        )
    slopes = np.gradient(curve[: lowest + 1], np.log(rates[: lowest + 1]))
    steepest = int(slopes[SMOOTHED_OVER // 2 :].argmin()) + SMOOTHED_OVER // 2
    return RateSearch(
        rates=rates.tolist(), losses=losses.tolist(), suggested=float(rates[steepest]), recipe=recipe_rate
    )


def _is_worse(losses: list[float]) -> bool:
    curve = smoothed(np.array(losses), window=SMOOTHED_OVER)
    return bool(curve[-1] > WORSE * curve.min())


def _losses(plan: Plan, rates: np.ndarray, console: Console) -> Generator[float]:
    """The loss before each step; NaN where it is not finite."""
    model = plan.model.to(memory_format=torch.channels_last).train()
    train_step = TrainStep(model, plan.optimizer, plan.recipe, autocast=plan.autocast, loss=plan.loss)
    tried = track(rates.tolist(), "trying rates", console=console, transient=True, disable=not console.is_terminal)
    for step, (rate, batches) in enumerate(zip(tried, step_batches(plan, 0, len(rates)), strict=True)):
        if step and step % LINE_EVERY == 0 and not console.is_terminal:
            console.print(f"{step} of {len(rates)} rates tried")
        plan.optimizer.learning_rate = rate
        try:
            yield train_step(batches, step=step).loss
        except NonFiniteLossError:
            yield math.nan
