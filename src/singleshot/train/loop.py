"""The training loop: steps, validation, checkpoints, and a clean end whatever ends it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from singleshot.data.loader import PATIENCE, BatchSampler, TrainingDataset, batches
from singleshot.decode import decode_image
from singleshot.errors import ImageError, ImageLostError, WorkerLostError
from singleshot.evaluate.protocols import Evaluation, evaluate
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.runtime.engine import usable_cores
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.ssd.tensors import Batch
from singleshot.train import checkpoint
from singleshot.train.distributed import PATIENCE as PATIENCE_OF_RANKS
from singleshot.train.distributed import RankLostError, lost_rank_errors
from singleshot.train.optimizer import learning_rate
from singleshot.train.plan import Plan
from singleshot.train.results import keep_model
from singleshot.train.run_log import RunLog
from singleshot.train.signals import Signals, Stopped, catch_signals
from singleshot.train.step import Normaliser, StepLosses, keep_freed_memory, train_step
from singleshot.train.timer import StepTimer, format_duration

SHOWN, SHOWN_SCORE = 4, 0.3  # validation images for TensorBoard, with what scores at least this


def run(plan: Plan, log: RunLog, start: checkpoint.RunState) -> Evaluation | None:
    """Train from `start` to the plan's last step; `last/`, `best/` and checkpoints are in the plan's folder afterwards.

    Returns the last validation, None where there is no validation set.

    Raises:
        Stopped: by a signal, after saving.
        WorkerLostError: a loader process died or hung twice at one batch; after saving.
        RankLostError: another process of the run was lost; after saving.
        ImageLostError: an image cannot be read any more; after saving. (ImageError: before the first update.)
        NonFiniteLossError: after saving nothing: the last good checkpoint stays the newest.
    """
    if plan.device.type == "cpu":
        keep_freed_memory()
    training = _Training(plan, log, start)
    with catch_signals() as signals:
        try:
            groups = training.timer.waiting(_groups(plan, log, signals, start))
            for step, group in enumerate(groups if not training.is_over() else [], start.step):
                training.learn(step, group)
                stop, over = plan.ranks.agree(signals.received is not None, training.is_over(), device=plan.device)
                if stop or training.checkpoint_is_due():
                    training.save()
                if over:
                    break
                if stop:
                    raise Stopped(signals.received or signal.SIGTERM, training.state.step)
        except (WorkerLostError, RankLostError, ImageError) as error:
            done = training.state.step
            if done > start.step:
                training.save()
            if signals.received is not None:
                raise Stopped(signals.received, done) from error
            if isinstance(error, RankLostError):
                raise RankLostError(f"{error}; stopped after step {done}") from error
            if isinstance(error, ImageError):
                if done == start.step:
                    raise
                raise ImageLostError(f"{error}; stopped after step {done}; mend it and go on with --resume") from error
            raise WorkerLostError(
                f"{error}; stopped after step {done}; go on with --resume, or with fewer --workers"
            ) from error
    return training.finish()


class _Training:
    """A run between its steps: the weights and where it stands."""

    def __init__(self, plan: Plan, log: RunLog, start: checkpoint.RunState) -> None:
        self.plan, self.log, self.state = plan, log, start
        self._model = plan.model.to(plan.device).to(memory_format=torch.channels_last).train()
        self._sharing = plan.ranks.ddp_model(self._model)
        self._normalise = Normaliser(self._model, plan.device)
        self.timer = StepTimer(
            plan.steps,
            plan.validations_after,
            images_a_step=plan.recipe.batch_size,
            images_a_validation=0 if plan.val_set is None else len(plan.val_set),
        )
        self._meter = _Meter(plan, log, self.timer)
        self._validation: Evaluation | None = None

    def learn(self, step: int, group: list[Batch]) -> None:
        """One update, and a validation where one is due."""
        plan, done = self.plan, step + 1
        plan.optimizer.learning_rate = learning_rate(step, plan.steps, plan.recipe)
        with lost_rank_errors():
            figures = train_step(
                self._model,
                plan.optimizer,
                group,
                recipe=plan.recipe,
                normalise=self._normalise,
                autocast=plan.autocast,
                step=step,
                ranks=plan.ranks,
                sharing=self._sharing,
            )
        if plan.ema is not None:
            plan.ema.update(done)
        self._meter.add(done, figures, plan.optimizer.learning_rate)
        self.state = replace(self.state, step=done)
        if plan.validates_after(done):
            started = time.monotonic()
            plan.ranks.on_rank_zero(partial(self._judge, done))
            self._model.train()
            self.timer.validated(time.monotonic() - started)
            self._meter.restart_clock()

    def _judge(self, done: int, alive: Callable[[], None]) -> None:
        with self.plan.ema_weights():
            self._validation = validate(self.plan, self.log, done, alive=alive)
            found = self._validation.figure[1] or 0.0
            if self.state.best_map is None or found > self.state.best_map:
                self.state = replace(self.state, best_map=found, validations_since_best=0)
                keep_model(self.plan, "best", done, self._validation)
            else:
                self.state = replace(self.state, validations_since_best=self.state.validations_since_best + 1)

    def is_over(self) -> bool:
        """After the last update, or when there is no hope left."""
        patience = self.plan.options.patience
        return self.state.step == self.plan.steps or (
            patience is not None and self.state.validations_since_best >= patience
        )

    def checkpoint_is_due(self) -> bool:
        """Regularly, and in the end."""
        return self.state.step % self.plan.checkpoint_every == 0 or self.is_over()

    def save(self) -> None:
        """Write a checkpoint, if this process writes."""
        plan = self.plan
        if not plan.ranks.is_first:
            return
        checkpoint.save(plan.folder / "checkpoints", self.state, self._model, plan.optimizer, plan.ema)

    def finish(self) -> Evaluation | None:
        """Keep the model as it is in the end; gives the last validation."""
        self.plan.ranks.on_rank_zero(self._finish)
        return self._validation

    def _finish(self, alive: Callable[[], None]) -> None:
        if self.state.step < self.plan.steps:
            self.log.say(
                f"stopped early: {self.state.validations_since_best} validations in a row were no better than the best"
            )
        with self.plan.ema_weights():
            if self._validation is None and self.plan.val_set is not None:  # all updates were done before
                self._validation = validate(self.plan, self.log, self.state.step, alive=alive)
            keep_model(self.plan, "last", self.state.step, self._validation)


def _groups(plan: Plan, log: RunLog, signals: Signals, start: checkpoint.RunState) -> Iterator[list[Batch]]:
    """The batches of each update that is left."""
    parts = plan.recipe.accumulate
    order = BatchSampler(
        len(plan.train_set),
        plan.recipe.batch_size // parts,
        plan.options.seed,
        start.step * parts,
        plan.steps * parts,
        plan.shard,
    )
    samples = TrainingDataset(plan.train_set, plan.augmentation, seed=plan.options.seed)
    plan.train_set = samples.annotations  # the same, in shared memory: not twice

    def go_on_or_stop(line: str) -> None:
        if signals.received is not None:  # it was sent to the loader's processes, too
            raise WorkerLostError(line)
        log.say(line)

    made = batches(
        samples,
        order,
        workers=plan.workers,
        pin=plan.device.type == "cuda",
        patience=PATIENCE if plan.ranks.world == 1 else PATIENCE_OF_RANKS / 2,  # before the others give this one up
        on_retry=go_on_or_stop,
    )
    return _grouped(made, parts)


def _grouped(loader: Iterator[Batch], parts: int) -> Iterator[list[Batch]]:
    """The loader's batches, `parts` at a time."""
    group: list[Batch] = []
    for batch in loader:
        group.append(batch)
        if len(group) == parts:
            yield group
            group = []


def validate(plan: Plan, log: RunLog, step: int, *, alive: Callable[[], None] = lambda: None) -> Evaluation:
    """Evaluate the model as it is now on the validation set and write the figures down; `alive` is called meanwhile."""
    assert plan.val_set is not None
    started = time.monotonic()
    detector = Detector(TorchBackend(plan.model, plan.device), name="validation")
    detections = detect_in_set(detector, plan.val_set, on_image=lambda _done: alive())
    result = evaluate(plan.val_set, detections, protocol=plan.protocol)
    epoch = step * plan.recipe.batch_size / len(plan.train_set)
    name, figure = result.figure
    log.row({"step": step, "epoch": round(epoch, 3), name: figure, "per_class": dict(result.per_class)})
    for number in range(min(SHOWN, len(plan.val_set))):
        seen = (
            detections[number]
            .above(SHOWN_SCORE)
            .draw(decode_image(plan.val_set.path(number)), ground_truth=plan.val_set.ground_truth(number))
        )
        log.image(f"val/{plan.val_set.files[number]}", seen, step)
    found = "no ground-truth boxes" if figure is None else f"{100 * figure:.1f}%"
    log.say(f"epoch {epoch:.1f}: {name} {found} on {len(plan.val_set)} images ({time.monotonic() - started:.0f} s)")
    return result


class _Meter:
    """Averages figures over `plan.log_every` updates and hands them to the log."""

    def __init__(self, plan: Plan, log: RunLog, timer: StepTimer) -> None:
        self.plan, self.log, self.timer = plan, log, timer
        self.told = False
        self.figures: list[StepLosses] = []
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave out what was not training."""
        self.figures = []
        self.since = time.monotonic()

    def add(self, done: int, figures: StepLosses, rate: float) -> None:
        """Note one update."""
        self.figures.append(figures)
        if done % self.plan.log_every and done != self.plan.steps:
            return
        count = len(self.figures)
        images = count * self.plan.recipe.batch_size
        row = {
            "step": done,
            "epoch": round(done * self.plan.recipe.batch_size / len(self.plan.train_set), 3),
            "loss": sum(f.loss for f in self.figures) / count,
            "loss_location": sum(f.location for f in self.figures) / count,
            "loss_confidence": sum(f.confidence for f in self.figures) / count,
            "positives": sum(f.matched for f in self.figures) / images,
            "learning_rate": rate,
            "pictures_per_second": images / max(time.monotonic() - self.since, 1e-9),
        }
        self.log.row(row)
        left = self.timer.seconds_left(done)
        self.log.advance(
            done,
            f"epoch {row['epoch']:.1f}  loss {row['loss']:.3f}  {row['pictures_per_second']:.1f} images/s"
            + (f"  {format_duration(left)} left" if left else ""),
        )
        if left is not None and not self.told and row["epoch"] >= 1:
            self.told = True
            self.log.say(self.timer.bottleneck(workers=self.plan.workers, cores=usable_cores()))
        self.restart_clock()
