"""What annotations of COCO's size cost: seconds to open, and memory once they are shared with the loader's processes.

python benchmarks/annotations.py [--images 118000] [--boxes 860000]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np

from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.augment.settings import AugmentSettings
from singleshot.data.annotation_cache import FOLDER, AnnotationCache
from singleshot.data.coco import read_coco
from singleshot.data.loader import TrainingDataset


def write(folder: Path, images: int, boxes: int) -> None:
    """A COCO json of random boxes, with outlines as COCO's has them."""
    draw = random.Random(0)
    coco_images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480} for i in range(1, images + 1)]
    annotations = [
        {
            "id": number,
            "image_id": draw.randint(1, images),
            "category_id": draw.randint(1, 80),
            "bbox": [round(draw.uniform(0, 300), 2) for _ in range(4)],
            "area": round(draw.uniform(10, 9000), 2),
            "iscrowd": 0,
            "segmentation": [[round(draw.uniform(0, 640), 2) for _ in range(20)]],
        }
        for number in range(1, boxes + 1)
    ]
    categories = [{"id": number, "name": f"class {number}"} for number in range(1, 81)]
    content = {"images": coco_images, "annotations": annotations, "categories": categories}
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_train2017.json").write_text(json.dumps(content))


def resident() -> float:
    """Megabytes of this process that are in memory, after giving back what is free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def measure(folder: Path) -> None:
    """Open and share the set in this process; what was opened before is kept."""
    before = resident()
    started = time.perf_counter()
    cache = AnnotationCache.of(folder, "coco", "train2017")
    assert cache is not None
    annotations = cache.load()
    if annotations is None:
        annotations = read_coco(folder, split="train2017").annotations
        cache.store(annotations)
    opened = time.perf_counter() - started
    samples = TrainingDataset(annotations, CaffeAugmentation((300, 300), (123, 117, 104), AugmentSettings()), seed=0)
    del annotations
    sent = len(ForkingPickler.dumps(samples))
    shared = resident() - before
    for epoch in range(2):
        for number in np.random.default_rng(epoch).permutation(len(samples)):
            samples.annotations.ground_truth(number), samples.annotations.files[number]
    print(
        f"{opened:.1f} s to open, {shared:.0f} MB resident, {resident() - before:.0f} MB after each of its objects and "
        f"names was asked for twice, {sent / 1e3:.0f} kB to each process"
    )


def main() -> None:
    """Write the set, and open it twice, each time in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=118_000)
    parser.add_argument("--boxes", type=int, default=860_000)
    parser.add_argument("--open", type=Path, help="measure this set, in this process")
    given = parser.parse_args()
    if given.open:
        measure(given.open)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), given.images, given.boxes)
        for _ in range(2):
            environment = {**os.environ, FOLDER: str(Path(folder) / "cache")}
            subprocess.run([sys.executable, __file__, "--open", folder], check=True, env=environment)  # noqa: S603 (our own file)


if __name__ == "__main__":
    main()
