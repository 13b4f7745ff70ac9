"""What a run is before it starts: its data, settings, network and optimizer, and the batches of its steps."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.data import loader
from singleshot.data.batch_memory import batches_ahead
from singleshot.data.loader import BatchSampler, Shard, TrainingDataset
from singleshot.evaluate.protocols import PROPOSALS
from singleshot.models.own_backbone import BackboneFactory
from singleshot.models.ssd import SSD
from singleshot.ssd.tensors import Batch
from singleshot.train.distributed import PATIENCE, Ranks
from singleshot.train.ema import ModelEMA
from singleshot.train.length import Length
from singleshot.train.optimizer import Optimizer
from singleshot.train.options import TrainOptions
from singleshot.train.recipe import Recipe
from singleshot.train.settings import Settings
from singleshot.train.step import LossFunction
from singleshot.train.timer import StepTimer
from singleshot.types import Annotations
from singleshot.weights.learnt import LearntImages


@dataclass
class Plan:
    """A run, ready to start.

    Attributes:
        data: the sets' paths as given.
        options: what the user said.
        settings: what came of it, with the origin of every value.
        train_set: images to learn from.
        val_set: images to validate on, or None.
        model: the network with its initial weights.
        optimizer: the recipe's, on the model's parameters.
        ema: exponential moving average of the weights, where the recipe has one.
        augmentation: (sample, generator) -> sample of the input size.
        device: where the network runs.
        autocast: compute type of the network, None for float32.
        ranks: the processes that learn together.
        shard: which images of each step are this process's.
        workers: loader processes of each.
        notes: lines that people read before the run starts: what was chosen and why.
        box_recall: lines on how well the default boxes fit the training objects, and on how they were chosen.
        start_learnt: the images that the initial weights have learnt, where that is known.
        loss: instead of the recipe's loss.
        backbone: makes the backbone of a model that has one of the user's own.
        learnt: the run's images, which its models remember; None before the run starts, and where it shall forget them.
    """

    data: tuple[str, ...]
    options: TrainOptions
    settings: Settings
    train_set: Annotations
    val_set: Annotations | None
    model: SSD
    optimizer: Optimizer
    ema: ModelEMA | None
    augmentation: CaffeAugmentation
    device: torch.device
    autocast: torch.dtype | None
    ranks: Ranks
    shard: Shard
    workers: int
    notes: tuple[str, ...]
    box_recall: tuple[str, ...]
    start_learnt: LearntImages | None = None
    loss: LossFunction | None = None
    backbone: BackboneFactory | None = None
    learnt: LearntImages | None = None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.options.out

    @property
    def recipe(self) -> Recipe:
        """The recipe with all that data and user changed."""
        return self.settings.recipe

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.settings.steps

    @property
    def validate_every(self) -> int:
        """Steps between two validations."""
        return self.settings.validate_every

    @property
    def checkpoint_every(self) -> int:
        """Steps between two checkpoints."""
        return self.settings.checkpoint_every

    @property
    def log_every(self) -> int:
        """Steps between two rows of figures."""
        return max(1, min(20, round(len(self.train_set) / self.recipe.batch_size / 4)))

    def epochs_of(self, step: int) -> float:
        """Passes over the training set after so many steps."""
        return step * self.recipe.batch_size / len(self.train_set)

    @property
    def precision(self) -> str:
        """The network's compute type, `bf16` or `fp32`."""
        return "bf16" if self.autocast else "fp32"

    @property
    def protocol(self) -> str | None:
        """Of evaluation; None for the data's own."""
        return PROPOSALS if self.model.spec.class_agnostic else None

    def step_timer(self) -> StepTimer:
        """Times the run's steps and validations."""
        images = 0 if self.val_set is None else len(self.val_set)
        return StepTimer(self.length, images_a_step=self.recipe.batch_size, images_a_validation=images)

    def ema_weights(self) -> AbstractContextManager[None]:
        """The model meanwhile holds the weights that are evaluated and saved: their moving average, if there is one."""
        return nullcontext() if self.ema is None else self.ema.applied()

    @property
    def length(self) -> Length:
        """The steps of the whole run, and those after which it validates."""
        return Length(self.steps, None if self.val_set is None else self.validate_every)

    @property
    def stops_early(self) -> bool:
        """Whether the run ends early where its validations bring nothing more: not where the user gave its length."""
        options, given = self.options, self.settings.sources["steps"].origin == "user"
        return self.val_set is not None and not given and not options.full_length and options.patience is None

    def batches_ahead(self) -> int:
        """Batches that each loader process may make in advance. Raises as `batch_memory.batches_ahead`."""
        height, width = self.model.spec.input_size_hw
        parts = self.recipe.accumulate
        images = self.recipe.batch_size // parts // self.ranks.world
        return batches_ahead(
            images * height * width * 3, workers=self.workers, held=parts + 1, processes=self.ranks.local_world
        )

    def circumstances(self) -> dict[str, Any]:
        """What people want to know of a run beside its recipe, for its report."""
        return {
            "data": ", ".join(self.data),
            "started from": self.options.init or self.options.model or "the default",
            "images": len(self.train_set),
            "objects": len(self.train_set.labels),
            "steps": self.steps,
            "seed": self.options.seed,
            "device": self.device.type,
            "precision": self.precision,
        }

    def resume_values(self) -> dict[str, Any]:
        """What must be equal for a run to be resumed, as plain values."""
        return {
            "model": asdict(self.model.spec),
            "recipe": asdict(self.recipe),
            "images": len(self.train_set),
            "data": self.train_set.fingerprint(),
            "validation": None if self.val_set is None else self.val_set.fingerprint(),
            "precision": self.precision,
            "steps": self.steps,
            "seed": self.options.seed,
            "parts": self.shard.parts,
        }


def step_batches(
    plan: Plan,
    first_step: int,
    last_step: int,
    *,
    on_retry: Callable[[str], None] = lambda _line: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[list[Batch]]:
    """The batches of each step of a run: its images in `accumulate` parts.

    Args:
        plan: its training set is moved into memory that the loader's processes share.
        first_step: from 0.
        last_step: not included.
        on_retry: gets a line when lost loader processes are replaced.
        stopping: see `loader.batches`.

    Raises:
        ImageError, WorkerLostError: see `loader.batches`.
    """
    parts, seed = plan.recipe.accumulate, plan.options.seed
    size = plan.recipe.batch_size // parts
    sampler = BatchSampler(len(plan.train_set), size, seed, first_step * parts, last_step * parts, plan.shard)
    samples = TrainingDataset(plan.train_set, plan.augmentation, seed=seed)
    plan.train_set = samples.annotations
    alone = plan.ranks.world == 1
    batches = loader.batches(
        samples,
        sampler,
        workers=plan.workers,
        pin=plan.device.type == "cuda",
        ahead=plan.batches_ahead(),
        patience=loader.PATIENCE if alone else PATIENCE / 2,  # before the other ranks give this one up
        on_retry=on_retry,
        stopping=stopping,
    )
    while group := list(islice(batches, parts)):
        yield group
