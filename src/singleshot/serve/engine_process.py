"""The engine as a process of its own: where it crashes, the server stays, and starts another one at once.

The server keeps HTTP, the queue and the decoders, and loads no engine. Between the two are pipes: one on which the
process says that it has loaded the model, and whose end tells either side that the other has gone; and one for each
worker of the engine, for one thread of the server. What goes through them stands in `engine_messages.py`.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Condition, Lock, Thread

import numpy as np

from singleshot.errors import MachineError, SingleshotError
from singleshot.machine import usable_cores
from singleshot.runtime.engine import resized
from singleshot.serve.engine_main import ModelToLoad, run_engine
from singleshot.serve.engine_messages import pack_request, unpack_reply, unpack_start
from singleshot.serve.processes import PIPE_FAULTS, start_process
from singleshot.shapes import UInt8
from singleshot.spec import ModelSpec
from singleshot.ssd.detection import RawDetections

MOST_START_BYTES = 100_000
LOOK_SECONDS = 0.25
"""How often it is looked whether the engine hangs."""
HANG_SECONDS = 60.0
"""An engine that takes longer for what it was given is killed."""
END_SECONDS = 5.0
"""How long it is waited for the status of a process that has ended, which is there at once but on a busy machine."""
START_TRIES = 3
START_PAUSE = 1.0
"""Seconds between two of them."""
logger = logging.getLogger("singleshot.serve")


class EngineCrash(Exception):  # noqa: N818  (not an error that the engine raised: its process has ended)
    """The engine's process ended while it had these images."""


@dataclass(eq=False)
class _Running:
    """A process that has loaded the model.

    Nobody closes its pipes, which a thread may still use: they close with the last reference.
    """

    process: BaseProcess
    control: Connection
    pipes: Sequence[Connection]
    workers: int
    since: list[float]  # when each pipe's images were handed over; infinity: it has none

    @property
    def hangs(self) -> bool:
        """Whether it has had images for too long."""
        return time.monotonic() - min(self.since) > HANG_SECONDS


class EngineProcess:
    """An engine in a process of its own, started again where it ends; a `Backend`.

    Args:
        model: what it loads.

    Attributes:
        spec: what the network is.
        started: processes that were started.
        failure: why there is no engine any more, and will be none; None: there is, or will be.
    """

    def __init__(self, model: ModelToLoad) -> None:
        self._model = model
        self.spec: ModelSpec = model.spec
        self.started = 0
        self.failure: SingleshotError | None = None
        self._running: _Running | None = None
        self._changed = Condition()  # of `_running`, `failure` and `_stopping`
        self._stopping = False
        self._locks = [Lock() for _ in range(usable_cores())]
        self._most_start_seconds = math.inf
        self._keeper = Thread(target=self._keep, daemon=True)

    @property
    def ready(self) -> bool:
        """Whether a process has loaded the model, and has not ended."""
        return self._running is not None

    @property
    def process_id(self) -> int | None:
        """Of the process that is ready."""
        running = self._running
        return None if running is None else running.process.pid

    def start(self) -> None:
        """Load the model.

        Raises:
            SingleshotError: as `load_backend`; ModuleNotFoundError: a package is not installed.
        """
        self._running = self._start()
        self._keeper.start()

    def stop(self) -> None:
        """End the process, if there is one."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            if self._running is not None:
                self._running.process.kill()
        if self._keeper.is_alive():
            self._keeper.join()

    def workers(self) -> tuple[_Worker, ...]:
        """One for each worker of the engine."""
        return tuple(_Worker(self, place) for place in range(self._running_now().workers))

    def __call__(self, images: Sequence[np.ndarray], *, score_threshold: float | None = None) -> list[RawDetections]:
        """Detections of each image, see `Backend`; raises as `detect`."""
        return self.detect(0, images, score_threshold)

    def detect(self, place: int, images: Sequence[np.ndarray], score_threshold: float | None) -> list[RawDetections]:
        """Detections of each image, by the worker at this place; waits while an engine is being started.

        Raises:
            EngineCrash: the process ended meanwhile, or was killed as it took too long.
            EngineFailure: the engine raised an error.
            MachineError: there is no engine, and will be none.
        """
        pixels = self._input(images)
        with self._locks[place]:
            running = self._running_now()
            pipe, running.since[place] = running.pipes[place], time.monotonic()
            try:
                pipe.send_bytes(pack_request(len(images), score_threshold))
                pipe.send_bytes(pixels.data.cast("B"))
                reply = pipe.recv_bytes()
            except PIPE_FAULTS as error:
                self._has_ended(running)
                raise EngineCrash("the engine's process ended") from error
            finally:
                running.since[place] = math.inf
        return unpack_reply(reply, len(images))

    def _input(self, images: Sequence[np.ndarray]) -> UInt8[np.ndarray, "B h w 3"]:
        """The images in the network's size, which those from a decoder have."""
        shape = (*self.spec.input_size_hw, 3)
        if len(images) == 1 and images[0].shape == shape and images[0].dtype == np.uint8:
            return np.ascontiguousarray(images[0])[None]
        return resized(images, shape[:2])

    def _running_now(self) -> _Running:
        """The process that is ready, as soon as one is."""
        with self._changed:
            self._changed.wait_for(lambda: self._running or self.failure or self._stopping)
            if self._running is None:
                raise self.failure or MachineError("the engine has been stopped")
            return self._running

    def _has_ended(self, running: _Running) -> None:
        with self._changed:
            if self._running is running:
                self._running = None

    def _keep(self) -> None:
        """What a thread does until the server stops: watch the process, and start another one where it ends."""
        running = self._running
        while running is not None and self._ends_by_itself(running):
            self._has_ended(running)
            logger.error("the engine ended%s; another one is started", _by_signal(running.process))
            running = self._start_again()
            with self._changed:
                self._running = running
                self._changed.notify_all()

    def _ends_by_itself(self, running: _Running) -> bool:
        """Wait for the end of a process; whether it was not stopped."""
        while not running.control.poll(LOOK_SECONDS):  # it says nothing more: what can be read is its end
            if running.hangs:
                logger.error("the engine has not answered for %.0f s", HANG_SECONDS)
            if running.hangs or self._stopping:
                running.process.kill()
        running.process.join(END_SECONDS)
        return not self._stopping

    def _start_again(self) -> _Running | None:
        """A new process; None where none shall be, or can be: then `failure` says why."""
        for remaining in reversed(range(START_TRIES)):
            try:
                return self._start()
            except (SingleshotError, ModuleNotFoundError, *PIPE_FAULTS) as error:
                reason = str(error)
                logger.error("the engine could not be started: %s", reason)  # noqa: TRY400  (its message says all)
            with self._changed:
                if self._stopping or (remaining and self._changed.wait_for(lambda: self._stopping, START_PAUSE)):
                    return None
        self.failure = MachineError(f"the engine ended and could not be started again, {START_TRIES} times: {reason}")
        return None

    def _start(self) -> _Running:
        """Start a process, and wait until it has loaded the model."""
        begin = time.monotonic()
        process, (control, *pipes) = start_process(run_engine, (self._model,), pipes=1 + len(self._locks))
        self.started += 1
        try:
            while not control.poll(LOOK_SECONDS):
                if self._stopping or time.monotonic() - begin > self._most_start_seconds:
                    raise MachineError(f"it has not loaded the model in {time.monotonic() - begin:.0f} s")
            workers = unpack_start(control.recv_bytes(MOST_START_BYTES))
        except BaseException as error:  # Ctrl-C, too
            process.kill()
            process.join(END_SECONDS)
            if isinstance(error, PIPE_FAULTS):
                raise MachineError(f"the engine ended{_by_signal(process)} while it loaded the model") from error
            raise
        if self._most_start_seconds == math.inf:
            self._most_start_seconds = 60 + 5 * (time.monotonic() - begin)
        return _Running(process, control, pipes, workers, [math.inf] * len(pipes))


@dataclass(frozen=True)
class _Worker:
    """A worker of the engine, for one thread; an `InferenceWorker`."""

    engine: EngineProcess
    place: int

    def __call__(self, image: UInt8[np.ndarray, "H W 3"], *, score_threshold: float | None = None) -> RawDetections:
        """Detections of one image; raises as `EngineProcess.detect`."""
        return self.engine.detect(self.place, [image], score_threshold)[0]


def _by_signal(process: BaseProcess) -> str:
    """The signal that ended a process, as ` (SIGKILL)`; empty where none did."""
    status = process.exitcode or 0
    return f" ({signal.Signals(-status).name})" if -status in {*signal.Signals} else ""
