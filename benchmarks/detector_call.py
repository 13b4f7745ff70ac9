"""What the shipped model says, as one hash, and how long a call takes: run it under two versions to compare them.

    python benchmarks/detector_call.py [IMAGE ...]

The photographs of the package come first; the time is of a fixed random image of 375 x 500.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

import singleshot

WARM_UP, CALLS = 50, 600


def main() -> None:
    """Print the hash of all boxes, scores and labels, and the median of the calls."""
    detector = singleshot.Detector.load()
    photographs = sorted((Path(singleshot.__file__).parent / "photographs").glob("*.jpg"))
    files = [*photographs, *map(Path, sys.argv[1:])]
    digest, count = hashlib.sha256(), 0
    for file in files:
        detections = detector(file)
        count += len(detections)
        for array in (detections.boxes, detections.scores, detections.labels.astype(np.int64)):
            digest.update(np.ascontiguousarray(array).tobytes())
    print(f"{len(files)} images, {count} detections, SHA-256 {digest.hexdigest()[:24]}")
    image = np.random.default_rng(0).integers(0, 255, (375, 500, 3), dtype=np.uint8)
    times = []
    for _ in range(WARM_UP + CALLS):
        start = perf_counter()
        detector(image)
        times.append(perf_counter() - start)
    print(f"{1000 * float(np.median(times[WARM_UP:])):.2f} ms a call")


if __name__ == "__main__":
    main()
