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
import time
from collections.abc import Callable, Sequence
from pathlib import PurePath
from queue import SimpleQueue
from threading import Thread

import numpy as np

from singleshot.errors import ImageError, SingleshotError
from singleshot.image_formats import describe, readable, sniff
from singleshot.machine import usable_cores
from singleshot.preprocess import has_contrast
from singleshot.runtime.detector import Detector
from singleshot.serve.decoders import DecodedImage, Decoder
from singleshot.serve.engine_process import EngineProcess
from singleshot.serve.inference import Inference
from singleshot.serve.jobs import ImageResult, Job, late
from singleshot.serve.priority import go_behind
from singleshot.serve.problems import Problem, problem_of_image
from singleshot.serve.room import Room
from singleshot.serve.settings import ServeSettings
from singleshot.serve.warm_up import BATCH, warm_up

WATCH_SECONDS = 0.25
STANDING = 8
"""Images that may wait in a standing queue for each worker of the engine; without workers two batches may."""
logger = logging.getLogger("singleshot.serve")


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
        self._engine = detector.backend if isinstance(detector.backend, EngineProcess) else None
        self._warm = self._running = False
        count = settings.decoders or usable_cores()
        size_hw, pixels = detector.spec.input_size_hw, round(settings.max_megapixels * 1e6)
        self.decoders = tuple(
            Decoder(size_hw, max_pixels=pixels, timeout=settings.decode_timeout) for _ in range(count)
        )
        self._to_decode: SimpleQueue[Job | None] = SimpleQueue()
        self._decoding = list[Thread]()
        self._inference = Inference(detector, self._resolve)
        workers = len(detector.backend.workers())
        self.room = Room(settings.queue, standing=STANDING * workers or 2 * BATCH, parallel=max(1, workers))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def model_name(self) -> str:
        """The model's name, without the folders that it lies in."""
        return PurePath(self.detector.name).name

    @property
    def ready(self) -> bool:
        """Whether it takes images, has an engine for them, and will go on so."""
        return self._running and not self.draining and (self._engine is None or self._engine.ready)

    def require_ready(self) -> None:
        """Raise a problem of 503 where it is not ready, with the reason."""
        if not self.ready:
            stays = self._running and not self.draining
            reason = "the engine ended, another one is being started" if stays else "the server is starting or stopping"
            raise Problem(503, reason, {"Retry-After": "1"})

    @property
    def failure(self) -> SingleshotError | None:
        """Why it can detect no more: its engine ended, and cannot be started again. None: it can."""
        return None if self._engine is None else self._engine.failure

    @property
    def engines_started(self) -> int:
        """Processes of the engine that were started; 0 where it runs in this one."""
        return 0 if self._engine is None else self._engine.started

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
        return None if self.room.left() > entering else self._no_room()

    @property
    def waiting(self) -> int:
        """Images that are accepted and not answered."""
        return self.room.unfinished

    def warm_up(self) -> None:
        """Start the decoders, and run the engine: its first run takes longer, the fastest counts.

        Raises:
            MachineError: a decoder could not be started.
        """
        for decoder in self.decoders:
            decoder.start()
        self.room.seconds_an_image = warm_up(self.detector.backend)
        self._warm = True

    async def start(self) -> None:
        """Start threads, after `warm_up`; returns when all are ready."""
        self._loop = asyncio.get_running_loop()
        if not self._warm:
            await asyncio.to_thread(self.warm_up)
        self._decoding = [Thread(target=self._decode_jobs, args=(decoder,), daemon=True) for decoder in self.decoders]
        for thread in self._decoding:
            thread.start()
        self._inference.start()
        self._watch = asyncio.create_task(self._watch_decoders())
        self._running = True

    async def close(self) -> None:
        """Finish what is in the queue, then end threads and decoders.

        Where nobody waits for an image any more, the engine ends first: one that hangs shall not hold up the end.
        """
        self._running = False
        if self._engine is not None and not self.waiting:
            await asyncio.to_thread(self._engine.stop)
        for _ in self._decoding:
            self._to_decode.put(None)
        await asyncio.to_thread(_join, self._decoding)
        await asyncio.to_thread(self._inference.close)
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
        jobs = [Job(image, score, until, self._loop.create_future()) for image in images]
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

    def _accept(self, job: Job) -> None:
        """Queue a job, or answer at once what is of no format that is read."""
        if isinstance(job.content, bytes) and not readable(sniff(job.content)):
            problem = Problem(415, describe(job.content))
            job.future.set_result(problem)
            self.on_image(problem)
            return
        self.room.unfinished += 1
        job.future.add_done_callback(self._finished)
        self._to_decode.put(job)

    def require_room(self, count: int) -> None:
        """Raise a problem where so many images are not taken now: 503, or 413 where they never are."""
        if not self._running:
            raise Problem(503, "the server is starting or stopping", {"Retry-After": "1"})
        if count > self.settings.max_images:
            raise Problem(413, f"{count} images in one request, the limit is {self.settings.max_images}")
        if count > self.room.left():
            raise self._no_room()

    def _no_room(self) -> Problem:
        detail = f"{self.room.unfinished} images wait already: try again later"
        return Problem(503, detail, {"Retry-After": str(self.room.retry_after())})

    def _finished(self, _future: asyncio.Future[ImageResult | Problem]) -> None:
        self.room.unfinished -= 1

    def _resolve(self, job: Job, result: ImageResult | Problem) -> None:
        """Give a job its result; called by threads."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._set_result, job, result)

    def _set_result(self, job: Job, result: ImageResult | Problem) -> None:
        self.room.measure()
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
                self._resolve(job, late())
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
                self._inference.put(job)


def _join(threads: Sequence[Thread]) -> None:
    for thread in threads:
        thread.join()


def _of_classes(result: ImageResult | Problem, classes: Sequence[str] | None) -> ImageResult | Problem:
    if classes is None or isinstance(result, Problem):
        return result
    kept = [place for place, name in enumerate(result.detections.names) if name in classes]
    return ImageResult(result.size_wh, result.detections[kept], result.remarks, result.timing)
