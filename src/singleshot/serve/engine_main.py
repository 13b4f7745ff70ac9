"""What the engine's process does: load the model, then detect in what comes through its pipes."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Protocol

import numpy as np

from singleshot.console import printable
from singleshot.errors import ModelError, SingleshotError
from singleshot.runtime.backends import RunOptions, run_folder
from singleshot.runtime.engine import Backend, InferenceWorker
from singleshot.serve.engine_messages import (
    REQUEST,
    pack_error,
    pack_failure,
    pack_results,
    pack_start,
    unpack_request,
)
from singleshot.serve.priority import go_behind
from singleshot.serve.processes import PIPE_FAULTS, settle
from singleshot.serve.warm_up import warm_up
from singleshot.spec import ModelSpec
from singleshot.ssd.detection import RawDetections
from singleshot.weights.folder import ModelFolder, read_folder

Detect = Callable[[Sequence[np.ndarray], float | None], list[RawDetections]]
"""Detections of each of some images, above a score threshold."""


class ModelToLoad(Protocol):
    """What the process loads; it goes there as plain data."""

    @property
    def spec(self) -> ModelSpec:
        """What the network is."""

    def load(self) -> Backend:
        """The engine."""


@dataclass(frozen=True)
class FolderToLoad:
    """The model folder that the server has read, and no other that lies there later.

    Attributes:
        path: of the folder that is run, see `runtime.backends.folder_to_run`.
        spec: what the network is.
        hashes: of its files.
        options: how it is run.
        working_folder: what a relative path starts from.
    """

    path: Path
    spec: ModelSpec
    hashes: Mapping[str, str]
    options: RunOptions
    working_folder: str

    @classmethod
    def of(cls, folder: ModelFolder, options: RunOptions) -> FolderToLoad:
        """The order to load a folder that was read."""
        working_folder = "" if folder.path.is_absolute() else os.getcwd()  # noqa: PTH109  (a text)
        return cls(folder.path, folder.spec, dict(folder.hashes), options, working_folder)

    def load(self) -> Backend:
        """The engine. Raises as `load_backend`, and ModelError where the folder is another one by now."""
        if self.working_folder:
            os.chdir(self.working_folder)
        folder = read_folder(self.path)
        if folder.hashes != self.hashes:
            raise ModelError(f"{self.path} is another model than when the server started")
        return run_folder(folder, self.options)


def run_engine(pipes: Sequence[Connection], model: ModelToLoad) -> None:
    """Load a model and detect, until the server closes its ends of the pipes, or dies.

    Args:
        pipes: one for the news that it is loaded, then one for each worker; those that are too many are not used.
        model: which.
    """
    settle("ssd-engine")
    control, *pipes = pipes
    Thread(target=_end_with_server, args=(control,), daemon=True).start()
    warnings.showwarning = _warn
    try:
        backend = model.load()
        warm_up(backend)
        workers = backend.workers()[: len(pipes)]
    except Exception as error:  # noqa: BLE001  (the server tells it)
        if not isinstance(error, SingleshotError | ModuleNotFoundError | MemoryError):
            traceback.print_exc()
        control.send_bytes(pack_error(error))
        return
    detect = [_by_worker(worker) for worker in workers] or [_in_batches(backend)]
    threads = [
        Thread(target=_answer, args=(pipe, function, backend.spec.input_size_hw), daemon=True)
        for pipe, function in zip(pipes, detect, strict=False)
    ]
    for thread in threads:
        thread.start()
    control.send_bytes(pack_start(len(workers)))
    for thread in threads:
        thread.join()


def _by_worker(worker: InferenceWorker) -> Detect:
    return lambda images, threshold: [worker(image, score_threshold=threshold) for image in images]


def _in_batches(backend: Backend) -> Detect:
    return lambda images, threshold: backend(images, score_threshold=threshold)


def _end_with_server(control: Connection) -> None:
    """End as soon as the server has gone, whatever the engine does; the server says nothing on this pipe."""
    try:
        control.recv_bytes()
    except PIPE_FAULTS:
        os._exit(0)


def _answer(pipe: Connection, detect: Detect, size_hw: tuple[int, int]) -> None:
    """What the thread of a worker does."""
    go_behind()
    try:
        while True:
            count, threshold = unpack_request(pipe.recv_bytes(REQUEST.size))
            pixels = np.frombuffer(pipe.recv_bytes(), np.uint8).reshape(count, *size_hw, 3)
            try:
                reply = pack_results(detect(list(pixels), threshold))
            except Exception:  # noqa: BLE001  (likewise)
                reply = pack_failure(traceback.format_exc())
            pipe.send_bytes(reply)
    except PIPE_FAULTS:  # the server has gone
        os._exit(0)
    except BaseException:  # noqa: BLE001  (the server shall not wait for a thread that has ended)
        traceback.print_exc()
        os._exit(1)


def _warn(message: Warning | str, *_where: object, **_more: object) -> None:
    """Tell a warning as the command line does: in one line."""
    print(f"ssd: {printable(str(message))}", file=sys.stderr)
