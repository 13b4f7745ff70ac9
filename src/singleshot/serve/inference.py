"""The threads that hand images to the engine: one for each of its workers, or one that makes batches.

An error is the error of one image, never of its neighbours: where a batch fails, its images are tried one by one; an
image that was in an engine which crashed is tried once more, alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, Queue
from threading import Thread

import numpy as np

from singleshot.errors import SingleshotError
from singleshot.runtime.detector import Detector
from singleshot.runtime.engine import InferenceWorker
from singleshot.serve.engine_process import EngineCrash
from singleshot.serve.jobs import ImageResult, Job, Timing, late
from singleshot.serve.priority import go_behind
from singleshot.serve.problems import Problem
from singleshot.serve.turns import Turns
from singleshot.serve.warm_up import BATCH
from singleshot.ssd.detection import RawDetections

BATCH_WAIT = 0.003
"""Seconds that a batch which is not full waits for further images."""
MOST_CRASHES = 2
"""Engines that an image may end, before it is given up."""
Engine = Callable[[list[np.ndarray], float], list[RawDetections]]
"""Detects in images of the network's size, all above one score threshold."""
logger = logging.getLogger("singleshot.serve")


class Inference:
    """Detects in decoded images, on threads of its own.

    Args:
        detector: the model, loaded.
        resolve: takes a job's result, on any thread.
    """

    def __init__(self, detector: Detector, resolve: Callable[[Job, ImageResult | Problem], None]) -> None:
        self._detector, self._resolve = detector, resolve
        workers = detector.backend.workers()
        self._turns = Turns()
        self._jobs: Queue[Job | None] = Queue(maxsize=2 * (len(workers) or BATCH))
        targets: list[Callable[[], None]] = [partial(self._infer_jobs, worker) for worker in workers]
        self._threads = [Thread(target=target, daemon=True) for target in targets or [self._infer_batches]]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> None:
        """Detect in an image, which is decoded; waits where the engine is behind."""
        self._jobs.put(job)

    def close(self) -> None:
        """Finish what was put, then end the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _infer_jobs(self, worker: InferenceWorker) -> None:
        """What the thread of a worker of the engine does."""
        go_behind()
        while (job := self._jobs.get()) is not None:
            self._infer([job], lambda images, threshold: [worker(images[0], score_threshold=threshold)])

    def _infer_batches(self) -> None:
        """What the thread of an engine without workers does."""
        go_behind()
        backend = self._detector.backend
        ending = False
        while not ending and (job := self._jobs.get()) is not None:
            batch = [job]
            until = time.monotonic() + BATCH_WAIT
            while len(batch) < BATCH:
                try:
                    following = self._jobs.get(timeout=max(0, until - time.monotonic()))
                except Empty:
                    break
                if following is None:
                    ending = True
                    break
                batch.append(following)
            self._infer(batch, lambda images, threshold: backend(images, score_threshold=threshold))

    def _infer(self, jobs: list[Job], engine: Engine) -> None:
        """Detect in the images that somebody still waits for; where that fails, in one after another."""
        dropped = [job for job in jobs if job.dropped]
        jobs = [job for job in jobs if job not in dropped]
        for job in dropped:
            self._resolve(job, late())
        if not jobs:
            return
        start = time.monotonic()
        threshold = self._detector.threshold_below(min(job.score for job in jobs))
        try:
            with self._turns.turn(alone=any(job.crashes for job in jobs)):
                raws = engine([job.decoded.pixels for job in jobs if job.decoded is not None], threshold)
        except EngineCrash:
            for job in jobs:
                job.crashes += 1
                self._try_again(job, engine)
        except SingleshotError as error:  # there is no engine any more
            for job in jobs:
                self._resolve(job, Problem(503, str(error), {"Retry-After": "5"}))
        except Exception:
            if len(jobs) > 1:
                for job in jobs:
                    self._infer([job], engine)
                return
            logger.exception("the engine failed")
            self._resolve(jobs[0], Problem(500, "the engine failed at this image"))
        else:
            for job, raw in zip(jobs, raws, strict=True):
                self._resolve(job, self._result(job, raw, start))

    def _try_again(self, job: Job, engine: Engine) -> None:
        """What becomes of an image that was in an engine when it crashed."""
        if job.crashes < MOST_CRASHES:
            self._infer([job], engine)
        else:
            self._resolve(job, Problem(500, "the engine crashed at this image, and the next one, too"))

    def _result(self, job: Job, raw: RawDetections, start: float) -> ImageResult:
        decoded = job.decoded
        assert decoded is not None
        detections = self._detector.in_pixels(raw, size_wh=decoded.size_wh, contrast=decoded.contrast)
        now = time.monotonic()
        timing = Timing(start - job.submitted - job.decode_seconds, job.decode_seconds, now - start)
        return ImageResult(decoded.size_wh, detections.above(job.score), decoded.remarks, timing)
