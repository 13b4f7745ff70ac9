"""Detection for many clients at once: one bounded queue, decoder processes, and an engine in batches or by workers.

An image goes through the queue, a decoder, and the engine. An engine with workers (one a core) gets an image a worker;
any other gets batches of what waits. Before each step an image whose client has gone, or whose deadline has passed, is
dropped. An error is the error of one image, never of its neighbours.

Threads: one for each decoder, one for each worker of the engine (or one in all). Their number does not depend on the
number of clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from queue import Empty, Queue, SimpleQueue
from threading import Thread

import numpy as np

from singleshot.errors import ImageError, SingleshotError
from singleshot.image_formats import describe, readable, sniff
from singleshot.preprocess import has_contrast
from singleshot.runtime.detector import Detector
from singleshot.runtime.engine import usable_cores
from singleshot.serve.decoders import DecodedImage, Decoder
from singleshot.serve.priority import go_behind
from singleshot.serve.problems import Problem, problem_of_image
from singleshot.serve.settings import ServeSettings
from singleshot.ssd.detection import RawDetections
from singleshot.types import Detections

BATCH = 8
"""Images of a batch, at most."""
BATCH_SIZES = (1, 2, 4, 8)
"""What an engine is prepared for before the first request; compiled networks are compiled for each of these."""
BATCH_WAIT = 0.003
"""Seconds that a batch which is not full waits for further images."""
WATCH_SECONDS = 0.25
BURST_SECONDS = 1.0
"""After so long without a moment in which nothing waited, the queue is a standing one, and is kept short."""
BURST_WORK = 3.0
"""Seconds in which a burst must be done, by the measured rate: of a large network fewer images may wait."""
STANDING = 8
"""Images that may wait in a standing queue for each worker of the engine; without workers two batches may."""
logger = logging.getLogger("singleshot.serve")


@dataclass(frozen=True)
class Timing:
    """Seconds that an image took: in the queues, to be decoded, and in the engine."""

    queue: float = 0.0
    decode: float = 0.0
    infer: float = 0.0


@dataclass(frozen=True, eq=False)
class ImageResult:
    """What was detected in an image.

    Attributes:
        size_wh: width and height as displayed.
        detections: in pixels, best first.
        remarks: what was converted or left out when it was decoded.
        timing: how long it took.
    """

    size_wh: tuple[int, int]
    detections: Detections
    remarks: tuple[str, ...]
    timing: Timing


@dataclass(eq=False)
class _Job:
    """One image on its way; `content` is a file's, or decoded pixels."""

    content: bytes | np.ndarray
    score: float
    deadline: float
    future: asyncio.Future[ImageResult | Problem]
    submitted: float = field(default_factory=time.monotonic)
    abandoned: bool = False
    decoded: DecodedImage | None = None
    decode_seconds: float = 0.0

    @property
    def dropped(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.abandoned or time.monotonic() > self.deadline

    def abandon(self) -> None:
        """Nobody waits for it any more; what it holds is given up."""
        self.abandoned, self.content = True, b""
        self.future.cancel()


class DetectionService:
    """Detects for many coroutines of one event loop.

    Attributes:
        detector: the model, loaded.
        settings: limits.
        draining: whether the server is about to stop; it still detects, but says that it is not ready.
        on_image: called with the result of each image that somebody waits for.
    """

    def __init__(self, detector: Detector, settings: ServeSettings) -> None:
        self.detector, self.settings = detector, settings
        self.draining = False
        self.on_image: Callable[[ImageResult | Problem], None] = lambda _result: None
        self._warm = self._running = False
        self._workers = detector.backend.workers()
        count = settings.decoders or usable_cores()
        size_hw, pixels = detector.spec.input_size_hw, round(settings.max_megapixels * 1e6)
        self.decoders = tuple(
            Decoder(size_hw, max_pixels=pixels, timeout=settings.decode_timeout) for _ in range(count)
        )
        self._parallel = max(1, len(self._workers))
        self._to_decode: SimpleQueue[_Job | None] = SimpleQueue()
        self._to_infer: Queue[_Job | None] = Queue(maxsize=2 * BATCH if not self._workers else 2 * self._parallel)
        self._decoding, self._detecting = list[Thread](), list[Thread]()
        self._unfinished = 0
        self._seconds_an_image = 0.1  # at first by `warm_up`, then a moving average of the time between two results
        self._last_result = 0.0
        self._nothing_waited = 0.0  # when it was last so
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def model_name(self) -> str:
        """The model's name, without the folders that it lies in."""
        return PurePath(self.detector.name).name

    @property
    def ready(self) -> bool:
        """Whether it takes images, and will go on doing so."""
        return self._running and not self.draining

    @property
    def min_score(self) -> float:
        """The least score that the model's post-processing keeps."""
        return self.detector.spec.postprocess.score_threshold

    def full(self, entering: int = 0) -> Problem | None:
        """Why not even one image is taken now, beside so many that are on their way; None: one is."""
        try:
            self.require_room(1)
        except Problem as problem:
            return problem
        return None if self._room() > entering else self._no_room()

    @property
    def waiting(self) -> int:
        """Images that are accepted and not answered."""
        return self._unfinished

    def warm_up(self) -> None:
        """Start the decoders, and run the engine: its first run takes longer, the fastest counts.

        Raises:
            MachineError: a decoder could not be started.
        """
        for decoder in self.decoders:
            decoder.start()
        blank = np.zeros((*self.detector.spec.input_size_hw, 3), np.uint8)
        seconds = list[float]()
        for _ in range(2):
            for worker in self._workers:
                start = time.monotonic()
                worker(blank)
                seconds.append((time.monotonic() - start) / self._parallel)
        for size in () if self._workers else BATCH_SIZES:
            start = time.monotonic()
            self.detector.backend([blank] * size)
            seconds.append((time.monotonic() - start) / size)
        self._seconds_an_image = max(1e-4, min(seconds))
        self._warm = True

    async def start(self) -> None:
        """Start threads, after `warm_up`; returns when all are ready."""
        self._loop = asyncio.get_running_loop()
        if not self._warm:
            await asyncio.to_thread(self.warm_up)
        detecting: list[Callable[[], None]] = [partial(self._infer_jobs, worker) for worker in self._workers]
        self._decoding = [Thread(target=self._decode_jobs, args=(decoder,), daemon=True) for decoder in self.decoders]
        self._detecting = [Thread(target=target, daemon=True) for target in detecting or [self._infer_batches]]
        for thread in (*self._decoding, *self._detecting):
            thread.start()
        self._watch = asyncio.create_task(self._watch_decoders())
        self._running = True

    async def close(self) -> None:
        """Finish what is in the queue, then end threads and decoders."""
        self._running = False
        for _ in self._decoding:
            self._to_decode.put(None)
        await asyncio.to_thread(_join, self._decoding)
        for _ in self._detecting:
            await asyncio.to_thread(self._to_infer.put, None)
        await asyncio.to_thread(_join, self._detecting)
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        for decoder in self.decoders:
            decoder.stop()

    async def detect(
        self,
        images: Sequence[bytes | np.ndarray],
        *,
        score: float,
        classes: Sequence[str] | None = None,
        deadline: float | None = None,
    ) -> list[ImageResult | Problem]:
        """The detections of each image, or why it has none; cancelling the call drops what is not in work.

        Args:
            images: contents of files; or 8-bit RGB pixels (H, W, 3), which are not decoded.
            score: leave out detections below this.
            classes: keep these alone; None: all.
            deadline: seconds; None: as set.

        Raises:
            Problem: 503 where the queue is full, 504 where the deadline has passed.
        """
        self.require_room(len(images))
        assert self._loop is not None
        seconds = self.settings.deadline if deadline is None else deadline
        until = time.monotonic() + seconds
        jobs = [_Job(image, score, until, self._loop.create_future()) for image in images]
        for job in jobs:
            self._accept(job)
        try:
            async with asyncio.timeout(seconds):
                results = [await job.future for job in jobs]
        except TimeoutError:
            raise Problem(504, f"not done within {seconds:g} s; try again later, or with fewer images") from None
        finally:
            for job in jobs:
                job.abandon()
        return [_of_classes(result, classes) for result in results]

    def _accept(self, job: _Job) -> None:
        """Queue a job, or answer at once what is of no format that is read."""
        if isinstance(job.content, bytes) and not readable(sniff(job.content)):
            problem = Problem(415, describe(job.content))
            job.future.set_result(problem)
            self.on_image(problem)
            return
        self._unfinished += 1
        job.future.add_done_callback(self._finished)
        self._to_decode.put(job)

    def require_room(self, count: int) -> None:
        """Raise a problem where so many images are not taken now: 503, or 413 where they never are."""
        if not self._running:
            raise Problem(503, "the server is starting or stopping", {"Retry-After": "1"})
        if count > self.settings.max_images:
            raise Problem(413, f"{count} images in one request, the limit is {self.settings.max_images}")
        if count > self._room():
            raise self._no_room()

    def _no_room(self) -> Problem:
        detail = f"{self._unfinished} images wait already: try again later"
        return Problem(503, detail, {"Retry-After": str(self.retry_after())})

    def _room(self) -> int:
        """How many images may come now.

        A burst may fill the whole queue, where it is done soon. Where more comes than can be done, a long queue makes
        every client wait and helps none, so it is kept short (after CoDel, Nichols and Jacobson 2012, "Controlling
        Queue Delay").
        """
        now = time.monotonic()
        if self._unfinished <= self._parallel:
            self._nothing_waited = now
        standing = STANDING * self._parallel if self._workers else 2 * BATCH
        is_burst = now - self._nothing_waited < BURST_SECONDS
        limit = max(standing, int(BURST_WORK / self._seconds_an_image)) if is_burst else standing
        return min(limit, self.settings.queue) + self._parallel - self._unfinished

    def retry_after(self) -> int:
        """Whole seconds, at least 1, in which what waits now will be done, by the measured rate."""
        return max(1, math.ceil(self._unfinished * self._seconds_an_image))

    def _finished(self, _future: asyncio.Future[ImageResult | Problem]) -> None:
        self._unfinished -= 1

    def _resolve(self, job: _Job, result: ImageResult | Problem) -> None:
        """Give a job its result; called by threads."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._set_result, job, result)

    def _set_result(self, job: _Job, result: ImageResult | Problem) -> None:
        now = time.monotonic()
        if self._unfinished > self._parallel:  # the engine has worked without a pause
            self._seconds_an_image += 0.05 * (min(now - self._last_result, 10.0) - self._seconds_an_image)
        self._last_result = now
        if not job.future.done():
            job.future.set_result(result)
            self.on_image(result)

    async def _watch_decoders(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for decoder in self.decoders:
                decoder.kill_if_late()

    def _decode_jobs(self, decoder: Decoder) -> None:
        """What the thread of a decoder does."""
        go_behind()
        while (job := self._to_decode.get()) is not None:
            start, content = time.monotonic(), job.content
            if job.dropped:
                self._resolve(job, _late())
                continue
            try:
                if isinstance(content, bytes):
                    job.decoded = decoder.decode(content)
                else:
                    height, width = content.shape[:2]
                    job.decoded = DecodedImage(content, (width, height), has_contrast(content))
            except ImageError as error:
                self._resolve(job, problem_of_image(error))
            except SingleshotError as error:
                logger.error("%s", error)  # noqa: TRY400  (its message says all)
                self._resolve(job, Problem(503, str(error), {"Retry-After": "5"}))
            except Exception:
                logger.exception("a decoder failed")
                self._resolve(job, Problem(500, "the image could not be decoded for a reason that is the server's"))
            else:
                job.content = b""
                job.decode_seconds = time.monotonic() - start
                self._to_infer.put(job)

    def _infer_jobs(self, worker: Callable[..., RawDetections]) -> None:
        """What the thread of a worker of the engine does."""
        go_behind()
        while (job := self._to_infer.get()) is not None:
            self._infer([job], lambda images, threshold: [worker(images[0], score_threshold=threshold)])

    def _infer_batches(self) -> None:
        """What the thread of an engine without workers does."""
        go_behind()
        backend = self.detector.backend
        ending = False
        while not ending and (job := self._to_infer.get()) is not None:
            batch = [job]
            until = time.monotonic() + BATCH_WAIT
            while len(batch) < BATCH:
                try:
                    following = self._to_infer.get(timeout=max(0, until - time.monotonic()))
                except Empty:
                    break
                if following is None:
                    ending = True
                    break
                batch.append(following)
            self._infer(batch, lambda images, threshold: backend(images, score_threshold=threshold))

    def _infer(self, jobs: list[_Job], engine: Callable[[list[np.ndarray], float], list[RawDetections]]) -> None:
        """Detect in the images that somebody still waits for; where a batch fails, in one after another."""
        dropped = [job for job in jobs if job.dropped]
        jobs = [job for job in jobs if job not in dropped]
        for job in dropped:
            self._resolve(job, _late())
        if not jobs:
            return
        start = time.monotonic()
        threshold = self.detector.threshold_below(min(job.score for job in jobs))
        try:
            raws = engine([job.decoded.pixels for job in jobs if job.decoded is not None], threshold)
        except Exception:
            if len(jobs) > 1:
                for job in jobs:
                    self._infer([job], engine)
                return
            logger.exception("the engine failed")
            self._resolve(jobs[0], Problem(500, "the engine failed at this image"))
            return
        for job, raw in zip(jobs, raws, strict=True):
            self._resolve(job, self._result(job, raw, start))

    def _result(self, job: _Job, raw: RawDetections, start: float) -> ImageResult:
        decoded = job.decoded
        assert decoded is not None
        detections = self.detector.in_pixels(raw, size_wh=decoded.size_wh, contrast=decoded.contrast)
        now = time.monotonic()
        timing = Timing(start - job.submitted - job.decode_seconds, job.decode_seconds, now - start)
        return ImageResult(decoded.size_wh, detections.above(job.score), decoded.remarks, timing)


def _join(threads: Sequence[Thread]) -> None:
    for thread in threads:
        thread.join()


def _late() -> Problem:
    return Problem(504, "not done within the deadline")


def _of_classes(result: ImageResult | Problem, classes: Sequence[str] | None) -> ImageResult | Problem:
    if classes is None or isinstance(result, Problem):
        return result
    kept = [place for place, name in enumerate(result.detections.names) if name in classes]
    return ImageResult(result.size_wh, result.detections[kept], result.remarks, result.timing)
