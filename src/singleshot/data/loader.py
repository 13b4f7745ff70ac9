"""Batches for training: each sample's randomness depends on (seed, epoch, image) alone, never on its worker.

Epochs are shuffled one after the other and cut into batches, so that each image is seen equally often, and a run can
be resumed at any step without replaying the steps before.

A worker process that dies or hangs is replaced, with all others, at the batch that was waited for; the batches stay
bit for bit the same. If it happens twice at one batch, it is an error, for then an image is the likely cause.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import queues
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.data.batch_memory import MOST_AHEAD, SHARED_MEMORY
from singleshot.data.sample import ground_truth_to_learn
from singleshot.data.shared import to_shared_memory
from singleshot.decode import EncodedImage
from singleshot.errors import DataError, ImageError, WorkerLostError
from singleshot.ssd.tensors import Batch
from singleshot.types import Annotations, Sample

Visit = tuple[int, int]  # epoch, image
POLL = 2.0  # seconds between two looks whether the workers live
MOST_WORKERS = 256  # whose images are known by name
PATIENCE = 300.0  # seconds after which a worker that makes a batch is given up
UNSENT = -2  # of a worker that could not hand its batch over


@dataclass(frozen=True)
class Shard:
    """Which of the images of each step this process takes.

    Attributes:
        rank: number of the process among those that hold the same images.
        world: number of these processes.
        part: which part of the set they hold: every `parts`-th image from this one on.
        parts: number of parts, each held by as many processes.
    """

    rank: int = 0
    world: int = 1
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class BatchSampler:
    """Which images each step takes: shuffles of `images` one behind the other, `batch_size` at a time.

    >>> [len(step) for step in BatchSampler(images=5, batch_size=2, seed=0, first_step=0, last_step=3)]
    [2, 2, 2]

    Of several processes each takes its shard of every step: together they see what one process would. Parts of the
    set are shuffled separately, and each gives as many images to a step.
    """

    images: int
    batch_size: int
    seed: int
    first_step: int
    last_step: int
    shard: Shard = Shard()

    def __len__(self) -> int:
        return self.last_step - self.first_step

    def __iter__(self) -> Iterator[list[Visit]]:
        shard = self.shard
        held = np.arange(shard.part, self.images, shard.parts)
        of_part = self.batch_size // shard.parts
        count = of_part // shard.world
        epoch, order = -1, held
        for step in range(self.first_step, self.last_step):
            visits = []
            first = step * of_part + shard.rank * count
            for position in range(first, first + count):
                if position // len(held) != epoch:
                    epoch = position // len(held)
                    order = np.random.default_rng([self.seed, epoch]).permutation(held)
                visits.append((epoch, int(order[position % len(held)])))
            yield visits


class TrainingDataset(Dataset["tuple[Sample, str] | ImageError"]):
    """Augmented samples of a data set, by (epoch, image).

    Attributes:
        annotations: the set, in memory that all processes share.
        in_work: the image that each worker took last, -1 for none, `UNSENT` where its batch could not be handed over;
            in shared memory, for messages.
    """

    def __init__(
        self,
        annotations: Annotations,
        augmentation: CaffeAugmentation,
        *,
        seed: int,
    ) -> None:
        self._shared = to_shared_memory(annotations)
        self.annotations = self._shared.annotations()
        self.augmentation = augmentation
        self.seed = seed
        self.in_work = torch.full((MOST_WORKERS,), -1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: everything but what lies in shared memory anyway."""
        return {name: value for name, value in vars(self).items() if name != "annotations"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In the other process."""
        vars(self).update(state)
        self.annotations = self._shared.annotations()

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, visit: Visit) -> tuple[Sample, str] | ImageError:
        """The sample and its name, or the error of an image that cannot be used.

        The error is returned, since torch replaces the message of one raised in a worker by the whole traceback.
        """
        epoch, image = visit
        worker = get_worker_info()
        if worker is not None:
            self.in_work[worker.id % MOST_WORKERS] = image
        generator = np.random.default_rng([self.seed, epoch, image])
        try:
            encoded = EncodedImage(self.annotations.path(image))
            height, width = encoded.size_hw
            boxes, labels, difficult = ground_truth_to_learn(
                self.annotations.ground_truth(image), width=width, height=height
            )
            choices = self.augmentation.draw_for(encoded.size_hw, boxes, generator)
            pixels = encoded.decode(reduction=self.augmentation.reduction(choices))
        except ImageError as error:
            return error
        sample = self.augmentation.apply(Sample(pixels, boxes, labels, difficult), choices)
        return sample, self.annotations.files[image]


def _collate_or_error(samples: list[tuple[Sample, str] | ImageError]) -> Batch | ImageError:
    """The batch, or the first error in it."""
    usable = [sample for sample in samples if not isinstance(sample, ImageError)]
    return collate(usable) if len(usable) == len(samples) else next(s for s in samples if isinstance(s, ImageError))


def collate(samples: list[tuple[Sample, str]]) -> Batch:
    """Stack samples of one image size into a batch of raw pixels, ground-truth boxes padded to the longest list."""
    longest = max(1, *(len(sample.labels) for sample, _ in samples)) if samples else 1
    boxes = np.zeros((len(samples), longest, 4), np.float32)
    classes = np.zeros((len(samples), longest), np.int64)
    for row, (sample, _) in enumerate(samples):
        boxes[row, : len(sample.labels)] = sample.boxes_xyxy
        classes[row, : len(sample.labels)] = sample.labels + 1
    images = np.stack([sample.image for sample, _ in samples])
    return Batch(
        torch.from_numpy(images).permute(0, 3, 1, 2),  # channels-last in memory: no copy here, and none in the network
        torch.from_numpy(boxes),
        torch.from_numpy(classes),
        tuple(name for _, name in samples),
    )


def _calm_worker(_worker: int) -> None:
    """One thread per worker, since the network needs the cores; Ctrl-C is handled by the main process.

    A worker that cannot hand a batch over ends: Python would print a traceback and drop the batch, which would then be
    waited for in vain.
    """
    import cv2

    queues.Queue._on_queue_feeder_error = staticmethod(_end_unsent)  # type: ignore[attr-defined]  # noqa: SLF001
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _end_unsent(_error: Exception, _batch: object) -> None:
    worker = get_worker_info()
    if worker is not None:
        worker.dataset.in_work[worker.id % MOST_WORKERS] = UNSENT  # type: ignore[attr-defined]
    os._exit(1)


class _Loader(DataLoader["Batch | ImageError"]):
    """torch's DataLoader without its warning about more workers than cores."""

    def check_worker_number_rationality(self) -> None:
        """No warning."""


def training_loader(
    samples: TrainingDataset, order: BatchSampler, *, workers: int, pin: bool = False, ahead: int = MOST_AHEAD
) -> DataLoader[Batch | ImageError]:
    """Batches in the given order, made by `workers` processes (0: in this one); an ImageError where one failed.

    While a batch is awaited, torch raises a RuntimeError every `POLL` seconds; the caller may go on waiting.

    Raises:
        DataError: the set has no images.
    """
    if len(samples) == 0:
        raise DataError("the training set has no images")
    return _Loader(
        samples,  # type: ignore[arg-type]  # torch types samplers of int only
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collate_or_error,
        worker_init_fn=_calm_worker,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=ahead if workers else None,
        pin_memory=pin,
        timeout=POLL if workers else 0,
    )


def batches(
    samples: TrainingDataset,
    order: BatchSampler,
    *,
    workers: int,
    pin: bool = False,
    ahead: int = MOST_AHEAD,
    patience: float = PATIENCE,
    on_retry: Callable[[str], None] = lambda _line: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Batch]:
    """The batches that `order` lists; lost workers are replaced once per batch.

    Args:
        samples: the augmented training set.
        order: the images of each batch.
        workers: processes that make batches; 0 makes them in this one.
        pin: put batches into page-locked memory, for a GPU.
        ahead: batches that each worker makes in advance.
        patience: seconds without a batch after which the workers count as hanging.
        on_retry: gets a line when workers are replaced.
        stopping: asked while a batch is waited for; true gives the waiting up.

    Raises:
        DataError: the set has no images; ImageError: one cannot be read.
        WorkerLostError: a process died or hung twice at one batch, and the images that were in work are named; or the
            waiting was given up.
    """
    lost_at = None

    def gives_up(since: float) -> bool:
        return stopping() or time.monotonic() - since >= patience

    while True:
        try:
            loader = training_loader(samples, order, workers=workers, pin=pin, ahead=ahead)
            for batch in _until_a_worker_is_lost(samples, loader, gives_up):
                order = replace(order, first_step=order.first_step + 1)
                yield batch
        except WorkerLostError as error:
            if order.first_step == lost_at or stopping():
                raise
            lost_at = order.first_step
            on_retry(f"{error}; replaced, going on")
        else:
            return


def _until_a_worker_is_lost(
    samples: TrainingDataset, loader: DataLoader[Batch | ImageError], gives_up: Callable[[float], bool]
) -> Iterator[Batch]:
    samples.in_work.fill_(-1)
    iterator = _started(loader)
    waiting_since = time.monotonic()
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except RuntimeError as error:
            if "timed out" in str(error):
                if not gives_up(waiting_since):
                    continue
                raise WorkerLostError(f"a process that prepares images hangs{_images_in(samples)}") from error
            if "DataLoader worker" in str(error):
                if (samples.in_work == UNSENT).any():
                    raise WorkerLostError(f"{SHARED_MEMORY} is full (docker: --shm-size=1g, or --workers 0)") from error
                raise WorkerLostError(f"a process that prepares images died{_images_in(samples)}") from error
            raise
        if isinstance(batch, ImageError):
            raise batch
        yield batch
        waiting_since = time.monotonic()


def _started(loader: DataLoader[Batch | ImageError]) -> Iterator[Batch | ImageError]:
    """The loader's iterator without torch's SIGCHLD handler: a lost worker is noticed in `next`, not within a step."""
    handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    iterator = iter(loader)
    if handler is not None:
        signal.signal(signal.SIGCHLD, handler)
    return iterator


def _images_in(samples: TrainingDataset) -> str:
    names = [samples.annotations.files[number] for number in samples.in_work.tolist() if number >= 0]
    return f"; in work: {', '.join(names)}" if names else ""
