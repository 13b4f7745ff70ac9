"""The service behind the routes: its results, its queue, its batches, and its decoders that die."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from singleshot import Detector
from singleshot.errors import ImageError
from singleshot.photographs import PHOTOGRAPHS
from singleshot.serve import room
from singleshot.serve.decoders import Decoder
from singleshot.serve.jobs import ImageResult
from singleshot.serve.problems import Problem
from singleshot.serve.service import DetectionService
from singleshot.serve.settings import ServeSettings
from singleshot.ssd.detection import RawDetections

FILES = [photograph.path for photograph in PHOTOGRAPHS]
GREY, RED = 90, 250


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load()


def encoded(shade: int = GREY, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """An image with a gradient, so that it shows something; its upper left corner is of this shade."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, size[0] // 2 :] = 200
    pixels[: size[1] // 2, : size[0] // 2] = shade
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


class Batches:
    """An engine without workers that fails at red images, and waits until it is let go."""

    def __init__(self, detector: Detector) -> None:
        self.spec = detector.spec
        self.sizes: list[int] = []
        self.thresholds: list[float | None] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def workers(self) -> tuple[()]:
        return ()

    def __call__(self, images: Sequence[np.ndarray], *, score_threshold: float | None = None) -> list[RawDetections]:
        self.thresholds.append(score_threshold)
        assert self.go_on.wait(20)
        self.sizes.append(len(images))
        if any(image[0, 0, 0] == RED for image in images):
            raise RuntimeError("red")
        box = np.array([[0, 0, 1, 1]], np.float32)
        return [RawDetections(box, np.array([0.9], np.float32), np.array([2]))] * len(images)


def with_service(detector: Detector, work: Callable[[DetectionService], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        service = DetectionService(detector, ServeSettings(**{"decoders": 2, **settings}))
        await service.start()
        try:
            await work(service)
        finally:
            await service.close()

    asyncio.run(run())


def test_results_equal_those_of_the_detector_bit_for_bit(detector: Detector) -> None:
    """Twenty images: of eight photographs, some smaller, turned, or with another shape."""
    contents = [file.read_bytes() for file in FILES]
    for number, file in enumerate((FILES * 2)[:12]):
        image = Image.open(file).convert("RGB").resize((150 + 37 * number, 500 - 23 * number))
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        saved = io.BytesIO()
        image.save(saved, "JPEG", exif=exif)
        contents.append(saved.getvalue())
    expected = [detector(content).above(0.05) for content in contents]

    async def work(service: DetectionService) -> None:
        for content, detections in zip(contents, expected, strict=True):
            (result,) = await service.detect([content], score=0.05)
            assert isinstance(result, ImageResult)
            for name in ("boxes", "scores", "labels"):
                np.testing.assert_array_equal(getattr(result.detections, name), getattr(detections, name))

    with_service(detector, work)
    assert sum(map(len, expected)) > 20


def test_an_engine_without_workers_gets_batches_and_an_error_is_of_one_image(
    detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Batches(detector)

    async def work(service: DetectionService) -> None:
        backend.go_on.clear()
        first = asyncio.ensure_future(service.detect([encoded()], score=0.5))
        await asyncio.sleep(0.2)  # it is in the engine; what comes now waits
        others = asyncio.ensure_future(service.detect([encoded(), encoded(RED), encoded(kind="BMP")], score=0.5))
        await asyncio.sleep(0.2)
        backend.go_on.set()
        assert isinstance((await first)[0], ImageResult)
        good, bad, also_good = await others
        assert isinstance(good, ImageResult)
        assert isinstance(also_good, ImageResult)
        assert isinstance(bad, Problem)
        assert bad.status == 500
        assert backend.sizes[4:] == [1, 3, 1, 1, 1]

    with_service(Detector(backend, name="batches"), work)
    assert "the engine failed" in caplog.text


def test_in_a_batch_each_image_has_its_own_score(detector: Detector) -> None:
    backend = Batches(detector)

    async def work(service: DetectionService) -> None:
        backend.go_on.clear()
        first = asyncio.ensure_future(service.detect([encoded()], score=0.5))
        await asyncio.sleep(0.2)
        calls = [asyncio.ensure_future(service.detect([encoded()], score=score)) for score in (0.95, 0.2)]
        await asyncio.sleep(0.2)
        backend.go_on.set()
        (high,), (low,) = await asyncio.gather(*calls)
        await first
        assert isinstance(high, ImageResult)
        assert isinstance(low, ImageResult)
        assert (len(high.detections), len(low.detections)) == (0, 1)
        assert backend.thresholds[-1] == pytest.approx(0.2)

    with_service(Detector(backend, name="batches"), work)


def test_the_queue_is_bounded_and_says_when_to_come_back(detector: Detector) -> None:
    backend = Batches(detector)

    async def work(service: DetectionService) -> None:
        backend.go_on.clear()
        calls = [asyncio.ensure_future(service.detect([encoded()], score=0.5)) for _ in range(4)]
        await asyncio.sleep(0.1)
        with pytest.raises(Problem, match="wait already") as refused:
            await service.detect([encoded()], score=0.5)
        assert refused.value.status == 503
        assert int(refused.value.headers["Retry-After"]) >= 1
        backend.go_on.set()
        answers = await asyncio.gather(*calls)
        assert all(isinstance(result, ImageResult) for (result,) in answers)
        assert isinstance((await service.detect([encoded()], score=0.5))[0], ImageResult)
        with pytest.raises(Problem, match="limit") as refused:
            await service.detect([encoded()] * 3, score=0.5)
        assert refused.value.status == 413

    with_service(Detector(backend, name="batches"), work, queue=3, max_images=2)


def test_a_queue_that_does_not_get_empty_is_kept_short(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Batches(detector)
    monkeypatch.setattr(room, "BURST_SECONDS", 0.3)

    async def work(service: DetectionService) -> None:
        backend.go_on.clear()
        service.room.seconds_an_image = 0.01
        burst = [asyncio.ensure_future(service.detect([encoded()], score=0.5)) for _ in range(30)]
        await asyncio.sleep(0.1)
        service.require_room(16)
        await asyncio.sleep(0.4)
        with pytest.raises(Problem, match="30 images wait"):
            service.require_room(1)
        backend.go_on.set()
        await asyncio.gather(*burst)
        service.require_room(16)

    with_service(Detector(backend, name="batches"), work)


def test_a_burst_is_as_long_as_it_can_be_done_soon(detector: Detector) -> None:
    async def work(service: DetectionService) -> None:
        service.room.seconds_an_image = 1.0  # a large network: the standing queue is all that there is
        with pytest.raises(Problem) as none_of_so_many:
            service.require_room(service.room.parallel * 9 + 1)
        assert none_of_so_many.value.status == 503
        service.require_room(service.room.parallel * 9)
        service.room.seconds_an_image = 0.01
        service.require_room(50)

    with_service(detector, work, max_images=60)


def test_after_its_deadline_an_image_is_not_detected(detector: Detector) -> None:
    backend = Batches(detector)

    async def work(service: DetectionService) -> None:
        backend.go_on.clear()
        first = asyncio.ensure_future(service.detect([encoded()], score=0.5))
        await asyncio.sleep(0.2)
        with pytest.raises(Problem) as late:
            await service.detect([encoded(), encoded()], score=0.5, deadline=0.1)
        assert late.value.status == 504
        gone = asyncio.ensure_future(service.detect([encoded()], score=0.5))
        await asyncio.sleep(0.1)
        gone.cancel()
        backend.go_on.set()
        await first
        await asyncio.sleep(0.2)
        assert backend.sizes[4:] == [1]
        assert service.waiting == 0

    with_service(Detector(backend, name="batches"), work)


def test_a_killed_decoder_is_replaced_and_the_image_decoded(detector: Detector) -> None:
    async def work(service: DetectionService) -> None:
        for _ in range(5):
            for decoder in service.decoders:
                assert decoder.process_id is not None
                os.kill(decoder.process_id, signal.SIGKILL)
            results = await service.detect([FILES[0].read_bytes()] * 4, score=0.5)
            assert all(isinstance(result, ImageResult) for result in results)

    with_service(detector, work)


def test_a_decoder_that_takes_too_long_is_killed(detector: Detector) -> None:
    async def work(service: DetectionService) -> None:
        (decoder,) = service.decoders
        process = decoder.process_id
        assert process is not None
        os.kill(process, signal.SIGSTOP)
        (result,) = await service.detect([FILES[0].read_bytes()], score=0.5)
        assert isinstance(result, Problem)
        assert (result.status, "0.5 s" in result.detail) == (422, True)
        start = time.monotonic()
        (result,) = await service.detect([FILES[0].read_bytes()], score=0.5)
        assert isinstance(result, ImageResult)
        assert time.monotonic() - start < 10

    with_service(detector, work, decoders=1, decode_timeout=0.5)


def test_decoders_need_no_folder_that_can_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_folder() -> str:
        raise FileNotFoundError("no usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", no_folder)
    monkeypatch.setattr("tempfile.mkdtemp", no_folder)
    decoder = Decoder((32, 32), max_pixels=10**6, timeout=30)
    decoded = decoder.decode(encoded())
    assert (decoded.size_wh, decoded.pixels.shape) == ((40, 30), (32, 32, 3))
    decoder.stop()


def test_a_script_without_a_main_guard_is_not_run_again_by_decoders(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from singleshot.serve.decoders import Decoder\n"
        "print('ran')\n"
        "decoder = Decoder((32, 32), max_pixels=10**6, timeout=10)\n"
        "decoder.start()\n"
        "decoder.stop()\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")


def test_torch_in_batches_gives_the_boxes_of_the_detector() -> None:
    in_torch = Detector.load(precision="fp32", device="cpu")
    assert in_torch.backend.workers() == ()
    expected = [in_torch(file).above(0.3) for file in FILES]

    async def work(service: DetectionService) -> None:
        results = await service.detect([file.read_bytes() for file in FILES], score=0.3)
        for result, detections in zip(results, expected, strict=True):
            assert isinstance(result, ImageResult)
            assert result.detections.names == detections.names
            np.testing.assert_allclose(result.detections.boxes, detections.boxes, atol=0.1)

    with_service(in_torch, work)
    assert sum(map(len, expected)) > 3


def test_an_image_that_kills_two_decoders_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder((32, 32), max_pixels=10**6, timeout=10)
    start = Decoder.start

    def start_and_die(self: Decoder) -> None:
        start(self)
        assert self._process is not None
        self._process.kill()
        self._process.join()

    monkeypatch.setattr(Decoder, "start", start_and_die)
    with pytest.raises(ImageError, match="twice"):
        decoder.decode(encoded())
    monkeypatch.undo()
    assert decoder.decode(encoded()).size_wh == (40, 30)
    assert decoder.started == 3
    decoder.stop()


def test_remarks_and_what_shows_nothing(detector: Detector) -> None:
    frames = [Image.new("RGB", (50, 40), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])

    async def work(service: DetectionService) -> None:
        (result,) = await service.detect([file.getvalue()], score=0.05)
        assert isinstance(result, ImageResult)
        assert "first of several frames" in result.remarks[0]
        assert (len(result.detections), result.size_wh) == (0, (50, 40))

    with_service(detector, work)


def test_a_model_that_is_replaced_on_the_disk_goes_on_as_it_was(detector: Detector, tmp_path: Any) -> None:
    import shutil

    from singleshot.runtime.find_model import find_model

    folder = tmp_path / "model"
    shutil.copytree(find_model(None).path, folder)
    copied = Detector.load(folder)
    expected = detector(FILES[3]).above(0.3)

    async def work(service: DetectionService) -> None:
        for file in folder.rglob("*"):
            if file.is_file():
                file.write_bytes(bytes(file.stat().st_size))
        (result,) = await service.detect([FILES[3].read_bytes()], score=0.3)
        assert isinstance(result, ImageResult)
        np.testing.assert_array_equal(result.detections.boxes, expected.boxes)

    with_service(copied, work, decoders=1)


@pytest.mark.parametrize(
    ("changes", "token"),
    [
        ({"port": 70000}, "65535"),
        ({"queue": 0}, "queue"),
        ({"deadline": float("nan")}, "deadline"),
        ({"max_images": 65}, "65"),
        ({"host": "0.0.0.0"}, "--token-file"),  # noqa: S104
        ({"host": "example.org"}, "--token-file"),
        ({"token": "two\nlines"}, "one line"),
        ({"decoders": 0}, "decoders"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], token: str) -> None:
    from singleshot.errors import RequestError

    with pytest.raises(RequestError, match=token):
        replace(ServeSettings(), **changes)
