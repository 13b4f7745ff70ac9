"""The training loop: steps, validation, checkpoints, and a clean end whatever ends it."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from singleshot.data.loader import TrainingSet, VisitOrder, batches, training_loader
from singleshot.errors import SingleshotError, WorkerLostError
from singleshot.evaluate.protocols import evaluate
from singleshot.runtime.detector import Detector
from singleshot.runtime.over_set import detect_in_set
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.train import checkpoint
from singleshot.train.memory import keep_freed_memory
from singleshot.train.results import keep_model
from singleshot.train.solver import learning_rate
from singleshot.train.step import Normaliser, StepFigures, update

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singleshot.evaluate.protocols import Evaluation
    from singleshot.tensors import Batch
    from singleshot.train.journal import Journal
    from singleshot.train.plan import Plan


class Stopped(SingleshotError):  # noqa: N818  (a signal is no error)
    """A signal ended the run after its state was saved; `exit_code` is 128 + the signal's number."""

    def __init__(self, number: int, step: int, *, advice: str = "go on with --resume") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step}; {advice}")
        self.number, self.step = number, step
        self.exit_code = 128 + number  # type: ignore[misc]


@dataclass
class _Signals:
    """The last stop signal received, if any."""

    received: int | None = None


@contextmanager
def _catch_signals() -> Iterator[_Signals]:
    """Note SIGINT and SIGTERM instead of dying; a second one ends the process as usual."""
    state = _Signals()
    previous: dict[int, Any] = {}

    def note(number: int, _frame: object) -> None:
        state.received = number
        signal.signal(number, previous[number])

    for stop in (signal.SIGINT, signal.SIGTERM):
        previous[stop] = signal.signal(stop, note)
    try:
        yield state
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run(plan: Plan, journal: Journal, start: checkpoint.RunState) -> Evaluation | None:
    """Train from `start` to the plan's last step; `last/`, `best/` and checkpoints are in the plan's folder afterwards.

    Returns the last validation, None where there is no validation set.

    Raises:
        Stopped: by a signal, after saving.
        WorkerLostError: a loader process died; after saving.
        NonFiniteLossError: after saving nothing: the last good checkpoint stays the newest.
    """
    if plan.device.type == "cpu":
        keep_freed_memory()
    model = plan.model.to(plan.device).to(memory_format=torch.channels_last).train()
    solver = plan.solver
    normalise = Normaliser(model, plan.device)
    parts = plan.recipe.accumulate
    order = VisitOrder(
        len(plan.train_set), plan.recipe.batch_size // parts, plan.options.seed, start.step * parts, plan.steps * parts
    )
    samples = TrainingSet(plan.train_set, plan.augmentation, seed=plan.options.seed)
    loader = training_loader(samples, order, workers=plan.workers, pin=plan.device.type == "cuda")
    state, validation = start, None
    meter = _Meter(plan, journal)
    with _catch_signals() as signals:
        try:
            for step, group in enumerate(_grouped(loader, parts), start.step):
                solver.learning_rate = learning_rate(step, plan.steps, plan.recipe)
                figures = update(
                    model, solver, group, recipe=plan.recipe, normalise=normalise, autocast=plan.autocast, step=step
                )
                done = step + 1
                if plan.average is not None:
                    plan.average.update(done)
                meter.add(done, figures, solver.learning_rate)
                state = replace(state, step=done)
                if plan.validates_after(done):
                    with plan.judged_weights():
                        validation = validate(plan, journal, done)
                        best = state.best_map is None or (validation.mean_ap or 0.0) > state.best_map
                        if best:
                            state = replace(state, best_map=validation.mean_ap or 0.0)
                            keep_model(plan, "best", done, validation)
                    model.train()
                    meter.restart_clock()
                stop = signals.received is not None
                if stop or done % plan.checkpoint_every == 0 or done == plan.steps:
                    checkpoint.save(plan.folder / "checkpoints", state, model, solver, plan.average)
                if stop and done < plan.steps:
                    assert signals.received is not None
                    raise Stopped(signals.received, done)
        except WorkerLostError as error:
            if state.step > start.step:
                checkpoint.save(plan.folder / "checkpoints", state, model, solver, plan.average)
            if signals.received is not None:  # it was sent to the workers, too
                raise Stopped(signals.received, state.step) from error
            raise WorkerLostError(
                f"{error}; stopped after step {state.step}; go on with --resume, or with fewer --workers"
            ) from error
    with plan.judged_weights():
        if validation is None and plan.val_set is not None:  # all updates were done before
            validation = validate(plan, journal, state.step)
        keep_model(plan, "last", state.step, validation)
    return validation


def _grouped(loader: Any, parts: int) -> Iterator[list[Batch]]:
    """The loader's batches, `parts` at a time."""
    group: list[Batch] = []
    for batch in batches(loader):
        group.append(batch)
        if len(group) == parts:
            yield group
            group = []


def validate(plan: Plan, journal: Journal, step: int) -> Evaluation:
    """Evaluate the model as it is now on the validation set and write the figures down."""
    assert plan.val_set is not None
    started = time.monotonic()
    detector = Detector(TorchBackend(plan.model, plan.device), name="validation")
    detections = detect_in_set(detector, plan.val_set)
    result = evaluate(plan.val_set, detections, protocol=plan.protocol)
    epoch = step * plan.recipe.batch_size / len(plan.train_set)
    journal.row({"step": step, "epoch": round(epoch, 3), "mAP": result.mean_ap, "per_class": dict(result.per_class)})
    found = "no truths" if result.mean_ap is None else f"{100 * result.mean_ap:.1f}%"
    journal.say(f"epoch {epoch:.1f}: mAP {found} on {len(plan.val_set)} pictures ({time.monotonic() - started:.0f} s)")
    return result


class _Meter:
    """Averages figures over `plan.log_every` updates and hands them to the journal."""

    def __init__(self, plan: Plan, journal: Journal) -> None:
        self.plan = plan
        self.journal = journal
        self.figures: list[StepFigures] = []
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave out what was not training."""
        self.figures = []
        self.since = time.monotonic()

    def add(self, done: int, figures: StepFigures, rate: float) -> None:
        """Note one update."""
        self.figures.append(figures)
        if done % self.plan.log_every and done != self.plan.steps:
            return
        count = len(self.figures)
        pictures = count * self.plan.recipe.batch_size
        row = {
            "step": done,
            "epoch": round(done * self.plan.recipe.batch_size / len(self.plan.train_set), 3),
            "loss": sum(f.loss for f in self.figures) / count,
            "loss_location": sum(f.location for f in self.figures) / count,
            "loss_confidence": sum(f.confidence for f in self.figures) / count,
            "positives": sum(f.matched for f in self.figures) / pictures,
            "learning_rate": rate,
            "pictures_per_second": pictures / max(time.monotonic() - self.since, 1e-9),
        }
        self.journal.row(row)
        self.journal.advance(
            done, f"epoch {row['epoch']:.1f}  loss {row['loss']:.3f}  {row['pictures_per_second']:.1f} pictures/s"
        )
        self.restart_clock()
