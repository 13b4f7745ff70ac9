"""How many JPEG files a second go from the disk to final boxes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.io import ImageReadMode, decode_image

from singleshot.errors import ImageError
from singleshot.runtime.detector import Detector


def images_a_second(run: Callable[[], int], *, times: int = 5) -> float:
    """Median over several runs of images / seconds, after one that is not counted."""
    run()
    rates = []
    for _ in range(times):
        started = time.perf_counter()
        count = run()
        rates.append(count / (time.perf_counter() - started))
    return float(np.median(rates))


def ours(detector: Detector, files: Sequence[Path]) -> Callable[[], int]:
    """`ssd detect` without writing copies."""

    def run() -> int:
        return sum(not isinstance(item, ImageError) for item in detector.stream(files))

    return run


def of_torchvision(name: str, files: Sequence[Path], *, threads: int) -> Callable[[], int]:
    """Torchvision's decoder and detector, in batches of eight."""
    torch.set_num_threads(threads)
    model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None).eval()

    @torch.inference_mode()
    def run() -> int:
        for start in range(0, len(files), 8):
            model([decode_image(str(path), ImageReadMode.RGB) / 255 for path in files[start : start + 8]])
        return len(files)

    return run
