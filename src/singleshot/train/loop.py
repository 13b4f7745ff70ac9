"""The training loop: steps, validations, checkpoints, and a clean end whatever ends it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch

from singleshot.decode import decode_image
from singleshot.errors import ImageError, ImageLostError, WorkerLostError
from singleshot.evaluate.protocols import Evaluation, evaluate
from singleshot.machine import usable_cores
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.ssd.tensors import Batch
from singleshot.train import checkpoint
from singleshot.train.distributed import RankLostError, lost_rank_errors
from singleshot.train.length import LEAST_GAIN
from singleshot.train.plan import Plan, step_batches
from singleshot.train.results import keep_model, write_stopped_report
from singleshot.train.run_log import METRICS, RunLog, read_metrics
from singleshot.train.signals import Signals, Stopped, catch_signals
from singleshot.train.step import StepLosses, TrainStep, keep_freed_memory
from singleshot.train.timer import StepTimer, format_duration

USEFUL = 0.9
"""Of the best mAP: a model that reaches it can be used."""
SHOWN, SHOWN_SCORE = 4, 0.3
"""Validation images drawn for TensorBoard, and the lowest score drawn in them."""


@dataclass(frozen=True, eq=False)
class Finished:
    """What is to be said of a run that came to its end.

    Attributes:
        validation: the last one; None where there is no validation set.
        remarks: lines for people: why it ended early, after how many minutes it was useful.
    """

    validation: Evaluation | None
    remarks: tuple[str, ...]


def run(plan: Plan, log: RunLog, start: checkpoint.RunState) -> Finished:
    """Train from `start` to the plan's last step; `last/`, `best/` and checkpoints are in the plan's folder afterwards.

    Raises:
        Stopped: by a signal, after saving a checkpoint, `last/` and the report.
        WorkerLostError: a loader process died or hung twice at one batch; after saving a checkpoint.
        RankLostError: another process of the run was lost; after saving a checkpoint.
        ImageLostError: an image cannot be read any more; after saving a checkpoint. (ImageError: before the first
            step.)
        NonFiniteLossError: after saving nothing: the last good checkpoint stays the newest.
    """
    if plan.device.type == "cpu":
        keep_freed_memory()
    training = _Training(plan, log, start)
    with catch_signals(log.say) as signals:
        try:
            training.train(signals)
        except (WorkerLostError, RankLostError, ImageError) as error:
            training.abandon(error, signals)
    return training.finish()


class _Training:
    """A run between its steps: the weights and where it stands."""

    def __init__(self, plan: Plan, log: RunLog, start: checkpoint.RunState) -> None:
        self.plan, self.log, self.state = plan, log, start
        self._first_step = start.step
        self._model = plan.model.to(plan.device).to(memory_format=torch.channels_last).train()
        self._train_step = TrainStep(
            self._model, plan.optimizer, plan.recipe, autocast=plan.autocast, ranks=plan.ranks, loss=plan.loss
        )
        self._length = replace(plan.length, tail_from=start.tail_from)
        self._timer = plan.step_timer()
        self._metrics = _MeanMetrics(plan, log, self._timer)
        self._follow_length()
        self._validation: Evaluation | None = None
        self._validated_step = -1

    def train(self, signals: Signals) -> None:
        """All steps that are left.

        Raises:
            Stopped: by a signal, after saving.
        """
        if self._is_over():
            return
        plan = self.plan

        def on_retry(line: str) -> None:
            if signals.received is not None:  # the signal was sent to the loader's processes, too
                raise WorkerLostError(line)
            self.log.say(line)

        def stopping() -> bool:  # several processes agree on it after a step
            return signals.received is not None and plan.ranks.world == 1

        steps = step_batches(plan, self.state.step, plan.steps, on_retry=on_retry, stopping=stopping)
        for batches in self._timer.waiting(steps):
            self._one_step(batches)
            stop, over, flat = plan.ranks.agree(
                signals.received is not None, self._is_over(), self._is_flat(), device=plan.device
            )
            if flat:
                self._begin_tail()
            if stop or self.state.step % plan.checkpoint_every == 0 or self._is_over():
                self._save()
            if over:
                return
            if stop:
                plan.ranks.on_rank_zero(self._keep_stopped)
                raise Stopped(signals.received or signal.SIGTERM, self.state.step)

    def _one_step(self, batches: list[Batch]) -> None:
        """A step, and a validation where one is due."""
        plan, step = self.plan, self.state.step
        plan.optimizer.learning_rate = self._length.learning_rate(step, plan.recipe)
        with lost_rank_errors():
            losses = self._train_step(batches, step=step)
        done = step + 1
        if plan.ema is not None:
            plan.ema.update(done)
        self._metrics.add(done, losses, plan.optimizer.learning_rate)
        self.state = replace(self.state, step=done)
        if self._length.validates_after(done):
            started = time.monotonic()
            plan.ranks.on_rank_zero(self._validate)
            self._model.train()
            self._timer.validated(time.monotonic() - started)
            self._metrics.restart()

    def _validate(self, alive: Callable[[], None]) -> None:
        """Validate the weights that are kept (the EMA's, where there is one); the best so far become `best/`."""
        step, best = self.state.step, self.state.best_map
        with self.plan.ema_weights():
            self._validation = validate(self.plan, self.log, step, alive=alive)
            self._validated_step = step
            figure = self._validation.figure[1] or 0.0
            self.state = replace(self.state, validations=(*self.state.validations, (step, figure)))
            if best is None or figure > best:
                self.state = replace(self.state, best_map=figure, validations_since_best=0)
                keep_model(self.plan, "best", step, self._validation)
            else:
                self.state = replace(self.state, validations_since_best=self.state.validations_since_best + 1)

    def _is_over(self) -> bool:
        """After the last step, or after `patience` validations in a row without a better one."""
        patience = self.plan.options.patience
        out_of_patience = patience is not None and self.state.validations_since_best >= patience
        return self.state.step == self._length.last_step or out_of_patience

    def _is_flat(self) -> bool:
        """Whether the validation after this step shows that the run had better end; rank 0 alone knows."""
        validations = self.state.validations
        just_validated = bool(validations) and validations[-1][0] == self.state.step
        return self.plan.stops_early and just_validated and self._length.flat_since(validations) is not None

    def _begin_tail(self) -> None:
        """Let the learning rate fall to 0 from here on, and end there."""
        since = self._length.flat_since(self.state.validations)  # what rank 0 says; the others say nothing
        self.state = replace(self.state, tail_from=self.state.step)
        self._length = replace(self._length, tail_from=self.state.step)
        self._follow_length()
        if since is not None:
            epochs = [self.plan.epochs_of(step) for step in (self.state.step, since, self._length.last_step)]
            self.log.say(
                f"epoch {epochs[0]:.1f}: no gain of {100 * LEAST_GAIN:.1g} points since epoch {epochs[1]:.1f}; the "
                f"learning rate falls to 0 by epoch {epochs[2]:.1f}, and the run ends (--full-length trains on)"
            )

    def _follow_length(self) -> None:
        """Tell the timer, the log and the progress bar when the run ends."""
        self._timer.length = self._length
        self._metrics.last_step = self._length.last_step
        self.log.shorten(self._length.last_step)

    def _save(self) -> None:
        if self.plan.ranks.is_first:
            folder = self.plan.folder / "checkpoints"
            checkpoint.save(folder, self.state, self._model, self.plan.optimizer, self.plan.ema)

    def abandon(self, error: WorkerLostError | RankLostError | ImageError, signals: Signals) -> NoReturn:
        """Save what was learnt, then say what ended the run and how to go on."""
        done = self.state.step
        if done > self._first_step:
            self._save()
        if signals.received is not None:
            if done > self._first_step and self.plan.ranks.is_first:
                self._keep_stopped()
            raise Stopped(signals.received, done) from error
        if isinstance(error, RankLostError):
            raise RankLostError(f"{error}; stopped after step {done}") from error
        if isinstance(error, ImageError):
            if done == self._first_step:
                raise error
            raise ImageLostError(f"{error}; stopped after step {done}; mend it and go on with --resume") from error
        raise WorkerLostError(
            f"{error}; stopped after step {done}; go on with --resume, or with fewer --workers"
        ) from error

    def _keep_stopped(self, _alive: Callable[[], None] = lambda: None) -> None:
        """Leave `last/` and the report of a run that a signal stops: without a validation, which takes long."""
        step = self.state.step
        with self.plan.ema_weights():
            validation = self._validation if self._validated_step == step else None
            keep_model(self.plan, "last", step, validation, stopped=True)
        write_stopped_report(self.plan, self._validation, step)

    def finish(self) -> Finished:
        """Keep the model as it is in the end."""
        self.plan.ranks.on_rank_zero(self._finish)
        return Finished(self._validation, tuple(self._remarks()) if self.plan.ranks.is_first else ())

    def _finish(self, alive: Callable[[], None]) -> None:
        state = self.state
        with self.plan.ema_weights():
            if self._validation is None and self.plan.val_set is not None:  # all steps were done before
                self._validation = validate(self.plan, self.log, state.step, alive=alive)
            keep_model(self.plan, "last", state.step, self._validation)

    def _remarks(self) -> Iterator[str]:
        state, plan = self.state, self.plan
        epochs = f"after {plan.epochs_of(state.step):.3g} of {plan.settings.sources['epochs'].value:.3g} epochs"
        if state.step < self._length.last_step:
            count = state.validations_since_best
            yield f"stopped early, {epochs}: {count} validations in a row were no better than the best"
        elif state.tail_from is not None:
            before = [pair for pair in state.validations if pair[0] <= state.tail_from]
            since = replace(self._length, tail_from=None).flat_since(before)
            gained = "nothing more was gained" if since is None else f"no gain since epoch {plan.epochs_of(since):.3g}"
            yield f"stopped {epochs}: {gained} (--full-length trains on)"
        yield from useful_after(read_metrics(plan.folder / METRICS))


def useful_after(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A line that says how soon a run had a model nearly as good as its best; none where its rows do not tell."""
    validations = [
        (figure, row["seconds"], row["epoch"], name)
        for row in rows
        if "per_class" in row and "seconds" in row
        for name, figure in row.items()
        if name not in {"step", "epoch", "seconds", "per_class"} and figure is not None
    ]
    if not validations or not (best := max(validations)[0]):
        return
    figure, seconds, epoch, name = next(row for row in validations if row[0] >= USEFUL * best)
    yield (
        f"useful after {format_duration(seconds)} (epoch {epoch:.3g}): {name} {100 * figure:.1f}%, above "
        f"{USEFUL:.0%} of the best, {100 * best:.1f}%"
    )


def validate(plan: Plan, log: RunLog, step: int, *, alive: Callable[[], None] = lambda: None) -> Evaluation:
    """Evaluate the model as it is now on the validation set and log the figures; `alive` is called after each image."""
    assert plan.val_set is not None
    started = time.monotonic()
    detector = Detector(TorchBackend(plan.model, plan.device), name="validation")
    count = log.counter("validating", len(plan.val_set))

    def on_image(done: int) -> None:
        alive()
        count(done)

    detections = detect_in_set(detector, plan.val_set, on_image=on_image)
    result = evaluate(plan.val_set, detections, protocol=plan.protocol)
    epoch = plan.epochs_of(step)
    name, figure = result.figure
    row = {"step": step, "epoch": round(epoch, 3), "seconds": round(log.seconds, 1), name: figure}
    log.row(row | {"per_class": dict(result.per_class)})
    for index in range(min(SHOWN, len(plan.val_set))):
        drawn = (
            detections[index]
            .above(SHOWN_SCORE)
            .draw(decode_image(plan.val_set.path(index)), ground_truth=plan.val_set.ground_truth(index))
        )
        log.image(f"val/{plan.val_set.files[index]}", drawn, step)
    text = "no ground-truth boxes" if figure is None else f"{100 * figure:.1f}%"
    log.say(f"epoch {epoch:.1f}: {name} {text} on {len(plan.val_set)} images ({time.monotonic() - started:.0f} s)")
    return result


class _MeanMetrics:
    """Means of the losses over `plan.log_every` steps, for the log."""

    def __init__(self, plan: Plan, log: RunLog, timer: StepTimer) -> None:
        self.plan, self.log, self.timer = plan, log, timer
        self.last_step = plan.steps
        self._bottleneck_told = False
        self._figures = ""
        self.restart()

    def restart(self) -> None:
        """Start the means and their time anew, after a row or a validation."""
        self._losses: list[StepLosses] = []
        self._since = time.monotonic()

    def add(self, done: int, losses: StepLosses, rate: float) -> None:
        """A step's losses, and a row where one is due."""
        self._losses.append(losses)
        if done % self.plan.log_every == 0 or done == self.last_step:
            self._log_row(done, rate)
        self.log.advance(done, self._figures)

    def _log_row(self, done: int, rate: float) -> None:
        plan, count = self.plan, len(self._losses)
        images = count * plan.recipe.batch_size
        row = {
            "step": done,
            "epoch": round(done * plan.recipe.batch_size / len(plan.train_set), 3),
            "loss": sum(each.loss for each in self._losses) / count,
            "loss_location": sum(each.location for each in self._losses) / count,
            "loss_confidence": sum(each.confidence for each in self._losses) / count,
            "positives": sum(each.matched for each in self._losses) / images,
            "learning_rate": rate,
            "pictures_per_second": images / max(time.monotonic() - self._since, 1e-9),
        }
        self.log.row(row)
        left = self.timer.seconds_left(done)
        self._figures = (
            f"epoch {row['epoch']:.1f}  loss {row['loss']:.3f}  {row['pictures_per_second']:.1f} images/s"
            + (f"  {format_duration(left)} left" if left else "")
        )
        if left is not None and not self._bottleneck_told and row["epoch"] >= 1:
            self._bottleneck_told = True
            self.log.say(self.timer.bottleneck(workers=plan.workers, cores=usable_cores()))
        self.restart()
