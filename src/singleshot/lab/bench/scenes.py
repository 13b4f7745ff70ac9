"""The same busy image for every case."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from singleshot.photographs import CHELSEA
from singleshot.shapes import Float, UInt8

PASSING = 300
"""Scores above the threshold, as in a busy photograph; a trained network's are as few."""
SPREAD = 1.5
"""Standard deviation of the logits."""


def image() -> UInt8[np.ndarray, "375 500 3"]:
    """A photograph's middle, of the size of VOC's images."""
    pixels = CHELSEA.pixels()
    height, width = pixels.shape[:2]
    top, left = (height - 300) // 2, (width - 400) // 2
    piece = pixels[top : top + 300, left : left + 400]
    return np.ascontiguousarray(np.kron(piece, np.ones((2, 2, 1), np.uint8))[:375, :500])


def resemble_trained(
    heads: Iterable[nn.Conv2d], logits: Float[torch.Tensor, "K C"], num_classes: int, threshold: float
) -> None:
    """Make random class heads as opinionated as a trained network's: logits spread, most boxes are background.

    `PASSING` scores stay above the threshold.

    Args:
        heads: the convolutions that give class logits, background first; their weights are changed.
        logits: what they gave for the image.
        num_classes: with background.
        threshold: of the post-processing.
    """
    factor = SPREAD / float(logits[:, 1:].std())
    low, high = -50.0, 50.0
    for _ in range(40):
        middle = (low + high) / 2
        shifted = logits * factor
        shifted[:, 0] += middle
        if int((shifted.softmax(dim=1)[:, 1:] > threshold).sum()) > PASSING:
            low = middle
        else:
            high = middle
    with torch.no_grad():
        for head in heads:
            assert head.bias is not None
            head.weight *= factor
            head.bias *= factor
            head.bias[::num_classes] += high
