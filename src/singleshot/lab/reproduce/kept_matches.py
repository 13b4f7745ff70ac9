"""The matched detections of a model in a file, so that its mAP on resampled images needs no second detection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from singleshot.errors import RequestError
from singleshot.evaluate.compare import ClassOutcomes, ResampledEvaluation
from singleshot.files import read_regular, write_whole

LARGEST = 2**28  # bytes; 2,500 images take one or two million
PARTS = {"images": (np.dtype(np.int64), 1), "correct": (np.dtype(bool), 2), "counted": (np.dtype(bool), 2),
         "ground_truth": (np.dtype(np.int64), 1)}  # fmt: skip
"""Arrays of a class (`ClassOutcomes`), their types and dimensions."""


def write_matches(path: Path, matches: ResampledEvaluation) -> None:
    """Write the file, as safetensors: arrays `CLASS.PART`. Raises MachineError: no space left on the disk."""
    arrays = {
        f"{number}.{part}": np.ascontiguousarray(getattr(outcomes, part))
        for number, outcomes in enumerate(matches.classes)
        for part in PARTS
    }
    write_whole(path, save(arrays))


def read_matches(path: Path, protocol: str) -> ResampledEvaluation:
    """Read the file.

    Raises:
        RequestError: it is none of ours; it is to be removed.
    """
    try:
        arrays = load(read_regular(path, LARGEST))
        classes = tuple(_outcomes(arrays, number) for number in range(len(arrays) // len(PARTS)))
    except (SafetensorError, KeyError, ValueError) as error:
        raise RequestError(f"{path} holds no matches ({error}): remove it, and the model is evaluated again") from None
    return ResampledEvaluation(protocol, classes)


def _outcomes(arrays: dict[str, np.ndarray], number: int) -> ClassOutcomes:
    """The arrays of one class.

    Raises:
        KeyError, ValueError: an array is missing, or is of another type or size.
    """
    parts = {part: arrays[f"{number}.{part}"] for part in PARTS}
    for part, (kind, dimensions) in PARTS.items():
        if parts[part].dtype != kind or parts[part].ndim != dimensions:
            raise ValueError(f"{number}.{part} is {parts[part].dtype} {parts[part].shape}")
    outcomes = ClassOutcomes(**parts)
    count, images = len(outcomes.images), outcomes.images
    if outcomes.correct.shape != outcomes.counted.shape or outcomes.correct.shape[1] != count:
        raise ValueError(f"{number}.correct and {number}.counted do not fit {count} detections")
    if count and not 0 <= images.min() <= images.max() < len(outcomes.ground_truth):
        raise ValueError(f"{number}.images names an image that is not there")
    return outcomes
