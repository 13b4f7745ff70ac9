"""Training images a second on one core, from file to augmented sample, ours beside torchvision's transforms."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import cv2
import torch
import torchvision
from torchvision import tv_tensors
from torchvision.transforms import v2

from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.augment.settings import PIXELS, AugmentSettings
from singleshot.data.loader import TrainingDataset
from singleshot.data.recognise import open_data
from singleshot.types import Annotations
from singleshot.variants import SSD300_VGG16

AT_ONCE = 24  # images of a turn


@dataclass(frozen=True)
class Rates:
    """Images a second on one core, medians over the rounds.

    Attributes:
        exact: the whole pipeline with Caffe's pixels.
        fast: the same choices on fewer pixels, see `augment.fast`.
        torchvision: its transforms of the same kind.
        decoded: decoding and resizing alone, ours.
        ratio_to_torchvision: of `fast`: the median of the ratios of each round.
        exact_ratio_to_torchvision: the same of `exact`.
    """

    exact: float
    fast: float
    torchvision: float
    decoded: float
    ratio_to_torchvision: float
    exact_ratio_to_torchvision: float


def augmentation_rates(data: str, *, rounds: int, on_round: Callable[[int], None] = lambda _done: None) -> Rates:
    """Take turns on the same files; every pipeline has one thread.

    Raises:
        DataError: data that cannot be used.
    """
    annotations = open_data(data)
    runners = _runners(annotations)
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torchvision's decoder
            for number in range(rounds + 1):  # the first is for warming up
                _take_turns(runners, number, len(annotations), seconds)
                on_round(number)
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
    rates = {name: AT_ONCE / median(times[1:]) for name, times in seconds.items()}
    ratios = {
        name: median(other / own for other, own in zip(seconds["torchvision"][1:], seconds[name][1:], strict=True))
        for name in PIXELS
    }
    return Rates(**rates, ratio_to_torchvision=ratios["fast"], exact_ratio_to_torchvision=ratios["exact"])


def _take_turns(
    runners: Mapping[str, Callable[[int, int], object]], number: int, images: int, seconds: Mapping[str, list[float]]
) -> None:
    """Run everybody on the same images of a round, and note how long each took."""
    turn = [(number * AT_ONCE + i) % images for i in range(AT_ONCE)]
    for name, run in runners.items():
        started = time.perf_counter()
        for image in turn:
            run(number, image)
        seconds[name].append(time.perf_counter() - started)


def _runners(annotations: Annotations) -> dict[str, Callable[[int, int], object]]:
    spec = SSD300_VGG16

    def samples(settings: AugmentSettings) -> TrainingDataset:
        augmentation = CaffeAugmentation(spec.input_size_hw, spec.preprocess.mean_rgb, settings)
        return TrainingDataset(annotations, augmentation, seed=0)

    sets = {pixels: samples(AugmentSettings(pixels=pixels)) for pixels in PIXELS}
    whole = AugmentSettings(
        brightness_probability=0, contrast_probability=0, saturation_probability=0, hue_probability=0,
        expand_probability=0, samplers=(), interpolations=("linear",), mirror_probability=0,
    )  # fmt: skip
    plain = samples(whole)
    torchvision_sample = torchvision_samples(annotations, spec.input_size_hw, spec.preprocess.mean_rgb)
    return {
        "exact": lambda number, image: sets["exact"][(number, image)],
        "fast": lambda number, image: sets["fast"][(number, image)],
        "torchvision": lambda _number, image: torchvision_sample(image),
        "decoded": lambda number, image: plain[(number, image)],
    }


def torchvision_samples(
    annotations: Annotations, input_size_hw: tuple[int, int], mean_rgb: tuple[float, float, float]
) -> Callable[[int], tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """Image by number -> 8-bit tensor and ground-truth boxes, by torchvision's own transforms of the same kind."""
    transforms = v2.Compose(
        [
            v2.RandomPhotometricDistort(),
            v2.RandomZoomOut(fill=[round(value) for value in mean_rgb]),
            v2.RandomIoUCrop(),
            v2.Resize(input_size_hw),
            v2.RandomHorizontalFlip(),
            v2.SanitizeBoundingBoxes(),
        ]
    )

    def sample(image: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        pixels = torchvision.io.decode_image(str(annotations.path(image)), torchvision.io.ImageReadMode.RGB)
        ground_truth = annotations.ground_truth(image)
        target = {
            "boxes": tv_tensors.BoundingBoxes(
                torch.from_numpy(ground_truth.boxes_xyxy), format="XYXY", canvas_size=pixels.shape[1:]
            ),
            "labels": torch.from_numpy(ground_truth.labels),
        }
        return transforms(tv_tensors.Image(pixels), target)  # type: ignore[no-any-return]

    return sample
