"""The engine as a process of its own: what it answers, and what becomes of images where it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from serve_drills import processes_named
from serve_process import running

from crashing_engine import CRASH, FAIL, SLOW, CrashingModel
from singleshot import Detector, SingleshotError
from singleshot.cli.main import run
from singleshot.errors import HashError, ImageError, MachineError, ModelError, RequestError, UnknownNameError
from singleshot.photographs import PHOTOGRAPHS
from singleshot.runtime.backends import RunOptions, folder_to_run
from singleshot.runtime.find_model import find_model
from singleshot.serve import engine_process
from singleshot.serve.engine_main import FolderToLoad
from singleshot.serve.engine_messages import (
    EngineFailure,
    pack_error,
    pack_failure,
    pack_request,
    pack_results,
    pack_start,
    unpack_reply,
    unpack_request,
    unpack_start,
)
from singleshot.serve.engine_process import EngineProcess
from singleshot.serve.jobs import ImageResult
from singleshot.serve.problems import Problem
from singleshot.serve.service import DetectionService
from singleshot.serve.settings import ServeSettings
from singleshot.serve.turns import Turns
from singleshot.spec import ModelSpec
from singleshot.ssd.detection import RawDetections

GOOD = 90


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return find_model(None).spec


@pytest.fixture(scope="module")
def shipped() -> Iterator[EngineProcess]:
    options = RunOptions()
    engine = EngineProcess(FolderToLoad.of(folder_to_run(find_model(None), options), options))
    engine.start()
    yield engine
    engine.stop()


def pixels(shade: int = GOOD) -> np.ndarray:
    """An image that shows something; its upper left corner is of this shade."""
    image = np.zeros((30, 40, 3), np.uint8)
    image[:, 20:] = 200
    image[:15, :20] = shade
    return image


def with_service(engine: EngineProcess, work: Callable[[DetectionService], Awaitable[None]]) -> None:
    """Run work with a service on this engine, which is started and stopped here."""

    async def start_and_work() -> None:
        service = DetectionService(Detector(engine, name="crashing"), ServeSettings(decoders=1, deadline=60))
        await service.start()
        try:
            await work(service)
        finally:
            await service.close()

    try:
        engine.start()
        asyncio.run(start_and_work())
    finally:
        engine.stop()


def raw(count: int) -> RawDetections:
    random = np.random.default_rng(count)
    boxes, scores = random.normal(size=(count, 4)).astype(np.float32), random.random(count).astype(np.float32)
    return RawDetections(boxes, scores, random.integers(0, 20, count), dropped=3 * count)


def test_messages_say_what_was_said() -> None:
    assert unpack_request(pack_request(3, 0.125)) == (3, 0.125)
    assert unpack_request(pack_request(1, None)) == (1, None)
    expected = [raw(2), raw(0), raw(5)]
    for result, original in zip(unpack_reply(pack_results(expected), 3), expected, strict=True):
        for name in ("boxes_xyxy", "scores", "labels"):
            value = getattr(result, name)
            assert value.dtype == getattr(original, name).dtype
            assert value.flags.writeable
            np.testing.assert_array_equal(value, getattr(original, name))
        assert result.dropped == original.dropped
    with pytest.raises(EngineFailure, match="käfer"):
        unpack_reply(pack_failure("käfer"), 1)
    assert unpack_start(pack_start(4)) == 4


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ModelError("a"), ModelError),
        (HashError("a"), HashError),
        (UnknownNameError("model", "a", ["b"]), RequestError),
        (ImageError("a"), MachineError),
        (MemoryError(), MachineError),
        (ValueError("a"), MachineError),
        (ModuleNotFoundError("a", name="timm"), ModuleNotFoundError),
    ],
)
def test_why_a_model_is_not_loaded_is_told(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as told:
        unpack_start(pack_error(error))
    assert type(told.value) is kind
    if isinstance(told.value, ModuleNotFoundError):
        assert told.value.name == "timm"


def test_its_detections_are_those_of_the_detector_and_another_one_is_started(
    shipped: EngineProcess, caplog: pytest.LogCaptureFixture
) -> None:
    detector, own = Detector.load(), Detector(shipped, name="own")
    images = [photograph.path for photograph in PHOTOGRAPHS]
    workers = shipped.workers()
    assert len(workers) == len(detector.backend.workers())

    def require_equal() -> None:
        for image, expected in zip(own(images), detector(images), strict=True):
            for name in ("boxes", "scores", "labels"):
                np.testing.assert_array_equal(getattr(image, name), getattr(expected, name))
        assert workers[-1](pixels(), score_threshold=0.9).scores.min(initial=1) >= 0.9

    require_equal()
    process = shipped.process_id
    assert process is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(process, number)  # a terminal sends it to all: the server ends its engine when it has drained
    require_equal()
    os.kill(process, signal.SIGKILL)
    start = time.monotonic()
    while shipped.process_id == process and time.monotonic() < start + 60:
        time.sleep(0.001)
    assert not shipped.ready
    require_equal()  # waits for the next one
    assert shipped.ready
    assert shipped.started == 2
    assert "the engine ended (SIGKILL)" in caplog.text


@pytest.mark.parametrize("count", [2, 0])
def test_an_image_that_ends_two_engines_is_given_up_and_no_other(
    spec: ModelSpec, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine = EngineProcess(CrashingModel(spec, count))

    async def work(service: DetectionService) -> None:
        images = [pixels(SLOW), pixels(CRASH), pixels(GOOD + 1), pixels(FAIL), pixels(GOOD + 2)]
        results = await service.detect(images, score=0.5)
        for place, shade in ((0, SLOW), (2, GOOD + 1), (4, GOOD + 2)):
            result = results[place]
            assert isinstance(result, ImageResult)
            assert result.detections.boxes[0, 0] == pytest.approx(40 * shade / 1000)
            assert result.detections.boxes[0, 1] == pytest.approx(30 * 0.5)
        crashed, failed = results[1], results[3]
        assert isinstance(crashed, Problem)
        assert (crashed.status, "next one, too" in crashed.detail) == (500, True)
        assert isinstance(failed, Problem)
        assert (failed.status, "failed" in failed.detail) == (500, True)
        await asyncio.sleep(0)  # for what the last futures call when they are done
        assert service.waiting == 0
        assert service.engines_started == engine.started == 3

    with_service(engine, work)
    assert caplog.text.count("the engine ended (SIGSEGV); another one is started") == 2
    assert "RuntimeError: red" in caplog.text


def stop(engine: EngineProcess) -> None:
    """Stop the process of an engine, and wait until all of its threads stand still (Linux tells)."""
    assert engine.process_id is not None
    os.kill(engine.process_id, signal.SIGSTOP)
    threads = Path(f"/proc/{engine.process_id}/task")
    while any(state.read_text().rpartition(")")[2].split()[0] != "T" for state in threads.glob("*/stat")):
        time.sleep(0.001)


def test_an_engine_that_hangs_is_killed(
    spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = EngineProcess(CrashingModel(spec, 1))
    monkeypatch.setattr(engine_process, "HANG_SECONDS", 2.0)

    async def work(service: DetectionService) -> None:
        stop(engine)
        (result,) = await service.detect([pixels()], score=0.5)
        assert isinstance(result, ImageResult)

    with_service(engine, work)
    assert "has not answered for 2 s" in caplog.text


def test_an_engine_that_hangs_does_not_hold_up_the_end(spec: ModelSpec) -> None:
    engine = EngineProcess(CrashingModel(spec, 1))

    async def work(service: DetectionService) -> None:
        stop(engine)
        with pytest.raises(Problem) as late:
            await service.detect([pixels()], score=0.5, deadline=0.3)
        assert late.value.status == 504

    start = time.monotonic()
    with_service(engine, work)
    assert time.monotonic() - start < engine_process.HANG_SECONDS / 2


def test_without_an_engine_that_starts_images_get_503_and_the_server_knows_why(
    spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "absent"
    engine = EngineProcess(CrashingModel(spec, 1, absent))
    monkeypatch.setattr(engine_process, "START_PAUSE", 0.01)

    async def work(service: DetectionService) -> None:
        assert service.ready
        assert service.failure is None
        absent.touch()
        (result,) = await service.detect([pixels(CRASH)], score=0.5)
        assert isinstance(result, Problem)
        assert (result.status, result.headers["Retry-After"]) == (503, "5")
        with pytest.raises(Problem, match="the engine ended") as not_ready:
            service.require_ready()
        assert not_ready.value.status == 503
        assert isinstance(service.failure, MachineError)
        assert "3 times: its folder is damaged" in str(service.failure)
        assert engine.started == 4

    with_service(engine, work)


def test_a_server_that_can_start_no_engine_ends(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(find_model(None).path, folder)
    with running("--model", str(folder), "--decoders", "1") as server:
        (engine,) = processes_named(server, "ssd-engine")
        (folder_to_run(find_model(folder), RunOptions()).path / "config.json").write_text("{}")
        os.kill(engine, signal.SIGABRT)
        assert server.process.wait(120) == MachineError.exit_code
        *_, last = server.errors.read_text().splitlines()
        assert "could not be started again" in last
        assert "config.json" in last


def test_a_killed_server_leaves_no_engine() -> None:
    with running("--decoders", "1") as server:
        (engine,) = processes_named(server, "ssd-engine")
        server.process.kill()
        end = time.monotonic() + 20
        while Path(f"/proc/{engine}").exists() and time.monotonic() < end:
            time.sleep(0.01)
        assert not Path(f"/proc/{engine}").exists()


def test_a_model_that_cannot_be_loaded_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(find_model(None).path, folder)
    weights = folder_to_run(find_model(folder), RunOptions()).path / "model.bin"
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    with pytest.raises(SingleshotError) as of_detector:
        Detector.load(folder)
    assert run(["serve", "--port", "0", "--model", str(folder)]) == HashError.exit_code
    assert capsys.readouterr().err == f"ssd: {of_detector.value}\n"


def test_a_replaced_folder_is_not_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(find_model(None).path, folder)
    options = RunOptions()
    model = FolderToLoad.of(folder_to_run(find_model(folder), options), options)
    (sums,) = model.path.glob("SHA256SUMS")
    sums.write_text(sums.read_text() + f"{'0' * 64}  other.txt\n")
    with pytest.raises(ModelError, match="another model"):
        model.load()


def test_the_server_itself_loads_no_engine() -> None:
    program = (
        "import sys; import singleshot.serve.app, singleshot.serve.http_server, singleshot.serve.engine_process; "
        "print([name for name in ('openvino', 'torch', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_who_is_alone_has_no_company() -> None:
    turns, inside, most = Turns(), 0, {True: 0, False: 0}
    lock = threading.Lock()
    together = threading.Barrier(2, timeout=20)

    def take(*, alone: bool) -> None:
        nonlocal inside
        with turns.turn(alone=alone):
            with lock:
                inside += 1
                most[alone] = max(most[alone], inside)
            time.sleep(0.01)
            with lock:
                inside -= 1

    def meet() -> None:
        with turns.turn(alone=False):
            together.wait()  # both are in at once

    threads = [threading.Thread(target=meet) for _ in range(2)]
    threads += [threading.Thread(target=take, kwargs={"alone": number % 3 == 0}) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert most[True] == 1
