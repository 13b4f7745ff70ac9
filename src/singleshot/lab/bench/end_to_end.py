"""From JPEG files on the disk to final boxes, and from a fresh process to the first detection."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.io import ImageReadMode, decode_image

from singleshot.errors import ImageError, MachineError
from singleshot.photographs import CHELSEA
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


def folder_run(detector: Detector, files: Sequence[Path]) -> Callable[[], int]:
    """`ssd detect` without writing copies."""

    def run() -> int:
        return sum(not isinstance(item, ImageError) for item in detector.stream(files))

    return run


def torchvision_folder_run(name: str, files: Sequence[Path], *, threads: int) -> Callable[[], int]:
    """Torchvision's decoder and detector, in batches of eight."""
    torch.set_num_threads(threads)
    model = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None).eval()

    @torch.inference_mode()
    def run() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its decoder
            for start in range(0, len(files), 8):
                model([decode_image(str(path), ImageReadMode.RGB) / 255 for path in files[start : start + 8]])
        return len(files)

    return run


TELL_MEMORY = """
import atexit, pathlib, sys
status = pathlib.Path("/proc/self/status")
peak = lambda: next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
atexit.register(lambda: sys.stderr.write("\\n" + peak()) if status.exists() else None)
"""
OURS = "import sys; from singleshot.cli.main import main; sys.argv = ['ssd', 'detect', {image!r}]; main()"
TORCHVISION = """
import torch, torchvision
from PIL import Image
torch.set_num_threads({threads})
model = torchvision.models.detection.{name}(weights=None, weights_backbone=None).eval()
image = torchvision.transforms.functional.to_tensor(Image.open({image!r}).convert("RGB"))
with torch.inference_mode():
    model([image])
"""


def cold_start(program: str, *, times: int = 5) -> tuple[float, float]:
    """Median seconds and largest megabytes of a Python program in a fresh process (Linux tells; elsewhere nan).

    Raises:
        MachineError: it failed.
    """
    runs = sorted(_run([sys.executable, "-c", TELL_MEMORY + program]) for _ in range(times))
    return runs[times // 2][0], max(megabytes for _, megabytes in runs)


def our_program() -> str:
    """`ssd detect` on one image with the default model."""
    return OURS.format(image=str(CHELSEA.path))


def torchvision_program(name: str, *, threads: int) -> str:
    """The same with a detector of torchvision's, with random weights."""
    return TORCHVISION.format(name=name, image=str(CHELSEA.path), threads=threads)


def _run(command: Sequence[str]) -> tuple[float, float]:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, text=True, errors="replace")  # noqa: S603 (our own)
    seconds = time.perf_counter() - started
    told = re.search(r"^VmHWM:\s+(\d+) kB", done.stderr, re.MULTILINE)
    if done.returncode:
        last = done.stderr.partition("\nVmHWM")[0].strip()[-300:]
        raise MachineError(f"a measured program ended with {done.returncode}: {last}")
    return seconds, float("nan") if told is None else int(told[1]) / 1e3
