"""An SSDLite training step on the CPU, with and without what makes it fast: medians of paired processes.

python benchmarks/train_step.py [--pairs 3] [--batch-size 16]

`plain` takes torch's own gradient of strided depthwise convolutions and glibc's usual handling of freed memory.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch

from singleshot.models import layers
from singleshot.models.ssd import SSD
from singleshot.train.step import keep_freed_memory
from singleshot.variants import SSDLITE320_MOBILENETV2

VARIANTS = ("plain", "memory", "memory+gradient")
STEPS = 6


def measure(variant: str, batch_size: int) -> float:
    """Median seconds of forward and backward in bf16, after two that are not counted."""
    if "memory" in variant:
        keep_freed_memory()
    if "gradient" not in variant:
        layers.convolve = lambda convolution, x: convolution(x)
    model = SSD(SSDLITE320_MOBILENETV2).to(memory_format=torch.channels_last).train()
    images = torch.rand(batch_size, 3, 320, 320).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(2 + STEPS):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predictions = model(images)
        (predictions.logits.float().square().mean() + predictions.offsets.float().square().mean()).backward()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def main() -> None:
    """Measure each variant in processes of its own, taking turns, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--variant", choices=VARIANTS, help="measure one, in this process")
    given = parser.parse_args()
    if given.variant:
        print(measure(given.variant, given.batch_size))
        return
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(given.pairs):
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--variant", variant, "--batch-size", str(given.batch_size)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (our own file)
            times[variant].append(float(done.stdout))
    for variant, seconds in times.items():
        ratio = statistics.median(plain / own for plain, own in zip(times["plain"], seconds, strict=True))
        print(f"{variant:16} {statistics.median(seconds):.3f} s  {ratio:.2f}x")


if __name__ == "__main__":
    main()
