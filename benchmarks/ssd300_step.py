"""A training step of SSD300, loading included, beside torchvision's: medians of paired processes.

python benchmarks/ssd300_step.py --data ../shared/data/voc2007 [--pairs 3] [--batch-size 8] [--threads 2]

Ours: the parts of `ssd train` (augmentation, matching, mining, loss, Caffe's SGD), in bf16 and in fp32. Torchvision's:
`ssd300_vgg16` with its own loss, eager float32, its transforms, torch's SGD. Both load in the process that learns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import cv2
import torch
import torchvision

from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.augment.settings import AugmentSettings
from singleshot.data.loader import TrainingDataset, collate
from singleshot.data.recognise import open_data
from singleshot.lab.bench.augmentation import torchvision_samples
from singleshot.models.ssd import SSD
from singleshot.ssd.loss import multibox_loss
from singleshot.ssd.matching import assign
from singleshot.train.optimizer import CaffeSGD, parameter_groups
from singleshot.train.recipe import CAFFE
from singleshot.train.step import Normaliser, TrainStep, keep_freed_memory
from singleshot.types import Annotations
from singleshot.variants import SSD300_VGG16

WHO = ("torchvision", "ours fp32", "ours bf16")
WARM_UP, STEPS = 1, 3
RATE = 1e-5  # random weights must not run away


def ours(
    annotations: Annotations, batch_size: int, autocast: torch.dtype | None
) -> tuple[Callable[[int], None], float]:
    """A step, and the seconds that matching, mining and loss take of one."""
    keep_freed_memory()
    spec = replace(SSD300_VGG16, class_names=annotations.class_names)
    model = SSD(spec).to(memory_format=torch.channels_last).train()
    optimizer = CaffeSGD(parameter_groups(model, CAFFE), learning_rate=RATE)
    train_step = TrainStep(model, optimizer, CAFFE, autocast=autocast)
    normalise = Normaliser(model, torch.device("cpu"))
    settings = AugmentSettings(pixels="fast")
    samples = TrainingDataset(
        annotations, CaffeAugmentation(spec.input_size_hw, spec.preprocess.mean_rgb, settings), seed=0
    )

    def step(number: int) -> None:
        first = number * batch_size
        batch = collate([samples[(0, (first + i) % len(samples))] for i in range(batch_size)])
        train_step([batch], step=number)

    batch = collate([samples[(0, i)] for i in range(batch_size)])
    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        predictions = model(normalise(batch.images))
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        targets = assign(model.default_boxes, batch.boxes_xyxy, batch.classes, spec.boxes.variances)
        multibox_loss(predictions, targets)
        seconds.append(time.perf_counter() - started)
    return step, statistics.median(seconds)


def torchvisions(annotations: Annotations, batch_size: int) -> tuple[Callable[[int], None], float]:
    """A step; its loss is not timed apart."""
    classes = len(annotations.class_names) + 1
    model = torchvision.models.detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=classes).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
    sample = torchvision_samples(annotations, SSD300_VGG16.input_size_hw, SSD300_VGG16.preprocess.mean_rgb)

    def step(number: int) -> None:
        first = number * batch_size
        pairs = [sample((first + i) % len(annotations)) for i in range(batch_size)]
        images = [pixels.float() / 255 for pixels, _ in pairs]
        ground_truth = [{"boxes": target["boxes"].float(), "labels": target["labels"] + 1} for _, target in pairs]
        optimizer.zero_grad()
        sum(model(images, ground_truth).values()).backward()
        optimizer.step()

    return step, 0.0


def measure(who: str, data: str, batch_size: int, threads: int) -> dict[str, float]:
    """Median seconds of a step, and of its matching and loss, in this process."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    annotations = open_data(data)
    if who == "torchvision":
        step, loss = torchvisions(annotations, batch_size)
    else:
        step, loss = ours(annotations, batch_size, torch.bfloat16 if who == "ours bf16" else None)
    times = []
    for number in range(WARM_UP + STEPS):
        started = time.perf_counter()
        step(number)
        times.append(time.perf_counter() - started)
    return {"step": statistics.median(times[WARM_UP:]), "loss": loss}


def main() -> None:
    """Measure each in processes of its own, taking turns, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--who", choices=WHO, help="measure one, in this process")
    given = parser.parse_args()
    if given.who:
        print(json.dumps(measure(given.who, given.data, given.batch_size, given.threads)))
        return
    times: dict[str, list[dict[str, float]]] = {who: [] for who in WHO}
    for _ in range(given.pairs):
        for who in WHO:
            own = ["--who", who, "--data", given.data, "--batch-size", str(given.batch_size)]
            command = [sys.executable, __file__, *own, "--threads", str(given.threads)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (our own file)
            times[who].append(json.loads(done.stdout.splitlines()[-1]))
    for who, rows in times.items():
        pairs = zip(times["torchvision"], rows, strict=True)
        ratio = statistics.median(reference["step"] / row["step"] for reference, row in pairs)
        step, loss = (statistics.median(row[part] for row in rows) for part in ("step", "loss"))
        share = f"  matching, mining and loss {loss / step:.1%}" if loss else ""
        print(f"{who:12} {step:.3f} s a step  {ratio:.2f}x{share}")


if __name__ == "__main__":
    main()
