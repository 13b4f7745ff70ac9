"""Whole processes: how long from nothing to the first detection, and how much memory at most."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence

from singleshot.errors import MachineError
from singleshot.photographs import CHELSEA

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


def ours() -> str:
    """`ssd detect` on one image with the default model."""
    return OURS.format(image=str(CHELSEA.path))


def torchvision(name: str, *, threads: int) -> str:
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
