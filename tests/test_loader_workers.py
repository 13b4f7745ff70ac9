"""Processes that make batches die and hang; the batches stay what they are."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
import torch

from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.augment.settings import AugmentSettings
from singleshot.data.loader import BatchSampler, TrainingDataset, batches
from singleshot.errors import WorkerLostError
from test_loader import make_set

if TYPE_CHECKING:
    from singleshot.types import Sample

ORDER = BatchSampler(5, 2, 0, 0, 4)


def cannot_be_sent(_tensor: torch.Tensor) -> NoReturn:
    raise RuntimeError("unable to allocate shared memory")


class Trap(CaffeAugmentation):
    """Dies or hangs at the first sample, so often as there are files in its folder, or can never send a batch."""

    def apply(self, sample: Sample, choices: object) -> Sample:
        folder, kind = os.environ["TRAP_FOLDER"], os.environ["TRAP_KIND"]
        if kind == "unsent":
            ForkingPickler.register(torch.Tensor, cannot_be_sent)
            return super().apply(sample, choices)
        for path in sorted(Path(folder).iterdir()):
            path.unlink()
            if kind == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(3600)
        return super().apply(sample, choices)


def trapped(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, times: int) -> TrainingDataset:
    (folder / "traps").mkdir()
    (folder / "set").mkdir()
    for number in range(times):
        (folder / "traps" / str(number)).touch()
    monkeypatch.setenv("TRAP_FOLDER", str(folder / "traps"))
    monkeypatch.setenv("TRAP_KIND", kind)
    return TrainingDataset(make_set(folder / "set"), Trap((32, 32), (123, 117, 104), AugmentSettings()), seed=0)


@pytest.mark.parametrize("kind", ["die", "hang"])
def test_a_lost_process_is_replaced_and_the_batches_are_the_same(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = trapped(tmp_path, monkeypatch, kind, 1)
    told: list[str] = []
    found = list(batches(samples, ORDER, workers=1, patience=20, on_retry=told.append))
    expected = list(batches(samples, ORDER, workers=0))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.boxes_xyxy, other.boxes_xyxy)
        assert one.names == other.names
    (line,) = told
    assert f"{'died' if kind == 'die' else 'hangs'}; in work: {expected[0].names[0]}; replaced, going on" in line


def test_the_second_loss_at_one_batch_names_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = trapped(tmp_path, monkeypatch, "die", 2)
    (expected, *_) = ORDER
    with pytest.raises(WorkerLostError, match=rf"died; in work: {samples.annotations.files[expected[0][1]]}"):
        list(batches(samples, ORDER, workers=1))


def test_a_batch_that_cannot_be_handed_over_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = trapped(tmp_path, monkeypatch, "unsent", 0)
    told: list[str] = []
    with pytest.raises(WorkerLostError, match="shm is full"):
        list(batches(samples, ORDER, workers=1, on_retry=told.append))
    assert len(told) == 1


def test_a_run_that_is_stopped_does_not_wait_for_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = trapped(tmp_path, monkeypatch, "hang", 1)
    started = time.monotonic()
    with pytest.raises(WorkerLostError):
        list(batches(samples, ORDER, workers=1, stopping=lambda: time.monotonic() - started > 1))
