"""Batches of a training run, whatever happens to the processes that make them.

A process that dies or hangs is replaced once, with all others, at the batch that was waited for: randomness belongs to
samples, not to processes, so that the run goes on bit by bit as if nothing had been. The second time at the same batch
is an error, for then it is the image's fault.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from torch.utils.data import DataLoader

from singleshot.data.loader import TrainingSet, VisitOrder, training_loader
from singleshot.errors import ImageError, WorkerLostError
from singleshot.ssd.tensors import Batch

PATIENCE = 300.0
"""Seconds after which a process that makes a batch is given up."""


def batches(
    samples: TrainingSet,
    order: VisitOrder,
    *,
    workers: int,
    pin: bool = False,
    patience: float = PATIENCE,
    on_retry: Callable[[str], None] = lambda _line: None,
) -> Iterator[Batch]:
    """All batches of the order.

    Args:
        samples: what they are made of.
        order: which.
        workers: processes that make them; 0: this one.
        pin: into memory that a GPU reads directly.
        patience: seconds.
        on_retry: told in a line when processes are replaced.

    Raises:
        DataError: the set has no images; ImageError: one cannot be read.
        WorkerLostError: a process died or hung twice at one batch; the images that were in work are named.
    """
    lost_at = None
    while True:
        try:
            for batch in _by_these_processes(samples, order, workers=workers, pin=pin, patience=patience):
                order = replace(order, first_step=order.first_step + 1)
                yield batch
        except WorkerLostError as error:
            if order.first_step == lost_at:
                raise
            lost_at = order.first_step
            on_retry(f"{error}; replaced, going on")
        else:
            return


def _by_these_processes(
    samples: TrainingSet, order: VisitOrder, *, workers: int, pin: bool, patience: float
) -> Iterator[Batch]:
    samples.in_work.fill_(-1)
    iterator = _started(training_loader(samples, order, workers=workers, pin=pin))
    waiting_since = time.monotonic()
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except RuntimeError as error:
            if "timed out" in str(error):
                if time.monotonic() - waiting_since < patience:
                    continue
                raise WorkerLostError(f"a process that prepares images hangs{_images_in(samples)}") from error
            if "DataLoader worker" in str(error):
                raise WorkerLostError(f"a process that prepares images died{_images_in(samples)}") from error
            raise
        if isinstance(batch, ImageError):
            raise batch
        yield batch
        waiting_since = time.monotonic()


def _started(loader: DataLoader[Batch | ImageError]) -> Iterator[Batch | ImageError]:
    """Its iterator, without torch's handler: a lost process is noticed in `next`, not by a signal amid an update."""
    handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    iterator = iter(loader)
    if handler is not None:
        signal.signal(signal.SIGCHLD, handler)
    return iterator


def _images_in(samples: TrainingSet) -> str:
    names = [samples.annotations.files[number] for number in samples.in_work.tolist() if number >= 0]
    return f"; in work: {', '.join(names)}" if names else ""
