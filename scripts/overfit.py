"""Proof that a model learns at all: from fresh weights, without augmentation, it learns a few images by heart.

python scripts/overfit.py --model ssd300-vgg16 --data ../shared/data/bccd --images 20 --steps 600
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch

from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.augment.settings import AugmentSettings
from singleshot.box_search.study import FULL_RECALL, LOW_RECALL, Goal, find_boxes
from singleshot.data.loader import BatchSampler, TrainingDataset, training_loader
from singleshot.data.recognise import open_data
from singleshot.evaluate.protocols import evaluate
from singleshot.models.ssd import SSD, grid_sizes
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.runtime.torch_backend import TorchBackend, choose_device
from singleshot.train.optimizer import CaffeSGD, learning_rate, parameter_groups
from singleshot.train.recipe import CAFFE
from singleshot.train.step import TrainStep
from singleshot.variants import variant

PLAIN = AugmentSettings(
    brightness_probability=0,
    contrast_probability=0,
    saturation_probability=0,
    hue_probability=0,
    expand_probability=0,
    samplers=(),
    interpolations=("linear",),
    mirror_probability=0,
)


def start_as_he(model: SSD) -> None:
    """Double the variance of the weights before the backbone's ReLUs (He et al. 2015), which keeps the signal's scale.

    With pixels up to 255 the first loss is some hundreds; only warm-up and clipping make it a start.
    """
    with torch.no_grad():
        for layer in model.backbone.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight *= 2**0.5


def main() -> None:
    """Train on the first images of a split and print the mAP on the same images until it reaches the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ssd300-vgg16")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--images", "--pictures", type=int, default=20)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--every", type=int, default=100, help="steps between two evaluations")
    parser.add_argument("--goal", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    given = parser.parse_args()
    device = choose_device(given.device)
    annotations = open_data(given.data, split=given.split)
    annotations = annotations.subset(range(given.images))
    spec = replace(variant(given.model), class_names=annotations.class_names)
    goal = Goal(kept_from=LOW_RECALL, least_recall=FULL_RECALL)
    study = find_boxes(spec, annotations, goal, map_sizes_hw=grid_sizes)
    print(*study.remarks, sep="\n")
    spec = study.chosen.spec
    model = SSD(spec, seed=given.seed).to(device).to(memory_format=torch.channels_last).train()
    start_as_he(model)
    recipe = replace(
        CAFFE,
        learning_rate=given.learning_rate,
        warmup_steps=given.warmup,
        grad_clip_norm=10.0,
        batch_size=given.batch_size,
    )
    optimizer = CaffeSGD(parameter_groups(model, recipe), learning_rate=recipe.learning_rate)
    samples = TrainingDataset(
        annotations, CaffeAugmentation(spec.input_size_hw, spec.preprocess.mean_rgb, PLAIN), seed=given.seed
    )
    order = BatchSampler(len(annotations), recipe.batch_size, given.seed, 0, given.steps)
    autocast = torch.bfloat16 if given.precision == "bf16" else None
    train_step = TrainStep(model, optimizer, recipe, autocast=autocast)
    started = time.monotonic()
    for step, batch in enumerate(training_loader(samples, order, workers=0)):
        optimizer.learning_rate = learning_rate(step, given.steps, recipe)
        losses = train_step([batch], step=step)
        done = step + 1
        if done % given.every and done != given.steps:
            continue
        detections = detect_in_set(Detector(TorchBackend(model, device), name=given.model), annotations)
        result = evaluate(annotations, detections)
        mean_ap = result.mean_ap or 0.0
        classes = ", ".join(f"{name} {ap:.3f}" for name, ap in result.per_class.items() if ap is not None)
        seconds = time.monotonic() - started
        print(f"step {done}: loss {losses.loss:.3f}, mAP {mean_ap:.4f} ({classes}), {seconds:.0f} s", flush=True)
        if mean_ap >= given.goal:
            return
        model.train()


if __name__ == "__main__":
    main()
