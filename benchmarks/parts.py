"""How long the parts take on this machine: medians over runs, one line a part.

python benchmarks/parts.py [--data ../shared/data/bccd]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.augment.settings import AugmentSettings
from singleshot.data.loader import TrainingDataset, collate
from singleshot.data.recognise import open_data
from singleshot.lab.demo.drawn_set import draw_set
from singleshot.models.ssd import SSD
from singleshot.runtime.detector import Detector
from singleshot.ssd.loss import multibox_loss
from singleshot.ssd.matching import assign
from singleshot.ssd.tensors import Predictions
from singleshot.variants import SSDLITE320_MOBILENETV2

RUNS = 15


def milliseconds(work: Callable[[], object]) -> float:
    """Median wall time of a call, after one that is not counted."""
    work()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a data set; left out, the demonstration's is drawn")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = given.data
        if data is None:
            data = str(Path(folder) / "drawn")
            draw_set(Path(data))
        annotations = open_data(data)
        spec = SSDLITE320_MOBILENETV2
        augmentation = CaffeAugmentation(spec.input_size_hw, spec.preprocess.mean_rgb, AugmentSettings())
        samples = TrainingDataset(annotations, augmentation, seed=0)
        count = min(32, len(samples))
        prepare = milliseconds(lambda: [samples[(0, i)] for i in range(count)]) / count
        print(f"decode and augment one image          {prepare:8.2f} ms  ({1000 / prepare:.0f} images/s, one core)")
        model = SSD(spec)
        batch = collate([samples[(0, i)] for i in range(count)])
        classes = batch.classes.clip(max=spec.num_classes - 1)
        boxes = model.default_boxes
        targets = assign(boxes, batch.boxes_xyxy, classes, spec.boxes.variances)
        random = torch.Generator().manual_seed(0)
        predictions = Predictions(
            torch.randn(count, len(boxes), 4, generator=random),
            torch.randn(count, len(boxes), spec.num_classes, generator=random),
        )
        match = milliseconds(lambda: assign(boxes, batch.boxes_xyxy, classes, spec.boxes.variances))
        print(f"match {count} images                        {match:8.2f} ms")
        loss = milliseconds(lambda: multibox_loss(predictions, targets))
        print(f"loss of {count} images                      {loss:8.2f} ms")
        image = np.asarray(cv2.imread(str(annotations.path(0)))[..., ::-1])
        detector = Detector.load()
        print(f"detect in one decoded image           {milliseconds(lambda: detector(image)):8.2f} ms")


if __name__ == "__main__":
    main()
