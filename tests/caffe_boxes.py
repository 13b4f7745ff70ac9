"""Caffe's box functions that only the tests need (bbox_util.cpp)."""

from __future__ import annotations

import numpy as np

from singleshot.shapes import Float32


def locate(
    boxes_xyxy: Float32[np.ndarray, "*n 4"], frame_xyxy: Float32[np.ndarray, "*n 4"]
) -> Float32[np.ndarray, "*n 4"]:
    """Boxes given in fractions of the frame, in the fractions that the frame itself is given in (LocateBBox)."""
    origin, size = frame_xyxy[..., :2], frame_xyxy[..., 2:] - frame_xyxy[..., :2]
    return np.concatenate([origin + boxes_xyxy[..., :2] * size, origin + boxes_xyxy[..., 2:] * size], axis=-1)


def intersect(
    first_xyxy: Float32[np.ndarray, "*n 4"], second_xyxy: Float32[np.ndarray, "*n 4"]
) -> Float32[np.ndarray, "*n 4"]:
    """The box common to each pair; zeros where they are apart, a box without area where they touch (IntersectBBox)."""
    common = np.concatenate(
        [np.maximum(first_xyxy[..., :2], second_xyxy[..., :2]), np.minimum(first_xyxy[..., 2:], second_xyxy[..., 2:])],
        axis=-1,
    )
    return np.where((common[..., :2] <= common[..., 2:]).all(axis=-1, keepdims=True), common, np.float32(0))
